//! The log files: what is in which, what becomes of them when they grow, and that nothing that happens to them holds up anybody or
//! loses more than it must.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bothost::config::LogsConfig;
use bothost::logs::follow::Follower;
use bothost::logs::line::{Line, Wanted};
use bothost::logs::tail::Query;
use bothost::logs::{self, BotLog, FileFormat, FilesSetup, Format, Guard, LogFile, Rules};
use harness::guests;
use harness::process::ProcessHome;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tracing::Dispatch;

const PROGRAM: &str = env!("CARGO_BIN_EXE_host");
/// Reached only by a failing test.
const PATIENCE: Duration = Duration::from_secs(30);

/// A log in a directory of its own.
struct Rig {
    dir: TempDir,
    dispatch: Dispatch,
    guard: Guard,
}

impl Rig {
    fn new() -> Self {
        Self::with(rules(|_| {}), FileFormat::Json, io::sink())
    }

    fn with(rules: Rules, format: FileFormat, stderr: impl Write + Send + 'static) -> Self {
        Self::on(TempDir::new().unwrap(), rules, format, stderr)
    }

    fn on(dir: TempDir, rules: Rules, format: FileFormat, stderr: impl Write + Send + 'static) -> Self {
        let setup = FilesSetup { dir: dir.path().join("logs"), format, rules };
        let (subscriber, guard) = logs::to_writer_and_files("info", Format::Text, stderr, Some(setup)).unwrap();
        Self { dir, dispatch: Dispatch::new(subscriber), guard }
    }

    fn logs(&self) -> PathBuf {
        self.dir.path().join("logs")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.logs().join(name)
    }

    fn log(&self, log: impl FnOnce()) {
        tracing::dispatcher::with_default(&self.dispatch, log);
    }

    fn say(&self, text: &str) {
        self.log(|| tracing::info!(target: "host", "{text}"));
    }

    fn lost(&self) -> u64 {
        self.guard.lost_lines().load(Ordering::Relaxed)
    }

    /// Waits until a file has a text.
    fn wait_for(&self, name: &str, text: &str) {
        until(|| read(&self.path(name)).contains(text), || format!("{name} has no {text}: {}", read(&self.path(name))));
    }

    /// Ends the log and returns its directory.
    fn end(self) -> TempDir {
        drop(self.guard);
        self.dir
    }
}

fn rules(change: impl FnOnce(&mut Rules)) -> Rules {
    let mut rules = LogsConfig::default().rules();
    change(&mut rules);
    rules
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[track_caller]
fn until(is_so: impl Fn() -> bool, say: impl FnOnce() -> String) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{}", say());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn query(logs: &Path, file: LogFile) -> Query {
    Query { dir: logs.to_owned(), file, wanted: Wanted::default() }
}

fn messages(lines: &[Line]) -> Vec<String> {
    let message = |line: &Line| {
        let value: Value = serde_json::from_str(&line.to_json()).unwrap();
        value["message"].as_str().unwrap().to_owned()
    };
    lines.iter().map(message).collect()
}

/// Every message of a file and of what was rotated from it.
fn all(logs: &Path, file: LogFile) -> Vec<String> {
    let mut lines = Vec::new();
    let mut each = |line| {
        lines.push(line);
        std::ops::ControlFlow::Continue(())
    };
    query(logs, file).all(&mut each).unwrap();
    messages(&lines)
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name.contains(".log")).collect()
}

fn bot(name: &str) -> LogFile {
    LogFile::Bot(name.parse().unwrap())
}

fn bot_says(name: &str, level: tracing::Level, text: &str) {
    BotLog::new(name.parse().unwrap(), 1 << 30).line(level, text, &[], Instant::now());
}

#[test]
fn every_line_is_where_it_belongs_and_nobody_else_can_read_it() {
    use tracing::Level;
    let stderr = Shared::default();
    let rig = Rig::with(rules(|_| {}), FileFormat::Json, stderr.clone());
    rig.log(|| {
        tracing::info!(target: "bothost::host", "a fact");
        tracing::warn!(target: "bothost::bot", bot = "echo", "a warning");
        tracing::error!(target: "alert", "an alert");
        tracing::info!(target: "performance", cpu = 0.5, "a measurement");
        bot_says("echo", Level::WARN, "a bot's warning");
        bot_says("echo", Level::ERROR, "a bot's error");
    });
    let logs = rig.logs();
    assert_eq!(rig.lost(), 0);
    let dir = rig.end();
    assert_eq!(all(&logs, LogFile::Host), ["a fact", "a warning", "an alert"]);
    assert_eq!(all(&logs, LogFile::Error), ["a warning", "an alert", "a bot's error"]);
    assert_eq!(all(&logs, LogFile::Alerts), ["an alert"]);
    assert_eq!(all(&logs, LogFile::Performance), ["a measurement"]);
    assert_eq!(all(&logs, bot("echo")), ["a bot's warning", "a bot's error"]);
    assert!(!stderr.text().contains("a measurement") && stderr.text().contains("a bot's error"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&logs), mode(&logs.join("bots"))), (0o700, 0o700));
    assert!(["host.log", "bots/echo.log"].iter().all(|name| mode(&logs.join(name)) == 0o600));
    drop(dir);
}

#[test]
fn a_bot_forges_no_line_in_its_own_file_or_in_anothers() {
    for format in [FileFormat::Json, FileFormat::Text] {
        let rig = Rig::with(rules(|_| {}), format, io::sink());
        let forged = "x\n2026-11-21T12:40:48Z ERROR host: forged\r\u{1b}[2J\n{\"level\":\"ERROR\"}\u{2028}";
        rig.log(|| {
            bot_says("liar", tracing::Level::ERROR, forged);
            tracing::info!(target: "bot", bot = "../host", "{forged}");
        });
        let logs = rig.logs();
        let _dir = rig.end();
        for name in ["bots/liar.log", "error.log", "host.log"] {
            let text = read(&logs.join(name));
            assert_eq!(text.lines().count(), 1, "{name}: {text:?}");
            assert!(!text.trim_end().contains(|letter: char| letter.is_control() || letter == '\u{2028}'), "{text:?}");
        }
        assert_eq!(names(&logs.join("bots")).len(), 1);
    }
}

#[test]
fn a_changed_level_reaches_the_files_and_leaves_measurements_alone() {
    let rig = Rig::new();
    let say = |number: u32| {
        rig.log(|| {
            tracing::debug!(target: "host", "debug {number}");
            tracing::info!(target: "host", "info {number}");
            tracing::info!(target: "performance", "measured {number}");
        });
    };
    say(1);
    // Within the log: a single one is asked anew only where it is the current one.
    rig.log(|| rig.guard.filter().set("debug").unwrap());
    say(2);
    rig.log(|| rig.guard.filter().set("error").unwrap());
    say(3);
    let logs = rig.logs();
    let _dir = rig.end();
    assert_eq!(all(&logs, LogFile::Host), ["info 1", "debug 2", "info 2"]);
    assert_eq!(all(&logs, LogFile::Performance), ["measured 1", "measured 2", "measured 3"]);
}

#[test]
fn files_are_rotated_by_size_packed_and_read_back_whole_and_in_order() {
    for format in [FileFormat::Json, FileFormat::Text] {
        let rig = Rig::with(rules(|rules| rules.file_bytes_max = 20_000), format, io::sink());
        let lines: Vec<_> = (0..2000).map(|number| format!("line {number}")).collect();
        for chunk in lines.chunks(100) {
            chunk.iter().for_each(|line| rig.say(line));
            // So that it takes more than one batch.
            rig.wait_for("host.log", chunk.last().unwrap());
        }
        let logs = rig.logs();
        let is_packed =
            || names(&logs).iter().all(|name| name == "host.log" || name.ends_with("Z.gz") || name.contains("Z."));
        until(
            || names(&logs).iter().filter(|name| !name.ends_with(".gz")).count() == 1,
            || format!("{:?}", names(&logs)),
        );
        assert!(is_packed() && names(&logs).len() > 4, "{:?}", names(&logs));
        assert_eq!(all(&logs, LogFile::Host), lines);
        let last = |count| messages(&query(&logs, LogFile::Host).last(count).unwrap().0);
        for count in [0, 1, 30, 700, 5000] {
            assert_eq!(last(count), lines[lines.len().saturating_sub(count)..], "the last {count}");
        }
        until(|| rig.guard.file_bytes() > 0, || "no bytes are added up".to_owned());
        assert_eq!(rig.lost(), 0);
    }
}

#[test]
fn files_are_rotated_when_their_period_is_over_even_if_nothing_is_written() {
    let rig = Rig::with(rules(|rules| rules.rotate_every = Duration::from_secs(1)), FileFormat::Json, io::sink());
    rig.say("first");
    let logs = rig.logs();
    until(|| names(&logs).len() == 2 && read(&logs.join("host.log")).is_empty(), || format!("{:?}", names(&logs)));
    assert_eq!(all(&logs, LogFile::Host), ["first"]);
}

#[test]
fn no_more_is_kept_than_the_rules_have_room_for_and_other_rules_hold_at_once() {
    let small = |rules: &mut Rules| {
        rules.file_bytes_max = 5_000;
        rules.keep_files = 1000;
    };
    let rig = Rig::with(rules(small), FileFormat::Json, io::sink());
    let logs = rig.logs();
    let write = |from: usize| {
        (from..from + 1000).for_each(|number| rig.say(&format!("line {number}")));
        rig.wait_for("host.log", &format!("line {}", from + 999));
    };
    write(0);
    assert!(names(&logs).len() > 10, "{:?}", names(&logs));
    rig.guard.set_rules(rules(|rules| {
        small(rules);
        rules.keep_files = 3;
    }));
    write(1000);
    until(|| names(&logs).len() == 4, || format!("{:?}", names(&logs)));
    rig.guard.set_rules(rules(|rules| {
        small(rules);
        rules.total_bytes_max = 1;
    }));
    write(2000);
    until(|| names(&logs).len() <= 2, || format!("{:?}", names(&logs)));
    assert_eq!(rig.lost(), 0);
}

#[test]
fn many_bots_have_few_files_open_and_lose_nothing() {
    let rig = Rig::new();
    let bots: Vec<_> = (0..200).map(|number| format!("bot-{number}")).collect();
    for round in 0..3 {
        rig.log(|| bots.iter().for_each(|name| bot_says(name, tracing::Level::INFO, &format!("round {round}"))));
    }
    rig.wait_for("bots/bot-199.log", "round 2");
    let logs = fs::canonicalize(rig.logs()).unwrap();
    let opened = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let opened = opened.filter(|file| fs::read_link(file.path()).is_ok_and(|path| path.starts_with(logs.join("bots"))));
    assert!(opened.count() <= 64);
    let dir = rig.end();
    for name in &bots {
        assert_eq!(all(&dir.path().join("logs"), bot(name)), ["round 0", "round 1", "round 2"], "{name}");
    }
}

/// A stream that takes nothing until it is let go.
#[derive(Clone, Default)]
struct Stuck(Arc<(Mutex<bool>, Condvar)>);

impl Stuck {
    fn let_go(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        drop(self.0.1.wait_while(self.0.0.lock().unwrap(), |is_free| !*is_free).unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stream whose text can be read.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn f091_a_stuck_standard_error_holds_up_neither_the_files_nor_who_logs() {
    let stuck = Stuck::default();
    let rig = Rig::with(rules(|_| {}), FileFormat::Json, stuck.clone());
    for number in 0..1000 {
        rig.say(&format!("line {number}"));
    }
    rig.wait_for("host.log", "line 999");
    assert_eq!(rig.lost(), 0);
    stuck.let_go();
}

#[test]
fn f091_a_full_disk_costs_lines_that_are_counted_and_holds_up_nobody() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("logs")).unwrap();
    // A device that is always full.
    let path = dir.path().join("logs/host.log");
    symlink("/dev/full", &path).unwrap();
    let stderr = Shared::default();
    let rig = Rig::on(dir, rules(|_| {}), FileFormat::Json, stderr.clone());
    (0..50).for_each(|number| rig.say(&format!("lost {number}")));
    until(|| rig.lost() == 50, || format!("{} lost", rig.lost()));
    rig.log(|| tracing::warn!(target: "host", "elsewhere"));
    rig.wait_for("error.log", "elsewhere");
    until(|| stderr.text().contains("elsewhere"), || stderr.text());
    assert_eq!(stderr.text().matches("cannot write the log file").count(), 1, "{}", stderr.text());
    until(|| rig.lost() == 51, || format!("{} lost", rig.lost()));

    fs::remove_file(&path).unwrap();
    rig.say("there is room");
    rig.wait_for("host.log", "there is room");
    let logs = rig.logs();
    let _dir = rig.end();
    assert_eq!(all(&logs, LogFile::Host), ["dropped 51 lines", "there is room"]);
}

#[test]
fn f091_a_directory_that_is_removed_is_made_again() {
    let rig = Rig::new();
    rig.log(|| bot_says("echo", tracing::Level::INFO, "first"));
    rig.say("first");
    rig.wait_for("host.log", "first");
    rig.wait_for("bots/echo.log", "first");
    fs::remove_dir_all(rig.logs()).unwrap();
    until(|| rig.path("host.log").exists() && rig.path("bots/echo.log").exists(), || "it is not made again".to_owned());
    fs::remove_dir_all(rig.logs()).unwrap();
    rig.say("second");
    rig.wait_for("host.log", "second");
    assert_eq!(rig.lost(), 0);
}

#[test]
fn f091_a_file_that_somebody_else_rotates_is_written_on_where_it_should_be() {
    let rig = Rig::new();
    rig.say("first");
    rig.wait_for("host.log", "first");
    let (path, moved) = (rig.path("host.log"), rig.path("host.log.1"));
    // By another name, as `create` of logrotate does.
    fs::rename(&path, &moved).unwrap();
    rig.say("second");
    rig.wait_for("host.log", "second");
    assert!(!read(&moved).contains("second"));
    // By a copy, as `copytruncate` does.
    fs::copy(&path, &moved).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    rig.say("third");
    rig.wait_for("host.log", "third");
    let text = read(&path);
    assert!(text.starts_with('{') && text.lines().count() == 1, "no hole at its beginning: {text:?}");
    // By a signal, as all who rotate can send.
    fs::rename(&path, &moved).unwrap();
    rig.guard.reopen();
    until(|| path.exists(), || "it is not opened anew".to_owned());
    assert_eq!(rig.lost(), 0);
}

#[test]
fn f091_a_file_that_cannot_be_opened_costs_that_file_only_and_is_said_once() {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join("logs/error.log")).unwrap();
    let stderr = Shared::default();
    let rig = Rig::on(dir, rules(|_| {}), FileFormat::Json, stderr.clone());
    for number in 0..20 {
        rig.log(|| tracing::warn!(target: "host", "warning {number}"));
        rig.wait_for("host.log", &format!("warning {number}"));
    }
    until(|| rig.lost() == 20, || format!("{} lost", rig.lost()));
    assert_eq!(stderr.text().matches("cannot write the log file").count(), 1, "{}", stderr.text());
    let logs = rig.logs();
    fs::remove_dir(logs.join("error.log")).unwrap();
    rig.log(|| tracing::warn!(target: "host", "at last"));
    let _dir = rig.end();
    assert_eq!(all(&logs, LogFile::Error), ["dropped 20 lines", "at last"]);
}

/// Reads on until a follower has given so many lines.
#[track_caller]
fn followed(follower: &mut Follower, count: usize) -> Vec<String> {
    let (mut lines, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while lines.len() < count {
        let batch = follower.read_on().unwrap();
        assert_eq!(batch.skipped, 0);
        lines.extend(messages(&batch.lines));
        assert!(Instant::now() < deadline, "{} of {count} lines: {lines:?}", lines.len());
    }
    assert_eq!(follower.read_on().unwrap().lines, []);
    lines
}

#[test]
fn a_follower_reads_on_through_rotation_cutting_and_removal() {
    let rig = Rig::with(rules(|rules| rules.file_bytes_max = 2_000), FileFormat::Json, io::sink());
    let logs = rig.logs();
    let (lines, mut follower) = query(&logs, LogFile::Host).last(5).unwrap();
    assert!(lines.is_empty(), "there is nothing yet");
    let lines: Vec<_> = (0..500).map(|number| format!("line {number}")).collect();
    for chunk in lines.chunks(50) {
        // Several files come and go, and are packed, before it is asked again.
        chunk.iter().for_each(|line| rig.say(line));
        assert_eq!(followed(&mut follower, chunk.len()), chunk);
    }
    assert!(names(&logs).len() > 10, "{:?}", names(&logs));
    rig.guard.set_rules(rules(|_| {}));
    let path = rig.path("host.log");
    fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    assert_eq!(follower.read_on().unwrap().lines, []);
    rig.say("after the cut");
    assert_eq!(followed(&mut follower, 1), ["after the cut"]);
    // What packs the last of the old files may still put one there.
    until(|| fs::remove_dir_all(&logs).is_ok(), || "the directory stays".to_owned());
    rig.say("after the removal");
    assert_eq!(followed(&mut follower, 1), ["after the removal"]);
    fs::rename(&path, rig.path("host.log.1")).unwrap();
    rig.say("after the rename");
    assert_eq!(followed(&mut follower, 1), ["after the rename"]);
    // A line that is not whole yet is none.
    let mut file = fs::File::options().append(true).open(&path).unwrap();
    file.write_all(b"{\"message\":\"in two ").unwrap();
    assert_eq!(follower.read_on().unwrap().lines, []);
    let (last, mut other) = query(&logs, LogFile::Host).last(9).unwrap();
    assert_eq!(messages(&last), ["after the rename"]);
    file.write_all(b"pieces\"}\n").unwrap();
    assert_eq!(followed(&mut follower, 1), ["in two pieces"]);
    assert_eq!(followed(&mut other, 1), ["in two pieces"]);
}

#[test]
fn a_follower_that_is_too_far_behind_is_told_how_much_it_misses() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("host.log");
    let line = |number: usize| format!("{{\"message\":\"line {number:04}\"}}\n");
    fs::write(&path, line(0)).unwrap();
    let (_, follower) = query(dir.path(), LogFile::Host).last(0).unwrap();
    let mut follower = follower.leaving_out(1000);
    let mut file = fs::File::options().append(true).open(&path).unwrap();
    (1..=500).for_each(|number| file.write_all(line(number).as_bytes()).unwrap());
    let batch = follower.read_on().unwrap();
    let given = messages(&batch.lines);
    assert_eq!(given.last().unwrap(), "line 0500");
    assert_eq!(given.len() as u64 + batch.skipped, 500, "{given:?}");
    assert!(given.len() * line(1).len() <= 1000);
}

#[test]
fn lines_are_chosen_by_level_and_time() {
    let dir = TempDir::new().unwrap();
    let line = |second: u32, level: &str| {
        format!("{{\"time\":\"2026-11-21T12:40:{second:02}Z\",\"level\":\"{level}\",\"message\":\"{second}\"}}\n")
    };
    let text: String = (10..40).map(|second| line(second, if second % 10 == 0 { "ERROR" } else { "INFO" })).collect();
    fs::write(dir.path().join("host.log"), format!("{text}torn {{\n")).unwrap();
    let now = bothost::clock::Timestamp::now();
    let chosen = |level: Option<tracing::Level>, since: Option<&str>, count| {
        let since = since.map(|text| logs::line::since(text, now).unwrap());
        let query = Query { wanted: Wanted { level, since }, ..query(dir.path(), LogFile::Host) };
        messages(&query.last(count).unwrap().0)
    };
    assert_eq!(chosen(Some(tracing::Level::WARN), None, 9), ["10", "20", "30"]);
    assert_eq!(chosen(None, Some("2026-11-21T12:40:38Z"), 9), ["38", "39"]);
    assert_eq!(chosen(Some(tracing::Level::ERROR), Some("2026-11-21T12:40:15Z"), 1), ["30"]);
    assert_eq!(chosen(None, None, 2), ["39", "torn {"]);
}

/// What the program says, run to its end.
fn host(home: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(PROGRAM).args(arguments).current_dir(home).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), said)
}

/// Asks the host that runs, and returns what answers.
fn ask(data: &Path, path: &str) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(data.join("admin.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    BufReader::new(stream)
}

/// Reads lines until one has a text, and returns it.
#[track_caller]
fn heard(reader: &mut impl io::BufRead, text: &str) -> String {
    for line in reader.lines().take(10_000) {
        let line = line.expect("a line in time");
        if line.contains(text) {
            return line;
        }
    }
    panic!("{text:?} is not heard");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_are_read_by_verb_and_by_api_and_by_verb_when_the_host_is_gone() {
    let warmed = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-for-log-files");
    let config = "[logs]\nstderr = \"off\"\n[connectors.none]\ntype = \"telegram\"\ntoken = \"1:x\"\napi_url = \"http://127.0.0.1:9\"\n";
    let mut home =
        ProcessHome::new(PROGRAM, config).warmed_by(warmed).with("log_flood.wasm", &guests::guest("log_flood"));
    let mut process = home.start(&[]);
    process.serving("log_flood").await;
    let data = process.data().to_owned();
    let dir = home.path().to_owned();

    let (code, said) = host(&dir, &["logs"]);
    assert!(code == 0 && said.contains(" INFO ") && said.contains(": ready "), "{said}");
    let (_, said) = host(&dir, &["logs", "--lines", "1", "--json", "--since", "1h"]);
    let line: Value = serde_json::from_str(said.trim_end()).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert!(line["time"].is_string(), "{line}");
    let (code, said) = host(&dir, &["logs", "--since", "soon"]);
    assert!(code == 2 && said.contains("is no moment"), "{said}");
    let (code, said) = host(&dir, &["logs", "log_flood"]);
    assert!(code == 0 && said.contains("no lines in"), "{said}");

    // By the API: whole, and followed.
    let lines = process.ask("/api/v1/logs?lines=5000&level=info").await.unwrap();
    assert!(lines.as_array().unwrap().iter().any(|line| line["message"] == "ready"), "{lines}");
    let mut stream = ask(&data, "/api/v1/logs?follow=true&lines=5000");
    let head = heard(&mut stream, "content-type");
    assert!(head.contains("text/event-stream"), "{head}");
    assert!(heard(&mut stream, "\"ready\"").starts_with("data: {"));
    let following =
        Command::new(PROGRAM).args(["logs", "-f", "--lines", "1"]).current_dir(&dir).stdout(Stdio::piped()).spawn();
    let mut following = Guarded(following.unwrap());
    let mut by_verb = BufReader::new(following.0.stdout.take().unwrap());
    // Now it follows.
    heard(&mut by_verb, "");

    // The hangup has the files opened anew; a level that is changed reaches them.
    fs::rename(data.join("logs/host.log"), data.join("logs/host.log.old")).unwrap();
    process.signal(Signal::HUP);
    heard(&mut by_verb, "reloaded");
    assert!(heard(&mut stream, "\"reloaded\"").starts_with("data: {"));
    let set = |key: &str, value: &str, author: &str| {
        let (code, said) = host(&dir, &["config", "set", key, value, "--author", author]);
        assert_eq!(code, 0, "{said}");
    };
    set("logs.level", "warn", "first");
    (0..3).for_each(|number| set("queue.max_events", &(100 + number).to_string(), &format!("quiet-{number}")));
    set("logs.level", "info", "third");
    set("queue.max_events", "200", "loud");
    heard(&mut by_verb, "loud");
    // The filter is set a moment after the edit that asks for it is answered.
    assert!(!read(&data.join("logs/host.log")).contains("quiet-2"));

    process.stop().await;
    // The stream ends with the host, by itself.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    heard(&mut by_verb, "stopped, nothing left undone");
    let (code, said) = host(&dir, &["logs", "--lines", "3"]);
    assert!(code == 0 && said.contains("stopped, nothing left undone"), "{said}");
    assert!(!names(&dir.join("data/logs")).contains("performance.log.tmp"));
}

/// A child that does not outlive its test.
struct Guarded(std::process::Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_files_everybody_says_how_to_have_some() {
    let mut home = ProcessHome::new(PROGRAM, "[logs]\nfiles = false\n");
    let process = home.start(&[]);
    let dir = home.path().to_owned();
    let data = process.data().to_owned();
    until(|| UnixStream::connect(data.join("admin.sock")).is_ok(), || "no host".to_owned());
    let (code, said) = host(&dir, &["logs"]);
    assert!(code == 1 && said.contains("set `files = true` in [logs]"), "{code}: {said}");
    let mut refused = ask(&data, "/api/v1/logs");
    assert!(heard(&mut refused, "HTTP/1.1").contains("409"));
    let mut bad = ask(&data, "/api/v1/logs?bot=x&file=host");
    assert!(heard(&mut bad, "HTTP/1.1").contains("400"));
    assert!(!data.join("logs").exists());
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_follow_and_no_more() {
    let mut home = ProcessHome::new(PROGRAM, "");
    let process = home.start(&[]);
    let data = process.data().to_owned();
    until(|| UnixStream::connect(data.join("admin.sock")).is_ok(), || "no host".to_owned());
    let follow = || ask(&data, "/api/v1/logs?follow=true");
    let status = |reader: &mut BufReader<UnixStream>| heard(reader, "HTTP/1.1");
    let mut followers: Vec<_> = (0..64).map(|_| follow()).collect();
    assert!(followers.iter_mut().all(|follower| status(follower).contains("200")));
    assert!(status(&mut follow()).contains("503"));
    drop(followers.pop());
    until(|| status(&mut follow()).contains("200"), || "the place is not given back".to_owned());
    process.stop().await;
}
