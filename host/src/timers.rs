//! Fires timers: waits until one is due and hands it over. Whoever takes it over has the store make an event of it and note that
//! it has fired, in one transaction: so it fires once.
//!
//! ```text
//! store ──due──► Timers ──FiredTimer──► router ──event, next turn──► store
//! ```
//!
//! What waits, waits by bot: one that takes nothing over holds up no other.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinError, JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::clock::Timestamp;
use crate::id::BotName;
use crate::ping::Pings;
use crate::store::{DueTimer, Store, StoreError};

/// Longest time between two looks at the wall clock, which may be set while nothing is due.
const RECHECK_EVERY: Duration = Duration::from_secs(30);
/// How long to wait where the store fails, or holds back a timer that should be there.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Timers handed over and not yet answered for, of all bots. Their payloads are in memory.
const HANDOVERS_MAX: usize = 64;
/// The same of one bot.
const HANDOVERS_PER_BOT_MAX: usize = 8;

/// How long a bot that took something not over is remembered after it was given another chance.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);

/// A timer that is due.
#[derive(Debug)]
pub struct FiredTimer {
    /// The timer. Its firing is noted in the transaction that makes an event of it.
    pub timer: DueTimer,
    /// To be answered once that is done. Dropped, it was not, and the timer comes again after a while.
    pub done: oneshot::Sender<()>,
}

/// The task that fires timers.
#[derive(Debug)]
pub struct Timers {
    store: Store,
    sink: mpsc::Sender<FiredTimer>,
    cancel: CancellationToken,
    pings: Pings,
    changed: watch::Receiver<u64>,
    handovers: JoinSet<Handover>,
    /// Whose handover each task is.
    owners: HashMap<Id, BotName>,
    /// The bots that get no further timer now.
    busy: HashMap<BotName, Busy>,
}

/// Why a bot gets no further timer now.
#[derive(Debug)]
struct Busy {
    in_flight: usize,
    backoff: Backoff,
    /// After it took something not over.
    blocked_until: Option<Instant>,
}

/// How a handover ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handover {
    Taken,
    Refused,
}

/// What ends a wait.
enum Wake {
    Look,
    Stop,
}

impl Timers {
    /// Starts the task on the current runtime. It ends when `cancel` is cancelled, the sink is closed or the store is, after
    /// it has noted what was taken over by then.
    ///
    /// It answers `pings` between two looks at the store. Each bot has at most 8 timers in the sink's hands, all together at most 64.
    pub fn spawn(
        store: Store,
        sink: mpsc::Sender<FiredTimer>,
        pings: Pings,
        cancel: CancellationToken,
    ) -> JoinHandle<()> {
        let changed = store.timers_changed();
        let (handovers, owners, busy) = (JoinSet::new(), HashMap::new(), HashMap::new());
        // A child, so that the end of this task is nobody else's.
        let cancel = cancel.child_token();
        tokio::spawn(Self { store, sink, cancel, pings, changed, handovers, owners, busy }.run())
    }

    async fn run(mut self) {
        loop {
            // Before the look, so that what changes during it wakes the wait.
            self.changed.mark_unchanged();
            let pause = match self.hand_over_due().await {
                Ok(pause) => pause,
                Err(StoreError::Stopped) => break,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "timers could not be read");
                    RETRY_AFTER
                }
            };
            if let Wake::Stop = self.wait(pause).await {
                break;
            }
        }
        self.cancel_handovers().await;
    }

    /// Hands over what is due, as far as there is room. Returns how long there is nothing to do.
    async fn hand_over_due(&mut self) -> Result<Duration, StoreError> {
        let (now, instant) = (Timestamp::now(), Instant::now());
        self.busy.retain(|_, busy| busy.is_remembered(instant));
        // Every round makes at least one more bot busy.
        loop {
            let room = HANDOVERS_MAX.saturating_sub(self.handovers.len());
            if room == 0 {
                return Ok(RECHECK_EVERY);
            }
            let busy = self.busy.iter().filter(|(_, busy)| busy.is_busy(instant));
            let busy: Vec<_> = busy.map(|(bot, _)| bot.clone()).collect();
            let due = self.store.due_timers(now, room.try_into().unwrap_or(u32::MAX), &busy).await?;
            if due.is_empty() {
                let pause = pause(self.store.next_due(&busy).await?, now);
                let unblocked = self.busy.values().filter_map(|busy| busy.unblocked_after(instant)).min();
                return Ok(unblocked.map_or(pause, |unblocked| pause.min(unblocked)));
            }
            for timer in due {
                self.hand_over(timer);
            }
        }
    }

    fn hand_over(&mut self, timer: DueTimer) {
        let bot = timer.bot.clone();
        let busy = self.busy.entry(bot.clone()).or_insert_with(Busy::new);
        if busy.in_flight == HANDOVERS_PER_BOT_MAX {
            return;
        }
        busy.in_flight += 1;
        let (sink, cancel) = (self.sink.clone(), self.cancel.clone());
        let task = self.handovers.spawn(async move { hand_over(&sink, timer, &cancel).await });
        self.owners.insert(task.id(), bot);
    }

    async fn wait(&mut self, pause: Duration) -> Wake {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Wake::Stop,
            () = self.sink.closed() => Wake::Stop,
            Some(ended) = self.handovers.join_next_with_id(), if !self.handovers.is_empty() => {
                self.note_end(ended);
                while let Some(ended) = self.handovers.try_join_next_with_id() {
                    self.note_end(ended);
                }
                Wake::Look
            }
            Some(ping) = self.pings.recv() => {
                ping.answer("waits for the next timer");
                Wake::Look
            }
            // Only a store that is closed has nobody left to signal.
            changed = self.changed.changed() => changed.map_or(Wake::Stop, |()| Wake::Look),
            () = tokio::time::sleep(pause) => Wake::Look,
        }
    }

    fn note_end(&mut self, ended: Result<(Id, Handover), JoinError>) {
        let (id, handover) = ended.unwrap_or_else(|error| {
            tracing::error!(%error, "the handover of a timer has panicked");
            (error.id(), Handover::Refused)
        });
        let Some(busy) = self.owners.remove(&id).and_then(|bot| self.busy.get_mut(&bot)) else { return };
        busy.in_flight -= 1;
        match handover {
            Handover::Taken => busy.backoff.reset(),
            Handover::Refused => busy.blocked_until = Some(Instant::now() + busy.backoff.next(fastrand::f64())),
        }
    }

    /// Ends what was not taken over, and waits until the rest is noted.
    async fn cancel_handovers(&mut self) {
        self.cancel.cancel();
        while let Some(ended) = self.handovers.join_next_with_id().await {
            self.note_end(ended);
        }
    }
}

impl Busy {
    fn new() -> Self {
        let backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30), 0.2);
        Self { in_flight: 0, backoff, blocked_until: None }
    }

    fn is_busy(&self, now: Instant) -> bool {
        self.in_flight > 0 || self.unblocked_after(now).is_some()
    }

    /// Returns how long the bot is still blocked; nothing where it is not.
    fn unblocked_after(&self, now: Instant) -> Option<Duration> {
        self.blocked_until?.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    /// Returns whether it still matters: a bot that is refused again soon waits longer than before.
    fn is_remembered(&self, now: Instant) -> bool {
        self.in_flight > 0 || self.blocked_until.is_some_and(|moment| moment + REMEMBERED_FOR > now)
    }
}

/// Returns how long to wait for a timer that is due then.
fn pause(next_due: Option<Timestamp>, now: Timestamp) -> Duration {
    match next_due {
        None => RECHECK_EVERY,
        Some(due) if due > now => due.saturating_since(now).min(RECHECK_EVERY),
        // Set since the look, which its signal tells, or left out because it cannot be trusted: no reason to look at once.
        Some(_) => RETRY_AFTER,
    }
}

async fn hand_over(sink: &mpsc::Sender<FiredTimer>, timer: DueTimer, cancel: &CancellationToken) -> Handover {
    let (done, taken) = oneshot::channel();
    let fired = FiredTimer { timer, done };
    let is_taken = tokio::select! {
        biased;
        is_taken = async { sink.send(fired).await.is_ok() && taken.await.is_ok() } => is_taken,
        // Nothing is lost: what was not taken over is still due.
        () = cancel.cancelled() => false,
    };
    if is_taken { Handover::Taken } else { Handover::Refused }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;
    use tokio::time::timeout;

    use super::*;
    use crate::action::{Schedule, TimerChange};
    use crate::ping::{self, Pinger};
    use crate::store::{Commit, Committed, StoreOptions};

    /// Longer than any step takes; reached only by a failing test.
    const SOON: Duration = Duration::from_secs(20);
    const PAST: Timestamp = Timestamp::from_millis(1_000);

    struct Fixture {
        store: Store,
        fired: mpsc::Receiver<FiredTimer>,
        pinger: Pinger,
        cancel: CancellationToken,
        task: JoinHandle<()>,
        _directory: TempDir,
    }

    impl Fixture {
        fn new(sink_len: usize) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let store = Store::open(directory.path(), StoreOptions::default()).unwrap();
            let (sink, fired) = mpsc::channel(sink_len);
            let cancel = CancellationToken::new();
            let (pinger, pings) = ping::channel();
            let task = Timers::spawn(store.clone(), sink, pings, cancel.clone());
            Self { store, fired, pinger, cancel, task, _directory: directory }
        }

        async fn set(&self, bot: &str, names: impl IntoIterator<Item = String>, schedule: Schedule) {
            let set = |name| TimerChange::Set { name, schedule: schedule.clone(), payload: b"payload".to_vec() };
            let commit = Commit {
                bot: bot.parse().unwrap(),
                reads: Vec::new(),
                state: Vec::new(),
                timers: names.into_iter().map(set).collect(),
                state_bytes_max: 0,
                now: Timestamp::now(),
            };
            assert_eq!(self.store.commit(commit).await.unwrap(), Committed::Done);
        }

        async fn next(&mut self) -> FiredTimer {
            timeout(SOON, self.fired.recv()).await.expect("a timer fires").unwrap()
        }

        async fn stop(self) -> Store {
            self.cancel.cancel();
            timeout(SOON, self.task).await.expect("the task ends").unwrap();
            self.store
        }
    }

    impl Fixture {
        /// Takes a timer over, as the router does.
        async fn take_over(&self, fired: FiredTimer) {
            self.store.fire(&fired.timer, Timestamp::now()).await.unwrap();
            fired.done.send(()).unwrap();
        }
    }

    fn one(name: &str) -> [String; 1] {
        [name.to_owned()]
    }

    #[tokio::test]
    async fn a_timer_fires_with_its_payload_and_is_gone_once_it_was_taken_over() {
        let mut fixture = Fixture::new(1);
        fixture.set("echo", one("t"), Schedule::At(PAST)).await;
        let fired = fixture.next().await;
        assert_eq!((fired.timer.bot.as_str(), fired.timer.name.as_str(), fired.timer.due_at), ("echo", "t", PAST));
        assert_eq!(fired.timer.payload, b"payload");
        fixture.take_over(fired).await;
        let store = fixture.stop().await;
        assert_eq!(store.next_due(&[]).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_timer_that_is_set_while_nothing_is_due_fires_at_its_time() {
        let mut fixture = Fixture::new(1);
        fixture.set("echo", one("late"), Schedule::After(Duration::from_secs(3_600))).await;
        fixture.set("echo", one("early"), Schedule::After(Duration::from_millis(30))).await;
        let fired = fixture.next().await;
        assert_eq!(fired.timer.name, "early");
        assert!(Timestamp::now() >= fired.timer.due_at);
    }

    #[tokio::test]
    async fn a_timer_that_was_not_taken_over_comes_again() {
        let mut fixture = Fixture::new(1);
        fixture.set("echo", one("t"), Schedule::At(PAST)).await;
        let first = fixture.next().await;
        drop(first.done);
        let second = fixture.next().await;
        assert_eq!((second.timer.name, second.timer.due_at), (first.timer.name, first.timer.due_at));
    }

    #[tokio::test]
    async fn a_repeating_timer_fires_once_for_all_it_missed_and_waits_for_the_next() {
        let mut fixture = Fixture::new(1);
        fixture.set("echo", one("t"), Schedule::Every(Duration::from_secs(1))).await;
        let first = fixture.next().await;
        let first_due = first.timer.due_at;
        fixture.take_over(first).await;
        let second = fixture.next().await;
        assert_eq!(second.timer.due_at.saturating_since(first_due).as_millis() % 1_000, 0);
        assert!(second.timer.due_at > first_due);
    }

    #[tokio::test]
    async fn a_bot_that_takes_nothing_over_holds_up_no_other() {
        let mut fixture = Fixture::new(HANDOVERS_MAX);
        fixture.set("stuck", (0..200).map(|number| number.to_string()), Schedule::At(PAST)).await;
        let mut held = vec![fixture.next().await];
        fixture.set("echo", one("t"), Schedule::At(Timestamp::now())).await;
        let fired = loop {
            let fired = fixture.next().await;
            if fired.timer.bot.as_str() == "echo" {
                break fired;
            }
            held.push(fired);
        };
        assert_eq!(fired.timer.name, "t");
        assert!(held.len() <= HANDOVERS_PER_BOT_MAX, "{}", held.len());
    }

    #[tokio::test]
    async fn every_timer_of_many_bots_fires_exactly_once() {
        let mut fixture = Fixture::new(4);
        for bot in 0..20 {
            fixture.set(&format!("bot{bot}"), (0..20).map(|number| number.to_string()), Schedule::At(PAST)).await;
        }
        let mut seen = std::collections::HashSet::new();
        while seen.len() < 400 {
            let fired = fixture.next().await;
            let is_new = seen.insert((fired.timer.bot.clone(), fired.timer.name.clone()));
            assert!(is_new);
            fixture.take_over(fired).await;
        }
        let store = fixture.stop().await;
        assert_eq!(store.next_due(&[]).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_timer_that_is_replaced_while_it_is_handed_over_stays() {
        let mut fixture = Fixture::new(1);
        fixture.set("echo", one("t"), Schedule::At(PAST)).await;
        let fired = fixture.next().await;
        let moment = Timestamp::now().saturating_add(Duration::from_secs(3_600));
        fixture.set("echo", one("t"), Schedule::At(moment)).await;
        fixture.take_over(fired).await;
        let store = fixture.stop().await;
        assert_eq!(store.next_due(&[]).await.unwrap(), Some(moment));
    }

    #[tokio::test]
    async fn a_stop_does_not_wait_for_an_answer_and_loses_nothing() {
        let mut fixture = Fixture::new(1);
        fixture.set("echo", (0..5).map(|number| number.to_string()), Schedule::At(PAST)).await;
        let unanswered = fixture.next().await;
        let store = fixture.stop().await;
        assert_eq!(store.timer_names(&unanswered.timer.bot).await.unwrap().len(), 5);
    }

    #[tokio::test]
    async fn the_task_answers_a_ping_while_nobody_takes_its_timers() {
        let fixture = Fixture::new(1);
        fixture.set("stuck", (0..200).map(|number| number.to_string()), Schedule::At(PAST)).await;
        assert!(timeout(SOON, fixture.pinger.ask()).await.expect("an answer").is_some());
        fixture.stop().await;
    }

    #[tokio::test]
    async fn the_task_ends_with_its_sink_and_with_its_store() {
        let fixture = Fixture::new(1);
        drop(fixture.fired);
        timeout(SOON, fixture.task).await.expect("the task ends").unwrap();
        let fixture = Fixture::new(1);
        fixture.store.close().await;
        timeout(SOON, fixture.task).await.expect("the task ends").unwrap();
    }

    #[test]
    fn a_bot_that_was_refused_is_looked_at_when_its_wait_is_over_and_then_forgotten() {
        let now = Instant::now();
        let wait = Duration::from_secs(1);
        let busy = Busy { blocked_until: Some(now + wait), ..Busy::new() };
        assert_eq!((busy.is_busy(now), busy.unblocked_after(now)), (true, Some(wait)));
        // No wait of no length: that would be a loop that never rests.
        assert_eq!((busy.is_busy(now + wait), busy.unblocked_after(now + wait)), (false, None));
        assert!(busy.is_remembered(now + wait));
        assert!(!busy.is_remembered(now + wait + REMEMBERED_FOR));
    }

    #[test]
    fn the_wall_clock_is_looked_at_again_however_far_the_next_timer_is() {
        let at = Timestamp::from_millis;
        assert_eq!(pause(None, at(0)), RECHECK_EVERY);
        assert_eq!(pause(Some(at(1_500)), at(1_000)), Duration::from_millis(500));
        assert_eq!(pause(Some(at(u64::MAX)), at(0)), RECHECK_EVERY);
        assert_eq!(pause(Some(at(5)), at(9)), RETRY_AFTER);
    }
}
