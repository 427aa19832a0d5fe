//! What a connector keeps for itself from one process to the next, by name.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::grants::ConnectorKey;
use crate::store::memos::Memo;
use crate::store::{Store, StoreError};

/// The memory of one connector. It is forgotten when the connector is removed from the configuration.
#[derive(Debug, Clone)]
pub struct Memory {
    store: Store,
    key: ConnectorKey,
}

impl Memory {
    /// Returns the memory of the connector `key`.
    pub fn new(store: Store, key: ConnectorKey) -> Self {
        Self { store, key }
    }

    /// Returns what is kept under this name. Where it cannot be read, that is said in the log, and there is nothing: whatever is kept
    /// can be had from the platform anew.
    pub async fn get(&self, name: &str) -> Option<String> {
        match self.store.memo(&self.key, name).await {
            Ok(value) => value,
            Err(error) => {
                tracing::warn!(connector = %self.key, name, error = &error as &dyn std::error::Error, "cannot read what was kept");
                None
            }
        }
    }

    /// Keeps a text, in place of what was there, for so long or for ever. Returns when it is on disk.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub async fn put(&self, name: &str, value: impl Into<String>, keep: Option<Duration>) -> Result<(), StoreError> {
        let expires_at = keep.map(|keep| Timestamp::now().saturating_add(keep));
        self.store.put_memo(&self.key, name, Memo { value: value.into(), expires_at }).await
    }

    /// Keeps a text whose loss costs little; that it cannot be kept is said in the log.
    pub async fn try_put(&self, name: &str, value: impl Into<String>, keep: Option<Duration>) {
        if let Err(error) = self.put(name, value, keep).await {
            tracing::warn!(connector = %self.key, name, error = &error as &dyn std::error::Error, "cannot keep it");
        }
    }

    /// Forgets what is kept under this name.
    pub async fn forget(&self, name: &str) {
        if let Err(error) = self.store.forget_memo(&self.key, name).await {
            tracing::warn!(connector = %self.key, name, error = &error as &dyn std::error::Error, "cannot forget it");
        }
    }
}
