//! What connectors keep for themselves from one process to the next: where they are in a platform's stream, a session to resume, how
//! often they may still identify. Texts by name, each connector's apart.

use super::sqlite::{Read, Write};
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::grants::ConnectorKey;

/// Memos that one connector has; of more, those that expire and were written first are forgotten.
pub(in crate::store) const MEMOS_MAX: u32 = 10_000;

/// One text that a connector keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memo {
    /// What it is.
    pub value: String,
    /// After this moment it is as if it had never been written; none: never.
    pub expires_at: Option<Timestamp>,
}

impl Store {
    /// Returns what a connector keeps under this name; none where that is nothing, or nothing any longer.
    ///
    /// # Errors
    ///
    /// Where the database cannot be read.
    pub async fn memo(&self, key: &ConnectorKey, name: &str) -> Result<Option<String>, StoreError> {
        let (key, name, now) = (key.clone(), name.to_owned(), Timestamp::now());
        self.read(now, |reply| Read::Memo { key, name, now, reply }).await
    }

    /// Keeps a text under a name, in place of what was there. Returns when it is on disk.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub async fn put_memo(&self, key: &ConnectorKey, name: &str, memo: Memo) -> Result<(), StoreError> {
        let (key, name, now) = (key.clone(), name.to_owned(), Timestamp::now());
        self.write(|reply| Write::PutMemo { key, name, memo: Some(memo), now, reply }).await
    }

    /// Forgets what is kept under a name. Returns when that is on disk.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub async fn forget_memo(&self, key: &ConnectorKey, name: &str) -> Result<(), StoreError> {
        let (key, name, now) = (key.clone(), name.to_owned(), Timestamp::now());
        self.write(|reply| Write::PutMemo { key, name, memo: None, now, reply }).await
    }
}
