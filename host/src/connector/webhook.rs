//! Any system that posts JSON, and that takes JSON. In: requests at a path of ours, proven before they are read, and answered once the
//! host has them. Out: what bots say in a conversation of the webhook is posted to `reply_url`.

mod config;
mod words;

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

pub use self::config::{Conversing, WebhookConfig};
use super::claim::Claim;
use super::config::Nature;
use super::deliveries::{self, Task};
use super::ingress::{Door, IngressError, Knock};
use super::link::{Connection, End, Life};
use super::signature::sign_standard;
use super::{AskedKey, DeliveryError, Inbox, Ports, Receipt};
use crate::clock::Timestamp;
use crate::egress::{HttpClient, HttpError, HttpResponse};
use crate::id::ConnectorName;
use crate::secret::Secret;
use crate::units::SPAN_MAX;

/// What its table holds.
pub(super) const NATURE: Nature = Nature {
    name: "webhook",
    keys: &[
        "listen",
        "path",
        "secret",
        "old_secret",
        "signature",
        "bearer",
        "tolerance",
        "dedup_header",
        "dedup",
        "conversation",
        "text",
        "sender",
        "reply_url",
        "reply_secret",
        "reconnect_max",
    ],
    askable: &[AskedKey::secret("secret", "sample"), AskedKey::address("reply_url", "https://sample")],
};

/// A pause that a receiver asks for is believed up to this long.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);
/// The pause after a "too many requests" that does not say how long.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(5);

impl WebhookConfig {
    /// Returns what no other connector can have at the same time.
    pub(super) fn claims(&self) -> Vec<Claim> {
        vec![Claim::Door(self.listen, self.path.clone())]
    }
}

/// Runs until it is told to stop.
pub(super) async fn run(config: WebhookConfig, ports: Ports) {
    let Ports { name, inbox, deliveries, status, guard, ingress, cancel, .. } = ports;
    let connection = Connection::new(status, config.reconnect_max);
    let client = config.reply_url.clone().map(|url| HttpClient::new(url.0, guard));
    let intake = Intake { config: &config, name: &name, inbox: &inbox };
    let deliver =
        deliveries::carry_out(deliveries, &cancel, |task| post(client.as_ref(), config.reply_secret.as_ref(), task));
    // Whoever posts does so when there is something to say: silence proves nothing.
    let receive = connection.keep(SPAN_MAX, &cancel, |life| {
        let (connection, ingress, config, intake) = (&connection, &ingress, &config, &intake);
        async move {
            match ingress.open(config.listen, &config.path).await {
                Ok(door) => {
                    connection.listening(door.address());
                    intake.answer(life, door).await
                }
                Err(error @ IngressError::Taken { .. }) => End::refused(error),
                Err(error @ IngressError::Bind { .. }) => End::lost(error),
            }
        }
    });
    tokio::join!(receive, deliver);
}

/// What it takes to bring requests in.
struct Intake<'a> {
    config: &'a WebhookConfig,
    name: &'a ConnectorName,
    inbox: &'a Inbox,
}

impl Intake<'_> {
    async fn answer(&self, life: Life<'_>, mut door: Door) -> End {
        life.connected();
        loop {
            let knock = door.next().await;
            let event = match self.check(&knock).and_then(|()| words::event(self.config, self.name, &knock)) {
                Ok(event) => event,
                Err(status) => {
                    knock.answer(status);
                    continue;
                }
            };
            if life.while_deaf(self.inbox.take_over(event)).await.is_err() {
                knock.answer(StatusCode::SERVICE_UNAVAILABLE);
                return End::Stopped;
            }
            knock.answer(StatusCode::OK);
            life.of_use();
            life.heard();
        }
    }

    /// Returns what is wrong with a request; of what proves nothing, nothing else is said.
    fn check(&self, knock: &Knock) -> Result<(), StatusCode> {
        if knock.method != Method::POST {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        let WebhookConfig { signature, secrets, tolerance, bearer, .. } = self.config;
        let is_signed = signature.verify(knock, secrets, *tolerance, Timestamp::now());
        let is_bearer = bearer.as_ref().is_none_or(|bearer| {
            let given = knock.header("authorization").and_then(|given| given.split_once(' '));
            given.is_some_and(|(scheme, given)| {
                scheme.eq_ignore_ascii_case("bearer") && bearer.matches(given.trim().as_bytes())
            })
        });
        if is_signed && is_bearer { Ok(()) } else { Err(StatusCode::UNAUTHORIZED) }
    }
}

/// Posts what a bot did in a conversation, in the way of Standard Webhooks: the id is the same on every try.
async fn post(client: Option<&HttpClient>, secret: Option<&Secret>, task: Task) -> Result<Receipt, DeliveryError> {
    let Some(client) = client else { return Err(DeliveryError::Unsupported("answer: it has no `reply_url`")) };
    let body = words::answer(&task.action).to_string();
    let id = format!("msg_{:016x}", task.key);
    let seconds = Timestamp::now().as_millis() / 1000;
    let mut headers = HeaderMap::new();
    let mut add = |name: &'static str, value: String| {
        let value = HeaderValue::try_from(value).expect("letters and digits");
        headers.insert(HeaderName::from_static(name), value);
    };
    add("webhook-id", id.clone());
    add("webhook-timestamp", seconds.to_string());
    if let Some(secret) = secret {
        add("webhook-signature", sign_standard(secret, &id, seconds, body.as_bytes()));
    }
    add("idempotency-key", id.clone());
    headers.insert(header::USER_AGENT, HeaderValue::from_static("bothost"));
    let sent = client.post_to_endpoint(headers, body, task.timeout).await;
    judge(sent).map(|()| Receipt { platform_id: Some(id) })
}

/// Judges what came of a post. Nothing is uncertain: whoever takes it tells a second one by its id.
fn judge(sent: Result<HttpResponse, HttpError>) -> Result<(), DeliveryError> {
    let response = sent.map_err(|error| match error {
        HttpError::Malformed => DeliveryError::BadRequest(error.to_string()),
        error => DeliveryError::Retryable(error.to_string()),
    })?;
    let text = format!("HTTP {}", response.status.as_u16());
    let wait = response.retry_after.map(|wait| wait.min(RETRY_AFTER_MAX));
    match (response.status.as_u16(), wait) {
        (200..300, _) => Ok(()),
        (429, wait) => Err(DeliveryError::RateLimited(wait.unwrap_or(RETRY_AFTER_DEFAULT))),
        (503, Some(wait)) => Err(DeliveryError::RateLimited(wait)),
        (408 | 425 | 500.., _) => Err(DeliveryError::Retryable(text)),
        (401, _) => Err(DeliveryError::Unauthorized(text)),
        (400 | 413 | 415 | 422, _) => Err(DeliveryError::BadRequest(text)),
        // Redirects are not followed: they would lead what is signed to somebody else.
        _ => Err(DeliveryError::Permanent(text)),
    }
}

/// Returns whether a request may go unsigned: what only this machine can send, or what proves itself in another way.
fn may_be_unsigned(listen: SocketAddr, bearer: Option<&Secret>) -> bool {
    listen.ip().is_loopback() || bearer.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn check(status: u16, retry_after: Option<u64>) -> Result<(), DeliveryError> {
        let (status, retry_after) = (StatusCode::from_u16(status).unwrap(), retry_after.map(Duration::from_secs));
        judge(Ok(HttpResponse { status, headers: HeaderMap::new(), body: Bytes::new(), retry_after }))
    }

    #[test]
    fn every_answer_has_its_class() {
        type Is = fn(&DeliveryError) -> bool;
        let retryable: Is = |error| matches!(error, DeliveryError::Retryable(_));
        let permanent: Is = |error| matches!(error, DeliveryError::Permanent(_));
        let bad: Is = |error| matches!(error, DeliveryError::BadRequest(_));
        for status in [200, 201, 202, 204] {
            assert_eq!(check(status, None), Ok(()));
        }
        for (status, is) in [
            (301, permanent),
            (307, permanent),
            (400, bad),
            (403, permanent),
            (404, permanent),
            (408, retryable),
            (410, permanent),
            (413, bad),
            (422, bad),
            (425, retryable),
            (500, retryable),
            (502, retryable),
            (503, retryable),
            (504, retryable),
        ] {
            let error = check(status, None).unwrap_err();
            assert!(is(&error), "{status}: {error:?}");
        }
        assert!(matches!(check(401, None), Err(DeliveryError::Unauthorized(_))));
        for (status, given, expected) in
            [(429, Some(7), 7), (429, None, 5), (503, Some(9), 9), (429, Some(86_400), 3600)]
        {
            assert_eq!(check(status, given), Err(DeliveryError::RateLimited(Duration::from_secs(expected))));
        }
        assert!(retryable(&judge(Err(HttpError::TimedOut(Duration::from_secs(1)))).unwrap_err()));
    }
}
