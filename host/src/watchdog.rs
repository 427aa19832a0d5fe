//! The watchdog: asks every part that the host cannot do without for a sign of life, and says so only if all have given one. It
//! does not restart anything; whoever gets the beat does, when it fails to come.
//!
//! ```text
//! every interval: ask all ──all answered──► beat, alert resolved
//!                         ──one did not───► no beat; once: a log line and an alert with what is known of every part
//! ```
//!
//! It has a thread of its own, so that it can still tell of a runtime whose threads are all stuck.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::action::Severity;
use crate::alert::Alerts;
use crate::clock::Timestamp;
use crate::ping::Pinger;

/// How often the parts are asked where nobody waits for the beat more often.
pub const ASK_EVERY: Duration = Duration::from_secs(10);
/// The alert that is up while a part does not answer.
const SILENT: &str = "watchdog";

/// Asks a part. Its answer says what the part is doing; nothing: it has ended. It may take for ever.
pub type Ask = Box<dyn Fn() -> BoxFuture<'static, Option<&'static str>> + Send>;

/// A part that the host cannot do without.
pub struct Part {
    /// What people call it.
    pub name: &'static str,
    /// How it is asked. It is asked again only after it has answered.
    pub ask: Ask,
}

impl Part {
    /// Returns a part that is asked by what this returns.
    pub fn new<F>(name: &'static str, ask: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = Option<&'static str>> + Send + 'static,
    {
        Self { name, ask: Box::new(move || Box::pin(ask())) }
    }

    /// Returns a task that answers pings.
    pub fn task(name: &'static str, pinger: Pinger) -> Self {
        Self::new(name, move || {
            let pinger = pinger.clone();
            async move { pinger.ask().await }
        })
    }
}

/// What came of one round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beat<'a> {
    /// Every part has answered since it was last asked.
    Alive,
    /// One has not. Said anew whenever another set of parts is silent, with what is known.
    Silent(&'a str),
}

/// What watches, before it runs. `B` is told of every round.
pub struct Watchdog<B> {
    /// Whom it asks.
    pub parts: Vec<Part>,
    /// How long they have for an answer, and how often they are asked.
    pub every: Duration,
    /// Where people are told.
    pub alerts: Arc<Alerts>,
    /// Where the beat goes.
    pub beat: B,
}

/// A watchdog that runs in its thread. Dropped, it ends.
#[derive(Debug)]
pub struct Running {
    cancel: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancel.cancel();
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the watchdog's thread panicked");
        }
    }
}

/// A part, and what is known of it.
struct Known {
    part: Part,
    since: Timestamp,
    state: State,
    last: Option<(Instant, &'static str)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Answered,
    Asked(Instant),
    Ended,
}

type Answers = FuturesUnordered<BoxFuture<'static, (usize, Option<&'static str>)>>;

impl<B: FnMut(Beat<'_>) + Send + 'static> Watchdog<B> {
    /// Runs it in a thread of its own until what this returns is dropped.
    ///
    /// # Errors
    ///
    /// The thread or its runtime cannot be had.
    pub fn spawn(self) -> io::Result<Running> {
        let cancel = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let stop = cancel.clone();
        let thread =
            std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || runtime.block_on(self.run(stop)))?;
        Ok(Running { cancel, thread: Some(thread) })
    }

    /// Runs until it is cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        let Self { parts, every, alerts, beat } = self;
        let known = |part| Known { part, since: Timestamp::now(), state: State::Answered, last: None };
        let parts = parts.into_iter().map(known).collect();
        let mut rounds = Rounds { parts, every, alerts, beat, answers: FuturesUnordered::new(), told: Vec::new() };
        // Whatever it is waiting for may be given up.
        cancel.run_until_cancelled(rounds.run()).await;
    }
}

/// The rounds of a watchdog that runs.
struct Rounds<B> {
    parts: Vec<Known>,
    every: Duration,
    alerts: Arc<Alerts>,
    beat: B,
    answers: Answers,
    /// The parts that were last said to be silent.
    told: Vec<&'static str>,
}

impl<B: FnMut(Beat<'_>)> Rounds<B> {
    async fn run(&mut self) {
        loop {
            let deadline = Instant::now() + self.every;
            self.ask();
            while let Ok(Some((index, answer))) = timeout_at(deadline, self.answers.next()).await {
                self.note(index, answer);
            }
            let late = Instant::now().saturating_duration_since(deadline);
            // The process itself stood still, as by SIGSTOP: nobody could answer. They have another round.
            if late < self.every {
                self.judge();
            }
            sleep_until(deadline).await;
        }
    }

    fn ask(&mut self) {
        let now = Instant::now();
        for (index, known) in self.parts.iter_mut().enumerate() {
            if known.state == State::Answered {
                (known.state, known.since) = (State::Asked(now), Timestamp::now());
                let asked = (known.part.ask)();
                self.answers.push(Box::pin(async move { (index, asked.await) }));
            }
        }
    }

    fn note(&mut self, index: usize, answer: Option<&'static str>) {
        let known = &mut self.parts[index];
        match answer {
            Some(doing) => {
                known.state = State::Answered;
                known.last = Some((Instant::now(), doing));
            }
            None => known.state = State::Ended,
        }
    }

    fn judge(&mut self) {
        let silent = self.parts.iter().filter(|known| known.state != State::Answered);
        let silent: Vec<_> = silent.map(|known| known.part.name).collect();
        let now = Timestamp::now();
        if silent.is_empty() {
            if !self.told.is_empty() {
                tracing::info!("every part of the host answers again");
                self.alerts.resolve_host(SILENT, now);
            }
            (self.beat)(Beat::Alive);
        } else if silent != self.told {
            let summary = format!("the host does not get on: {}", self.words(|known| known.state != State::Answered));
            let others = self.words(|known| known.state == State::Answered);
            tracing::error!(silent = silent.join(", "), others, "{summary}");
            let facts = self.parts.iter().map(|known| (known.part.name.to_owned(), known.words())).collect();
            self.alerts.raise_host(SILENT, Severity::Critical, summary.as_str(), facts, now);
            (self.beat)(Beat::Silent(&summary));
        }
        self.told = silent;
    }

    fn words(&self, which: impl Fn(&Known) -> bool) -> String {
        let named = |known: &Known| format!("{}: {}", known.part.name, known.words());
        self.parts.iter().filter(|known| which(known)).map(named).collect::<Vec<_>>().join("; ")
    }
}

impl Known {
    fn words(&self) -> String {
        let last = match self.last {
            Some((moment, doing)) => format!("answered {} ms ago: {doing}", moment.elapsed().as_millis()),
            None => "never answered".to_owned(),
        };
        match self.state {
            State::Answered => last,
            State::Asked(moment) => {
                format!("no answer since {} ({} s), {last}", self.since, moment.elapsed().as_secs())
            }
            State::Ended => format!("has ended; it was asked at {}, {last}", self.since),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::sync::{mpsc, watch};
    use tokio::time::timeout;

    use super::*;

    /// Rounds of this length, so that a test sees many.
    const EVERY: Duration = Duration::from_millis(10);
    /// Longer than any step takes; reached only by a failing test.
    const SOON: Duration = Duration::from_secs(20);

    /// A watchdog over a part that can be silenced and one that answers each round, with the clock for how many there were.
    struct Fixture {
        router: watch::Sender<bool>,
        rounds: watch::Receiver<u32>,
        /// The process stands still in the next round, after it has asked.
        stands_still: Arc<AtomicBool>,
        beats: mpsc::Receiver<Option<String>>,
        alerts: Arc<Alerts>,
        cancel: CancellationToken,
    }

    impl Fixture {
        fn new() -> Self {
            let (router, router_is_on) = watch::channel(true);
            let (round, rounds) = watch::channel(0);
            let (sender, beats) = mpsc::channel(1_000);
            let stands_still = Arc::<AtomicBool>::default();
            let alerts = Arc::new(Alerts::new(Arc::default()));
            let ask_router = move || {
                let mut is_on = router_is_on.clone();
                async move { is_on.wait_for(|is_on| *is_on).await.ok().map(|_| "takes events in") }
            };
            let ask_supervisor = {
                let stands_still = Arc::clone(&stands_still);
                move || {
                    round.send_modify(|round| *round += 1);
                    if stands_still.swap(false, Ordering::Relaxed) {
                        std::thread::sleep(EVERY * 5);
                    }
                    async { Some("keeps bots") }
                }
            };
            let watchdog = Watchdog {
                parts: vec![Part::new("router", ask_router), Part::new("supervisor", ask_supervisor)],
                every: EVERY,
                alerts: Arc::clone(&alerts),
                beat: move |beat: Beat<'_>| {
                    let told = match beat {
                        Beat::Alive => None,
                        Beat::Silent(summary) => Some(summary.to_owned()),
                    };
                    let _ = sender.try_send(told);
                },
            };
            let cancel = CancellationToken::new();
            tokio::spawn(watchdog.run(cancel.clone()));
            Self { router, rounds, stands_still, beats, alerts, cancel }
        }

        /// Waits until so many rounds have begun.
        async fn pass(&mut self, rounds: u32) {
            let until = *self.rounds.borrow() + rounds;
            timeout(SOON, self.rounds.wait_for(|round| *round >= until)).await.expect("rounds").unwrap();
        }

        async fn next_beat(&mut self) -> Option<String> {
            timeout(SOON, self.beats.recv()).await.expect("a beat").expect("a watchdog")
        }

        /// Returns what is said of the router when it is first missed.
        async fn missed(&mut self) -> String {
            loop {
                if let Some(told) = self.next_beat().await {
                    return told;
                }
            }
        }
    }

    #[tokio::test]
    async fn a_beat_comes_every_round_while_all_answer() {
        let mut fixture = Fixture::new();
        fixture.pass(6).await;
        for _ in 0..5 {
            assert_eq!(fixture.next_beat().await, None);
        }
        assert!(fixture.alerts.active().is_empty());
        fixture.cancel.cancel();
    }

    #[tokio::test]
    async fn f087_a_part_that_does_not_answer_is_named_once_and_stops_the_beat_until_it_answers() {
        let mut fixture = Fixture::new();
        fixture.next_beat().await;
        fixture.router.send_replace(false);
        let told = fixture.missed().await;
        assert!(told.starts_with("the host does not get on: router: no answer since "), "{told}");
        assert!(told.contains("ms ago: takes events in") && !told.contains("supervisor"), "{told}");
        let up = fixture.alerts.active();
        assert_eq!((up.len(), up[0].key.as_str(), up[0].severity), (1, "watchdog", Severity::Critical));
        assert!(format!("{:?}", up[0]).contains("keeps bots"), "what is known of every part: {:?}", up[0]);
        fixture.pass(10).await;
        assert!(fixture.beats.is_empty(), "neither a beat nor a second word about the same part");
        fixture.router.send_replace(true);
        assert_eq!(fixture.next_beat().await, None);
        assert!(fixture.alerts.active().is_empty());
    }

    #[tokio::test]
    async fn a_part_that_has_ended_is_missed_at_once_and_for_good() {
        let (pinger, pings) = crate::ping::channel();
        drop(pings);
        let (sender, mut beats) = mpsc::channel(10);
        let alerts = Arc::new(Alerts::new(Arc::default()));
        let beat = move |beat: Beat<'_>| drop(sender.try_send(format!("{beat:?}")));
        let cancel = CancellationToken::new();
        let watchdog = Watchdog { parts: vec![Part::task("timers", pinger)], every: EVERY, alerts, beat };
        let task = tokio::spawn(watchdog.run(cancel.clone()));
        let told = timeout(SOON, beats.recv()).await.expect("a word").unwrap();
        assert!(told.contains("timers: has ended") && told.contains("never answered"), "{told}");
        cancel.cancel();
        timeout(SOON, task).await.expect("an end").unwrap();
        assert_eq!(beats.recv().await, None, "no beat, and no second word");
    }

    #[tokio::test]
    async fn a_process_that_stood_still_itself_blames_nobody() {
        let mut fixture = Fixture::new();
        fixture.next_beat().await;
        fixture.router.send_replace(false);
        fixture.stands_still.store(true, Ordering::Relaxed);
        let router = fixture.router.clone();
        let mut rounds = fixture.rounds.clone();
        // The router answers in the round after the one in which nobody had a turn.
        let _ = rounds.borrow_and_update();
        tokio::spawn(async move {
            let _ = rounds.changed().await;
            router.send_replace(true);
        });
        fixture.pass(3).await;
        while let Ok(beat) = fixture.beats.try_recv() {
            assert_eq!(beat, None);
        }
    }

    #[test]
    fn a_watchdog_ends_with_what_runs_it() {
        let (sender, mut beats) = mpsc::channel::<()>(1);
        let alerts = Arc::new(Alerts::new(Arc::default()));
        let beat = move |_: Beat<'_>| assert!(sender.try_send(()).is_err(), "a beat without an answer");
        let stuck = Part::new("stuck", std::future::pending);
        drop(Watchdog { parts: vec![stuck], every: ASK_EVERY, alerts, beat }.spawn().unwrap());
        assert_eq!(beats.blocking_recv(), None);
    }
}
