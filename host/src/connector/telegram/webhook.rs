//! The webhook: Telegram is told where to post updates, is asked from time to time how that fares, and gets its 200 for each update only
//! once the host has it. One connection at a time is asked for, so that updates come in their order.

use std::time::Duration;

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::api::{Api, ApiError};
use super::intake::{CALL_TIMEOUT, Intake};
use super::update::{self, ALLOWED_UPDATES, Me};
use super::{TelegramConfig, Webhook};
use crate::connector::Ingress;
use crate::connector::ingress::{Door, Knock};
use crate::connector::link::{Connection, End, Life};
use crate::id::ConnectorName;
use crate::secret::Secret;

/// The header with the secret.
const SECRET_HEADER: &str = "x-telegram-bot-api-secret-token";
/// Connections that Telegram may post over at the same time: with more, updates overtake each other.
const CONNECTIONS_MAX: u32 = 1;
/// A webhook is silent when nobody writes, so silence is no sign of anything; see [`Receiver::watch`] for what is.
const STALL_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What receives.
#[derive(Debug)]
pub(super) struct Receiver<'a> {
    api: &'a Api,
    intake: &'a Intake<'a>,
    config: &'a TelegramConfig,
    webhook: &'a Webhook,
    name: &'a ConnectorName,
}

/// Where it receives, and from whom.
#[derive(Clone, Copy)]
struct Place<'a> {
    connection: &'a Connection,
    ingress: &'a Ingress,
    secret: &'a Secret,
    cancel: &'a CancellationToken,
}

/// What Telegram says of the webhook.
#[derive(Debug, Deserialize)]
struct WebhookInfo {
    url: String,
    #[serde(default)]
    pending_update_count: u64,
    last_error_date: Option<i64>,
    last_error_message: Option<String>,
}

impl<'a> Receiver<'a> {
    pub(super) fn new(
        api: &'a Api,
        intake: &'a Intake<'a>,
        config: &'a TelegramConfig,
        webhook: &'a Webhook,
        name: &'a ConnectorName,
    ) -> Self {
        Self { api, intake, config, webhook, name }
    }

    /// Receives until it is told to stop, or the host takes no more. The webhook stays set: what comes meanwhile, Telegram keeps for
    /// the next process, for up to a day.
    pub(super) async fn run(self, connection: &Connection, ingress: &Ingress, cancel: &CancellationToken) {
        let secret = match self.webhook.secret_token.clone().map_or_else(random_secret, Ok) {
            Ok(secret) => secret,
            Err(error) => {
                tracing::error!(connector = %self.name, %error, "no secret for the webhook");
                let why = format!("no randomness for a secret: {error}");
                connection.keep(STALL_TIMEOUT, cancel, |_| std::future::ready(End::refused(&why))).await;
                return;
            }
        };
        let place = Place { connection, ingress, secret: &secret, cancel };
        connection.keep(STALL_TIMEOUT, cancel, |life| self.live(life, place)).await;
    }

    async fn live(&self, life: Life<'_>, place: Place<'_>) -> End {
        let mut door = match place.ingress.open(self.webhook.listen, &self.webhook.path).await {
            Ok(door) => door,
            Err(error) => {
                tracing::warn!(connector = %self.name, %error, "no place for the webhook");
                return End::lost(error);
            }
        };
        place.connection.listening(door.address());
        let me = match self.intake.me().await {
            Ok(me) => me,
            Err(error) => return self.end(&error),
        };
        life.authenticating();
        // Both at once: Telegram may post before its answer that it will.
        tokio::select! {
            end = self.receive(&mut door, me, life, place) => end,
            end = self.watch(life, place.secret) => end,
        }
    }

    /// Hands over what is posted, one update after another, until the host takes no more.
    async fn receive(&self, door: &mut Door, me: &Me, life: Life<'_>, place: Place<'_>) -> End {
        loop {
            let knock = door.next().await;
            let update = match read(&knock, place.secret) {
                Ok(update) => update,
                Err(status) => {
                    // Of who is no Telegram nothing is repeated.
                    tracing::debug!(connector = %self.name, %status, "a request to the webhook was refused");
                    knock.answer(status);
                    continue;
                }
            };
            life.heard();
            if self.intake.hand_over(me, &[update], place.cancel, |_| {}).await.is_err() {
                knock.answer(StatusCode::SERVICE_UNAVAILABLE);
                return End::Stopped;
            }
            knock.answer(StatusCode::OK);
        }
    }

    /// Tells Telegram where to post, and asks it from time to time how that fares.
    async fn watch(&self, life: Life<'_>, secret: &Secret) -> End {
        if let Err(error) = self.register(secret).await {
            return self.end(&error);
        }
        life.connected();
        life.of_use();
        // What went wrong before is over: the webhook is set anew.
        let mut known_error = None;
        let mut is_first = true;
        loop {
            let wait = match self.info().await {
                Ok(info) if info.url != self.webhook.public_url => {
                    tracing::warn!(connector = %self.name, "somebody has set or removed the webhook");
                    let why = "another process sets or removes the webhook of this token".to_owned();
                    return End::Contested(self.config.reconnect_max, why);
                }
                Ok(info) => {
                    if std::mem::take(&mut is_first) || info.pending_update_count == 0 {
                        known_error = info.last_error_date;
                    }
                    match trouble(&info, known_error) {
                        None => life.connected(),
                        Some(error) => life.degraded(error),
                    }
                    self.config.stall_timeout
                }
                Err(error) if error.refuses_token() => return self.end(&error),
                Err(ApiError::Refused { retry_after: Some(wait), .. }) => wait,
                Err(error) => {
                    tracing::warn!(connector = %self.name, %error, "cannot ask how the webhook fares");
                    life.degraded(format_args!("cannot ask how the webhook fares: {error}"));
                    self.config.stall_timeout
                }
            };
            sleep(wait).await;
        }
    }

    async fn register(&self, secret: &Secret) -> Result<(), ApiError> {
        let parameters = json!({
            "url": self.webhook.public_url,
            "secret_token": secret.expose(),
            "allowed_updates": ALLOWED_UPDATES,
            "max_connections": CONNECTIONS_MAX,
            "drop_pending_updates": false,
        });
        self.api.call("setWebhook", &parameters, CALL_TIMEOUT).await.map(|_| ())
    }

    async fn info(&self) -> Result<WebhookInfo, ApiError> {
        let info = self.api.call("getWebhookInfo", &json!({}), CALL_TIMEOUT).await?;
        WebhookInfo::deserialize(info).map_err(|_| ApiError::Unreadable { status: 200 })
    }

    /// Returns what is to be done about a failure.
    fn end(&self, error: &ApiError) -> End {
        tracing::warn!(connector = %self.name, %error, "no webhook");
        match error {
            ApiError::Refused { retry_after: Some(wait), .. } => End::Wait(*wait, error.to_string()),
            error if error.refuses_token() => End::refused(error),
            // Such as a `public_url` that Telegram does not post to, or whose name it cannot resolve yet.
            ApiError::Refused { code: 400, .. } => {
                let error = format!("Telegram refuses the webhook: {error}");
                End::Refused { error, retry: Some(self.config.reconnect_max) }
            }
            error => End::lost(error),
        }
    }
}

/// Returns the update that was posted, or with what status it is refused. Who posts is looked at before what.
fn read(knock: &Knock, secret: &Secret) -> Result<Value, StatusCode> {
    let given = knock.header(SECRET_HEADER).unwrap_or_default();
    if !secret.matches(given.as_bytes()) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    if knock.method != Method::POST {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    let update: Value = serde_json::from_slice(&knock.body).map_err(|_| StatusCode::BAD_REQUEST)?;
    update::update_id(&update).map(|_| update).ok_or(StatusCode::BAD_REQUEST)
}

/// Returns what is wrong: updates wait, and posting one has failed since `known_error`.
fn trouble(info: &WebhookInfo, known_error: Option<i64>) -> Option<String> {
    if info.pending_update_count == 0 || info.last_error_date <= known_error {
        return None;
    }
    let message = info.last_error_message.as_deref().unwrap_or("no reason given");
    Some(format!("Telegram cannot post to us, {} updates wait: {message}", info.pending_update_count))
}

fn random_secret() -> Result<Secret, getrandom::Error> {
    let mut bits = [0; 32];
    getrandom::fill(&mut bits)?;
    Ok(Secret::new(data_encoding::HEXLOWER.encode(&bits)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_new_failure_while_updates_wait_is_trouble() {
        let info = |pending_update_count, last_error_date| WebhookInfo {
            url: "https://a".to_owned(),
            pending_update_count,
            last_error_date,
            last_error_message: Some("Connection refused".to_owned()),
        };
        for (info, known_error, is_trouble) in [
            (info(0, None), None, false),
            (info(5, None), None, false),
            (info(5, Some(10)), None, true),
            (info(5, Some(10)), Some(10), false),
            (info(5, Some(11)), Some(10), true),
            (info(0, Some(11)), Some(10), false),
        ] {
            let trouble = trouble(&info, known_error);
            assert_eq!(trouble.is_some(), is_trouble, "{info:?} {known_error:?}");
            assert!(trouble.is_none_or(|error| error.ends_with("5 updates wait: Connection refused")));
        }
    }

    #[test]
    fn no_two_random_secrets_are_the_same_and_telegram_takes_them() {
        let (one, other) = (random_secret().unwrap(), random_secret().unwrap());
        assert_ne!(one, other);
        assert!(one.expose().len() == 64 && one.expose().bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
