//! What an operator has delivered at once: all that waits for a connector, and what was lost for it.

use super::outbox::OutboxRoom;
use super::sqlite::Write;
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::grants::ConnectorKey;

/// Lost actions that are put back at once.
pub const RESTORED_MAX: usize = 1_000;

/// What came of a replay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Conversations whose next action waited for another try, and waits no more.
    pub hastened: usize,
    /// Actions that were lost and wait again.
    pub restored: u64,
    /// Whether more that was lost could be put back: ask again, once there is room.
    pub has_more: bool,
}

impl Store {
    /// Has everything that waits for a connector be due now, and, with `lost_since`, puts back what was lost for it since then, the
    /// oldest first: at most [`RESTORED_MAX`], and no more than its outbox has room for. What is put back comes behind what waits in
    /// its conversation already, and its time begins anew.
    ///
    /// Neither is put back what an operator dropped, nor what was perhaps delivered: each of those only one by one, by
    /// [`Store::retry_send`]. What a platform holds back, and the pace of a backlog, stay as they are. That something is due is not
    /// written down: the next process waits as it would have.
    ///
    /// # Errors
    ///
    /// Where it cannot be written. What waits is due all the same.
    pub async fn replay(&self, key: &ConnectorKey, lost_since: Option<Timestamp>) -> Result<Replayed, StoreError> {
        let hastened = self.outbox().hasten(key);
        let Some(since) = lost_since else { return Ok(Replayed { hastened, ..Replayed::default() }) };
        let room = match self.outbox().room(key) {
            OutboxRoom::Unknown => return Ok(Replayed { hastened, ..Replayed::default() }),
            _ => self.outbox().len_max(key).saturating_sub(self.outbox().len(key)),
        };
        let (limit, key) = (room.min(RESTORED_MAX), key.clone());
        // By the clock that outboxes go by.
        let now = Timestamp::steady();
        let found = self.write(|reply| Write::RestoreSends { key, since, limit, now, reply }).await?;
        let limit = limit as u64;
        Ok(Replayed { hastened, restored: found.min(limit), has_more: found > limit })
    }
}
