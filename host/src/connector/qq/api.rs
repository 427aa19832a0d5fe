//! QQ's HTTP API: the access token, one call, and what kind of failure it was. The client secret leaves this file for the token
//! service only, the access token for the API and its gateway only; neither is ever in an error.

use std::future::pending;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::QqConfig;
use super::refusal::Class;
use crate::connector::Signs;
use crate::connector::link::{End, brief};
use crate::egress::{AddressGuard, HttpClient, HttpError, HttpResponse};
use crate::secret::Secret;

/// A token is replaced this long before it expires: in its last minute the service gives out the next one, and both are good.
const RENEW_BEFORE: Duration = Duration::from_secs(45);
/// How long a token may take to come.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);
/// A pause that the platform asks for is believed up to this long.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The pause after "too many requests" that does not say how long; doubled with each further one in a row.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(5);
/// Where the doubling stops.
const DOUBLINGS_MAX: u32 = 6;
/// Refused credentials are tried again this rarely: a developer may have given the secret back.
const REFUSED_RETRY: Duration = Duration::from_secs(10 * 60);
/// No token lasts longer.
const TOKEN_LASTS_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// No answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// An answer that is none of the API's, as of a proxy in front of it.
    #[error("an answer that is not QQ's (HTTP {status})")]
    Unreadable {
        /// The HTTP status.
        status: u16,
    },
    /// The API says no.
    #[error("{message} (HTTP {status}, code {code}, trace {trace})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The platform's own code; 0 where it gave none.
        code: i64,
        /// In the platform's words.
        message: String,
        /// What its support asks for.
        trace: String,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// There is no token to call with, and whether that is for good.
    #[error("no access token: {error}")]
    NoToken {
        /// Why.
        error: String,
        /// The token service refuses the credentials.
        is_refused: bool,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
}

impl ApiError {
    /// Returns what is to be done about it; none where nothing was said.
    pub(super) fn class(&self) -> Option<Class> {
        match self {
            Self::Refused { status, code, .. } => Some(Class::of(*status, *code)),
            Self::NoToken { is_refused: true, .. } => Some(Class::Auth),
            Self::NoToken { retry_after: Some(_), .. } => Some(Class::RateLimited),
            Self::NoToken { .. } => Some(Class::Retryable),
            Self::Http(_) | Self::Unreadable { .. } => None,
        }
    }

    /// Returns the end of a connection that cannot be made for this.
    pub(super) fn end(&self) -> End {
        match (self.class(), self) {
            (Some(Class::Auth | Class::Token), _) => {
                let error = format!("{self}; look at `app_id` and `client_secret`");
                End::Refused { error, retry: Some(REFUSED_RETRY) }
            }
            (_, Self::Refused { retry_after: Some(wait), .. } | Self::NoToken { retry_after: Some(wait), .. }) => {
                End::Wait(*wait, self.to_string())
            }
            _ => End::lost(self),
        }
    }
}

/// An access token, and which one it is.
#[derive(Debug, Clone)]
pub(super) struct Token {
    value: Secret,
    number: u64,
    renew_at: Instant,
}

impl Token {
    /// Returns the text, for a header or a frame of the platform.
    pub(super) fn expose(&self) -> &str {
        self.value.expose()
    }

    /// Returns it as an identification has it.
    pub(super) fn prefixed(&self) -> String {
        format!("QQBot {}", self.expose())
    }
}

/// The API of one account.
#[derive(Debug)]
pub(super) struct Api {
    app_id: String,
    client_secret: Secret,
    service: HttpClient,
    client: HttpClient,
    token: Mutex<Option<Token>>,
    /// One asks for a token; those who came meanwhile take the one that it gets.
    turn: Semaphore,
    /// Calls in a row that were too many.
    limited: AtomicU32,
    /// Told of every answer of the API's own.
    signs: Signs,
    /// Why the credentials are no good, once that is known of this life of the connection.
    refused: watch::Sender<Option<End>>,
}

impl Api {
    pub(super) fn new(config: &QqConfig, guard: AddressGuard, signs: Signs) -> Self {
        Self {
            app_id: config.app_id.clone(),
            client_secret: config.client_secret.clone(),
            service: HttpClient::new(config.token_url.0.clone(), guard.clone()),
            client: HttpClient::new(config.api_url.0.clone(), guard),
            token: Mutex::default(),
            turn: Semaphore::new(1),
            limited: AtomicU32::new(0),
            signs,
            refused: watch::Sender::new(None),
        }
    }

    /// Begins a life of the connection, in which the credentials may be good again.
    pub(super) fn begin(&self) {
        self.refused.send_replace(None);
    }

    /// Returns once the platform refuses the credentials, whoever asked with them.
    pub(super) async fn refused(&self) -> End {
        let mut refused = self.refused.subscribe();
        match refused.wait_for(Option::is_some).await.map(|end| end.clone()) {
            Ok(Some(end)) => end,
            // The sender is `self`.
            _ => pending().await,
        }
    }

    /// Has the next call ask for another token.
    pub(super) fn discard(&self) {
        if let Some(token) = self.held().as_mut() {
            token.renew_at = Instant::now();
        }
    }

    /// Calls a path and returns its JSON, null where it has none. A token that is refused is replaced once. Cancelled, the call may
    /// have been carried out or not.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        within: Duration,
    ) -> Result<Value, ApiError> {
        let result = self.call_twice(&method, path, body, within).await;
        if let Err(error) = &result
            && matches!(error.class(), Some(Class::Token | Class::Auth))
        {
            self.refused.send_replace(Some(error.end()));
        }
        result
    }

    async fn call_twice(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        within: Duration,
    ) -> Result<Value, ApiError> {
        let token = self.token(None).await?;
        match self.try_call(&token, method, path, body, within).await {
            Err(error) if error.class() == Some(Class::Token) => {
                let token = self.token(Some(&token)).await?;
                self.try_call(&token, method, path, body, within).await
            }
            result => result,
        }
    }

    async fn try_call(
        &self,
        token: &Token,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        within: Duration,
    ) -> Result<Value, ApiError> {
        let text = body.map(Value::to_string).unwrap_or_default();
        let response = self.client.call(method.clone(), path, self.headers(token), text, within).await?;
        let read = self.read(token, &response);
        // That it says no is an answer; that it fails is none.
        if response.status.as_u16() < 500 && !matches!(read, Err(ApiError::Unreadable { .. })) {
            self.signs.succeeded();
        }
        read
    }

    fn headers(&self, token: &Token) -> HeaderMap {
        let mut headers = HeaderMap::new();
        // A token that is no header's value is none of the platform's; without it the platform refuses the call.
        if let Ok(mut value) = HeaderValue::from_str(&token.prefixed()) {
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        if let Ok(value) = HeaderValue::from_str(&self.app_id) {
            headers.insert("x-union-appid", value);
        }
        headers
    }

    fn read(&self, token: &Token, response: &HttpResponse) -> Result<Value, ApiError> {
        let status = response.status.as_u16();
        if response.status == StatusCode::NO_CONTENT || (response.status.is_success() && response.body.is_empty()) {
            return Ok(Value::Null);
        }
        let Ok(body) = serde_json::from_slice::<Value>(&response.body) else {
            return Err(ApiError::Unreadable { status });
        };
        let code = body.get("code").and_then(Value::as_i64).unwrap_or_default();
        if response.status.is_success() && code == 0 {
            self.limited.store(0, Ordering::Relaxed);
            return Ok(body);
        }
        let message = body.get("message").and_then(Value::as_str).unwrap_or_default();
        let trace = response.headers.get("x-tps-trace-id").and_then(|value| value.to_str().ok()).unwrap_or("unknown");
        Err(ApiError::Refused {
            status,
            code,
            message: brief(&message.replace(token.expose(), "[redacted]")),
            trace: brief(trace),
            retry_after: (Class::of(status, code) == Class::RateLimited).then(|| self.pause(response.retry_after)),
        })
    }

    /// Returns how long to leave the platform alone: what it says, else a while that doubles.
    fn pause(&self, said: Option<Duration>) -> Duration {
        let earlier = self.limited.fetch_add(1, Ordering::Relaxed);
        let doubled = RETRY_AFTER_DEFAULT * 2u32.pow(earlier.min(DOUBLINGS_MAX));
        said.filter(|wait| !wait.is_zero()).unwrap_or(doubled).min(RETRY_AFTER_MAX)
    }

    fn held(&self) -> MutexGuard<'_, Option<Token>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the token in use if it is neither due nor `refused`.
    fn usable(&self, refused: Option<&Token>) -> Option<Token> {
        let held = self.held().clone()?;
        let is_refused = refused.is_some_and(|refused| refused.number >= held.number);
        (!is_refused && Instant::now() < held.renew_at).then_some(held)
    }

    /// Returns a token that is good for a while and is not `refused`; asks for a new one at most once, whoever wants it.
    pub(super) async fn token(&self, refused: Option<&Token>) -> Result<Token, ApiError> {
        if let Some(token) = self.usable(refused) {
            return Ok(token);
        }
        let _turn = self.turn.acquire().await.expect("never closed");
        if let Some(token) = self.usable(refused) {
            return Ok(token);
        }
        let (value, expires_in) = self.ask().await?;
        let mut held = self.held();
        let number = held.as_ref().map_or(0, |held| held.number) + 1;
        let lasts = expires_in.saturating_sub(RENEW_BEFORE).max(Duration::from_secs(1));
        let token = Token { value, number, renew_at: Instant::now() + lasts };
        *held = Some(token.clone());
        Ok(token)
    }

    /// Asks the token service.
    async fn ask(&self) -> Result<(Secret, Duration), ApiError> {
        let failed = |error: String, is_refused, retry_after| ApiError::NoToken { error, is_refused, retry_after };
        let body = json!({"appId": self.app_id, "clientSecret": self.client_secret.expose()});
        let asked = self.service.post_json("/app/getAppAccessToken", body.to_string(), TOKEN_TIMEOUT).await;
        // Whether it arrived or not: nobody has a token, and nothing was done.
        let response = asked.map_err(|error| failed(error.to_string(), false, None))?;
        let status = response.status.as_u16();
        let said: Option<Value> = serde_json::from_slice(&response.body).ok();
        let token = said.as_ref().and_then(|said| said.get("access_token")?.as_str()).filter(|token| !token.is_empty());
        if let (true, Some(said), Some(token)) = (response.status.is_success(), &said, token) {
            self.signs.succeeded();
            return Ok((Secret::new(token), expires_in(&said["expires_in"])));
        }
        let words = said.as_ref().and_then(|said| said.get("message")?.as_str()).unwrap_or("no reason given");
        let code = said.as_ref().and_then(|said| said.get("code")?.as_i64()).unwrap_or_default();
        let words = brief(&words.replace(self.client_secret.expose(), "[redacted]"));
        let error = format!("{words} (HTTP {status}, code {code})");
        let is_refused = said.is_some() && (response.status.is_success() || matches!(status, 400..=403));
        let retry_after = (status == 429).then(|| self.pause(response.retry_after));
        Err(failed(error, is_refused, retry_after))
    }
}

/// Reads how long a token lasts: the platform writes a text, or a number.
fn expires_in(value: &Value) -> Duration {
    let seconds = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or_default()).min(TOKEN_LASTS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lasts_as_long_as_is_said_in_a_text_or_a_number() {
        for (given, seconds) in [
            (json!("7200"), 7200),
            (json!(7200), 7200),
            (json!(0), 0),
            (json!(null), 0),
            (json!("soon"), 0),
            (json!(u64::MAX), 86_400),
        ] {
            assert_eq!(expires_in(&given), Duration::from_secs(seconds), "{given}");
        }
    }

    #[tokio::test]
    async fn no_error_and_no_debug_text_holds_a_secret() {
        let table = "app_id = \"1\"\nclient_secret = \"s3cret\"\napi_url = \"http://127.0.0.1:1\"\ntoken_url = \"http://127.0.0.1:1\"";
        let config: QqConfig = toml::from_str(table).unwrap();
        let api = Api::new(&config, AddressGuard::any(), Signs::default());
        let error = api.call(Method::GET, "/users/@me", None, TOKEN_TIMEOUT).await.unwrap_err();
        assert_eq!(error.class(), Some(Class::Retryable), "{error}");
        assert!(!format!("{config:?} {api:?} {error:?} {error}").contains("s3cret"));
    }

    #[test]
    fn a_pause_is_believed_and_doubles_where_none_is_named() {
        let table = "app_id = \"1\"\nclient_secret = \"s3cret\"";
        let api = Api::new(&toml::from_str(table).unwrap(), AddressGuard::any(), Signs::default());
        let second = Duration::from_secs(1);
        assert_eq!(api.pause(Some(3600 * second)), 3600 * second);
        assert_eq!(api.pause(Some(Duration::MAX)), RETRY_AFTER_MAX);
        assert_eq!(api.pause(None), 4 * RETRY_AFTER_DEFAULT);
        api.limited.store(0, Ordering::Relaxed);
        assert_eq!(api.pause(None), RETRY_AFTER_DEFAULT);
        assert_eq!(api.pause(Some(Duration::ZERO)), 2 * RETRY_AFTER_DEFAULT);
    }
}
