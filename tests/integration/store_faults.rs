//! A disk that is full, that fails, whose files are taken away: a real process goes through it without a restart, and the ledger
//! shows that nothing was lost. What a machine does not allow, or has no program for, is skipped and says so.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::guests;
use harness::ledger::{Audit, Confession, Ledger, OnUncertain};
use harness::process::{Process, ProcessHome, SmallDisk};
use harness::telegram::FakeTelegram;
use serde_json::Value;
use tokio::time::{Instant, sleep};

const PROGRAM: &str = env!("CARGO_BIN_EXE_host");
const BOT: &str = "ledger";
const TOKEN: &str = "42:token";
const CHATS: Range<i64> = 7001..7009;
const DISK_BYTES: u64 = 24 << 20;
/// What a file's place is looked at after, twice, and the longest waits between tries.
const WITHIN: Duration = Duration::from_secs(45);
const LOOK_EVERY: Duration = Duration::from_millis(25);

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn skipped(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
}

/// One home, its people and what they said.
struct Trial {
    platform: FakeTelegram,
    home: ProcessHome,
    ledger: Ledger,
}

impl Trial {
    async fn new() -> Self {
        let platform = FakeTelegram::start(TOKEN).await;
        let url = platform.url();
        let config = format!(
            "[limits]\nsends_per_minute = 1_000_000\n[connectors.tg]\ntype = \"telegram\"\ntoken = \"{TOKEN}\"\napi_url = \"{url}\"\n\
             poll_timeout = \"1s\"\nreconnect_max = \"100ms\"\npace = \"off\"\n"
        );
        let home = ProcessHome::new(PROGRAM, &config)
            .with("ledger.wasm", &guests::guest(BOT))
            .warmed_by(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-for-crashes"));
        Self { platform, home, ledger: Ledger::new(CHATS, OnUncertain::Retry) }
    }

    fn on(self, disk: SmallDisk) -> Self {
        Self { home: self.home.on(disk), ..self }
    }

    fn say_round(&mut self) {
        for chat in self.ledger.chats() {
            self.ledger.say(&self.platform, chat);
        }
    }

    /// Returns how the ledger stands.
    fn stand(&self) -> Audit {
        self.ledger.audit(&self.platform.calls(), &self.platform.unconfirmed(), &Confession::default())
    }

    /// Waits until everything that was said is answered.
    async fn answered(&self, process: &mut Process) {
        eventually(process, "everything is answered", async |_| {
            let audit = self.stand();
            (audit.answered == audit.said).then_some(())
        })
        .await;
    }

    /// Everything was answered, once, in order, and is confirmed; stops the host, whose end is a good one.
    async fn finish(self, mut process: Process) {
        self.answered(&mut process).await;
        eventually(&mut process, "everything is confirmed", async |_| {
            self.platform.unconfirmed().is_empty().then_some(())
        })
        .await;
        let confession = Confession::of(&process).await;
        process.stop().await;
        let audit = self.ledger.audit(&self.platform.calls(), &self.platform.unconfirmed(), &confession);
        assert!(audit.violations.is_empty(), "{audit}");
        assert_eq!((audit.answered, audit.doubles, audit.dead_letters), (audit.said, 0, 0), "{audit}");
    }
}

/// Looks again and again; fails at once where the process has ended.
async fn eventually<T>(process: &mut Process, what: &str, mut look: impl AsyncFnMut(&Process) -> Option<T>) -> T {
    let deadline = Instant::now() + WITHIN;
    loop {
        if let Some(status) = process.ended() {
            panic!("the host ended: {status}, waiting until {what}");
        }
        if let Some(found) = look(process).await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {WITHIN:?}: {what}");
        sleep(LOOK_EVERY).await;
    }
}

/// Returns the condition of the store; nothing where the host is not well at all.
async fn condition(process: &Process) -> Option<String> {
    let health = process.health().await?;
    Some(health["store"]["condition"].as_str().unwrap_or_default().to_owned())
}

async fn until_condition(process: &mut Process, expected: Option<&str>) {
    let what = format!("the store is {expected:?}");
    eventually(process, &what, async |process| (condition(process).await.as_deref() == expected).then_some(())).await;
}

/// Returns the keys of the alerts that are up.
async fn alerts(process: &Process) -> BTreeSet<String> {
    let Some(Value::Array(alerts)) = process.ask("/api/v1/alerts").await else { panic!("no list") };
    alerts.iter().map(|alert| alert["key"].as_str().unwrap().to_owned()).collect()
}

/// Waits until these alerts are up, and no others.
async fn until_alerts(process: &mut Process, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|key| (*key).to_owned()).collect();
    let what = format!("the alerts are {expected:?}");
    eventually(process, &what, async |process| (alerts(process).await == expected).then_some(())).await;
}

/// Writes a file that leaves no byte free.
fn fill(path: &Path) {
    let mut filler = File::create(path).unwrap();
    for len in [1 << 16, 1 << 12, 1] {
        while filler.write_all(&vec![7; len]).is_ok() {}
    }
}

/// A disk is possible; or the test is skipped.
fn disk(test: &str, is_full: bool) -> Option<SmallDisk> {
    if SmallDisk::is_possible() {
        return Some(SmallDisk { bytes: DISK_BYTES, is_full });
    }
    skipped(test, "`unshare -rm mount -t tmpfs` is not permitted");
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f075_a_full_disk_holds_the_platform_back_and_nothing_else_and_room_is_all_it_takes() {
    let test = "f075_a_full_disk_holds_the_platform_back_and_nothing_else_and_room_is_all_it_takes";
    let Some(disk) = disk(test, false) else { return };
    let mut trial = Trial::new().await.on(disk);
    let mut process = trial.home.start(&[]);
    process.serving(BOT).await;
    trial.say_round();
    trial.answered(&mut process).await;
    let ballast = process.data().join("ballast");
    assert_eq!(ballast.metadata().unwrap().len(), DISK_BYTES / 8);

    fill(&process.data().join("filler"));
    while condition(&process).await.as_deref() != Some("full") {
        assert!(trial.ledger.said_len() < 50_000, "the disk does not become full");
        (0..10).for_each(|_| trial.say_round());
        let said = trial.ledger.said_len();
        // What is left is what fits; enough to have some at each stage when no more does.
        eventually(&mut process, "more is taken over", async |process| {
            let waiting = trial.platform.unconfirmed().len();
            (waiting < said.min(400) || condition(process).await.as_deref() == Some("full")).then_some(())
        })
        .await;
    }
    (0..3).for_each(|_| trial.say_round());
    until_alerts(&mut process, &["disk-full", "intake-stalled"]).await;
    assert!(!ballast.exists(), "its room is for what is under way");
    // All that the platform was told is taken over gets its answer on the full disk.
    eventually(&mut process, "what was taken over is answered", async |_| {
        (trial.stand().answered >= trial.ledger.said_len() - trial.platform.unconfirmed().len()).then_some(())
    })
    .await;
    let held_back = trial.platform.unconfirmed().len();
    assert!(held_back >= 3 * CHATS.count(), "{held_back}");
    assert_eq!(condition(&process).await.as_deref(), Some("full"));
    assert_eq!(process.health().await.unwrap()["status"], "degraded");

    std::fs::remove_file(process.data().join("filler")).unwrap();
    until_condition(&mut process, Some("working")).await;
    assert_eq!(ballast.metadata().unwrap().len(), DISK_BYTES / 8);
    until_alerts(&mut process, &[]).await;
    trial.say_round();
    trial.finish(process).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f075_a_host_starts_on_a_full_disk_and_takes_events_in_once_there_is_room() {
    let test = "f075_a_host_starts_on_a_full_disk_and_takes_events_in_once_there_is_room";
    let Some(disk) = disk(test, true) else { return };
    let mut trial = Trial::new().await.on(disk);
    let mut process = trial.home.start(&[]);
    process.serving(BOT).await;
    until_condition(&mut process, Some("full")).await;
    trial.say_round();
    until_alerts(&mut process, &["disk-full", "intake-stalled"]).await;
    assert_eq!(trial.platform.unconfirmed().len(), CHATS.count());
    std::fs::remove_file(process.data().join("filler")).unwrap();
    until_condition(&mut process, Some("working")).await;
    until_alerts(&mut process, &[]).await;
    trial.finish(process).await;
}

/// Returns the words that start a program whose calls of fsync fail, `when` it says, in each of its threads; nothing where
/// that cannot be done here. What each thread asked of its files is told in `log.TID`.
fn failing_disk(test: &str, log: &Path, when: &str) -> Option<Vec<String>> {
    let tried = Command::new("strace").args(["-D", "-o", "/dev/null", "true"]).status();
    if !tried.is_ok_and(|status| status.success()) {
        skipped(test, "strace is not installed, or not permitted");
        return None;
    }
    let log = log.to_str().unwrap();
    let inject = format!("inject=fsync,fdatasync:error=EIO:when={when}");
    let words =
        ["strace", "-D", "-q", "-ff", "-s", "0", "-o", log, "-e", "trace=fsync,fdatasync,pwrite64", "-e", &inject];
    Some(words.map(str::to_owned).to_vec())
}

fn words(of: &[String]) -> Vec<&str> {
    of.iter().map(String::as_str).collect()
}

/// What a thread asked of a file: `pwrite64(7, ""..., 4096, 8192) = 4096`.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Write { file: String, at: u64 },
    Sync { file: String, failed: bool },
}

fn asked(line: &str) -> Option<Asked> {
    let (call, rest) = line.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let mut arguments = arguments.trim_end().trim_end_matches(')').split(", ");
    let file = arguments.next()?.to_owned();
    Some(match call {
        "pwrite64" => Asked::Write { file, at: arguments.last()?.parse().ok()? },
        "fsync" | "fdatasync" => Asked::Sync { file, failed: result.contains("EIO") },
        _ => return None,
    })
}

/// Counts the failed syncs after which everything was written again that they were for, before the next that went well. Fails
/// where one was only repeated.
fn written_again(directory: &Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let (mut unsynced, mut lost) = (BTreeSet::new(), BTreeSet::new());
        for asked in text.lines().filter_map(asked) {
            match asked {
                Asked::Write { file, at } => drop(unsynced.insert((file, at))),
                Asked::Sync { file, failed: true } => {
                    lost.extend(unsynced.iter().filter(|(of, _)| *of == file).cloned());
                    unsynced.retain(|(of, _)| *of != file);
                }
                Asked::Sync { file, failed: false } => {
                    // What comes next may be shorter; it begins where that began which was lost.
                    if let Some(first) = lost.iter().find(|(of, _)| *of == file) {
                        assert!(unsynced.contains(first), "{first:?} was not written again: {unsynced:?}");
                        count += 1;
                    }
                    lost.retain(|(of, _)| *of != file);
                    unsynced.retain(|(of, _)| *of != file);
                }
            }
        }
    }
    count
}

#[test]
fn the_log_of_strace_is_understood() {
    let write = Asked::Write { file: "7".into(), at: 8192 };
    assert_eq!(asked("pwrite64(7, \"\"..., 4096, 8192) = 4096"), Some(write));
    let failed = Asked::Sync { file: "7".into(), failed: true };
    assert_eq!(asked("fsync(7)                                = -1 EIO (Input/output error) (INJECTED)"), Some(failed));
    assert_eq!(asked("fdatasync(7) = 0"), Some(Asked::Sync { file: "7".into(), failed: false }));
    assert_eq!(asked("+++ exited with 0 +++"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f076_a_failed_fsync_fails_what_it_was_for_and_that_is_written_again() {
    let test = "f076_a_failed_fsync_fails_what_it_was_for_and_that_is_written_again";
    let logs = tempfile::tempdir().unwrap();
    let Some(strace) = failing_disk(test, &logs.path().join("log"), "12+9") else { return };
    let mut trial = Trial::new().await;
    // What makes the tables is refused by such a disk, and rightly so.
    let mut process = trial.home.start(&[]);
    process.serving(BOT).await;
    process.stop().await;
    let mut process = trial.home.start_under(&words(&strace), &[]);
    process.serving(BOT).await;
    for _ in 0..25 {
        trial.say_round();
        let said = trial.ledger.said_len();
        eventually(&mut process, "some are answered", async |_| (trial.stand().answered + 32 > said).then_some(()))
            .await;
    }
    until_condition(&mut process, Some("working")).await;
    trial.finish(process).await;
    assert!(written_again(logs.path()) >= 3, "too few fsyncs failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f076_a_disk_that_fails_for_good_acknowledges_nothing_and_makes_the_host_unhealthy_but_not_end() {
    let test = "f076_a_disk_that_fails_for_good_acknowledges_nothing_and_makes_the_host_unhealthy_but_not_end";
    let logs = tempfile::tempdir().unwrap();
    let Some(strace) = failing_disk(test, &logs.path().join("log"), "30+") else { return };
    let mut trial = Trial::new().await;
    let mut process = trial.home.start_under(&words(&strace), &[]);
    process.serving(BOT).await;
    let begun = Instant::now();
    while condition(&process).await.is_some() {
        assert!(begun.elapsed() < WITHIN, "the host is well on a disk that fails");
        if trial.platform.unconfirmed().len() < 32 {
            trial.say_round();
        }
        sleep(LOOK_EVERY).await;
    }
    let (waiting, answered) = (trial.platform.unconfirmed().len(), trial.stand().answered);
    assert!(waiting > 0, "it was confirmed although it could not be kept");
    let up = alerts(&process).await;
    assert!(up.contains("store-failing") && up.contains("intake-stalled"), "{up:?}");
    assert!(process.ended().is_none(), "it stays up");
    assert!(answered < trial.ledger.said_len());
    process.kill().await;
    trial.ledger.note_kill(&trial.platform).await;
    let mut process = trial.home.start(&[]);
    process.serving(BOT).await;
    trial.answered(&mut process).await;
    let confession = Confession::of(&process).await;
    process.stop().await;
    let audit = trial.ledger.audit(&trial.platform.calls(), &trial.platform.unconfirmed(), &confession);
    assert!(audit.violations.is_empty() && audit.answered == audit.said, "{audit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f078_a_database_that_is_taken_away_closes_the_intake_until_it_is_back() {
    let mut trial = Trial::new().await;
    let mut process = trial.home.start(&[]);
    process.serving(BOT).await;
    trial.say_round();
    trial.answered(&mut process).await;
    let (path, aside) = (process.data().join("bothost.db"), process.data().join("aside"));
    std::fs::rename(&path, &aside).unwrap();
    std::fs::write(&path, "a backup of yesterday").unwrap();
    until_condition(&mut process, None).await;
    trial.say_round();
    until_alerts(&mut process, &["intake-stalled", "store-displaced"]).await;
    assert_eq!(trial.platform.unconfirmed().len(), CHATS.count());
    std::fs::rename(&aside, &path).unwrap();
    until_condition(&mut process, Some("working")).await;
    until_alerts(&mut process, &[]).await;
    trial.finish(process).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f079_a_second_host_is_told_which_process_is_the_first_and_leaves_it_alone() {
    let mut trial = Trial::new().await;
    let mut first = trial.home.start(&[]);
    first.serving(BOT).await;
    let said = trial.home.start(&[]).refused().await;
    let expected = format!("is in use by another host, process {}", first.id().unwrap());
    assert!(said.contains(&expected), "{said}");
    trial.say_round();
    trial.finish(first).await;
}
