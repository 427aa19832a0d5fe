//! One call of Slack's Web API: JSON or a form there, JSON back, and what kind of failure it was.

use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::connector::link::brief;
use crate::connector::{DeliveryError, Signs};
use crate::egress::{HttpClient, HttpError, HttpResponse};
use crate::secret::Secret;

/// A pause that Slack asks for is believed up to this long.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The pause after a "too many requests" that does not say how long.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(5);
/// Methods that take no JSON.
const FORMS: [&str; 5] = [
    "apps.connections.open",
    "auth.test",
    "conversations.history",
    "conversations.replies",
    "files.getUploadURLExternal",
];

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// No answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// An answer that is none of Slack's, as of a proxy in front of it.
    #[error("an answer that is not Slack's (HTTP {status})")]
    Unreadable {
        /// The HTTP status.
        status: u16,
    },
    /// Too many calls.
    #[error("rate limited by Slack for {} s", .0.as_secs())]
    Limited(Duration),
    /// Slack says no.
    #[error("{code}{}", needed.as_ref().map(|needed| format!(" (needs {needed})")).unwrap_or_default())]
    Refused {
        /// Slack's word for it.
        code: String,
        /// The scope that is missing.
        needed: Option<String>,
    },
}

impl ApiError {
    /// Returns Slack's word for it, where it said one.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Returns whether only another token helps.
    pub(super) fn is_of_credentials(&self) -> bool {
        matches!(
            self.code(),
            Some(
                "invalid_auth"
                    | "not_authed"
                    | "token_revoked"
                    | "token_expired"
                    | "account_inactive"
                    | "org_login_required"
                    | "not_allowed_token_type"
                    | "missing_scope"
                    | "no_permission"
            )
        )
    }
}

/// Judges the failure of an act that must not be done twice.
pub(super) fn classify(error: &ApiError) -> DeliveryError {
    let text = error.to_string();
    match (error, error.code()) {
        (ApiError::Limited(wait), _) => DeliveryError::RateLimited(*wait),
        (ApiError::Http(http), _) if !http.perhaps_sent() => DeliveryError::Retryable(text),
        // A server that fails does not say whether it did so before or after.
        (ApiError::Http(_) | ApiError::Unreadable { .. }, _)
        | (
            _,
            Some("internal_error" | "fatal_error" | "service_unavailable" | "request_timeout" | "team_added_to_org"),
        ) => DeliveryError::Uncertain(text),
        // Of one method, not of the token as a whole.
        (_, Some("missing_scope" | "no_permission")) => DeliveryError::Permanent(text),
        _ if error.is_of_credentials() => DeliveryError::Unauthorized(text),
        (
            _,
            Some(
                "msg_too_long"
                | "no_text"
                | "invalid_blocks"
                | "invalid_blocks_format"
                | "invalid_arguments"
                | "invalid_payload"
                | "invalid_array_arg"
                | "invalid_form_data"
                | "invalid_json"
                | "json_not_object"
                | "invalid_post_type"
                | "invalid_name"
                | "bad_timestamp"
                | "metadata_too_large"
                | "invalid_metadata_format"
                | "no_reaction"
                | "too_many_attachments"
                | "markdown_text_conflict",
            ),
        ) => DeliveryError::BadRequest(text),
        // Wherever else Slack says no it means it: the channel, the message or the person is not there, or not for us.
        (ApiError::Refused { .. }, _) => DeliveryError::Permanent(text),
    }
}

/// The Web API of one token.
#[derive(Debug)]
pub(super) struct Api {
    client: HttpClient,
    token: Secret,
    /// Told of every answer of Slack's own.
    signs: Signs,
}

impl Api {
    pub(super) fn new(client: HttpClient, token: Secret, signs: Signs) -> Self {
        Self { client, token, signs }
    }

    /// Calls a method and returns its answer. Cancelled, the call may have been carried out or not.
    pub(super) async fn call(&self, method: &str, arguments: &Value, within: Duration) -> Result<Value, ApiError> {
        self.call_as(method, arguments, &self.token, within).await
    }

    /// As [`Api::call`], with another token.
    pub(super) async fn call_as(
        &self,
        method: &str,
        arguments: &Value,
        token: &Secret,
        within: Duration,
    ) -> Result<Value, ApiError> {
        let mut headers = HeaderMap::new();
        let mut bearer =
            HeaderValue::try_from(format!("Bearer {}", token.expose())).map_err(|_| HttpError::Malformed)?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
        let (media_type, body) = match FORMS.contains(&method) {
            true => ("application/x-www-form-urlencoded", form(arguments)),
            false => ("application/json; charset=utf-8", arguments.to_string()),
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        let response = self.client.call(Method::POST, &format!("/{method}"), headers, body, within).await?;
        let read = read(response);
        // That it says no is an answer; that it fails is none.
        if matches!(read, Ok(_) | Err(ApiError::Refused { .. } | ApiError::Limited(_))) {
            self.signs.succeeded();
        }
        read
    }
}

fn form(arguments: &Value) -> String {
    let pair = |(name, value): (&String, &Value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{name}={}", utf8_percent_encode(&text, NON_ALPHANUMERIC))
    };
    arguments.as_object().into_iter().flatten().map(pair).collect::<Vec<_>>().join("&")
}

fn read(response: HttpResponse) -> Result<Value, ApiError> {
    let limited = |response: &HttpResponse| {
        let wait = response.retry_after.filter(|wait| !wait.is_zero());
        ApiError::Limited(wait.unwrap_or(RETRY_AFTER_DEFAULT).min(RETRY_AFTER_MAX))
    };
    if response.status == StatusCode::TOO_MANY_REQUESTS {
        return Err(limited(&response));
    }
    let status = response.status.as_u16();
    let answer: Value = serde_json::from_slice(&response.body).map_err(|_| ApiError::Unreadable { status })?;
    match (answer["ok"].as_bool(), answer["error"].as_str()) {
        (Some(true), _) if response.status.is_success() => Ok(answer),
        (Some(false), Some("ratelimited" | "rate_limited")) => Err(limited(&response)),
        (Some(false), Some(code)) if !response.status.is_server_error() => {
            let needed = answer["needed"].as_str().map(brief);
            Err(ApiError::Refused { code: brief(code), needed })
        }
        _ => Err(ApiError::Unreadable { status }),
    }
}

#[cfg(test)]
mod tests;
