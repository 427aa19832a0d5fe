//! The taking over of an event: into the queue of every bot that hears it, together with the platform's own id of it, as one
//! transaction. Only when that is on disk may the platform be told.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::sqlite::{Append, DedupKey, FiredTurn, PreparedEvent, Turn, Write, to_column};
use super::{DueTimer, Store, StoreError, record};
use crate::action::Priority;
use crate::event::Event;
use crate::grants::ConnectorKey;
use crate::id::BotName;

/// An event that comes in.
#[derive(Debug)]
pub struct NewEvent {
    /// What happened.
    pub event: Arc<Event>,
    /// The connector that it came through; none: a timer.
    pub origin: Option<ConnectorKey>,
    /// The bots that hear it, and how urgent it is to each.
    pub bots: Vec<(BotName, Priority)>,
    /// The timer whose firing it is.
    pub timer: Option<DueTimer>,
}

/// What became of an event that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// It is in the queues, and on disk.
    New {
        /// The bots that had all the events they may have: to them it is a dead letter.
        overflowing: Vec<BotName>,
    },
    /// The platform delivered it before, within the window.
    Duplicate,
    /// The timer was set anew or cancelled meanwhile: it did not fire.
    Stale,
}

/// The promise that an event will be taken over.
#[derive(Debug)]
#[must_use = "a platform may be told that an event arrived only once it was taken over"]
pub struct Appending {
    answer: oneshot::Receiver<Result<Appended, StoreError>>,
}

impl Appending {
    /// Returns once the event is on disk.
    ///
    /// # Errors
    ///
    /// Where it cannot be written. It was not taken over then.
    pub async fn done(self) -> Result<Appended, StoreError> {
        self.answer.await.map_err(|_| StoreError::Stopped)?
    }
}

impl Store {
    /// Brings an event on its way: waits until the queue has room for it and hands it to the writer. Many can be on their way at
    /// once; they are taken over in the order of these calls. Cancel safe: cancelled, the event is not on its way.
    ///
    /// # Errors
    ///
    /// Where the store is closed.
    pub async fn submit(&self, new: NewEvent) -> Result<Appending, StoreError> {
        let NewEvent { event, origin, bots, timer } = new;
        let now = event.received_at;
        let origin = origin.map(|key| key.to_string());
        let key = event.platform_id.as_deref().map(|id| DedupKey::new(origin.as_deref().unwrap_or_default(), id));
        let prepared = PreparedEvent {
            id: event.id.to_bytes(),
            origin,
            platform_id: event.platform_id.clone(),
            received_ms: to_column(event.received_at.as_millis()),
            body: record::encode_event(&event),
            lane: event.lane(),
        };
        let timer = timer.map(|timer| FiredTurn {
            turn: Turn::after(&timer, now),
            bot: timer.bot,
            name: timer.name,
            serial: timer.serial,
        });
        // The place at the writer first: between the room and the sending nothing is awaited, so that no room is given away.
        let place = self.shared.writes.reserve().await.map_err(|_| StoreError::Stopped)?;
        let reserved = self.queue().reserve(bots, prepared.body.len()).await;
        let (reply, answer) = oneshot::channel();
        let epoch = self.shared.intake_epoch.load(Ordering::Acquire);
        let append = Box::new(Append { event, prepared, key, reserved, timer, epoch, now });
        place.send(Write::Append { append, reply });
        Ok(Appending { answer })
    }

    /// Lets events be taken over again after one could not be. Until this is called all that come behind it are refused as it was,
    /// so that whoever brings them can bring them again in order.
    pub fn resume_intake(&self) {
        self.shared.intake_epoch.fetch_add(1, Ordering::AcqRel);
    }
}
