//! P1 to P3 against a real process that dies: at every failpoint, of `kill -9` at random moments, and in the middle of taking
//! over the data of an older host. The platform is the fake Telegram, whose log the ledger is held against.
//!
//! A case says messages while the host lives, starts it again once it is dead, says the rest, and audits. `cargo xtask soak`
//! runs the random kills for longer.

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use bothost::failpoint::Failpoint;
use fastrand::Rng;
use harness::guests;
use harness::host::eventually;
use harness::ledger::{Audit, Confession, Ledger, OnUncertain};
use harness::process::{Process, ProcessHome};
use harness::telegram::{FakeTelegram, Fault};
use tokio::time::sleep;

const PROGRAM: &str = env!("CARGO_BIN_EXE_host");
const BOT: &str = "ledger";
const TOKEN: &str = "42:token";

const CHATS: Range<i64> = 7001..7005;
/// Messages in each chat of a case that dies once.
const ROUNDS: usize = 12;
/// A case of each failpoint dies at these visits: the first, the one after it, and one in the middle of the load.
const VISITS: [u32; 3] = [1, 2, 7];

/// Where nothing more is told for this long, nothing more comes: longer than any wait between two tries.
const QUIET: Duration = Duration::from_secs(5);
/// How often the log is looked at for that.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// Under random kills, people keep this many messages waiting for an answer of each process, so that whenever it is killed some
/// are at each of their stages.
const BACKLOG: usize = 64;
/// They are content with [`FRESH`] of each where so many of all wait, as with a host that loses them or is killed too soon.
const BACKLOG_MAX: usize = 1_000;
const FRESH: usize = 16;
/// One in this many looks at the backlog has a poll get lost.
const LOST_POLLS: u8 = 64;

/// One home, its people and what they said.
struct Trial {
    platform: FakeTelegram,
    home: ProcessHome,
    ledger: Ledger,
}

impl Trial {
    async fn new(on_uncertain: OnUncertain) -> Self {
        Self::with(Ledger::new(CHATS, on_uncertain), on_uncertain).await
    }

    async fn with(ledger: Ledger, on_uncertain: OnUncertain) -> Self {
        let platform = FakeTelegram::start(TOKEN).await;
        let (url, outbox) = (platform.url(), on_uncertain.config());
        let config = format!(
            "{outbox}[limits]\nsends_per_minute = 1_000_000\n[connectors.tg]\ntype = \"telegram\"\ntoken = \"{TOKEN}\"\napi_url = \"{url}\"\n\
             poll_timeout = \"1s\"\nreconnect_max = \"100ms\"\npace = \"off\"\n"
        );
        let home = ProcessHome::new(PROGRAM, &config)
            .with("ledger.wasm", &guests::guest(BOT))
            .warmed_by(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-for-crashes"));
        Self { platform, home, ledger }
    }

    /// Starts the host and waits until its bot serves.
    async fn start(&mut self) -> Process {
        let mut process = self.home.start(&[]);
        process.serving(BOT).await;
        process
    }

    /// Says one message in each chat, and waits until the host has taken them over, or is dead.
    async fn say_round(&mut self, process: &mut Process) {
        for chat in self.ledger.chats() {
            self.ledger.say(&self.platform, chat);
        }
        let is_over = || (self.platform.unconfirmed().is_empty() || process.ended().is_some()).then_some(());
        eventually(is_over, || format!("{:?} are not taken over", self.platform.unconfirmed())).await;
    }

    /// Has the next poll not reach Telegram. What it would have confirmed is handled meanwhile, and comes again if the host dies
    /// before it polls again: the two that only a record of what was taken over keeps apart.
    fn lose_next_poll(&self) {
        self.platform.fail_next("getUpdates", Fault::Html(502));
    }

    /// Says messages in random chats for as long as `lives`.
    async fn say_for(&mut self, lives: Duration, rng: &mut Rng) {
        let chats = self.ledger.chats();
        let ends = Instant::now() + lives;
        let (said, sent) = (self.ledger.said_len(), self.platform.sent_len());
        loop {
            // A double counts as an answer here, which lets one message more wait.
            let (said_now, sent_now) = (self.ledger.said_len() - said, self.platform.sent_len() - sent);
            let waiting_max = (self.platform.sent_len() + BACKLOG_MAX).saturating_sub(self.ledger.said_len());
            let more =
                (sent_now + BACKLOG).saturating_sub(said_now).min(waiting_max).max(FRESH.saturating_sub(said_now));
            for _ in 0..more {
                self.ledger.say(&self.platform, chats[rng.usize(..chats.len())]);
            }
            if rng.u8(..LOST_POLLS) == 0 {
                self.lose_next_poll();
            }
            let left = ends.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            sleep(left.min(Duration::from_millis(2))).await;
        }
    }

    /// Waits until everything is answered or listed, or nothing moves any more, which is for the audit to judge.
    async fn settled(&self, process: &Process) -> Confession {
        let mut moved = ((0, 0), Instant::now());
        loop {
            let confession = Confession::of(process).await;
            let state = (self.platform.sent_len(), self.platform.unconfirmed().len());
            if state != moved.0 {
                moved = (state, Instant::now());
            }
            if self.ledger.is_settled(&self.platform, &confession) || moved.1.elapsed() > QUIET {
                return confession;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Settles, and audits what stands in the platform's log once the host is gone.
    async fn audit(&mut self, process: Process) -> Audit {
        let confession = self.settled(&process).await;
        process.stop().await;
        self.platform.deserted().await;
        self.ledger.audit(&self.platform.calls(), &self.platform.unconfirmed(), &confession)
    }
}

/// Asserts that nothing is wrong, and that nothing was given up: the guest never fails, and a crash is no fault of its.
fn assert_good(case: &str, audit: &Audit) {
    assert!(audit.violations.is_empty() && audit.dead_letters == 0, "{case}: {audit}");
}

/// Goes through the cases of one failpoint.
async fn nothing_is_lost_at(point: Failpoint, on_uncertain: OnUncertain) {
    for visit in VISITS {
        let mut trial = Trial::new(on_uncertain).await;
        let at = format!("{point}:{visit}");
        let mut process = trial.home.start(&[("CRASH_AT", &at)]);
        process.serving(BOT).await;
        let mut rounds = 0..ROUNDS;
        while process.ended().is_none()
            && let Some(round) = rounds.next()
        {
            if round % 2 == 0 {
                trial.lose_next_poll();
            }
            trial.say_round(&mut process).await;
        }
        // The last round's answers may be what takes it there.
        let is_over = || {
            let is_settled = trial.ledger.is_settled(&trial.platform, &Confession::default());
            (process.ended().is_some() || is_settled).then_some(())
        };
        eventually(is_over, || format!("{at} is not reached")).await;
        assert!(process.ended().is_some(), "{at} is not reached by {ROUNDS} messages in each of {CHATS:?}");
        process.aborted(point.name()).await;
        trial.ledger.note_kill(&trial.platform).await;
        let mut process = trial.start().await;
        for _ in rounds {
            trial.say_round(&mut process).await;
        }
        let audit = trial.audit(process).await;
        assert_good(&at, &audit);
    }
}

/// A database with schema 1, in which the guest `ledger` has counted [`OLD_COUNT`] messages of each chat. Left behind by the
/// host of commit 4c4d5fd, stopped.
const OLD_DATABASE: &[u8] = include_bytes!("crash/schema-1.db");
const OLD_COUNT: usize = 3;

async fn with_old_data() -> Trial {
    let ledger = Ledger::new(CHATS, OnUncertain::Retry).after(OLD_COUNT);
    let trial = Trial::with(ledger, OnUncertain::Retry).await;
    std::fs::write(trial.home.data().join("bothost.db"), OLD_DATABASE).unwrap();
    trial
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_data_of_an_older_host_are_taken_over() {
    let mut trial = with_old_data().await;
    let mut process = trial.start().await;
    trial.say_round(&mut process).await;
    let audit = trial.audit(process).await;
    assert_good("schema 1", &audit);
}

/// Dies while it takes over the data of an older host, and goes on with all of them.
async fn nothing_is_lost_while_migrating(point: Failpoint) {
    let mut trial = with_old_data().await;
    let at = format!("{point}:1");
    trial.home.start(&[("CRASH_AT", &at)]).aborted(point.name()).await;
    trial.ledger.note_kill(&trial.platform).await;
    let mut process = trial.start().await;
    trial.say_round(&mut process).await;
    let audit = trial.audit(process).await;
    assert_good(&at, &audit);
}

macro_rules! migrations {
    ($($name:ident: $point:ident;)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            nothing_is_lost_while_migrating(Failpoint::$point).await;
        })+

        const MIGRATIONS: &[Failpoint] = &[$(Failpoint::$point,)+];
    };
}

migrations! {
    f073_a_crash_before_the_old_database_is_copied_loses_nothing: MigrationBeforeCopy;
    f073_a_crash_after_the_old_database_is_copied_loses_nothing: MigrationAfterCopy;
    f073_a_crash_before_the_new_schema_is_committed_loses_nothing: MigrationBeforeCommit;
    f073_a_crash_after_the_new_schema_is_committed_loses_nothing: MigrationAfterCommit;
}

/// A module for each failpoint, with a test for each way to treat what is uncertain; and the list of what has one.
macro_rules! failpoints {
    ($($module:ident: $point:ident;)+) => {
        $(mod $module {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn f073_a_crash_loses_nothing_and_repeats_only_what_is_uncertain() {
                nothing_is_lost_at(Failpoint::$point, OnUncertain::Retry).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn f073_a_crash_repeats_nothing_and_loses_only_what_is_listed_as_uncertain() {
                nothing_is_lost_at(Failpoint::$point, OnUncertain::Drop).await;
            }
        })+

        const COVERED: &[Failpoint] = &[$(Failpoint::$point,)+];
    };
}

failpoints! {
    append_received: AppendReceived;
    append_before_commit: AppendBeforeCommit;
    append_after_commit: AppendAfterCommit;
    claim_taken: ClaimTaken;
    guest_before: GuestBefore;
    guest_after: GuestAfter;
    settle_before_commit: SettleBeforeCommit;
    settle_after_commit: SettleAfterCommit;
    send_before: SendBefore;
    send_after: SendAfter;
    delivered_before_commit: DeliveredBeforeCommit;
    delivered_after_commit: DeliveredAfterCommit;
    offset_before: OffsetBefore;
    offset_after: OffsetAfter;
}

/// No message passes these; `generation/edit` goes through them, in processes of its own.
const EDITS: &[Failpoint] = &[
    Failpoint::EditBeforeIntent,
    Failpoint::EditAfterIntent,
    Failpoint::EditAfterFile,
    Failpoint::RecordBefore,
    Failpoint::RecordAfter,
];

#[test]
fn every_failpoint_has_its_cases() {
    assert_eq!([COVERED, MIGRATIONS, EDITS].concat(), Failpoint::ALL);
}

#[tokio::test]
async fn a_misspelt_failpoint_refuses_the_start() {
    let said = ProcessHome::new(PROGRAM, "").start(&[("CRASH_AT", "settle:1")]).refused().await;
    assert!(said.contains("CRASH_AT names no failpoint: \"settle\"; there are append.received, "), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_not_killed_answers_each_message_once() {
    let mut trial = Trial::new(OnUncertain::Retry).await;
    let mut process = trial.start().await;
    for _ in 0..ROUNDS {
        trial.say_round(&mut process).await;
    }
    let audit = trial.audit(process).await;
    assert_good("no kill", &audit);
    assert_eq!((audit.answered, audit.doubles, audit.kills), (audit.said, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_killed_with_nothing_left_to_do_goes_on_where_it_was() {
    let mut trial = Trial::new(OnUncertain::Retry).await;
    for _ in 0..3 {
        let mut process = trial.start().await;
        trial.say_round(&mut process).await;
        trial.settled(&process).await;
        process.kill().await;
        trial.ledger.note_kill(&trial.platform).await;
    }
    let mut process = trial.start().await;
    trial.say_round(&mut process).await;
    let audit = trial.audit(process).await;
    assert_good("idle", &audit);
    assert_eq!((audit.answered, audit.kills), (audit.said, 3));
}

/// Kills the host again and again under load while `goes_on`, a random moment after its start or after it serves. Then lets it
/// live, stop, and live once more: what was settled is not told again.
async fn kill_at_random(seed: u64, lives_ms: Range<u64>, mut goes_on: impl FnMut(usize) -> bool) -> Audit {
    let mut rng = Rng::with_seed(seed);
    let mut trial = Trial::new(OnUncertain::Retry).await;
    let mut kills = 0;
    while goes_on(kills) {
        let mut process = trial.home.start(&[]);
        if rng.bool() {
            process.serving(BOT).await;
        }
        trial.say_for(Duration::from_millis(rng.u64(lives_ms.clone())), &mut rng).await;
        process.kill().await;
        trial.ledger.note_kill(&trial.platform).await;
        kills += 1;
    }
    let process = trial.start().await;
    trial.settled(&process).await;
    process.stop().await;
    let mut process = trial.start().await;
    trial.say_round(&mut process).await;
    trial.audit(process).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f073_a_dozen_kills_under_load_lose_nothing() {
    let audit = kill_at_random(73, 300..1000, |kills| kills < 12).await;
    assert_good("seed 73", &audit);
}

/// A variable of the environment as a number, such as `cargo xtask soak` sets it.
pub fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text:?} is no whole number")),
        Err(_) => default,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: `cargo xtask soak`"]
async fn f073_a_soak_of_kills_loses_nothing() {
    let (minutes, seed) = (number("BOTHOST_SOAK_MINUTES", 1), number("BOTHOST_SOAK_SEED", 1));
    eprintln!("soak: {minutes} minutes, seed {seed}");
    let ends = Instant::now() + Duration::from_secs(60 * minutes);
    let audit = kill_at_random(seed, 1000..2000, |_| Instant::now() < ends).await;
    eprintln!("soak: seed {seed}: {audit}");
    assert_good(&format!("seed {seed}"), &audit);
}
