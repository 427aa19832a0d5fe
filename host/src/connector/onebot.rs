//! OneBot v11: QQ by way of an implementation such as NapCat or Lagrange. Forward, we dial its WebSocket; reverse, it dials ours;
//! by HTTP, each side posts to the other. Owns the socket that we dial, and what all ways share of one account.
//!
//! The protocol acknowledges nothing and repeats nothing: what happens while no socket is open is lost, and the platform
//! cannot be told otherwise. What was read from a socket is not: it waits in a [`Backlog`] for the host. By HTTP an event is
//! answered once the host has it.
//!
//! ```text
//! implementation ─► socket ──events──► backlog ──► inbox        reading stops while the backlog is full …
//!                      │ ──answers──► calls                     … unless a call waits for its answer
//! implementation ◄─ socket ◄──calls── act ◄── deliveries
//! ```

mod act;
mod calls;
mod config;
mod event;
mod exchange;
mod reverse;
mod socket;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use config::{OneBotConfig, Transport};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::calls::{Answer, CallError, Caller};
use self::event::scalar;
use self::exchange::Exchange;
use self::socket::Ended;
use super::backlog::Backlog;
use super::config::Nature;
use super::link::{Connection, End, Life, NO_STALL};
use super::socket::{OpenError, Socket};
use super::{AskedKey, PaceLimits, Ports, deliveries};
use crate::id::ConnectorName;
use crate::rate::Quota;
use crate::secret::Secret;

/// What its table holds.
pub(super) const NATURE: Nature = Nature {
    name: "onebot",
    keys: &[
        "mode",
        "url",
        "listen",
        "path",
        "access_token",
        "secret",
        "account",
        "reconnect_max",
        "pace",
        "stall_timeout",
    ],
    askable: &[
        AskedKey::secret("access_token", "sample"),
        AskedKey::optional_secret("secret", "sample"),
        AskedKey::address("url", "wss://sample"),
    ],
};

/// The protocol names no limit, but QQ's risk control shuts accounts out that speak faster than people do, and it cannot be
/// asked. So about a message a second for the account, a few at once if they go to different chats, and half a second between
/// two in one chat.
pub(super) const PACE: PaceLimits = PaceLimits {
    token: Some(Quota::new(60, Duration::from_secs(60), 5)),
    direct_chat: Some(GAP),
    group_chat: Some(GAP),
};

const GAP: Quota = Quota::new(2, Duration::from_secs(1), 1);

/// What is refused may be mended at the other side, so it is tried again, but rarely.
const REFUSED_WAIT: Duration = Duration::from_secs(60);
/// How long the implementation may take to say whose account it has.
const IDENTITY_TIMEOUT: Duration = Duration::from_secs(10);

/// What is known of the account at one moment, and with it how the connector stands.
#[derive(Debug, Default)]
struct Standing {
    /// What of the implementation is not there, and after how long it is looked for; zero: it is the one to connect.
    missing: Option<(String, Duration)>,
    /// Why the one that is connected is not let in.
    refused: Option<String>,
    /// The account is not known to be the right one yet.
    unproven: bool,
    /// The implementation says that QQ has logged the account out.
    offline: bool,
}

/// One QQ account and the ways to it: a connector has one.
struct Account {
    name: ConnectorName,
    /// See [`OneBotConfig::account`].
    expected: Option<u64>,
    /// See [`OneBotConfig::reconnect_max`].
    reconnect_max: Duration,
    /// See [`OneBotConfig::stall_timeout`].
    stall_timeout: Duration,
    /// Events on their way to the host.
    backlog: Backlog,
    /// The way to the implementation's API.
    caller: Caller,
    standing: Mutex<Standing>,
}

impl Account {
    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what has changed, and publishes how the connector stands with it.
    fn note(&self, life: Life<'_>, change: impl FnOnce(&mut Standing)) {
        let mut standing = self.standing();
        let was_offline = standing.offline;
        change(&mut standing);
        match (was_offline, standing.offline) {
            (false, true) => {
                tracing::warn!(connector = %self.name, "the implementation says that the QQ account is offline");
            }
            (true, false) => {
                tracing::info!(connector = %self.name, "the QQ account is not said to be offline any more")
            }
            _ => {}
        }
        match &*standing {
            Standing { refused: Some(error), .. } => life.refused(error),
            Standing { missing: Some((missing, wait)), .. } => life.waiting(missing, *wait),
            Standing { unproven: true, .. } => life.authenticating(),
            Standing { offline: true, .. } => {
                life.degraded("the implementation is connected, but its QQ account is offline");
            }
            _ => life.connected(),
        }
    }

    /// Returns whether sends have a chance.
    fn is_online(&self) -> bool {
        !self.standing().offline
    }

    /// Calls the API; see [`Caller::call`].
    async fn call(&self, action: &'static str, parameters: Value, patience: Duration) -> Result<Answer, CallError> {
        self.caller.call(action, parameters, patience).await
    }

    /// Returns why an implementation that has this account is not the right one; none where it is.
    fn stranger(&self, self_id: &str) -> Option<String> {
        let expected = self.expected?;
        (self_id.parse() != Ok(expected)).then(|| {
            let who: String = self_id.chars().take(20).collect();
            format!("the implementation is logged in as `{who}`, and `account` is `{expected}`: log the right one in, or change it")
        })
    }

    /// Asks whose account it is, and returns its id.
    async fn identity(&self, patience: Duration) -> Result<String, CallError> {
        let answer = self.call("get_login_info", json!({}), patience).await?;
        let self_id = answer.data.get("user_id").and_then(scalar);
        self_id
            .ok_or_else(|| CallError::Unclear(format!("get_login_info names no account (retcode {})", answer.retcode)))
    }

    /// Returns the end of a life whose implementation is not, or cannot be shown to be, the right one; none where it is or nobody asked.
    async fn prove(&self) -> Option<End> {
        self.expected?;
        match self.identity(IDENTITY_TIMEOUT).await {
            Ok(self_id) => self.stranger(&self_id).map(|error| End::Refused { error, retry: Some(REFUSED_WAIT) }),
            Err(error) => Some(End::Lost(format!("the implementation does not say whose account it has: {error}"))),
        }
    }
}

/// Runs until it is told to stop.
pub(super) async fn run(config: OneBotConfig, ports: Ports) {
    let Ports { name, inbox, deliveries, status, guard, ingress, cancel, .. } = ports;
    let connection = Connection::new(status, config.reconnect_max);
    let headers = authorization(config.access_token.as_ref());
    let caller = match &config.transport {
        Transport::Http { url, .. } => Caller::http(url.0.clone(), headers.clone(), guard.clone()),
        Transport::Forward { .. } | Transport::Reverse { .. } => Caller::sockets(),
    };
    let account = Account {
        name,
        expected: config.account,
        reconnect_max: config.reconnect_max,
        stall_timeout: config.stall_timeout,
        backlog: Backlog::default(),
        caller,
        standing: Mutex::default(),
    };
    // The sockets stay open until the deliveries at hand have their answers. Then a life that is there ends itself, politely, and a
    // pause between two is cut off.
    let (sockets, lives, life_at_hand) = (CancellationToken::new(), CancellationToken::new(), Semaphore::new(1));
    let deliver = async {
        deliveries::carry_out(deliveries, &cancel, |task| act::carry_out(&account, task.action, task.timeout)).await;
        cancel.cancelled().await;
        sockets.cancel();
        let _ended = life_at_hand.acquire().await;
        lives.cancel();
    };
    let (transport, account, sockets, life_at_hand) = (&config.transport, &account, &sockets, &life_at_hand);
    let (headers, access_token, guard) = (&headers, config.access_token.as_ref(), &guard);
    let (ingress, inbox) = (&ingress, &inbox);
    let live = |life| async move {
        let Ok(_at_hand) = life_at_hand.acquire().await else { return End::Stopped };
        match transport {
            Transport::Forward { url } => {
                let opened = Socket::open(&url.0, headers.clone(), guard);
                forward(opened, account, life, sockets).await
            }
            Transport::Reverse { listen, path } => {
                let admission = reverse::Admission { path, access_token, account };
                reverse::live(*listen, admission, life, sockets).await
            }
            Transport::Http { listen, path, secret, .. } => {
                let opened = ingress.open(*listen, path).await;
                Exchange::new(account, inbox, secret.as_ref()).live(opened, life, sockets).await
            }
        }
    };
    let receive = async {
        connection.keep(NO_STALL, &lives, live).await;
        account.backlog.close();
    };
    tokio::join!(deliver, receive, account.backlog.pump(inbox, &account.name));
}

/// Returns the header that shows the implementation who calls.
fn authorization(access_token: Option<&Secret>) -> HeaderMap {
    let value = access_token.and_then(|token| HeaderValue::from_str(&format!("Bearer {}", token.expose())).ok());
    let sensitive = value.map(|mut value| {
        value.set_sensitive(true);
        (header::AUTHORIZATION, value)
    });
    sensitive.into_iter().collect()
}

/// Lives one life of a socket that we dial.
async fn forward(
    opened: impl Future<Output = Result<Socket, OpenError>>,
    account: &Account,
    life: Life<'_>,
    cancel: &CancellationToken,
) -> End {
    let stream = match cancel.run_until_cancelled(opened).await {
        None => return End::Stopped,
        Some(Ok(socket)) => socket.into_stream(),
        Some(Err(error)) => {
            tracing::warn!(connector = %account.name, %error, "cannot connect to the OneBot implementation");
            return not_opened(error, account.reconnect_max);
        }
    };
    // Whoever answers now may have the account online.
    account.note(life, |standing| *standing = Standing { unproven: account.expected.is_some(), ..Standing::default() });
    let socket = cancel.child_token();
    let driven = socket::drive(stream, account.caller.open(), account, life, &socket);
    let proof = async {
        let end = account.prove().await;
        match &end {
            Some(_) => socket.cancel(),
            None => account.note(life, |standing| standing.unproven = false),
        }
        end
    };
    let end = match tokio::join!(driven, proof) {
        (_, Some(refused @ End::Refused { .. })) => refused,
        (Ended::Stranger(error), _) => End::Refused { error, retry: Some(REFUSED_WAIT) },
        (Ended::Lost(error), _) => End::Lost(error),
        (Ended::Cancelled, Some(unproven)) if !cancel.is_cancelled() => unproven,
        (Ended::Cancelled, _) => return End::Stopped,
    };
    tracing::warn!(connector = %account.name, ?end, "the OneBot socket ended");
    end
}

/// Returns what to do where no socket could be opened.
fn not_opened(error: OpenError, reconnect_max: Duration) -> End {
    match error {
        OpenError::Refused(status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)) => {
            End::Refused { error: refuses_token(status), retry: Some(REFUSED_WAIT) }
        }
        OpenError::Refused(status) if !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS => {
            let error = format!("no OneBot WebSocket there (HTTP {status}); look at the path of `url`");
            End::Wait(reconnect_max, error)
        }
        error => End::lost(error),
    }
}

fn refuses_token(status: StatusCode) -> String {
    format!("the implementation refuses the access token (HTTP {status})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_to_a_handshake_has_its_end() {
        let max = Duration::from_secs(7);
        for (status, expected) in [
            (401, "auth"),
            (403, "auth"),
            (404, "wait"),
            (426, "wait"),
            (200, "wait"),
            (429, "lost"),
            (500, "lost"),
            (503, "lost"),
        ] {
            let end = match not_opened(OpenError::Refused(StatusCode::from_u16(status).unwrap()), max) {
                End::Refused { retry: Some(REFUSED_WAIT), .. } => "auth",
                End::Wait(wait, _) if wait == max => "wait",
                End::Lost(_) => "lost",
                other => panic!("{status}: {other:?}"),
            };
            assert_eq!(end, expected, "{status}");
        }
        assert!(matches!(not_opened(OpenError::TimedOut, max), End::Lost(_)));
    }
}
