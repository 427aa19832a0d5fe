//! Discord's REST API: one call there and back, what kind of failure it was, and the limits that Discord tells with every answer.
//! Nothing is asked that is known to be refused: past ten thousand refusals within ten minutes everybody behind this address is shut
//! out, see <https://discord.com/developers/docs/topics/rate-limits#invalid-request-limit-aka-cloudflare-bans>.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::connector::link::brief;
use crate::connector::{DeliveryError, Signs};
use crate::egress::{HttpClient, HttpError, HttpResponse};
use crate::rate::{Quota, Rate};
use crate::secret::Secret;

/// Discord wants a URL and a version here, and shuts out who gives none.
const USER_AGENT: &str = concat!("DiscordBot (bothost, ", env!("CARGO_PKG_VERSION"), ")");
/// A pause that Discord asks for is believed up to this long.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The pause after a "too many requests" that does not say how long.
const WAIT_DEFAULT: Duration = Duration::from_secs(5);
/// The pause after a refusal that comes from what stands before Discord.
const SHUT_OUT_WAIT: Duration = Duration::from_secs(60);
/// Refusals that are risked: half of what Discord takes, for others may share the address.
const REFUSALS: Quota = Quota::new(5000, Duration::from_secs(600), 2500);
/// Routes whose limits are remembered.
const ROUTES_MAX: usize = 4096;

/// What is asked: where, and within which limit.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: Method,
    /// Below `api_url`.
    pub(super) path: String,
    /// What the route is called, whatever the ids in it.
    pub(super) name: &'static str,
    /// The channel; each has its own limit.
    pub(super) major: String,
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum RestError {
    /// No answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Too many requests, as Discord said or as it would say.
    #[error("rate limited for {} ms", .0.as_millis())]
    Limited(Duration),
    /// The token was refused before; nothing is asked any more.
    #[error("the token was refused")]
    Revoked,
    /// An answer that is none of Discord's.
    #[error("an answer that is not Discord's (HTTP {0})")]
    Unreadable(u16),
    /// Discord says no.
    #[error("{message} (HTTP {status}, code {code})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Discord's own code; 0: none.
        code: u64,
        /// In its words.
        message: String,
    },
}

impl RestError {
    /// Returns whether Discord refused with this code.
    pub(super) fn is(&self, wanted: u64) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == wanted)
    }

    /// Returns whether what was asked for was perhaps done all the same.
    pub(super) fn is_in_doubt(&self) -> bool {
        match self {
            Self::Http(error) => error.perhaps_sent(),
            Self::Unreadable(_) | Self::Refused { status: 500.., .. } => true,
            Self::Limited(_) | Self::Revoked | Self::Refused { .. } => false,
        }
    }

    /// Returns what is to be done about it. What is sent bears a nonce, and everything else may be done twice: so what is
    /// in doubt can be asked again.
    pub(super) fn class(&self) -> DeliveryError {
        let text = self.to_string();
        match self {
            Self::Limited(wait) => DeliveryError::RateLimited(*wait),
            Self::Revoked | Self::Refused { status: 401, .. } => DeliveryError::Unauthorized(text),
            Self::Http(HttpError::Malformed) => DeliveryError::BadRequest(text),
            Self::Http(_) | Self::Unreadable(_) => DeliveryError::Retryable(text),
            Self::Refused { status: 403 | 404, .. } => DeliveryError::Permanent(text),
            Self::Refused { status: 408 | 409 | 500.., .. } => DeliveryError::Retryable(text),
            Self::Refused { .. } => DeliveryError::BadRequest(text),
        }
    }
}

/// The REST API of one token.
#[derive(Debug)]
pub(super) struct Rest {
    client: HttpClient,
    authorization: HeaderValue,
    limits: Mutex<Limits>,
    /// Told of every answer of Discord's own.
    signs: Signs,
    /// Cancelled once the token was refused: whoever asks on is shut out.
    revoked: CancellationToken,
}

impl Rest {
    pub(super) fn new(client: HttpClient, token: &Secret, signs: Signs) -> Self {
        let mut authorization = HeaderValue::from_str(&format!("Bot {}", token.expose()))
            .expect("the table takes no token that is not fit for a header");
        authorization.set_sensitive(true);
        let limits = Mutex::new(Limits::new());
        Self { client, authorization, limits, signs, revoked: CancellationToken::new() }
    }

    /// Returns once the token was refused. Cancel-safe.
    pub(super) async fn revoked(&self) {
        self.revoked.cancelled().await;
    }

    /// Notes that Discord proved just now that it is there.
    pub(super) fn heard(&self) {
        self.signs.succeeded();
    }

    /// Asks, and returns what Discord says; null where it says nothing. A body is JSON unless `kind` says otherwise. Cancelled, the call
    /// may have been carried out or not.
    pub(super) async fn call(
        &self,
        route: &Route,
        body: impl Into<Bytes>,
        kind: Option<HeaderValue>,
        timeout: Duration,
    ) -> Result<Value, RestError> {
        if self.revoked.is_cancelled() {
            return Err(RestError::Revoked);
        }
        self.limits().reserve(route, Instant::now()).map_err(RestError::Limited)?;
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, self.authorization.clone())]);
        let answer = self.ask(route, headers, body.into(), kind, timeout).await;
        if matches!(&answer, Err(RestError::Refused { status: 401, .. })) {
            self.revoked.cancel();
        }
        answer
    }

    /// As [`Rest::call`], for what an interaction's own token opens: it is under no limit of the bot's.
    pub(super) async fn call_open(&self, route: &Route, body: String, timeout: Duration) -> Result<Value, RestError> {
        self.ask(route, HeaderMap::new(), body.into(), None, timeout).await
    }

    fn limits(&self) -> std::sync::MutexGuard<'_, Limits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(
        &self,
        route: &Route,
        mut headers: HeaderMap,
        body: Bytes,
        kind: Option<HeaderValue>,
        timeout: Duration,
    ) -> Result<Value, RestError> {
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        if let Some(kind) = kind {
            headers.insert(header::CONTENT_TYPE, kind);
        }
        let response = self.client.call(route.method.clone(), &route.path, headers, body, timeout).await?;
        let read = read(&response);
        let limited = self.limits().learn(route, &response, Instant::now());
        // That it says no is an answer; that it fails is none.
        if matches!(&read, Ok(_) | Err(RestError::Refused { status: 400..500, .. })) {
            self.signs.succeeded();
        }
        match limited {
            Some(wait) => Err(RestError::Limited(wait)),
            None => read,
        }
    }
}

fn read(response: &HttpResponse) -> Result<Value, RestError> {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
        #[serde(default)]
        code: u64,
    }
    let status = response.status.as_u16();
    if response.status.is_success() {
        if response.body.is_empty() {
            return Ok(Value::Null);
        }
        return serde_json::from_slice(&response.body).map_err(|_| RestError::Unreadable(status));
    }
    match serde_json::from_slice::<Refusal>(&response.body) {
        Ok(refusal) => Err(RestError::Refused { status, code: refusal.code, message: brief(&refusal.message) }),
        Err(_) => Err(RestError::Unreadable(status)),
    }
}

/// What Discord takes at the moment. Pure; the caller brings the time.
#[derive(Debug)]
struct Limits {
    /// Nothing at all is taken before.
    shut_until: Option<Instant>,
    refusals: Rate,
    /// Which limit a route falls under; several may share one.
    buckets: HashMap<&'static str, String>,
    left: HashMap<(String, String), Left>,
}

#[derive(Debug, Clone, Copy)]
struct Left {
    requests: u32,
    until: Instant,
}

impl Limits {
    fn new() -> Self {
        Self { shut_until: None, refusals: Rate::within(REFUSALS), buckets: HashMap::new(), left: HashMap::new() }
    }

    fn key(&self, route: &Route) -> (String, String) {
        let bucket = self.buckets.get(route.name).map_or(route.name, String::as_str);
        (bucket.to_owned(), route.major.clone())
    }

    /// Takes a request's place; an error is how long until there is one.
    fn reserve(&mut self, route: &Route, now: Instant) -> Result<(), Duration> {
        let shut = self.shut_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let wait = shut.max(self.refusals.wait(1, now));
        if !wait.is_zero() {
            return Err(wait);
        }
        match self.left.get_mut(&self.key(route)) {
            Some(left) if left.until > now => match left.requests.checked_sub(1) {
                Some(rest) => left.requests = rest,
                None => return Err(left.until - now),
            },
            _ => {}
        }
        Ok(())
    }

    /// Takes in what an answer says of limits. Returns how long to wait where it was a refusal for being too many.
    fn learn(&mut self, route: &Route, response: &HttpResponse, now: Instant) -> Option<Duration> {
        let header = |name| response.headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(bucket) = header("x-ratelimit-bucket") {
            self.buckets.insert(route.name, bucket.to_owned());
        }
        let status = response.status.as_u16();
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&response.body).is_ok();
        let scope = header("x-ratelimit-scope");
        if matches!(status, 401 | 403 | 429) && scope != Some("shared") {
            // Where the budget is spent already, `reserve` says so.
            let _ = self.refusals.take(1, now);
        }
        if matches!(status, 403 | 429) && !is_json {
            let wait = response.retry_after.unwrap_or(SHUT_OUT_WAIT).clamp(SHUT_OUT_WAIT, WAIT_MAX);
            self.shut_until = Some(now + wait);
            return Some(wait);
        }
        if status == 429 {
            let wait = wait(response);
            if scope == Some("global") || is_global(&response.body) {
                self.shut_until = Some(now + wait);
            } else {
                self.note(route, 0, wait, now);
            }
            return Some(wait);
        }
        let left = header("x-ratelimit-remaining").and_then(|left| left.parse().ok());
        let reset_after = header("x-ratelimit-reset-after").and_then(|after| seconds(after.parse().ok()?));
        if let (Some(left), Some(reset_after)) = (left, reset_after) {
            self.note(route, left, reset_after.min(WAIT_MAX), now);
        }
        None
    }

    fn note(&mut self, route: &Route, requests: u32, wait: Duration, now: Instant) {
        if self.left.len() >= ROUTES_MAX {
            self.left.retain(|_, left| left.until > now);
        }
        let key = self.key(route);
        if self.left.len() >= ROUTES_MAX && !self.left.contains_key(&key) {
            // What is not remembered is learnt again by a refusal.
            return;
        }
        let until = now + wait;
        // Requests overtake each other: within one window the least counts.
        let slack = Duration::from_millis(500);
        let same_window = self.left.get(&key).filter(|left| left.until > now && left.until + slack > until);
        let requests = same_window.map_or(requests, |left| left.requests.min(requests));
        self.left.insert(key, Left { requests, until });
    }
}

fn is_global(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|body| body["global"] == true)
}

/// Reads a pause as exactly as it is given; what is none becomes a short one.
fn wait(response: &HttpResponse) -> Duration {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let given = &body["retry_after"];
    let given = given.as_f64().or_else(|| given.as_str()?.parse().ok());
    given
        .and_then(seconds)
        .or(response.retry_after)
        .filter(|wait| !wait.is_zero())
        .unwrap_or(WAIT_DEFAULT)
        .min(WAIT_MAX)
}

/// Returns a length of time; none where a number is no such thing.
fn seconds(given: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(given).ok()
}

#[cfg(test)]
mod tests;
