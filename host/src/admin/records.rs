//! What the admin side asks of the store: few questions at a time and each for a limited time, so that neither a slow disk holds up
//! `/health` nor a curious client the bots.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::problem::Problem;
use crate::store::{Store, StoreError};

/// How long a question may take, the wait for its turn included. Shorter than any client waits.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Questions at a time. The readers serve the bots' state as well.
const AT_A_TIME: usize = 2;

/// The store, as the admin side may use it.
#[derive(Debug)]
pub(super) struct Records {
    store: Store,
    turns: Semaphore,
    answer_max: Duration,
}

impl Records {
    pub(super) fn new(store: Store) -> Self {
        Self { store, turns: Semaphore::new(AT_A_TIME), answer_max: ANSWER_MAX }
    }

    /// Returns the store, for what it has in memory.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the answer to a question.
    ///
    /// # Errors
    ///
    /// [`Problem::Unavailable`]: it takes too long, or the store fails.
    pub(super) async fn ask<T>(&self, question: impl Future<Output = Result<T, StoreError>>) -> Result<T, Problem> {
        let in_turn = async {
            let _turn = self.turns.acquire().await.expect("nobody closes it");
            question.await
        };
        match timeout(self.answer_max, in_turn).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the admin side has no answer of the store");
                Err(Problem::Unavailable(error.to_string()))
            }
            // What was written to it may be carried out all the same.
            Err(_) => {
                let seconds = self.answer_max.as_secs();
                Err(Problem::Unavailable(format!(
                    "the store did not answer within {seconds} s; look again, then retry"
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::store::StoreOptions;

    #[tokio::test]
    async fn no_question_is_waited_for_for_ever_nor_its_turn() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::new(Store::open(dir.path(), StoreOptions::default()).unwrap());
        let records = Records { answer_max: Duration::from_millis(20), ..records };
        let first = records.ask::<()>(pending());
        let answers = tokio::join!(first, records.ask::<()>(pending()), records.ask::<()>(pending()));
        for answer in [answers.0, answers.1, answers.2] {
            assert!(matches!(answer, Err(Problem::Unavailable(_))), "{answer:?}");
        }
        assert_eq!(records.ask(async { Ok(7) }).await, Ok(7));
    }
}
