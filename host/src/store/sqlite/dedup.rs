//! What was taken over already, by the platforms' own ids. Looked up in memory, so that the cost does not grow with how much
//! there is; written behind the others and read once, at the start.
//!
//! Forgotten is what is older than the window, and beyond [`KEYS_MAX`] the oldest.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use rusqlite::Connection;
use sha2::{Digest as _, Sha256};

use super::{from_column, to_column};
use crate::clock::Timestamp;

/// Ids that are remembered; about 100 bytes of memory each. A token that is used to the full of Telegram's 30 messages a second fills
/// this in nine hours, and platforms deliver again within minutes.
pub(super) const KEYS_MAX: usize = 1_000_000;
/// Rows forgotten with one event, so that many which expire together do not hold it up.
const FORGOTTEN_AT_ONCE: usize = 8;

/// What a platform's id is remembered as: half of a SHA-256 over the connector and the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::store) struct DedupKey([u8; 16]);

impl DedupKey {
    pub(in crate::store) fn new(origin: &str, platform_id: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update((origin.len() as u64).to_le_bytes());
        hash.update(origin);
        hash.update(platform_id);
        let hash: [u8; 32] = hash.finalize().into();
        let mut half = [0; 16];
        half.copy_from_slice(&hash[..16]);
        Self(half)
    }
}

/// What was seen.
#[derive(Debug)]
pub(super) struct Dedup {
    window: Duration,
    seen: HashMap<DedupKey, Known>,
    /// In the order they were seen.
    order: VecDeque<Seen>,
    next_row: i64,
    /// Written in the transaction that is open, the last one last.
    fresh: usize,
    /// Rows up to this one are forgotten once the open transaction is committed.
    forgotten: usize,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    event: i64,
    row: i64,
    at: Timestamp,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    row: i64,
    key: DedupKey,
    at: Timestamp,
}

impl Dedup {
    /// Reads what was seen within the window.
    pub(super) fn load(connection: &Connection, window: Duration) -> rusqlite::Result<Self> {
        let mut dedup =
            Self { window, seen: HashMap::new(), order: VecDeque::new(), next_row: 1, fresh: 0, forgotten: 0 };
        let mut statement = connection.prepare("SELECT id, key, event, seen_ms FROM seen ORDER BY id")?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            let (id, key, event, seen_ms): (i64, [u8; 16], i64, i64) = row.try_into()?;
            dedup.next_row = id + 1;
            let (key, at) = (DedupKey(key), Timestamp::from_millis(from_column(seen_ms)));
            dedup.order.push_back(Seen { row: id, key, at });
            dedup.seen.insert(key, Known { event, row: id, at });
        }
        Ok(dedup)
    }

    /// Returns how many keys are remembered.
    pub(super) fn len(&self) -> usize {
        self.order.len() - self.forgotten
    }

    /// Returns the event that came under this key within the window.
    pub(super) fn find(&self, key: DedupKey, now: Timestamp) -> Option<i64> {
        let known = self.seen.get(&key)?;
        (known.at.saturating_add(self.window) > now).then_some(known.event)
    }

    /// Remembers a key, in memory and in the open transaction, and forgets what is too old.
    pub(super) fn insert(
        &mut self,
        connection: &Connection,
        key: DedupKey,
        event: i64,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        self.expire(connection, now)?;
        let row = self.next_row;
        let mut statement =
            connection.prepare_cached("INSERT INTO seen(id, key, event, seen_ms) VALUES (?1, ?2, ?3, ?4)")?;
        statement.execute((row, &key.0[..], event, to_column(now.as_millis())))?;
        self.next_row += 1;
        self.order.push_back(Seen { row, key, at: now });
        self.seen.insert(key, Known { event, row, at: now });
        self.fresh += 1;
        Ok(())
    }

    fn expire(&mut self, connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
        let is_over = |dedup: &Self, seen: &Seen| {
            dedup.order.len() - dedup.forgotten >= KEYS_MAX || seen.at.saturating_add(dedup.window) <= now
        };
        let first = self.forgotten;
        while self.forgotten - first < FORGOTTEN_AT_ONCE
            && self.order.get(self.forgotten).is_some_and(|seen| is_over(self, seen))
        {
            self.forgotten += 1;
        }
        if self.forgotten > first {
            let last = self.order[self.forgotten - 1].row;
            connection.prepare_cached("DELETE FROM seen WHERE id <= ?1")?.execute([last])?;
        }
        Ok(())
    }

    /// The open transaction is on disk.
    pub(super) fn committed(&mut self) {
        self.fresh = 0;
        for _ in 0..std::mem::take(&mut self.forgotten) {
            if let Some(seen) = self.order.pop_front() {
                self.forget(&seen);
            }
        }
    }

    /// The open transaction came to nothing.
    pub(super) fn rolled_back(&mut self) {
        self.forgotten = 0;
        for _ in 0..std::mem::take(&mut self.fresh) {
            if let Some(seen) = self.order.pop_back() {
                self.forget(&seen);
            }
        }
    }

    fn forget(&mut self, seen: &Seen) {
        // The same key may have come again after its window.
        if self.seen.get(&seen.key).is_some_and(|known| known.row == seen.row) {
            self.seen.remove(&seen.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE seen(id INTEGER PRIMARY KEY, key BLOB, event INTEGER, seen_ms INTEGER)")
            .unwrap();
        connection
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn key(id: &str) -> DedupKey {
        DedupKey::new("chat", id)
    }

    #[test]
    fn a_key_is_found_until_its_window_is_over_and_after_a_restart() {
        let connection = table();
        let mut dedup = Dedup::load(&connection, Duration::from_millis(100)).unwrap();
        dedup.insert(&connection, key("1"), 7, at(1_000)).unwrap();
        dedup.committed();
        assert_eq!(
            (dedup.find(key("1"), at(1_099)), dedup.find(key("1"), at(1_100)), dedup.find(key("2"), at(0))),
            (Some(7), None, None)
        );
        let mut dedup = Dedup::load(&connection, Duration::from_millis(100)).unwrap();
        assert_eq!(dedup.find(key("1"), at(1_000)), Some(7));
        dedup.insert(&connection, key("2"), 8, at(1_100)).unwrap();
        dedup.committed();
        assert_eq!((dedup.find(key("1"), at(1_000)), dedup.find(key("2"), at(1_100))), (None, Some(8)));
        let rows: i64 = connection.query_row("SELECT count(*) FROM seen", (), |row| row.get(0)).unwrap();
        assert_eq!(rows, 1);
    }

    #[test]
    fn what_was_rolled_back_was_never_seen_and_what_it_forgot_is_still_known() {
        let connection = table();
        let mut dedup = Dedup::load(&connection, Duration::from_millis(100)).unwrap();
        dedup.insert(&connection, key("1"), 7, at(1_000)).unwrap();
        dedup.committed();
        connection.execute_batch("BEGIN").unwrap();
        dedup.insert(&connection, key("2"), 8, at(9_000)).unwrap();
        connection.execute_batch("ROLLBACK").unwrap();
        dedup.rolled_back();
        assert_eq!((dedup.find(key("1"), at(1_000)), dedup.find(key("2"), at(9_000))), (Some(7), None));
        dedup.insert(&connection, key("3"), 9, at(1_050)).unwrap();
        dedup.committed();
        assert_eq!(dedup.find(key("3"), at(1_050)), Some(9));
    }

    #[test]
    fn a_key_that_comes_again_after_its_window_is_known_by_its_new_event() {
        let connection = table();
        let mut dedup = Dedup::load(&connection, Duration::from_millis(100)).unwrap();
        dedup.insert(&connection, key("1"), 7, at(1_000)).unwrap();
        dedup.committed();
        dedup.insert(&connection, key("1"), 8, at(1_100)).unwrap();
        dedup.committed();
        assert_eq!(dedup.find(key("1"), at(1_199)), Some(8), "forgetting the first has not taken the second along");
        let dedup = Dedup::load(&connection, Duration::from_millis(100)).unwrap();
        assert_eq!(dedup.find(key("1"), at(1_199)), Some(8));
    }

    #[test]
    fn what_expires_at_once_is_forgotten_a_little_with_each_event() {
        let connection = table();
        let mut dedup = Dedup::load(&connection, Duration::from_millis(100)).unwrap();
        for number in 0..100 {
            dedup.insert(&connection, key(&number.to_string()), number, at(1_000)).unwrap();
        }
        dedup.committed();
        let rows =
            || connection.query_row("SELECT count(*) FROM seen", (), |row| row.get::<_, i64>(0)).unwrap() as usize;
        for number in 100..103 {
            dedup.insert(&connection, key(&number.to_string()), number, at(2_000)).unwrap();
            dedup.committed();
            let left = 100 - (number as usize - 99) * FORGOTTEN_AT_ONCE + (number as usize - 99);
            assert_eq!((rows(), dedup.seen.len(), dedup.order.len()), (left, left, left));
        }
        assert_eq!(dedup.find(key("99"), at(2_000)), None, "not forgotten yet, and over all the same");
    }

    #[test]
    fn a_longer_window_counts_for_what_was_seen_before_as_well() {
        let connection = table();
        let mut dedup = Dedup::load(&connection, Duration::from_millis(100)).unwrap();
        dedup.insert(&connection, key("1"), 7, at(1_000)).unwrap();
        dedup.committed();
        let dedup = Dedup::load(&connection, Duration::from_secs(9)).unwrap();
        assert_eq!(dedup.find(key("1"), at(5_000)), Some(7));
    }

    #[test]
    fn two_connectors_may_use_the_same_id() {
        assert_ne!(DedupKey::new("ab", "c"), DedupKey::new("a", "bc"));
    }
}
