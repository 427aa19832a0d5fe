//! What it costs that the host measures and tells: the echo with it beside the same echo without, both hosts in this process and
//! at work by turns.
//!
//! Without: nothing is counted event by event, one round of measuring an hour, no line of the log. A round of this table is four
//! legs, without, with, with, without, and the next one the other way round, so that a machine that grows slower makes either
//! slower; its figure is the ratio of both. Beside the time by the clock stands what the process had of the processors, the people
//! who write included, which says the same where others are at work on the machine. The first row has nothing on either side: what
//! it differs by is chance. Rounds of measuring go on while the other side is at work; the last column says how long one took.
//!
//! `COST_ROUNDS` in the environment is how many rounds there are. Traces are among it in a build with the feature `otlp`.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bothost::errors::Errors;
use bothost::event::EventClass;
use bothost::grants::ConnectorKey;
use bothost::host::Instruments;
use bothost::logs::{self, FilesSetup, Format, Guard, LogsConfig};
use bothost::metrics::{Attempt, Metrics};
use harness::collector::FakeCollector;
use harness::crowd;
use harness::guests;
use harness::host::{CHAT, Home, TestHost};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Runtime;

use super::measure::is_wanted;
use super::messages::{CONFIG, PROCESS};
use super::sheet::Unit;
use super::wall::COMPILER;

/// Conversations side by side.
const PEOPLE: usize = 64;
/// Rounds where nothing else is asked for.
const ROUNDS: usize = 12;
/// About how long a leg takes.
const LEG: Duration = Duration::from_millis(500);
/// Messages by which is found out how many that is.
const TRIAL: u64 = 4_000;
/// Beyond what a bot logs here: a line that is dropped costs little.
const TALKATIVE: &str = "log_rate = \"1GiB\"\n";

/// What one host does that the other does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Nothing,
    /// Events are counted, and everything is measured so often.
    Measured(&'static str),
    /// Measured, and a line of the bot's for each message, in files.
    Logged,
    /// Both count and measure; each step of each event is sent to a collector in this process.
    Traced,
}

const ALL: [Seen; 5] = [Seen::Nothing, Seen::Measured("10s"), Seen::Measured("1s"), Seen::Logged, Seen::Traced];

/// What all pairs share: the log of this process, off but for the legs that are about it, and where traces go.
struct Around {
    log: Guard,
    errors: Arc<Errors>,
    collector: FakeCollector,
    _dir: tempfile::TempDir,
}

/// Two hosts with one bot each.
struct Pair {
    seen: Seen,
    without: TestHost,
    with: TestHost,
}

/// What each message took, in nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Spent {
    elapsed: f64,
    processor: f64,
}

/// The two sides of one round.
struct Round {
    without: Spent,
    with: Spent,
}

/// Measures and prints.
pub fn measure(runtime: &Runtime) {
    if !is_wanted("cost") {
        return;
    }
    let rounds = std::env::var("COST_ROUNDS").ok().map(|rounds| rounds.parse().expect("COST_ROUNDS is a number"));
    let rounds = rounds.unwrap_or(ROUNDS);
    let head = ["without", "with", "min", "cost", "max", "without", "with", "min", "cost", "max", "one round"];
    let mut lines = vec![
        format!(
            "what seeing costs, {PEOPLE} side by side, {rounds} rounds: messages a second, then processor time of each"
        ),
        row("", &head),
    ];
    runtime.block_on(async {
        let around = Around::start().await;
        for (durability, queue) in [("durable", ""), ("process", PROCESS)] {
            for seen in ALL.into_iter().filter(|seen| *seen != Seen::Traced || cfg!(feature = "otlp")) {
                let pair = Pair::start(seen, queue, &around).await;
                let measured = pair.rounds(rounds, &around).await;
                lines.push(line(&format!("{durability}: {}", seen.what()), &measured, pair.look()));
                pair.stop().await;
            }
        }
        let lost = around.log.lost_lines().load(Ordering::Relaxed);
        lines.push(format!("log lines that were not written: {lost}"));
        lines.push(format!("counting one message, by itself: {}", Unit::Time.show(counting())));
    });
    // A reader that has gone away needs no table.
    let _ = writeln!(std::io::stdout(), "\n{}", lines.join("\n"));
}

impl Seen {
    fn what(self) -> String {
        match self {
            Self::Nothing => "nothing".to_owned(),
            Self::Measured(every) => format!("counted, measured every {every}"),
            Self::Logged => "the same every 10s, a line each".to_owned(),
            Self::Traced => "three spans each".to_owned(),
        }
    }

    /// What people write: with `!flood 1` the bot logs one line, with `!ping` none; both are answered.
    fn text(self) -> fn(usize) -> String {
        match self {
            Self::Logged => |_| "!flood 1".to_owned(),
            _ => crowd::ping,
        }
    }
}

impl Around {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let errors = Instruments::default().errors;
        let config = LogsConfig::default();
        let files = FilesSetup { dir: dir.path().to_owned(), format: config.format, rules: config.rules() };
        let log = logs::init("off", Format::Off, Some(files), errors.layer()).expect("this process has no log yet");
        Self { log, errors, collector: FakeCollector::willing().await, _dir: dir }
    }

    /// Starts a host with one bot, which is measured once in `every`.
    async fn host(&self, metrics: Metrics, queue: &str, every: &str, more: &str) -> TestHost {
        let config = format!("{CONFIG}{TALKATIVE}{queue}[vitals]\ninterval = \"{every}\"\n{more}");
        let instruments = Instruments { metrics: Arc::new(metrics), errors: Arc::clone(&self.errors) };
        let home = Home::new(COMPILER, &config).measured_by(instruments).with("bot.wasm", &guests::guest("log_flood"));
        let host = home.start().await;
        host.serving("bot").await;
        host
    }
}

impl Pair {
    async fn start(seen: Seen, queue: &str, around: &Around) -> Self {
        let unseen = || around.host(Metrics::muted(), queue, "1h", "");
        let (without, with) = match seen {
            Seen::Nothing => (unseen().await, unseen().await),
            Seen::Measured(every) => (unseen().await, around.host(Metrics::new(), queue, every, "").await),
            Seen::Logged => (unseen().await, around.host(Metrics::new(), queue, "10s", "").await),
            Seen::Traced => {
                let telemetry = format!("[telemetry]\nendpoint = \"{}\"\nmetrics = false\n", around.collector.url());
                let traced = around.host(Metrics::new(), queue, "10s", &telemetry).await;
                (around.host(Metrics::new(), queue, "10s", "").await, traced)
            }
        };
        Self { seen, without, with }
    }

    async fn rounds(&self, count: usize, around: &Around) -> Vec<Round> {
        let trial = self.leg(&self.without, TRIAL, around).await;
        let times = (LEG.as_nanos() as f64 / trial.elapsed) as u64;
        let mut rounds = Vec::new();
        for number in 0..count {
            let (first, second) =
                if number % 2 == 0 { (&self.without, &self.with) } else { (&self.with, &self.without) };
            let mut spent = Vec::new();
            for host in [first, second, second, first] {
                spent.push(self.leg(host, times, around).await);
            }
            let (outer, inner) = (spent[0].mean(spent[3]), spent[1].mean(spent[2]));
            let (without, with) = if number % 2 == 0 { (outer, inner) } else { (inner, outer) };
            rounds.push(Round { without, with });
        }
        rounds
    }

    async fn leg(&self, host: &TestHost, times: u64, around: &Around) -> Spent {
        let is_logged = self.seen == Seen::Logged && std::ptr::eq(host, &self.with);
        around.log.filter().set(if is_logged { "info" } else { "off" }).expect("a filter");
        // What the leg before has left to do, and the caches that it filled with its own.
        crowd::in_turn_saying(&host.chat, PEOPLE, times / 10, self.seen.text()).await;
        let (began, had) = (Instant::now(), processor_time());
        crowd::in_turn_saying(&host.chat, PEOPLE, times, self.seen.text()).await;
        let each = |spent: Duration| spent.as_nanos() as f64 / times as f64;
        Spent { elapsed: each(began.elapsed()), processor: each(processor_time() - had) }
    }

    /// Returns how long a round of measuring took on average, in nanoseconds.
    fn look(&self) -> f64 {
        let [sum, count] =
            ["sum", "count"].map(|part| self.with.metric(&format!("bothost_monitor_round_seconds_{part}")));
        sum / count * 1e9
    }

    async fn stop(self) {
        for host in [self.without, self.with] {
            host.stop(COMPILER, "").await;
        }
    }
}

/// Returns how long it takes to count all that is counted of one message, on a thread that does nothing else, in nanoseconds: the
/// median of many tries, which a busy machine changes little.
fn counting() -> f64 {
    const TIMES: u32 = 1_000;
    let (metrics, bot) = (Metrics::new(), "bot".parse().expect("a name"));
    let chat = ConnectorKey::shared(CHAT.parse().expect("a name"));
    let span = Duration::from_millis(1);
    let attempt = Attempt { class: EventClass::Message, outcome: "ok", waited: span, elapsed: span, fuel: 50_000 };
    let tries = (0..100).map(|_| {
        let began = Instant::now();
        for number in 0..TIMES {
            metrics.event_taken_over(Some(&chat), EventClass::Message);
            metrics.queue_depth(number as usize);
            drop(metrics.live_instance());
            metrics.instance_created(&bot);
            metrics.attempt_ended(&bot, &attempt);
            metrics.queue_depth(number as usize);
            metrics.outbox_depth(&chat, number as usize);
            metrics.delivery_ended(&chat, "ok");
            metrics.delivered_after(&chat, span);
        }
        began.elapsed().as_nanos() as f64 / f64::from(TIMES)
    });
    spread(tries.collect())[1]
}

impl Spent {
    fn mean(self, other: Self) -> Self {
        let mean = |one: f64, other: f64| (one + other) / 2.0;
        Self { elapsed: mean(self.elapsed, other.elapsed), processor: mean(self.processor, other.processor) }
    }
}

/// Returns what the process has had of the processors.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().expect("it only grows")
}

fn line(what: &str, rounds: &[Round], look: f64) -> String {
    let figures = |of: fn(&Spent) -> f64, unit: Unit| {
        let [_, without, _] = spread(rounds.iter().map(|round| of(&round.without)).collect());
        let [_, with, _] = spread(rounds.iter().map(|round| of(&round.with)).collect());
        let costs = spread(rounds.iter().map(|round| of(&round.with) / of(&round.without) - 1.0).collect());
        let costs = costs.map(|cost| format!("{:+.1} %", cost * 100.0));
        [vec![unit.show(without), unit.show(with)], costs.to_vec()].concat()
    };
    let (elapsed, processor) =
        (figures(|spent| spent.elapsed, Unit::Rate), figures(|spent| spent.processor, Unit::Time));
    row(what, &[elapsed, processor, vec![Unit::Time.show(look)]].concat())
}

fn row(what: &str, cells: &[impl std::fmt::Display]) -> String {
    let cells: String = cells.iter().map(|cell| format!("{cell:>10}")).collect();
    format!("{what:<44}{cells}")
}

/// Returns the least, the median and the greatest.
fn spread(mut figures: Vec<f64>) -> [f64; 3] {
    figures.sort_unstable_by(f64::total_cmp);
    [figures[0], figures[figures.len() / 2], figures[figures.len() - 1]]
}
