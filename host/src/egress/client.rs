//! A small HTTP/1.1 client for connectors: JSON in, bytes out, everything bounded, and nothing in an error that tells a URL.
//!
//! It spawns no task. A connection is driven by the request that uses it, and rests undriven between two.

use std::fmt;
use std::future::pending;
use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::address::AddressGuard;
use super::dial::{DialError, DialTimeouts, Stream, dial};
use super::endpoint::Endpoint;

/// Largest body of a response, in bytes.
const BODY_BYTES_MAX: usize = 8 << 20;
/// Connections that rest between two requests.
const IDLE_MAX: usize = 4;
/// A connection that rested longer is not used again: the other side has probably closed it.
const IDLE_AGE_MAX: Duration = Duration::from_secs(30);

/// Why a request has no response.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection. The request did not leave.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The request cannot be written down. It did not leave.
    #[error("the request is malformed")]
    Malformed,
    /// The connection closed before the request could leave.
    #[error("the connection closed before the request was sent")]
    Closed,
    /// The connection ended while the request or its response was under way.
    #[error("the connection broke: {0}")]
    Broken(hyper::Error),
    /// The whole exchange took too long.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// More than [`HttpClient`] reads.
    #[error("the answer is larger than {BODY_BYTES_MAX} bytes")]
    TooLarge,
}

impl HttpError {
    /// Returns whether the request may have reached the other side.
    pub fn perhaps_sent(&self) -> bool {
        match self {
            Self::Dial(_) | Self::Malformed | Self::Closed => false,
            Self::Broken(_) | Self::TimedOut(_) | Self::TooLarge => true,
        }
    }
}

/// What came back.
#[derive(Debug)]
pub struct HttpResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// How long the other side asks to be left alone, by `Retry-After`: in seconds, or until a time of day.
    pub retry_after: Option<Duration>,
}

/// Sends requests to one place, over connections that are kept. Follows no redirect and asks for no compression.
pub struct HttpClient {
    endpoint: Endpoint,
    guard: AddressGuard,
    timeouts: DialTimeouts,
    idle: Mutex<Vec<Channel>>,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpClient({})", self.endpoint)
    }
}

impl HttpClient {
    /// Returns a client for one place. Connects with the first request.
    pub fn new(endpoint: Endpoint, guard: AddressGuard) -> Self {
        Self { endpoint, guard, timeouts: DialTimeouts::default(), idle: Mutex::default() }
    }

    /// Posts a JSON text to `path`, which is appended to the endpoint's own, and returns the response within `timeout`.
    /// Cancelled, the request may have been sent or not.
    ///
    /// # Errors
    ///
    /// See [`HttpError`]; a status of any kind is no error.
    pub async fn post_json(
        &self,
        path: &str,
        body: impl Into<Bytes>,
        timeout: Duration,
    ) -> Result<HttpResponse, HttpError> {
        let target = format!("{}{path}", self.endpoint.target.trim_end_matches('/'));
        let request = self.request(&target, body.into())?;
        self.send_within(request, timeout).await
    }

    /// Posts a JSON text to the endpoint's own path, as it was given, with further headers. Else as [`HttpClient::post_json`].
    ///
    /// # Errors
    ///
    /// Those of [`HttpClient::post_json`].
    pub async fn post_to_endpoint(
        &self,
        headers: HeaderMap,
        body: impl Into<Bytes>,
        timeout: Duration,
    ) -> Result<HttpResponse, HttpError> {
        let mut request = self.request(&self.endpoint.target, body.into())?;
        request.headers_mut().extend(headers);
        self.send_within(request, timeout).await
    }

    /// Sends any request to `path`, which is appended to the endpoint's own, with further headers; a body is JSON unless they say
    /// otherwise. Else as [`HttpClient::post_json`].
    ///
    /// # Errors
    ///
    /// Those of [`HttpClient::post_json`].
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: impl Into<Bytes>,
        timeout: Duration,
    ) -> Result<HttpResponse, HttpError> {
        let target = format!("{}{path}", self.endpoint.target.trim_end_matches('/'));
        let body: Bytes = body.into();
        let is_empty = body.is_empty();
        let mut request = self.request(&target, body)?;
        *request.method_mut() = method;
        if is_empty {
            request.headers_mut().remove(header::CONTENT_TYPE);
        }
        request.headers_mut().extend(headers);
        self.send_within(request, timeout).await
    }

    async fn send_within(&self, request: Request<Full<Bytes>>, timeout: Duration) -> Result<HttpResponse, HttpError> {
        tokio::time::timeout(timeout, self.send(request)).await.unwrap_or(Err(HttpError::TimedOut(timeout)))
    }

    fn request(&self, target: &str, body: Bytes) -> Result<Request<Full<Bytes>>, HttpError> {
        Request::builder()
            .method(Method::POST)
            .uri(target)
            .header(header::HOST, &self.endpoint.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|_| HttpError::Malformed)
    }

    async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<HttpResponse, HttpError> {
        // A kept connection may have been closed meanwhile. If it gives the request back unsent, a new one takes it.
        while let Some(channel) = self.reuse() {
            match self.exchange(channel, request).await {
                Err(Failure::Unsent(back)) => request = *back,
                Err(Failure::Final(error)) => return Err(error),
                Ok(response) => return Ok(response),
            }
        }
        let Endpoint { host, port, security, .. } = &self.endpoint;
        let stream = dial(host, *port, *security, self.guard.clone(), self.timeouts).await?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(64 << 10)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(HttpError::Broken)?;
        let channel = Channel { sender, connection: Some(Box::pin(connection)), rested_at: Instant::now() };
        self.exchange(channel, request).await.map_err(|failure| match failure {
            Failure::Unsent(_) => HttpError::Closed,
            Failure::Final(error) => error,
        })
    }

    fn reuse(&self) -> Option<Channel> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|channel| channel.rested_at.elapsed() < IDLE_AGE_MAX);
        idle.pop()
    }

    async fn exchange(&self, mut channel: Channel, request: Request<Full<Bytes>>) -> Result<HttpResponse, Failure> {
        let response = channel.exchange(request).await?;
        channel.rested_at = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if channel.connection.is_some() && idle.len() < IDLE_MAX {
            idle.push(channel);
        }
        Ok(response)
    }
}

/// What drives a connection.
type Wire = http1::Connection<TokioIo<Stream>, Full<Bytes>>;

/// One connection, and the end that sends over it.
struct Channel {
    sender: http1::SendRequest<Full<Bytes>>,
    /// None once it has ended: as long as it is there, even ended, `sender` takes requests that then wait for ever.
    connection: Option<Pin<Box<Wire>>>,
    rested_at: Instant,
}

enum Failure {
    /// The request certainly did not leave; here it is.
    Unsent(Box<Request<Full<Bytes>>>),
    Final(HttpError),
}

impl Channel {
    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<HttpResponse, Failure> {
        let Self { sender, connection, .. } = self;
        let mut exchange = pin!(async {
            if sender.ready().await.is_err() {
                return Err(Failure::Unsent(Box::new(request)));
            }
            let response = sender.try_send_request(request).await.map_err(|mut error| match error.take_message() {
                Some(request) => Failure::Unsent(Box::new(request)),
                None => Failure::Final(HttpError::Broken(error.into_error())),
            })?;
            let status = response.status();
            let retry_after = retry_after(response.headers(), SystemTime::now());
            if response.body().size_hint().lower() > BODY_BYTES_MAX as u64 {
                return Err(Failure::Final(HttpError::TooLarge));
            }
            let (head, body) = response.into_parts();
            let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(body_error)?;
            Ok(HttpResponse { status, headers: head.headers, body: body.to_bytes(), retry_after })
        });
        loop {
            let ended = async {
                match connection {
                    Some(connection) => drop(connection.as_mut().await),
                    None => pending().await,
                }
            };
            tokio::select! {
                // The connection first: it notices that the other side has closed before the request is given to it.
                biased;
                () = ended => *connection = None,
                result = &mut exchange => return result,
            }
        }
    }
}

/// Reads `Retry-After`; nothing where there is none or it says nothing sensible. A time that is over means: at once.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(SystemTime::from(until).duration_since(now).unwrap_or_default())
}

fn body_error(error: Box<dyn std::error::Error + Send + Sync>) -> Failure {
    Failure::Final(match error.downcast::<hyper::Error>() {
        Ok(error) => HttpError::Broken(*error),
        Err(error) => {
            debug_assert!(error.is::<LengthLimitError>(), "`Limited` has no other error: {error}");
            HttpError::TooLarge
        }
    })
}

#[cfg(test)]
mod tests;
