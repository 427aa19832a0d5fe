//! One call of a homeserver: JSON there and back. The token is in a header, and leaves this file nowhere else.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, header};
use hyper::body::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;

use super::error::{ApiError, pause};
use crate::connector::Signs;
use crate::connector::link::brief;
use crate::egress::HttpClient;
use crate::secret::Secret;

/// The client-server API.
pub(super) const CLIENT: &str = "/_matrix/client/v3";

/// Who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    /// `@bot:example.org`.
    pub(super) user_id: String,
    /// Whose transaction ids ours are.
    pub(super) device_id: Option<String>,
    /// What proves it.
    pub(super) token: Secret,
    /// Whether another token can be had in place of this one.
    pub(super) is_renewable: bool,
}

/// A homeserver, and who we are there.
#[derive(Debug)]
pub(super) struct Api {
    client: HttpClient,
    /// Told of every answer of the homeserver's own.
    signs: Signs,
    session: Mutex<Option<Arc<Session>>>,
}

#[derive(Deserialize)]
struct Refusal {
    errcode: String,
    #[serde(default)]
    error: String,
    retry_after_ms: Option<u64>,
}

/// Returns a text as a part of a path or a query.
pub(super) fn quoted(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}

impl Api {
    pub(super) fn new(client: HttpClient, signs: Signs) -> Self {
        Self { client, signs, session: Mutex::new(None) }
    }

    /// Returns who is signed in.
    pub(super) fn session(&self) -> Option<Arc<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has everybody act as this one from now on.
    pub(super) fn become_one(&self, session: Option<Session>) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = session.map(Arc::new);
    }

    /// Asks for something as whoever is signed in. Cancel-safe.
    pub(super) async fn get(&self, path: &str, within: Duration) -> Result<Value, ApiError> {
        let session = self.session().ok_or(ApiError::SignedOut)?;
        self.call(Method::GET, path, Some(&session.token), Bytes::new(), None, within).await
    }

    /// Has something done as whoever is signed in. Cancelled, it may have been done or not.
    pub(super) async fn act(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        within: Duration,
    ) -> Result<Value, ApiError> {
        let session = self.session().ok_or(ApiError::SignedOut)?;
        self.call(method, path, Some(&session.token), body.to_string().into(), None, within).await
    }

    /// As [`Api::act`], with bytes of this type.
    pub(super) async fn upload(
        &self,
        path: &str,
        media_type: &str,
        content: Vec<u8>,
        within: Duration,
    ) -> Result<Value, ApiError> {
        let session = self.session().ok_or(ApiError::SignedOut)?;
        self.call(Method::POST, path, Some(&session.token), content.into(), Some(media_type), within).await
    }

    /// Calls with this token or none, and returns the JSON of a success.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        token: Option<&Secret>,
        body: Bytes,
        media_type: Option<&str>,
        within: Duration,
    ) -> Result<Value, ApiError> {
        let mut headers = HeaderMap::new();
        if let Some(token) = token
            && let Ok(mut value) = HeaderValue::try_from(format!("Bearer {}", token.expose()))
        {
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        if let Some(media_type) = media_type {
            let unknown = HeaderValue::from_static("application/octet-stream");
            headers.insert(header::CONTENT_TYPE, HeaderValue::try_from(media_type).unwrap_or(unknown));
        }
        let response = self.client.call(method, path, headers, body, within).await?;
        let read = read(response.status.as_u16(), &response.body, response.retry_after);
        // That it says no is an answer; that it fails is none.
        if matches!(&read, Ok(_) | Err(ApiError::Refused { status: 400..500, .. })) {
            self.signs.succeeded();
        }
        read
    }
}

fn read(status: u16, body: &[u8], retry_after: Option<Duration>) -> Result<Value, ApiError> {
    if (200..300).contains(&status) {
        return serde_json::from_slice(body).map_err(|_| ApiError::Unreadable(status));
    }
    let refusal: Option<Refusal> = serde_json::from_slice(body).ok();
    if status == 429 || refusal.as_ref().is_some_and(|refusal| refusal.errcode == "M_LIMIT_EXCEEDED") {
        let by_body = refusal.as_ref().and_then(|refusal| refusal.retry_after_ms);
        let retry_after = Some(pause(retry_after, by_body));
        let (errcode, error) = ("M_LIMIT_EXCEEDED".to_owned(), "too many requests".to_owned());
        return Err(ApiError::Refused { status: 429, errcode, error, retry_after });
    }
    let refusal = refusal.ok_or(ApiError::Unreadable(status))?;
    let (errcode, error) = (brief(&refusal.errcode), brief(&refusal.error));
    Err(ApiError::Refused { status, errcode, error, retry_after: None })
}

#[cfg(test)]
mod tests {
    use super::super::error::{of_connection, of_delivery};
    use super::*;
    use crate::connector::DeliveryError;
    use crate::connector::link::End;
    use serde_json::json;

    fn refused(status: u16, errcode: &str) -> ApiError {
        read(status, json!({"errcode": errcode, "error": "no"}).to_string().as_bytes(), None).unwrap_err()
    }

    #[test]
    fn every_refusal_has_its_class() {
        type Class = fn(String) -> DeliveryError;
        let table: &[(u16, &str, Class)] = &[
            (401, "M_UNKNOWN_TOKEN", DeliveryError::Unauthorized),
            (401, "M_MISSING_TOKEN", DeliveryError::Unauthorized),
            (403, "M_USER_DEACTIVATED", DeliveryError::Unauthorized),
            (401, "M_USER_LOCKED", DeliveryError::Unauthorized),
            (403, "M_FORBIDDEN", DeliveryError::Permanent),
            (403, "M_CONSENT_NOT_GIVEN", DeliveryError::Permanent),
            (403, "M_RESOURCE_LIMIT_EXCEEDED", DeliveryError::Retryable),
            (404, "M_NOT_FOUND", DeliveryError::BadRequest),
            (404, "M_UNRECOGNIZED", DeliveryError::BadRequest),
            (400, "M_BAD_JSON", DeliveryError::BadRequest),
            (400, "M_NOT_JSON", DeliveryError::BadRequest),
            (400, "M_INVALID_PARAM", DeliveryError::BadRequest),
            (413, "M_TOO_LARGE", DeliveryError::BadRequest),
            (500, "M_UNKNOWN", DeliveryError::Retryable),
            (502, "M_UNKNOWN", DeliveryError::Retryable),
            (504, "M_UNKNOWN", DeliveryError::Retryable),
        ];
        for (status, errcode, class) in table {
            let error = refused(*status, errcode);
            assert_eq!(of_delivery(&error, false), class(format!("no ({errcode}, HTTP {status})")));
        }
        let renewable = of_delivery(&refused(401, "M_UNKNOWN_TOKEN"), true);
        assert!(matches!(renewable, DeliveryError::Retryable(_)), "{renewable:?}");
        for (error, expected) in [
            (read(502, b"<html>", None).unwrap_err(), "no homeserver's (HTTP 502)"),
            (read(403, b"", None).unwrap_err(), "no homeserver's (HTTP 403)"),
            (ApiError::SignedOut, "not signed in"),
        ] {
            assert!(matches!(of_delivery(&error, false), DeliveryError::Retryable(text) if text.contains(expected)));
        }
    }

    #[test]
    fn a_pause_is_the_headers_else_the_bodys_else_short_and_never_longer_than_a_day() {
        let wait = |header: Option<u64>, body: Value| {
            let body = json!({"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": body}).to_string();
            let error = read(429, body.as_bytes(), header.map(Duration::from_secs)).unwrap_err();
            let DeliveryError::RateLimited(wait) = of_delivery(&error, false) else { panic!("{error}") };
            assert_eq!(of_connection(&error), End::Wait(wait, error.to_string()));
            wait
        };
        assert_eq!(wait(Some(2), json!(1754)), Duration::from_secs(2));
        assert_eq!(wait(None, json!(1754)), Duration::from_millis(1754));
        for none in [Value::Null, json!(-1), json!("soon")] {
            assert_eq!(wait(None, none), Duration::from_secs(5));
        }
        assert_eq!(wait(Some(u64::MAX), Value::Null), Duration::from_secs(86_400));
        let html = read(429, b"<html>", None).unwrap_err();
        assert_eq!(of_delivery(&html, false), DeliveryError::RateLimited(Duration::from_secs(5)));
    }

    #[test]
    fn a_connection_ends_for_good_where_the_account_is_refused() {
        for (status, errcode) in [(401, "M_UNKNOWN_TOKEN"), (403, "M_FORBIDDEN"), (403, "M_USER_DEACTIVATED")] {
            assert!(matches!(of_connection(&refused(status, errcode)), End::Refused { retry: None, .. }));
        }
        for (status, errcode) in [(500, "M_UNKNOWN"), (404, "M_UNRECOGNIZED"), (400, "M_UNKNOWN_POS")] {
            assert!(matches!(of_connection(&refused(status, errcode)), End::Lost(_)));
        }
    }
}
