//! What well-behaved bots feel of bots beside them that fail without end. `cargo xtask neighbours` prints it; nothing is held against
//! a clock here.
//!
//! Phases of the same load take turns, so that drift of the machine does not decide: with the culprits stopped, and with them told
//! to fail. They hear a platform of their own, so that a message to one kind of bot is none to the other.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bothost::bot::BotVerb;
use bothost::logs;
use bothost::store::{IncidentFilter, IncidentQuery};
use fastrand::Rng;
use harness::crowd::{Load, Record, beside, quantile};
use harness::guests;
use harness::host::{Home, TestHost};
use harness::telegram::FakeTelegram;
use tokio::time::{Instant, interval, sleep_until};

use super::crash::number;

const COMPILER: &str = env!("CARGO_BIN_EXE_host");
/// Bots that answer every message of the load.
const GOOD: u64 = 4;
const RATE: u32 = 50;
const CONVERSATIONS: usize = 64;
/// How long a phase lasts.
const PHASE: Duration = Duration::from_secs(10);

/// A bot that fails without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Culprit {
    /// Traps on every message.
    Traps,
    /// Its `init` spins until it is out of fuel.
    FailsInit,
    /// Spins on every message until it is out of fuel.
    Spins,
}

impl Culprit {
    const ALL: [Self; 3] = [Self::Traps, Self::FailsInit, Self::Spins];

    fn bot(self) -> &'static str {
        match self {
            Self::Traps => "trap",
            Self::FailsInit => "spin_init",
            Self::Spins => "spin",
        }
    }

    /// Returns its token, which no other may have.
    fn token(self) -> &'static str {
        match self {
            Self::Traps => "1:traps",
            Self::FailsInit => "2:fails",
            Self::Spins => "3:spins",
        }
    }

    /// Returns what sets it off, and how often in a second. Each message is tried three times.
    fn provocation(self) -> (&'static str, u32) {
        match self {
            Self::Traps => ("!trap", 50),
            Self::FailsInit => ("!ping", 1),
            Self::Spins => ("!spin", 2),
        }
    }
}

/// Counts what the host logs.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Logged>);

#[derive(Debug, Default)]
struct Logged {
    lines: AtomicU64,
    bytes: AtomicU64,
    alerts: AtomicU64,
    rest: Mutex<Vec<u8>>,
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let mut rest = self.0.rest.lock().unwrap();
        rest.extend_from_slice(bytes);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<_> = rest.drain(..=end).collect();
            self.0.lines.fetch_add(1, Ordering::Relaxed);
            let is_alert = String::from_utf8_lossy(&line).contains("alert raised");
            self.0.alerts.fetch_add(u64::from(is_alert), Ordering::Relaxed);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Readings that only grow.
#[derive(Debug, Clone, Copy, Default)]
struct Meters {
    lines: u64,
    bytes: u64,
    alerts: u64,
    incidents: u64,
    faults: u64,
    cpu_ms: u64,
    /// Of the whole machine.
    machine_ms: u64,
    disk_bytes: u64,
}

impl Meters {
    async fn read(host: &TestHost, log: &Log) -> Self {
        let Logged { lines, bytes, alerts, .. } = &*log.0;
        let query = IncidentQuery { bot: None, kinds: IncidentFilter::All, before: None, limit: 1 };
        let newest = host.store().incidents(query).await.unwrap();
        let faults: f64 = [("trap", "trapped"), ("spin", "out-of-fuel"), ("spin_init", "init")]
            .map(|(bot, kind)| host.metric(&format!("bothost_bot_faults_total{{bot=\"{bot}\",kind=\"{kind}\"}}")))
            .iter()
            .sum();
        Self {
            lines: lines.load(Ordering::Relaxed),
            bytes: bytes.load(Ordering::Relaxed),
            alerts: alerts.load(Ordering::Relaxed),
            incidents: newest.first().map_or(0, |stored| stored.id),
            faults: faults as u64,
            cpu_ms: cpu_ms(),
            machine_ms: machine_ms(),
            disk_bytes: disk_bytes(),
        }
    }

    fn add(&mut self, before: Self, after: Self) {
        self.lines += after.lines - before.lines;
        self.bytes += after.bytes - before.bytes;
        self.alerts += after.alerts - before.alerts;
        self.incidents += after.incidents - before.incidents;
        self.faults += after.faults - before.faults;
        self.cpu_ms += after.cpu_ms - before.cpu_ms;
        self.machine_ms += after.machine_ms - before.machine_ms;
        self.disk_bytes += after.disk_bytes - before.disk_bytes;
    }
}

/// Returns the processor time that this process has used, in the kernel's hundredths of a second.
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The name before it may have spaces in it.
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum()
}

/// Returns the processor time that all processes have used.
fn machine_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let fields: Vec<u64> =
        stat.lines().next().unwrap().split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // All but the fourth and fifth, in which a processor is idle or waits for a disk.
    (fields[..3].iter().sum::<u64>() + fields[5..7].iter().sum::<u64>()) * 10
}

fn disk_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.unwrap().parse().unwrap()
}

/// What a set of phases came to.
struct Row {
    what: String,
    culprits: Vec<Culprit>,
    waits: Vec<Duration>,
    /// The 99th percentile of each phase, in milliseconds.
    p99s: Vec<f64>,
    meters: Meters,
    alerts_up: usize,
    phases: u32,
}

impl Row {
    fn new(what: &str, culprits: &[Culprit]) -> Self {
        Self {
            what: what.to_owned(),
            culprits: culprits.to_vec(),
            waits: Vec::new(),
            p99s: Vec::new(),
            meters: Meters::default(),
            alerts_up: 0,
            phases: 0,
        }
    }

    fn milliseconds(&self, share: f64) -> f64 {
        quantile(&mut self.waits.clone(), share) / 1e6
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Meters { lines, bytes, alerts, incidents, faults, cpu_ms, machine_ms, disk_bytes } = self.meters;
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| self.milliseconds(share));
        let seconds = PHASE.as_secs_f64() * f64::from(self.phases);
        let [cpu, others] = [cpu_ms, machine_ms.saturating_sub(cpu_ms)].map(|spent| spent as f64 / 10.0 / seconds);
        let (log_kb, disk_mb) = (bytes as f64 / 1e3, disk_bytes as f64 / 1e6);
        write!(f, "{:9} {:8} {p50:7.2} {p99:7.2} {p999:8.2} {cpu:5.0} % {others:5.0} % ", self.what, self.waits.len())?;
        write!(f, "{faults:7} {lines:6} {log_kb:8.1} {alerts:7} {:9} {incidents:9} {disk_mb:8.1}", self.alerts_up)
    }
}

fn waits(record: &Record) -> Vec<Duration> {
    let said = |conversation: usize, number: &str| record.said[conversation][number.parse::<usize>().unwrap()];
    record.answers.iter().map(|answer| answer.at - said(answer.conversation, &answer.text)).collect()
}

/// A supervisor that lets a bot fail for ever.
const UNSUPERVISED: &str = "[supervisor]\nmax_restarts = 1_000_000\nbackoff_max = \"2s\"\n\
    [supervisor.breaker]\nfailures = 1_000_000\n";

/// A host with good bots and all culprits, which are stopped, and each of which may have so many events at work.
async fn host(platforms: &[(Culprit, FakeTelegram)], in_flight: u64, supervision: &str) -> TestHost {
    let limits = "[limits]\nsends_per_minute = 1_000_000_000\n[outbox]\nmax_len = 1_000_000\n";
    let mut home = Home::new(COMPILER, &format!("{limits}{supervision}")).with("echo.wasm", &guests::example("echo"));
    for number in 0..GOOD {
        home = home.with(&format!("good-{number}.toml"), b"component = \"echo.wasm\"");
    }
    for (culprit, platform) in platforms {
        let entry = format!(
            "limits = {{ in_flight = {in_flight} }}\n[connectors.tg]\ntype = \"telegram\"\ntoken = \"{}\"\napi_url = \"{}\"\npoll_timeout = \"1s\"\npace = \"off\"\n",
            culprit.token(),
            platform.url()
        );
        let bot = culprit.bot();
        home = home.with(&format!("{bot}.wasm"), &guests::guest(bot)).with(&format!("{bot}.toml"), entry.as_bytes());
    }
    let host = home.start().await;
    for number in 0..GOOD {
        host.serving(&format!("good-{number}")).await;
    }
    for culprit in Culprit::ALL {
        host.bot_when(culprit.bot(), |status| !matches!(status.phase.as_str(), "discovered" | "starting")).await;
        tell(&host, culprit, BotVerb::Stop).await;
    }
    host
}

async fn tell(host: &TestHost, culprit: Culprit, verb: BotVerb) {
    host.host().control().bot(culprit.bot().parse().unwrap(), verb).await.unwrap();
}

/// Has culprits fail until `end`.
async fn provoke(platforms: &[(Culprit, FakeTelegram)], culprits: &[Culprit], end: Instant, rng: &mut Rng) {
    let loops = platforms.iter().filter(|(culprit, _)| culprits.contains(culprit)).map(|(culprit, platform)| {
        let (text, rate) = culprit.provocation();
        let mut rng = rng.fork();
        async move {
            let mut ticks = interval(Duration::from_secs(1) / rate);
            while Instant::now() < end {
                ticks.tick().await;
                platform.push_message(rng.i64(7001..8001), text);
            }
        }
    });
    futures_util::future::join_all(loops).await;
    sleep_until(end).await;
}

/// Runs one phase and puts its figures down.
async fn phase(host: &TestHost, platforms: &[(Culprit, FakeTelegram)], log: &Log, rng: &mut Rng, row: &mut Row) {
    for culprit in &row.culprits {
        tell(host, *culprit, BotVerb::Start).await;
    }
    let before = Meters::read(host, log).await;
    let load = Load {
        rate: RATE,
        times: 1,
        conversations: CONVERSATIONS,
        answers: GOOD,
        text: |number| format!("!echo {number}"),
    };
    let provoked = provoke(platforms, &row.culprits, Instant::now() + PHASE, rng);
    let (record, ()) = beside(&host.chat, load, provoked).await;
    row.meters.add(before, Meters::read(host, log).await);
    row.alerts_up = row.alerts_up.max(host.host().alerts().active().len());
    row.phases += 1;
    assert_eq!(record.answers.len() as u64, record.said_len() as u64 * GOOD, "every message was answered");
    let mut waits = waits(&record);
    row.p99s.push(quantile(&mut waits, 0.99) / 1e6);
    row.waits.extend(waits);
    for culprit in &row.culprits {
        tell(host, *culprit, BotVerb::Stop).await;
    }
}

#[test]
#[ignore = "takes minutes and prints figures: `cargo xtask neighbours`"]
fn figures_beside_bots_that_fail_without_end() {
    bothost::host::runtime().unwrap().block_on(print_figures());
}

#[expect(clippy::print_stderr, reason = "it is there to print")]
async fn print_figures() {
    let (minutes, seed) = (number("BOTHOST_NEIGHBOURS_MINUTES", 1), number("BOTHOST_NEIGHBOURS_SEED", 1));
    let is_apart = number("BOTHOST_NEIGHBOURS_APART", 0) > 0;
    // Databases are to be on a disk, which the system's own directory for such files need not be.
    tempfile::env::override_temp_dir(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
    let log = Log::default();
    let (subscriber, _guard) = logs::to_writer("info", logs::Format::Text, log.clone()).unwrap();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let mut platforms = Vec::new();
    for culprit in Culprit::ALL {
        platforms.push((culprit, FakeTelegram::start(culprit.token()).await));
    }
    let supervision = if number("BOTHOST_NEIGHBOURS_SUPERVISED", 1) > 0 { "" } else { UNSUPERVISED };
    let host = host(&platforms, number("BOTHOST_NEIGHBOURS_IN_FLIGHT", 16), supervision).await;
    let mut rng = Rng::with_seed(seed);
    // Not measured: what only the first phase does.
    phase(&host, &platforms, &log, &mut rng, &mut Row::new("warm-up", &[])).await;
    let mut rows = vec![Row::new("quiet", &[]), Row::new("all fail", &Culprit::ALL)];
    if is_apart {
        rows.extend(Culprit::ALL.map(|culprit| Row::new(culprit.bot(), &[culprit])));
    }
    for _ in 0..(60 * minutes).div_ceil(PHASE.as_secs()) {
        for row in &mut rows {
            phase(&host, &platforms, &log, &mut rng, row).await;
        }
    }
    eprintln!("{} s of each, in phases of {} s by turns, seed {seed}", 60 * minutes, PHASE.as_secs());
    eprintln!(
        "           answers  p50 ms  p99 ms p99.9 ms     CPU  others  faults  lines   log kB  raised alerts up incidents  disk MB"
    );
    rows.iter().for_each(|row| eprintln!("{row}"));
    for row in &rows[1..] {
        let ratio = |share| row.milliseconds(share) / rows[0].milliseconds(share);
        let mut pairs: Vec<_> = row.p99s.iter().zip(&rows[0].p99s).map(|(noisy, quiet)| noisy / quiet).collect();
        pairs.sort_unstable_by(f64::total_cmp);
        eprintln!(
            "{} to quiet: p50 x {:.2}, p99 x {:.2}, p99.9 x {:.2}; p99 phase by phase: median x {:.2}, at most x {:.2}",
            row.what,
            ratio(0.5),
            ratio(0.99),
            ratio(0.999),
            pairs[pairs.len() / 2],
            pairs[pairs.len() - 1]
        );
    }
}
