//! One call of the Bot API: JSON there and back, or a form where a file goes with it, and what kind of failure it was. The token is in
//! every path, so no path ever leaves this file.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, header};
use serde::Deserialize;
use serde_json::Value;

use super::form::Form;
use crate::connector::Signs;
use crate::connector::link::brief;
use crate::egress::{HttpClient, HttpError, HttpResponse};
use crate::secret::Secret;

/// A pause that Telegram asks for is believed up to this long.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The pause after a "too many requests" that does not say how long.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(5);

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// No answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// An answer that is none of the Bot API's, as of a proxy in front of it.
    #[error("an answer that is not the Bot API's (HTTP {status})")]
    Unreadable {
        /// The HTTP status.
        status: u16,
    },
    /// The Bot API says no.
    #[error("{description} ({code})")]
    Refused {
        /// Mirrors the HTTP status.
        code: u16,
        /// In Telegram's words, without the token should it be in there.
        description: String,
        /// How long to pause; there whenever the code is 429.
        retry_after: Option<Duration>,
        /// The id that the chat has now.
        migrate_to_chat_id: Option<i64>,
    },
}

impl ApiError {
    /// Returns the code that Telegram, or what stands before it, answered with.
    pub(super) fn code(&self) -> Option<u16> {
        match self {
            Self::Http(_) => None,
            Self::Unreadable { status } => Some(*status),
            Self::Refused { code, .. } => Some(*code),
        }
    }

    /// Returns whether Telegram knows no such token. What only stands before it may have lost the way.
    pub(super) fn refuses_token(&self) -> bool {
        matches!(self, Self::Refused { code: 401 | 404, .. })
    }

    /// Returns whether Telegram refused with a description that holds `words`.
    pub(super) fn says(&self, words: &str) -> bool {
        matches!(self, Self::Refused { description, .. } if description.contains(words))
    }
}

/// The Bot API of one token.
#[derive(Debug)]
pub(super) struct Api {
    client: HttpClient,
    token: Secret,
    /// Told of every answer of the Bot API's own.
    signs: Signs,
}

#[derive(Deserialize, Default)]
struct Envelope {
    ok: bool,
    #[serde(default)]
    result: Value,
    #[serde(default)]
    error_code: u16,
    #[serde(default)]
    description: String,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Deserialize, Default)]
struct Parameters {
    #[serde(default)]
    retry_after: Value,
    migrate_to_chat_id: Option<i64>,
}

impl Api {
    pub(super) fn new(client: HttpClient, token: Secret, signs: Signs) -> Self {
        Self { client, token, signs }
    }

    /// Calls a method and returns its result. Cancelled, the call may have been carried out or not.
    pub(super) async fn call(&self, method: &str, parameters: &Value, within: Duration) -> Result<Value, ApiError> {
        let response = self.client.post_json(&self.path(method), parameters.to_string(), within).await?;
        self.hear(&response)
    }

    /// Calls a method with a file. Else as [`Api::call`].
    pub(super) async fn upload(&self, method: &str, form: Form, within: Duration) -> Result<Value, ApiError> {
        let media_type = HeaderValue::from_str(&form.media_type()).map_err(|_| HttpError::Malformed)?;
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, media_type)]);
        let response = self.client.call(Method::POST, &self.path(method), headers, form.into_body(), within).await?;
        self.hear(&response)
    }

    fn path(&self, method: &str) -> String {
        format!("/bot{}/{method}", self.token.expose())
    }

    fn hear(&self, response: &HttpResponse) -> Result<Value, ApiError> {
        let read = self.read(response.status.as_u16(), &response.body, response.retry_after);
        // That it says no is an answer; that it fails is none.
        if matches!(&read, Ok(_) | Err(ApiError::Refused { code: 400..500, .. })) {
            self.signs.succeeded();
        }
        read
    }

    /// Reads an answer. `pause` is what HTTP itself says of how long to wait, for where the Bot API does not.
    fn read(&self, status: u16, body: &[u8], pause: Option<Duration>) -> Result<Value, ApiError> {
        let envelope: Envelope = match serde_json::from_slice(body) {
            Ok(envelope) => envelope,
            // What stands before the Bot API has limits of its own.
            Err(_) if status == 429 => {
                Envelope { description: "Too Many Requests".to_owned(), error_code: 429, ..Envelope::default() }
            }
            Err(_) => return Err(ApiError::Unreadable { status }),
        };
        if envelope.ok {
            return Ok(envelope.result);
        }
        let code = if envelope.error_code == 0 { status } else { envelope.error_code };
        Err(ApiError::Refused {
            code,
            description: brief(&envelope.description.replace(self.token.expose(), "[redacted]")),
            retry_after: (code == 429).then(|| retry_after(&envelope.parameters.retry_after, pause)),
            migrate_to_chat_id: envelope.parameters.migrate_to_chat_id,
        })
    }
}

/// Reads a pause as exactly as it is given, in the body or else by HTTP; what is none becomes a short one.
fn retry_after(value: &Value, pause: Option<Duration>) -> Duration {
    let seconds = value.as_u64().or_else(|| value.as_str()?.parse().ok()).filter(|seconds| *seconds > 0);
    let pause = pause.filter(|pause| !pause.is_zero());
    seconds.map(Duration::from_secs).or(pause).unwrap_or(RETRY_AFTER_DEFAULT).min(RETRY_AFTER_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::{AddressGuard, HttpUrl};
    use serde_json::json;

    fn api() -> Api {
        let HttpUrl(endpoint) = "http://127.0.0.1:1".parse().unwrap();
        Api::new(HttpClient::new(endpoint, AddressGuard::any()), Secret::new("1:s3cret"), Signs::default())
    }

    #[test]
    fn a_pause_is_believed_exactly_and_nonsense_becomes_a_short_one() {
        for (given, seconds) in [
            (json!(1), 1),
            (json!(3600), 3600),
            (json!("7"), 7),
            (json!(null), 5),
            (json!(-1), 5),
            (json!("soon"), 5),
            (json!(0), 5),
            (json!(u64::MAX), 86_400),
        ] {
            assert_eq!(retry_after(&given, None), Duration::from_secs(seconds), "{given}");
        }
        let by_http = Some(Duration::from_secs(9));
        assert_eq!(retry_after(&json!(null), by_http), Duration::from_secs(9));
        assert_eq!(retry_after(&json!(2), by_http), Duration::from_secs(2), "the Bot API's own word counts first");
        let error = api().read(429, b"<html>slow down</html>", by_http).unwrap_err();
        assert!(matches!(error, ApiError::Refused { retry_after, .. } if retry_after == by_http), "{error:?}");
    }

    #[test]
    fn a_description_that_repeats_the_token_is_redacted() {
        let body = br#"{"ok":false,"error_code":404,"description":"no /bot1:s3cret/getMe"}"#;
        let error = api().read(404, body, None).unwrap_err();
        assert_eq!(error.to_string(), "no /bot[redacted]/getMe (404)");
        assert!(!format!("{:?} {error:?}", api()).contains("s3cret"));
    }

    #[test]
    fn what_is_not_the_bot_apis_is_not_repeated() {
        let error = api().read(502, b"<html>/bot1:s3cret/getMe</html>", None).unwrap_err();
        assert_eq!(error.to_string(), "an answer that is not the Bot API's (HTTP 502)");
    }

    #[tokio::test]
    async fn an_error_of_the_connection_holds_no_token() {
        let error = api().call("getMe", &json!({}), Duration::from_secs(5)).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    }
}
