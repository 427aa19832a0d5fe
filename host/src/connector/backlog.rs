//! Events that were read from a socket and that the host has not taken yet: for platforms that acknowledge nothing and repeat nothing.
//!
//! Events and answers to calls come over the same socket, so a host that takes no events must not keep answers from being
//! read: a bot whose message waits for its answer may be what the host waits for. On the other hand nothing that was read
//! may pile up without end or be dropped. Hence two marks. Past the lower one reading stops, and the platform is held
//! up by TCP, unless a call waits for its answer. Past the upper one reading stops in any case, and calls run into their
//! timeout.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;

use super::{Inbox, Stopping};
use crate::event::Event;
use crate::id::ConnectorName;

/// A fill at which something happens.
#[derive(Debug, Clone, Copy)]
struct Mark {
    events: usize,
    bytes: usize,
}

const LOWER: Mark = Mark { events: 256, bytes: 8 << 20 };
const UPPER: Mark = Mark { events: 4096, bytes: 32 << 20 };
/// Events that are on their way into the host at one moment.
const SUBMITTED_MAX: usize = 64;
/// How long the host is given for what is left when everything ends.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// The queue between the sockets and the host.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    queue: Mutex<Queue>,
    /// Changes with the queue; wakes whoever waits for room or for events.
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<(Event, usize)>,
    bytes: usize,
    closed: bool,
}

impl Queue {
    fn is_below(&self, mark: Mark) -> bool {
        self.events.len() < mark.events && self.bytes < mark.bytes
    }
}

impl Backlog {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event that took `bytes` to say. Never waits: ask [`Backlog::room`] before reading it.
    pub(super) fn push(&self, event: Event, bytes: usize) {
        let mut queue = self.queue();
        queue.bytes += bytes;
        queue.events.push_back((event, bytes));
        drop(queue);
        self.changed.send_replace(());
    }

    /// Says that something changed that decides about room: a call waits for its answer now.
    pub(super) fn reconsider(&self) {
        self.changed.send_replace(());
    }

    /// Returns once the next frame may be read. Cancel-safe.
    pub(super) async fn room(&self, call_waits: impl Fn() -> bool) {
        let mut changed = self.changed.subscribe();
        while !(self.queue().is_below(LOWER) || (call_waits() && self.queue().is_below(UPPER))) {
            // The sender is `self`.
            let _ = changed.changed().await;
        }
    }

    /// No more events come.
    pub(super) fn close(&self) {
        self.queue().closed = true;
        self.changed.send_replace(());
    }

    /// Returns the next event; none once closed and empty. Cancel-safe.
    async fn next(&self) -> Option<Event> {
        let mut changed = self.changed.subscribe();
        loop {
            {
                let mut queue = self.queue();
                if let Some((event, bytes)) = queue.events.pop_front() {
                    queue.bytes -= bytes;
                    drop(queue);
                    self.changed.send_replace(());
                    return Some(event);
                }
                if queue.closed {
                    return None;
                }
            }
            let _ = changed.changed().await;
        }
    }

    async fn closed(&self) {
        let mut changed = self.changed.subscribe();
        while !self.queue().closed {
            let _ = changed.changed().await;
        }
    }

    /// Submits everything in order until closed, several at once on their way. Returns how many the host did not take.
    async fn hand_over(&self, inbox: &Inbox) -> u64 {
        let mut on_their_way = FuturesUnordered::new();
        let mut lost = 0;
        loop {
            // Cancel safe: `next` takes an event out only in the moment it returns it.
            tokio::select! {
                event = self.next(), if on_their_way.len() < SUBMITTED_MAX => {
                    let Some(event) = event else { break };
                    match inbox.submit(event).await {
                        Ok(submitted) => on_their_way.push(submitted.taken()),
                        Err(Stopping) => lost += 1,
                    }
                }
                Some(taken) = on_their_way.next() => lost += u64::from(taken == Err(Stopping)),
            }
        }
        while let Some(taken) = on_their_way.next().await {
            lost += u64::from(taken == Err(Stopping));
        }
        lost
    }

    /// Hands everything to the host, in order, until closed. What the host does not take then is lost and counted.
    pub(super) async fn pump(&self, inbox: &Inbox, connector: &ConnectorName) {
        let taken = self.hand_over(inbox);
        let overdue = async {
            self.closed().await;
            tokio::time::sleep(LAST_WAIT).await;
        };
        let (lost, outcome) = tokio::select! {
            lost = taken => (lost, ControlFlow::Continue(())),
            () = overdue => (0, ControlFlow::Break(())),
        };
        let left = self.queue().events.len();
        if lost > 0 || left > 0 || outcome.is_break() {
            tracing::warn!(%connector, lost, left, "the host stopped before it took every event; the platform does not repeat them");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventKind;
    use crate::grants::ConnectorKey;
    use futures_util::FutureExt;
    use tokio::sync::mpsc;

    fn event(name: &str) -> Event {
        Event::now(None, EventKind::Custom { name: name.to_owned() })
    }

    #[test]
    fn past_the_lower_mark_only_a_waiting_call_makes_room_and_past_the_upper_nothing_does() {
        let backlog = Backlog::default();
        let has_room = |call_waits: bool| backlog.room(|| call_waits).now_or_never().is_some();
        for (fill, without_call, with_call) in
            [(LOWER.events - 1, true, true), (LOWER.events, false, true), (UPPER.events, false, false)]
        {
            while backlog.queue().events.len() < fill {
                backlog.push(event("x"), 1);
            }
            assert_eq!((has_room(false), has_room(true)), (without_call, with_call), "{fill}");
        }
    }

    #[test]
    fn few_large_events_fill_it_as_many_small_ones_do() {
        let backlog = Backlog::default();
        backlog.push(event("x"), LOWER.bytes);
        assert!(backlog.room(|| false).now_or_never().is_none());
        assert!(backlog.room(|| true).now_or_never().is_some());
        assert!(backlog.next().now_or_never().is_some());
        assert!(backlog.room(|| false).now_or_never().is_some());
    }

    #[tokio::test]
    async fn everything_reaches_the_host_in_order_and_the_pump_ends() {
        let backlog = Backlog::default();
        let (sender, mut arrivals) = mpsc::channel(1);
        let inbox = Inbox::new(ConnectorKey::shared("qq".parse().unwrap()), sender);
        for index in 0..300 {
            backlog.push(event(&index.to_string()), 1);
        }
        backlog.close();
        let host = async {
            for index in 0..300 {
                let arrival = arrivals.recv().await.unwrap();
                assert_eq!(arrival.event.kind, EventKind::Custom { name: index.to_string() });
                arrival.taken.send(()).unwrap();
            }
        };
        let name = "c".parse().unwrap();
        tokio::join!(backlog.pump(&inbox, &name), host);
    }
}
