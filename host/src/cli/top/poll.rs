//! What `host top` asks the host for, and how often; on a thread of its own, so that a host that is slow to answer does not hold up
//! the keys.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use bothost::admin::client::ClientError;
use bothost::admin::{AlertView, BotView};
use bothost::clock::Timestamp;
use bothost::id::BotName;
use bothost::metrics::snapshot::Snapshot;
use http::StatusCode;
use serde_json::Value;

use super::super::Failure;
use super::super::remote::{Session, read};

/// All that is known of a host at one moment.
#[derive(Debug, Clone)]
pub(super) struct Poll {
    pub(super) at: Instant,
    pub(super) status: String,
    pub(super) uptime_seconds: Option<u64>,
    pub(super) bots: Vec<BotView>,
    pub(super) alerts: Vec<AlertView>,
    /// Empty where the token may not see it.
    pub(super) figures: Snapshot,
}

/// What the screen is told.
pub(super) enum News {
    Poll(Box<Poll>),
    /// The host did not answer, or not so that it could be understood.
    Lost(String),
    /// What became of an order.
    Answer(String),
}

/// Orders that wait at most.
const ORDERS_MAX: usize = 4;

/// Asks for everything once.
pub(super) fn ask(host: &Session) -> Result<Poll, Failure> {
    let bots: Vec<BotView> = read(host.get("/api/v1/bots")?)?;
    let (status, uptime_seconds) = match host.get("/health") {
        Ok(health) => (health["status"].as_str().unwrap_or("unknown").to_owned(), health["uptime_seconds"].as_u64()),
        Err(ClientError::Refused { status: StatusCode::SERVICE_UNAVAILABLE, .. }) => ("unavailable".to_owned(), None),
        Err(error) => return Err(error.into()),
    };
    let alerts = read(optional(host.get("/api/v1/alerts"), || Value::Array(Vec::new()))?)?;
    let exposition = optional(host.text("/metrics"), String::new)?;
    let figures = Snapshot::read(&exposition, Timestamp::now());
    Ok(Poll { at: Instant::now(), status, uptime_seconds, bots, alerts, figures })
}

/// A token that may not see something sees the rest.
fn optional<T>(answer: Result<T, ClientError>, none: impl FnOnce() -> T) -> Result<T, ClientError> {
    match answer {
        Err(ClientError::Refused { status: StatusCode::FORBIDDEN | StatusCode::NOT_FOUND, .. }) => Ok(none()),
        answer => answer,
    }
}

/// The thread. It ends soon after this is dropped.
pub(super) struct Poller {
    orders: SyncSender<BotName>,
    news: Receiver<News>,
}

impl Poller {
    /// Begins to ask. The first answer comes after an interval.
    pub(super) fn start(host: Session, interval: Duration) -> std::io::Result<Self> {
        let (orders, incoming) = sync_channel::<BotName>(ORDERS_MAX);
        // One answer that nobody has looked at yet is enough.
        let (outgoing, news) = sync_channel(1);
        let work = move || {
            loop {
                let said = match incoming.recv_timeout(interval) {
                    Ok(bot) => News::Answer(restart(&host, &bot)),
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => match ask(&host) {
                        Ok(poll) => News::Poll(Box::new(poll)),
                        Err(failure) => News::Lost(failure.words()),
                    },
                };
                if outgoing.send(said).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("poller".to_owned()).spawn(work)?;
        Ok(Self { orders, news })
    }

    /// Returns what there is to tell, if anything.
    pub(super) fn news(&self) -> Option<News> {
        self.news.try_recv().ok()
    }

    /// Has a bot restarted. Returns what is to be said where that cannot be.
    pub(super) fn restart(&self, bot: &str) -> Option<String> {
        let bot = bot.parse::<BotName>().ok()?;
        match self.orders.try_send(bot) {
            Ok(()) => None,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                Some("the host has not answered yet: try again".to_owned())
            }
        }
    }
}

fn restart(host: &Session, bot: &BotName) -> String {
    match host.post(&format!("/api/v1/bots/{bot}/restart")) {
        Ok(_) => format!("bot {bot}: restarted"),
        Err(error) => format!("bot {bot}: {:#}", anyhow::Error::new(error)),
    }
}
