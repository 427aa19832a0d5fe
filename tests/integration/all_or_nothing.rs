//! What a handler asks for is visible as a whole once it has returned `ok`, and not at all where it did not: for each number
//! of host calls after which it may end, each way to end, and several orders of the calls.

use std::collections::BTreeMap;

use bothost::alert::{Alert, Source};
use harness::guests;
use harness::host::{Home, TestHost};

const COMPILER: &str = env!("CARGO_BIN_EXE_host");

const BOT: &str = "steps";
/// Little fuel, for what loops until there is none; one attempt, so that an event that failed is over.
const CONFIG: &str = r#"
[limits]
fuel_per_event = 5_000_000
sends_per_minute = 1_000_000
[queue]
max_attempts = 1
"#;
/// One letter a host call; `tests/guests/steps.rs` says which. Sent twice, and edited in between.
const ROW: &str = "soadgtcmerxnlm";
/// Ways to end, and what the host calls them.
const ENDINGS: [(&str, &str); 3] = [("trap", "trapped"), ("spin", "out-of-fuel"), ("fail", "failed")];

const SEEDED: &str = "state: gone=seeded old=seeded sum=5; timers: old";
const DONE: &str = "state: new=made old=overwritten sum=6; timers: new";

/// A host with the bot, and what should have been counted so far.
struct Trial {
    host: TestHost,
    faults: BTreeMap<&'static str, f64>,
    counted: f64,
}

impl Trial {
    async fn new() -> Self {
        let host = Home::new(COMPILER, CONFIG).with("steps.wasm", &guests::guest(BOT)).start().await;
        host.serving(BOT).await;
        Self { host, faults: BTreeMap::new(), counted: 0.0 }
    }

    fn alerts(&self) -> Vec<Alert> {
        let is_of_bot = |alert: &Alert| matches!(&alert.source, Source::Bot(_));
        self.host.host().alerts().active().into_iter().filter(is_of_bot).collect()
    }

    fn alert_keys(&self) -> Vec<String> {
        self.alerts().into_iter().map(|alert| alert.key).collect()
    }

    async fn seed(&self) {
        assert_eq!(self.host.ask("lobby", "!seed").await, "seeded");
        assert_eq!(self.host.ask("lobby", "!show").await, SEEDED);
        assert_eq!(self.alert_keys(), ["old"]);
    }

    /// Asks for what is there, and returns everything that is delivered beyond the first `before`, up to that answer.
    async fn answers_until_shown(&self, before: u64) -> Vec<String> {
        self.host.say("lobby", "!show").await;
        for count in 1.. {
            let answers = self.host.answers_since(before, count).await;
            if answers.last().is_some_and(|last| last.starts_with("state:")) {
                return answers;
            }
        }
        unreachable!("a count has no end")
    }

    /// Has the bot end after `calls` of the row, and checks that all is as it was.
    async fn nothing_is_visible(&mut self, (ending, kind): (&str, &'static str), calls: usize, row: &str) {
        let what = format!("!do {ending} {calls} {row}");
        let (alerts, delivered) = (self.alerts(), self.host.chat.delivered_count());
        self.host.say("lobby", &what).await;
        // In the same conversation it is answered after the event is over, and delivered after anything of it.
        let shown = self.answers_until_shown(delivered).await;
        assert_eq!(shown, [SEEDED], "{what}");
        assert_eq!(self.host.chat.delivered_count(), delivered + 1, "{what}");
        assert_eq!(self.alerts(), alerts, "{what}");
        self.counted += row[..calls].matches('n').count() as f64;
        *self.faults.entry(kind).or_default() += 1.0;
        self.counters_are_right(&what).await;
    }

    /// Has the bot make all calls of the row, and checks that all of it is there, once.
    async fn everything_is_visible(&mut self, row: &str) {
        let delivered = self.host.chat.delivered_count();
        self.host.say("lobby", &format!("!do all {row}")).await;
        let mut shown = self.answers_until_shown(delivered).await;
        assert_eq!(shown.pop().as_deref(), Some(DONE), "{row}");
        let messages: Vec<_> = row.chars().filter_map(message_of).collect();
        assert_eq!(shown, messages, "{row}");
        let alerts = self.alerts();
        assert_eq!(alerts.iter().map(|alert| (alert.key.as_str(), alert.times)).collect::<Vec<_>>(), [("new", 1)]);
        self.counted += 1.0;
        self.counters_are_right(row).await;
    }

    /// That the calls were made at all, and that the bot ended as it was told: metrics count at once, whatever becomes of the
    /// event.
    async fn counters_are_right(&self, what: &str) {
        let counted = self.host.metric(&format!("bothost_guest_steps_counted_total{{bot=\"{BOT}\"}}"));
        assert_eq!(counted, self.counted, "{what}");
        for (kind, count) in &self.faults {
            let series = format!("bothost_bot_faults_total{{bot=\"{BOT}\",kind=\"{kind}\"}}");
            assert_eq!(self.host.metric(&series), *count, "{what}: {kind}");
        }
        let (series, expected) =
            (format!("bothost_dead_letter_added_total{{bot=\"{BOT}\"}}"), self.faults.values().sum::<f64>());
        // It is counted once it is on disk; the next event of the conversation may be quicker.
        self.host.metric_reaches(&series, expected).await;
        assert_eq!(self.host.metric(&series), expected, "{what}");
    }

    async fn check(&mut self, row: &str) {
        self.seed().await;
        for ending in ENDINGS {
            for calls in 0..=row.len() {
                self.nothing_is_visible(ending, calls, row).await;
            }
        }
        self.everything_is_visible(row).await;
    }
}

/// What a letter of the row delivers.
fn message_of(letter: char) -> Option<&'static str> {
    match letter {
        'm' => Some("sent"),
        'e' => Some("edited"),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_a_handler_ends_nothing_of_it_is_visible_and_then_all_of_it_once() {
    Trial::new().await.check(ROW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_the_order_of_its_calls_matter() {
    let mut random = fastrand::Rng::with_seed(48);
    let mut trial = Trial::new().await;
    for _ in 0..8 {
        let mut row: Vec<char> = ROW.chars().collect();
        random.shuffle(&mut row);
        trial.check(&row.into_iter().collect::<String>()).await;
    }
}
