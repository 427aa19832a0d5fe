//! The task of one channel: hears of alerts, puts notices together when they are due, and sends them one after the other.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::attempts::{AGE_MAX, Next};
use super::breaker::Breaker;
use super::queue::{Pending, Queue};
use super::{ChannelStatus, Configs, failing_key, log_lost};
use crate::action::Severity;
use crate::alert::channel::{Advice, Channel, ChannelConfig, ChannelError, Delivered};
use crate::alert::notice::{Content, Digest, Notice, NoticeId};
use crate::alert::{Alert, Alerts, News, Source, TARGET};
use crate::clock::Timestamp;
use crate::id::ChannelName;
use crate::metrics::Metrics;

/// How long what is left may take once the channel ends.
const LAST_TRIES: Duration = Duration::from_secs(2);
/// How long turns may be missed before what is up is looked through, which is costly: a storm would have it done all the time.
const CATCH_UP_WAIT: Duration = Duration::from_secs(1);

/// A notice that a channel gave up.
#[derive(Debug)]
pub(super) struct Fallen {
    pub(super) from: ChannelName,
    pub(super) pending: Pending,
}

/// What a courier thinks of the alerts that are up when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// An earlier process told of them.
    Adopt,
    /// This channel was not told of them.
    CatchUp,
}

/// What a courier needs.
pub(super) struct CourierParts<'a> {
    pub(super) name: ChannelName,
    pub(super) config: &'a ChannelConfig,
    pub(super) alerts: Arc<Alerts>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) host: Arc<str>,
    pub(super) wanted: watch::Receiver<Configs>,
    pub(super) passed: mpsc::Receiver<Pending>,
    pub(super) fallen: mpsc::Sender<Fallen>,
    pub(super) status: watch::Sender<ChannelStatus>,
    /// The host's end, not only the channel's.
    pub(super) host_cancel: CancellationToken,
}

/// One channel's task.
pub(super) struct Courier {
    name: ChannelName,
    channel: Arc<Channel>,
    alerts: Arc<Alerts>,
    metrics: Arc<Metrics>,
    host: Arc<str>,
    wanted: watch::Receiver<Configs>,
    passed: mpsc::Receiver<Pending>,
    fallen: mpsc::Sender<Fallen>,
    status: watch::Sender<ChannelStatus>,
    host_cancel: CancellationToken,
    news: broadcast::Receiver<Arc<News>>,
    /// When to catch up, and how many turns were missed. None: none was.
    behind: Option<(Instant, u64)>,
    digest: Digest,
    queue: Queue,
    breaker: Breaker,
    /// The try that is under way, of the first of the queue.
    sending: Option<Sending>,
}

type Sending = Pin<Box<dyn Future<Output = Result<Delivered, ChannelError>> + Send>>;

impl Courier {
    /// Returns a courier that hears of every turn from now on.
    pub(super) fn new(parts: CourierParts<'_>) -> Self {
        Self {
            digest: Digest::new(parts.config.rules(&parts.name)),
            name: parts.name,
            channel: Arc::new(Channel::new(parts.config)),
            news: parts.alerts.subscribe(),
            alerts: parts.alerts,
            metrics: parts.metrics,
            host: parts.host,
            wanted: parts.wanted,
            passed: parts.passed,
            fallen: parts.fallen,
            status: parts.status,
            host_cancel: parts.host_cancel,
            behind: None,
            queue: Queue::default(),
            breaker: Breaker::default(),
            sending: None,
        }
    }

    /// Takes in what is up.
    pub(super) fn start(mut self, start: Start) -> Self {
        let (known, now) = (self.alerts.known(), Instant::now().into_std());
        match start {
            Start::Adopt => self.digest.adopt(&known, now),
            Start::CatchUp => self.digest.catch_up(0, known, now, Timestamp::now()),
        }
        self
    }

    /// Runs until it is cancelled, and then as long as the last tries take.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        loop {
            let now = Instant::now();
            self.catch_up(now);
            self.collect(now);
            self.expire(now);
            self.send_first(now);
            self.publish();
            let wake = self.wake(now);
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                result = under_way(&mut self.sending) => {
                    self.sending = None;
                    self.settle(result);
                }
                Some(pending) = self.passed.recv() => self.enqueue(pending.restarted(Instant::now())),
                turn = self.news.recv() => match turn {
                    Ok(news) => self.digest.hear(&news, Instant::now().into_std()),
                    Err(RecvError::Lagged(missed)) => self.note_missed(missed, Instant::now()),
                    // The alerts are gone, and so is the host; what is due still leaves.
                    Err(RecvError::Closed) => break,
                },
                () = sleep_until(wake) => {}
            }
        }
        self.finish().await;
    }

    fn note_missed(&mut self, missed: u64, now: Instant) {
        let (at, before) = self.behind.unwrap_or((now + CATCH_UP_WAIT, 0));
        self.behind = Some((at, before.saturating_add(missed)));
    }

    /// Catches up with what is up, if turns were missed and it is time.
    fn catch_up(&mut self, now: Instant) {
        let Some((_, missed)) = self.behind.take_if(|(at, _)| *at <= now) else { return };
        // What is still in the line is older than what is asked for next.
        let missed = missed.saturating_add(self.news.len() as u64);
        self.news = self.news.resubscribe();
        let known = self.alerts.known();
        self.digest.catch_up(missed, known, now.into_std(), Timestamp::now());
    }

    /// Puts together a notice that is due.
    fn collect(&mut self, now: Instant) {
        if let Some(content) = self.digest.take(now.into_std(), || self.alerts.active()) {
            let pending = self.pending(content, now);
            self.enqueue(pending);
        }
    }

    fn pending(&self, content: Content, now: Instant) -> Pending {
        let at = Timestamp::now();
        Pending::new(Notice { id: NoticeId::generate(at), host: self.host.to_string(), at, content }, now)
    }

    fn enqueue(&mut self, pending: Pending) {
        if self.queue.push(pending, self.sending.is_some()) {
            self.metrics.notice_sent(&self.name, "merged");
        }
    }

    /// Gives up what waited too long.
    fn expire(&mut self, now: Instant) {
        while self.sending.is_none()
            && self.queue.first().is_some_and(|pending| now.duration_since(pending.since) >= AGE_MAX)
        {
            self.give_up("it could not be sent within an hour");
        }
    }

    fn send_first(&mut self, now: Instant) {
        let is_open = self.breaker.open_until().is_some_and(|until| until > now);
        if self.sending.is_some() || is_open {
            return;
        }
        if let Some(pending) = self.queue.first().filter(|pending| pending.not_before <= now) {
            let (channel, notice) = (Arc::clone(&self.channel), pending.notice.clone());
            self.sending = Some(Box::pin(async move { channel.send(&notice).await }));
        }
    }

    /// Returns when there is something to do by itself.
    fn wake(&self, now: Instant) -> Instant {
        let digest = self.digest.due(now.into_std()).map(Instant::from_std);
        let queue = self.queue.first().filter(|_| self.sending.is_none()).map(|pending| {
            let ready = self.breaker.open_until().map_or(pending.not_before, |until| until.max(pending.not_before));
            ready.min(pending.since + AGE_MAX)
        });
        // Without any of them, an hour is as good as any other time.
        let behind = self.behind.map(|(at, _)| at);
        digest.into_iter().chain(queue).chain(behind).min().unwrap_or(now + AGE_MAX)
    }

    /// Takes in how a try ended.
    fn settle(&mut self, result: Result<Delivered, ChannelError>) {
        let now = Instant::now();
        match result {
            Ok(delivered) => self.note_delivered(&delivered),
            Err(error) => {
                let advice = error.advice();
                let has_opened = !matches!(advice, Advice::Wait(_)) && self.breaker.failed(now);
                let Some(first) = self.queue.first_mut() else { return };
                let next = first.attempts.failed(advice, now.duration_since(first.since), fastrand::f64());
                self.note_failed(&error);
                match next {
                    Next::Retry { after } => {
                        self.metrics.notice_sent(&self.name, "failed");
                        if let Some(first) = self.queue.first_mut() {
                            first.not_before = now + after;
                        }
                    }
                    Next::GiveUp => self.give_up(&error.to_string()),
                }
                if let Some(until) = self.breaker.open_until().filter(|_| has_opened) {
                    let until = Timestamp::now().saturating_add(until.duration_since(now));
                    self.status.send_modify(|status| status.open_until = Some(until));
                }
                if has_opened || next == Next::GiveUp {
                    self.raise(&error);
                }
            }
        }
    }

    fn note_delivered(&mut self, delivered: &Delivered) {
        self.queue.pop();
        self.breaker.succeeded();
        self.metrics.notice_sent(&self.name, "ok");
        debug!(channel = %self.name, answer = delivered.answer, elapsed = ?delivered.elapsed, "notice sent");
        self.status.send_modify(|status| {
            status.sent += 1;
            status.last_error = None;
            status.open_until = None;
            status.last_sent_at = Some(Timestamp::now());
        });
        // Also what an earlier process said of it.
        self.alerts.resolve_host(&failing_key(&self.name), Timestamp::now());
    }

    fn note_failed(&self, error: &ChannelError) {
        debug!(channel = %self.name, %error, "notice not sent");
        self.status.send_modify(|status| {
            status.failed += 1;
            status.last_error = Some(error.to_string());
        });
    }

    /// Takes the first out of the queue, for another channel to try.
    fn give_up(&mut self, why: &str) {
        let Some(mut pending) = self.queue.pop() else { return };
        self.metrics.notice_sent(&self.name, "given-up");
        warn!(target: TARGET, channel = %self.name, notice = %pending.notice.id, why, "notice given up");
        pending.had.insert(self.name.clone());
        if let Err(error) = self.fallen.try_send(Fallen { from: self.name.clone(), pending }) {
            log_lost(&self.name, &error.into_inner().pending.notice, "too many notices were given up at once");
        }
    }

    /// Says that the channel fails, to all the others.
    fn raise(&self, error: &ChannelError) {
        let now = Timestamp::now();
        let wanted = self.wanted.borrow().clone();
        let others = wanted.iter().filter(|(name, other)| other.enabled && **name != self.name);
        let others = others.map(|(name, _)| name.clone()).collect();
        let summary =
            format!("channel {} does not deliver notices; host alerts test {} tries it", self.name, self.name);
        let details = vec![
            ("error".to_owned(), error.to_string()),
            ("waiting".to_owned(), format!("{} notices", self.queue.len())),
        ];
        let alert = Alert::new(Source::Host, &failing_key(&self.name), Severity::Warning, summary, now);
        self.alerts.raise(Alert { channels: Some(others), ..alert.with_details(details) });
    }

    fn publish(&self) {
        let queued = self.queue.len();
        self.status.send_if_modified(|status| std::mem::replace(&mut status.queued, queued) != queued);
    }

    /// Tries once what is left, past digest and breaker, and says what was not taken.
    async fn finish(mut self) {
        let deadline = Instant::now() + LAST_TRIES;
        loop {
            match self.news.try_recv() {
                Ok(news) => self.digest.hear(&news, Instant::now().into_std()),
                Err(TryRecvError::Lagged(missed)) => self.note_missed(missed, Instant::now()),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        self.catch_up(Instant::now() + CATCH_UP_WAIT);
        while let Ok(pending) = self.passed.try_recv() {
            self.enqueue(pending);
        }
        if let Some(content) = self.digest.drain(Instant::now().into_std(), || self.alerts.active()) {
            let pending = self.pending(content, Instant::now());
            self.enqueue(pending);
        }
        while let Some(pending) = self.queue.first().cloned() {
            let (channel, notice) = (Arc::clone(&self.channel), pending.notice.clone());
            let sending = self.sending.take().unwrap_or_else(|| Box::pin(async move { channel.send(&notice).await }));
            match timeout_at(deadline, sending).await {
                Ok(Ok(delivered)) => {
                    self.note_delivered(&delivered);
                    continue;
                }
                Ok(Err(error)) => self.note_failed(&error),
                Err(_) => {}
            }
            if self.host_cancel.is_cancelled() {
                self.queue.pop();
                self.metrics.notice_sent(&self.name, "lost");
                log_lost(&self.name, &pending.notice, "the host ends");
            } else {
                self.give_up("the channel ends");
            }
        }
    }
}

impl Pending {
    /// Returns it as new, for another channel.
    fn restarted(self, now: Instant) -> Self {
        Self { had: self.had, ..Self::new(self.notice, now) }
    }
}

/// Waits for the try that is under way, if there is one.
async fn under_way(sending: &mut Option<Sending>) -> Result<Delivered, ChannelError> {
    match sending {
        Some(sending) => sending.await,
        None => std::future::pending().await,
    }
}
