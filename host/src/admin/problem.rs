//! Refusals as RFC 9457 problems, and the shape that every answer has.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use hyper::body::Bytes;
use serde::{Deserialize, Serialize};

/// An answer. Bodies are whole, none larger than one rendering of the metrics; but for what is followed.
pub(super) type Answer = Response<Body>;

/// Why a request was not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    /// No such path.
    NotFound,
    /// The path is known, and what it names is not there.
    Absent(String),
    /// A part of the address is not what it should be.
    BadRequest(String),
    /// What is named is there, and not in a state for this.
    Conflict(String),
    /// What is asked for is of the right form and cannot be: it would be no good configuration, or contradicts itself.
    Unprocessable(String),
    /// The client must say what it has seen.
    PreconditionRequired,
    /// What the client has seen is no longer so.
    PreconditionFailed(String),
    /// The host cannot say at the moment; a later request may succeed.
    Unavailable(String),
    /// The path is there, for other methods.
    MethodNotAllowed { allow: String },
    /// The body is longer than this path takes.
    BodyTooLarge,
    /// The body took too long.
    TooSlow,
    /// Somebody known may not do this.
    Forbidden(String),
    /// The listener has no token, so nobody can be let in.
    TokenNotConfigured,
    /// The token is absent or wrong.
    Unauthorized,
    /// The token came in the query, where logs and histories keep it.
    TokenInQuery,
    /// Too many attempts failed; after this time another may be made.
    TooManyAttempts(Duration),
    /// A session's request does not bear what its pages know.
    WrongCsrf,
    /// The body is of another type than the path takes.
    WrongMediaType(&'static str),
    /// What was shown to sign in lets nobody in.
    WrongPassword,
    /// The request names a host that the listener is not called.
    UnknownHost,
    /// The request names a host that a loopback listener is not.
    WrongHost,
    /// A page of another origin sent the request.
    WrongOrigin,
}

/// The members of a problem (RFC 9457); `type` is `about:blank`, so `title` is the status's own name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
#[schemars(rename = "Problem")]
pub struct ProblemView {
    /// `about:blank`.
    pub r#type: String,
    /// The status's own name.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What is wrong, and what would be right.
    pub detail: String,
}

impl Problem {
    /// Returns the status that says so.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NotFound | Self::Absent(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Unprocessable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::PreconditionRequired => StatusCode::PRECONDITION_REQUIRED,
            Self::PreconditionFailed(_) => StatusCode::PRECONDITION_FAILED,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TokenNotConfigured | Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::BadRequest(_) | Self::TokenInQuery => StatusCode::BAD_REQUEST,
            Self::WrongHost | Self::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
            Self::TooManyAttempts(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::WrongMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::WrongPassword => StatusCode::UNAUTHORIZED,
            Self::WrongOrigin | Self::WrongCsrf | Self::Forbidden(_) => StatusCode::FORBIDDEN,
        }
    }

    /// Returns what is wrong, and what would be right.
    pub(super) fn detail(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Absent(detail)
            | Self::BadRequest(detail)
            | Self::Conflict(detail)
            | Self::Unprocessable(detail)
            | Self::PreconditionFailed(detail)
            | Self::Forbidden(detail)
            | Self::Unavailable(detail) => return Cow::Owned(detail.clone()),
            Self::TooManyAttempts(wait) => {
                return Cow::Owned(format!("too many attempts failed: try again in {} s", seconds(*wait)));
            }
            Self::WrongMediaType(wanted) => return Cow::Owned(format!("send `Content-Type: {wanted}`")),
            Self::WrongCsrf => {
                "a session's request must bear `X-CSRF-Token`, or the form's field `csrf`, of its session"
            }
            Self::WrongPassword => "this name and password, or this token, let nobody in",
            Self::UnknownHost => "the header `Host` must name one of `[admin] hosts`",
            Self::PreconditionRequired => {
                "send the `ETag` of the configuration that you have seen as `If-Match`, or `If-Match: *` to overwrite any"
            }
            Self::NotFound => "nothing has this path",
            Self::MethodNotAllowed { .. } => {
                "this path does not take this method; the header `Allow` names those it takes"
            }
            Self::BodyTooLarge => "the request's body is longer than this path takes",
            Self::TooSlow => "the request's body took too long",
            Self::TokenNotConfigured => {
                "only /health is open here: set `[admin] token` in the configuration, add an account with `host accounts add`, or use the admin socket"
            }
            Self::Unauthorized => {
                "send `Authorization: Bearer TOKEN` with the value of `[admin] token` or a token of `host tokens`, or sign in"
            }
            Self::TokenInQuery => "a token in an address ends up in logs: send `Authorization: Bearer TOKEN` instead",
            Self::WrongHost => "the header `Host` must name localhost or a loopback address",
            Self::WrongOrigin => "pages of other origins may not call this",
        })
    }

    /// Returns whether it is that nobody knows who asks.
    pub(super) fn is_unknown_caller(&self) -> bool {
        matches!(self, Self::TokenNotConfigured | Self::Unauthorized)
    }

    /// Returns the answer that says so.
    pub(super) fn into_answer(self) -> Answer {
        let status = self.status();
        let title = status.canonical_reason().unwrap_or("");
        let body = ProblemView {
            r#type: "about:blank".to_owned(),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.detail().into_owned(),
        };
        let mut answer = json(status, &body);
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self {
            Self::MethodNotAllowed { allow } => {
                let allow = HeaderValue::try_from(allow).expect("it holds names of methods");
                headers.insert(ALLOW, allow);
            }
            Self::TokenNotConfigured | Self::Unauthorized => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"bothost\""));
            }
            Self::TooManyAttempts(wait) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds(wait)));
            }
            _ => {}
        }
        answer
    }
}

/// Returns whole seconds, so that who waits them has waited long enough.
fn seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX)
}

/// Returns an answer of JSON.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    let bytes = serde_json::to_vec(body).expect("what is answered has text for keys and no failing parts");
    answer(status, "application/json", bytes.into())
}

/// Returns an answer that nobody stores and no browser guesses about.
pub(super) fn answer(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// Returns an answer that leads somewhere else on this host.
pub(super) fn redirect(status: StatusCode, path: &str) -> Answer {
    let mut answer = answer(status, "text/plain; charset=utf-8", Bytes::new());
    let path = HeaderValue::try_from(path).unwrap_or(HeaderValue::from_static("/"));
    answer.headers_mut().insert(LOCATION, path);
    answer
}

/// Returns an answer with the generation that it belongs to as its tag.
pub(super) fn tagged(mut answer: Answer, generation: u64) -> Answer {
    if let Ok(tag) = HeaderValue::try_from(format!("\"{generation}\"")) {
        answer.headers_mut().insert(ETAG, tag);
    }
    answer
}

/// Returns an error with its causes, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    let mut said = error.to_string();
    for cause in causes.map(ToString::to_string) {
        // Some repeat their cause.
        if !said.ends_with(&cause) {
            said.push_str(": ");
            said.push_str(&cause);
        }
    }
    said
}
