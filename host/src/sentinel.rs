//! Watches how the store is and says so: to people by alerts of the host, to programs by metrics. Mends nothing.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::action::Severity;
use crate::alert::{Alerts, Signs};
use crate::clock::Timestamp;
use crate::metrics::{Metrics, StoreFigures};
use crate::store::{Condition, StoreHealth};

/// Above this the write-ahead log is not copied back as it should be: it is cut to this length each time it begins anew.
const LOG_BYTES_MAX: u64 = 64 << 20;

/// The task that watches the store.
pub struct Sentinel {
    /// How the store is.
    pub health: watch::Receiver<StoreHealth>,
    /// Where people are told.
    pub alerts: Arc<Alerts>,
    /// Where programs are told.
    pub metrics: Arc<Metrics>,
}

/// An alert of the host's, up or not.
struct Sign {
    key: &'static str,
    severity: Severity,
    /// None: it is down.
    summary: Option<String>,
}

impl Sentinel {
    /// Runs until it is cancelled or the store is closed.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut up = Signs::default();
        loop {
            let health = self.health.borrow_and_update().clone();
            self.metrics.store(&figures(&health));
            for sign in signs(&health) {
                up.tell(&self.alerts, sign.key, sign.severity, sign.summary, Timestamp::now());
            }
            // Cancel safe: a watch.
            if !matches!(cancel.run_until_cancelled(self.health.changed()).await, Some(Ok(()))) {
                return;
            }
        }
    }
}

fn figures(health: &StoreHealth) -> StoreFigures {
    StoreFigures {
        condition: health.condition.as_str(),
        log_bytes: health.log_bytes,
        database_bytes: health.database_bytes,
        quarantined: health.quarantined,
        commits: health.commits,
        requests: health.requests,
        commit_time: health.commit_time,
        incidents_dropped: health.incidents_dropped,
    }
}

/// Returns every alert that the store may be a reason for. Each says what to do.
fn signs(health: &StoreHealth) -> [Sign; 6] {
    let when = |holds: bool, text: &str| holds.then(|| text.to_owned());
    let condition = &health.condition;
    let failing = match condition {
        Condition::Failing { error, .. } => {
            Some(format!("the store writes nothing, and no event is taken in until it does: look at the disk: {error}"))
        }
        _ => None,
    };
    let full = "the disk is full: no event is taken in, and what waits is finished in the room held back for it; free some room, \
                and all goes on by itself";
    let displaced = "the database was deleted or replaced under this host: no event is taken in; stop the host, so that it finishes \
                     what it holds, then put the right file in place and start again";
    let large = "the database's write-ahead log is not copied back: something reads for long, such as `sqlite3` on the database";
    let quarantine = "stored rows could not be trusted and were put aside: look at the disk and its memory, and at the table \
                      `quarantine` of the database";
    let damage = health.damage.as_ref().map(|report| {
        format!("the database is damaged: stop the host and restore a backup, or try `sqlite3 bothost.db .recover`: {report}")
    });
    let critical = Severity::Critical;
    [
        Sign { key: "disk-full", severity: critical, summary: when(matches!(condition, Condition::Full { .. }), full) },
        Sign { key: "store-failing", severity: critical, summary: failing },
        Sign {
            key: "store-displaced",
            severity: critical,
            summary: when(matches!(condition, Condition::Displaced { .. }), displaced),
        },
        Sign { key: "store-damaged", severity: critical, summary: damage },
        Sign { key: "store-quarantine", severity: critical, summary: when(health.quarantined > 0, quarantine) },
        Sign { key: "wal-large", severity: Severity::Warning, summary: when(health.log_bytes > LOG_BYTES_MAX, large) },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(health: &StoreHealth) -> Vec<&'static str> {
        signs(health).into_iter().filter(|sign| sign.summary.is_some()).map(|sign| sign.key).collect()
    }

    #[test]
    fn each_ill_has_its_alert_and_a_store_that_works_has_none() {
        let since = Timestamp::from_millis(1);
        let of = |condition| up(&StoreHealth { condition, ..StoreHealth::default() });
        assert_eq!(of(Condition::Working), [""; 0]);
        assert_eq!(of(Condition::Full { since }), ["disk-full"]);
        assert_eq!(of(Condition::Failing { since, error: "x".into() }), ["store-failing"]);
        assert_eq!(of(Condition::Displaced { since }), ["store-displaced"]);
        let all = StoreHealth {
            damage: Some("x".into()),
            quarantined: 1,
            log_bytes: LOG_BYTES_MAX + 1,
            ..StoreHealth::default()
        };
        assert_eq!(up(&all), ["store-damaged", "store-quarantine", "wal-large"]);
        assert_eq!(up(&StoreHealth { log_bytes: LOG_BYTES_MAX, ..StoreHealth::default() }), [""; 0], "f084");
    }

    #[tokio::test]
    async fn an_alert_is_raised_once_and_resolved_when_the_store_works_again() {
        let (say, health) = watch::channel(StoreHealth::default());
        let alerts = Arc::new(Alerts::new(Arc::default()));
        let cancel = CancellationToken::new();
        let sentinel = Sentinel { health, alerts: Arc::clone(&alerts), metrics: Arc::default() };
        let task = tokio::spawn(sentinel.run(cancel.clone()));
        // One thread: the sentinel has its turn.
        let settle = || tokio::task::yield_now();
        let since = Timestamp::from_millis(1);
        for log_bytes in 0..3 {
            say.send_replace(StoreHealth { condition: Condition::Full { since }, log_bytes, ..StoreHealth::default() });
            settle().await;
        }
        let [alert] = &alerts.active()[..] else { panic!("one alert") };
        assert_eq!((alert.key.as_str(), alert.times), ("disk-full", 1));
        say.send_replace(StoreHealth::default());
        settle().await;
        assert_eq!(alerts.active(), []);
        cancel.cancel();
        task.await.unwrap();
    }
}
