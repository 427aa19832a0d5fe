//! What a guest's host functions work with: the process's services, and everything that belongs to the one bot.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::engine::{MEMORY_BYTES_MAX, TABLE_ELEMENTS_MAX};
use super::imports::http::can_leave;
use crate::action::Priority;
use crate::egress::{AddressGuard, Redactor};
use crate::grants::{Grants, Reach};
use crate::id::BotName;
use crate::limits::Limits;
use crate::logs::BotLog;
use crate::metrics::Metrics;
use crate::rate::Rate;
use crate::secret::Secret;
use crate::store::Store;

/// What all guests share.
#[derive(Clone)]
pub struct Services {
    /// State and timers, and the room in the outboxes.
    pub store: Store,
    /// Where guests' measurements go.
    pub metrics: Arc<Metrics>,
    /// Which addresses guests may reach.
    pub guard: AddressGuard,
    /// HTTP connections of all guests together.
    pub(super) http_connections: Arc<Semaphore>,
}

impl Services {
    /// Returns what all guests share, with room for as many HTTP connections as this process has files to spare.
    pub fn new(store: Store, metrics: Arc<Metrics>, guard: AddressGuard) -> Self {
        let open_files_max = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Self { store, metrics, guard, http_connections: Arc::new(Semaphore::new(http_connections_max(open_files_max))) }
    }
}

/// Returns how many HTTP connections all guests together may have. While one is being made it may take eight files, for eight
/// addresses; all of them together are to take half of what there is at most.
fn http_connections_max(open_files_max: Option<u64>) -> usize {
    const MOST: u64 = 1024;
    let spared = open_files_max.map_or(MOST, |most| most / 16).clamp(1, MOST);
    usize::try_from(spared).expect("it is small")
}

/// What belongs to one bot: the same for all its instances.
pub struct GuestContext {
    /// Its name.
    pub bot: BotName,
    /// Which share of the slots it has where bots wait for one.
    pub priority: Priority,
    /// What it may use.
    pub limits: Limits,
    /// Its settings.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// Its secrets, by the names it knows.
    pub secrets: BTreeMap<String, Secret>,
    /// The connectors it may speak through.
    pub reach: Reach,
    /// What else it may do.
    pub grants: Grants,
    /// Its log.
    pub log: BotLog,
    /// What all guests share.
    pub services: Services,
    /// Its budgets, over all its instances.
    pub(super) budgets: Budgets,
    /// What finds its secrets in what comes back to it.
    redactor: OnceLock<Arc<Redactor>>,
}

/// Why a component may not serve as this bot.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// It imports what the operator has not granted.
    #[error("it imports {import}, which is not granted: add `{line}` under [bots.{bot}.grants]")]
    NotGranted {
        /// The bot.
        bot: BotName,
        /// The import.
        import: String,
        /// The line that would grant it.
        line: &'static str,
    },
    /// A granted directory cannot be opened.
    #[error("the granted directory {} cannot be opened", .path.display())]
    Directory {
        /// Where it should be.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A limit is larger than the sandbox can give.
    #[error("limits.{limit} is at most {max}")]
    LimitTooLarge {
        /// The limit's key.
        limit: &'static str,
        /// The most there is.
        max: String,
    },
}

/// Budgets of one bot.
pub(super) struct Budgets {
    sends: Mutex<Rate>,
    http: Mutex<Rate>,
    pub(super) http_in_flight: Arc<Semaphore>,
}

impl Budgets {
    /// Takes one act on a platform, or says how long until there is one.
    pub(super) fn take_send(&self) -> Result<(), Duration> {
        take(&self.sends)
    }

    /// Takes one HTTP request, or says how long until there is one.
    pub(super) fn take_http(&self) -> Result<(), Duration> {
        take(&self.http)
    }
}

fn take(rate: &Mutex<Rate>) -> Result<(), Duration> {
    // A panic while the lock is held leaves a budget behind that is as good as any.
    rate.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take(1, Instant::now())
}

impl GuestContext {
    /// Returns a context of normal priority, without settings, secrets and grants, that reaches all of the host's connectors.
    pub fn new(bot: BotName, limits: Limits, services: Services) -> Self {
        const MINUTE: Duration = Duration::from_secs(60);
        let budgets = Budgets {
            sends: Mutex::new(Rate::new(limits.sends_per_minute.into(), MINUTE)),
            http: Mutex::new(Rate::new(limits.http_per_minute.into(), MINUTE)),
            http_in_flight: Arc::new(Semaphore::new(limits.http_in_flight as usize)),
        };
        Self {
            log: BotLog::new(bot.clone(), limits.log_rate),
            bot,
            priority: Priority::Normal,
            limits,
            settings: serde_json::Map::new(),
            secrets: BTreeMap::new(),
            reach: Reach::all(),
            grants: Grants::default(),
            services,
            budgets,
            redactor: OnceLock::new(),
        }
    }

    /// Returns what finds the bot's secrets in an answer. Made when it is first asked for: from then on they stay as they are.
    pub(super) fn redactor(&self) -> &Arc<Redactor> {
        self.redactor.get_or_init(|| Arc::new(Redactor::new(self.secrets.values().filter(|secret| can_leave(secret)))))
    }

    /// Checks what can be checked before the first instance.
    pub(super) fn check(&self, http_import: Option<&str>) -> Result<(), GrantError> {
        if let (Some(import), None) = (http_import, &self.grants.http) {
            return Err(GrantError::NotGranted {
                bot: self.bot.clone(),
                import: import.to_owned(),
                line: r#"http = ["api.example.com"]"#,
            });
        }
        if self.limits.memory > MEMORY_BYTES_MAX {
            let max = crate::units::ByteSize(MEMORY_BYTES_MAX).to_string();
            return Err(GrantError::LimitTooLarge { limit: "memory", max });
        }
        if self.limits.table_elements > TABLE_ELEMENTS_MAX {
            let max = TABLE_ELEMENTS_MAX.to_string();
            return Err(GrantError::LimitTooLarge { limit: "table_elements", max });
        }
        for dir in &self.grants.dirs {
            cap_std::fs::Dir::open_ambient_dir(&dir.host, cap_std::ambient_authority())
                .map_err(|source| GrantError::Directory { path: dir.host.clone(), source })?;
        }
        Ok(())
    }
}

/// Bytes that a guest may pass in one host call, or return from one call.
pub(super) const COPIED_BYTES_MAX: usize = 1 << 20;
/// Resources that a guest may hold: streams, pollables, files, requests.
pub(super) const RESOURCES_MAX: usize = 1_000;
/// Random bytes that a guest may ask for in one call.
pub(super) const RANDOM_BYTES_MAX: u64 = 64 << 10;
/// Bytes of standard error that are kept for the text of a panic.
pub(super) const STDERR_TAIL_BYTES: NonZeroUsize = NonZeroUsize::new(8 << 10).expect("it is not zero");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f022_all_connections_being_made_at_once_leave_most_of_the_files() {
        for open_files_max in [64, 1024, 4096, 65_536, u64::MAX] {
            let files = http_connections_max(Some(open_files_max)) as u64 * 8;
            assert!(files * 5 < open_files_max.saturating_mul(4), "{files} of {open_files_max}");
        }
        assert_eq!(http_connections_max(Some(1024)), 64);
        assert_eq!(http_connections_max(None), 1024);
    }
}
