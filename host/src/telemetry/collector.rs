//! One exchange with a collector: a message of the protocol in, what the collector did with it out. Each over a connection of its
//! own: there is one every few seconds.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

use super::TelemetryConfig;
use super::patience::{Outcome, retry_after};
use crate::clock::Timestamp;
use crate::egress::{AddressGuard, DialTimeouts, Endpoint, dial};

/// How long one exchange may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read. A good one has none or a few.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
        }
    }

    /// Returns how many items of what was sent the collector did not take, and why.
    fn rejected(self, answer: Bytes) -> Option<(i64, String)> {
        match self {
            Self::Traces => {
                let answer = ExportTraceServiceResponse::decode(answer).ok()?.partial_success?;
                Some((answer.rejected_spans, answer.error_message))
            }
            Self::Metrics => {
                let answer = ExportMetricsServiceResponse::decode(answer).ok()?.partial_success?;
                Some((answer.rejected_data_points, answer.error_message))
            }
        }
    }
}

/// Where a collector is and what it is told with each request.
pub(super) struct Collector {
    endpoint: Endpoint,
    headers: HeaderMap,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Collector({})", self.endpoint)
    }
}

impl Collector {
    pub(super) fn new(endpoint: Endpoint, config: &TelemetryConfig) -> Self {
        let header = |(name, value): (&String, &crate::secret::Secret)| {
            let mut value = HeaderValue::from_str(value.expose()).ok()?;
            value.set_sensitive(true);
            Some((name.parse::<HeaderName>().ok()?, value))
        };
        // What is no header was refused when the configuration was read.
        Self { endpoint, headers: config.headers.iter().filter_map(header).collect() }
    }

    /// Sends a message and returns what came of it, within ten seconds. Cancelled, it may have been taken or not.
    pub(super) async fn send(&self, signal: Signal, body: Bytes) -> Outcome {
        let later = |why| Outcome::Later { after: None, why };
        match tokio::time::timeout(TIMEOUT, self.exchange(signal, body)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(why)) => later(why),
            Err(_) => later(format!("the collector gave no answer within {} s", TIMEOUT.as_secs())),
        }
    }

    async fn exchange(&self, signal: Signal, body: Bytes) -> Result<Outcome, String> {
        let Endpoint { host, port, security, .. } = &self.endpoint;
        // The operator's own address, as a connector's is.
        let stream = dial(host, *port, *security, AddressGuard::no_metadata(), DialTimeouts::default())
            .await
            .map_err(|error| error.to_string())?;
        let broken = |error: hyper::Error| format!("the connection to the collector broke: {error}");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let answered = async {
            let response = sender.send_request(self.request(signal, body)?).await.map_err(broken)?;
            Ok(Self::outcome(signal, response, &self.headers).await)
        };
        // Where the connection ends first, so does the exchange, by itself.
        let (mut connection, mut answered) = (std::pin::pin!(connection), std::pin::pin!(answered));
        tokio::select! {
            outcome = answered.as_mut() => outcome,
            _ = connection.as_mut() => answered.await,
        }
    }

    fn request(&self, signal: Signal, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{}", self.endpoint.target.trim_end_matches('/'), signal.path()))
            .body(Full::new(body))
            .map_err(|_| "the collector's URL makes no request".to_owned())?;
        let headers = request.headers_mut();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("bothost/", env!("CARGO_PKG_VERSION"))));
        headers.extend(self.headers.clone());
        let host = HeaderValue::from_str(&self.endpoint.authority).map_err(|_| "the host is no header".to_owned())?;
        headers.insert(header::HOST, host);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        Ok(request)
    }

    async fn outcome(signal: Signal, response: Response<Incoming>, headers: &HeaderMap) -> Outcome {
        let wait = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let outcome = Outcome::of_status(response.status(), wait.and_then(|text| retry_after(text, Timestamp::now())));
        if !matches!(outcome, Outcome::Taken { .. }) {
            return outcome;
        }
        // It was taken, whatever becomes of the rest of the answer.
        let Ok(answer) = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await else { return outcome };
        let Some((rejected, why)) = signal.rejected(answer.to_bytes()) else { return outcome };
        if rejected > 0 {
            let why = redacted(why, headers);
            tracing::debug!(?signal, rejected, why, "the collector did not take everything");
        }
        Outcome::Taken { rejected: rejected.try_into().unwrap_or(0) }
    }
}

/// Returns a collector's words without what it was told in headers, should it repeat them.
fn redacted(words: String, headers: &HeaderMap) -> String {
    let values = headers.values().filter_map(|value| value.to_str().ok());
    // A token stands behind the name of its scheme, and may be repeated without that.
    let secrets = values.flat_map(|value| [value, value.rsplit(' ').next().unwrap_or(value)]);
    secrets.filter(|secret| !secret.is_empty()).fold(words, |words, secret| words.replace(secret, "[redacted]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_that_repeats_what_it_was_told_is_not_quoted() {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static("Bearer s3cret"))]);
        for (said, expected) in [
            ("too old", "too old"),
            ("who is Bearer s3cret?", "who is [redacted]?"),
            ("no token s3cret", "no token [redacted]"),
        ] {
            assert_eq!(redacted(said.to_owned(), &headers), expected);
        }
    }
}
