//! One notice posted to an operator's URL: what kind of answer it was. The URL may be a secret, so nothing of its path leaves this file.

use std::time::Duration;

use http::HeaderMap;

use super::{ChannelError, TIMEOUT, words};
use crate::egress::{AddressGuard, Endpoint, HttpClient, HttpResponse, HttpUrl};
use crate::secret::Secret;

/// Shorter parts of a path are no secrets, and are words.
const SECRET_BYTES_MIN: usize = 8;

/// What is asked of whoever says "too many" and not for how long to wait.
const TOO_MANY_WAIT: Duration = Duration::from_secs(5);

/// What the body of an answer says that is no yes.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Why, for people.
    pub(super) words: Option<String>,
    /// How long it asks to be left alone.
    pub(super) wait: Option<Duration>,
}

/// Posts to a place that an operator named, and is sent what guests wrote: not to link-local addresses, where clouds keep their metadata.
pub(super) fn client(endpoint: Endpoint) -> HttpClient {
    HttpClient::new(endpoint, AddressGuard::no_metadata())
}

/// Posts JSON to a URL and returns the answer of one that says yes.
///
/// `explain` reads the body of an answer that says no.
pub(super) async fn post(
    url: &Secret,
    headers: HeaderMap,
    body: String,
    explain: fn(&[u8]) -> Said,
) -> Result<String, ChannelError> {
    let unusable =
        |error: crate::egress::EndpointError| ChannelError::Unusable { key: "url", problem: error.to_string() };
    let HttpUrl(endpoint) = url.expose().parse().map_err(unusable)?;
    let response = client(endpoint.clone()).post_to_endpoint(headers, body, TIMEOUT).await?;
    let mut secrets = vec![url.expose(), endpoint.target.as_str()];
    secrets.extend(endpoint.target.split(['/', '?', '&', '=']).filter(|part| part.len() >= SECRET_BYTES_MIN));
    judge(&response, &secrets, explain)
}

/// Returns what an answer says.
///
/// # Errors
///
/// It says no, with a word why.
pub(super) fn judge(
    response: &HttpResponse,
    secrets: &[&str],
    explain: fn(&[u8]) -> Said,
) -> Result<String, ChannelError> {
    let status = response.status;
    if status.is_success() {
        return Ok(format!("HTTP {}", status.as_u16()));
    }
    let Said { words: said, wait } = explain(&response.body);
    let said = match said {
        _ if status.is_redirection() => {
            "it redirects elsewhere, which is not followed; write where it leads to".to_owned()
        }
        Some(said) => words(&said, secrets),
        None => words("", secrets),
    };
    let retry_after = wait.into_iter().chain(response.retry_after).max();
    let retry_after = retry_after.or((status.as_u16() == 429).then_some(TOO_MANY_WAIT));
    Err(ChannelError::Refused { status: status.as_u16(), words: said, retry_after })
}

/// Explains an answer whose body is a text for people. A page for browsers explains nothing.
pub(super) fn plain(body: &[u8]) -> Said {
    let text = String::from_utf8_lossy(&body[..body.len().min(4096)]).into_owned();
    Said { words: Some(text).filter(|text| !text.trim_start().starts_with('<')), wait: None }
}

/// Returns a number of seconds in JSON as a time; nothing sensible is nothing.
pub(super) fn seconds(value: &serde_json::Value) -> Option<Duration> {
    value.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}
