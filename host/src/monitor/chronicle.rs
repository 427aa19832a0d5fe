//! Writes every turn of an alert down, so that the history survives the process.

use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio_util::sync::CancellationToken;

use crate::alert::News;
use crate::store::observations::Observations;

/// Writes what comes until it is cancelled, and then what has come.
pub async fn keep(mut news: Receiver<Arc<News>>, observations: Observations, cancel: CancellationToken) {
    loop {
        // Cancel safe: a broadcast's `recv`.
        let next = match cancel.run_until_cancelled(news.recv()).await {
            Some(next) => next,
            None => match news.try_recv() {
                Ok(last) => Ok(last),
                Err(TryRecvError::Lagged(missed)) => Err(RecvError::Lagged(missed)),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            },
        };
        match next {
            Ok(turn) => observations.note(&turn),
            Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "turns of alerts are missing in their history"),
            Err(RecvError::Closed) => return,
        }
    }
}
