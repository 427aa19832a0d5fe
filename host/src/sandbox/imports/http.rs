//! Outgoing HTTP of guests: to granted hosts, over addresses that the guard allows, within the bot's budgets. At once, not part
//! of the transaction. No redirect is followed: where one leads is the guest's to ask for, and is judged as any other request.

mod answer;
mod secrets;

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::uri::{Authority, PathAndQuery};
use http::{Request, Response, Uri, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::{AcquireError, OwnedSemaphorePermit};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use self::answer::{Answer, Terms};
pub(in crate::sandbox) use self::secrets::can_leave;
use self::secrets::{Cargo, unfit};
use crate::egress::{DialError, DialTimeouts, Security, Stream, dial_foreign};
use crate::grants::Scheme;
use crate::sandbox::context::GuestContext;

/// How long to wait for the head of an answer, unless the guest wants less. The event's own timeout usually ends it first.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait for the next bytes of its body.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of the head of an answer. Of headers there may be a hundred, by hyper.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Drives a connection until its answer is read or dropped.
type Driver = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// What one instance's requests pass through.
pub(in crate::sandbox) struct Outbound {
    context: Arc<GuestContext>,
}

impl Outbound {
    pub(in crate::sandbox) fn new(context: Arc<GuestContext>) -> Self {
        Self { context }
    }

    /// Decides whether a request may leave, and takes it from the budgets.
    fn admit(&self, uri: &Uri) -> Result<Admitted, Error> {
        let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
        let scheme = if uri.scheme() == Some(&http::uri::Scheme::HTTPS) { Scheme::Https } else { Scheme::Http };
        let port = authority.port_u16();
        let granted = self.context.grants.http.iter().flatten();
        let mut granted = granted.filter(|host| host.allows(scheme, authority.host(), port)).peekable();
        if has_user(authority) || granted.peek().is_none() {
            note(&self.context, "a request was refused: the host is not in grants.http", "host", authority.host());
            return Err(Error::HttpRequestDenied);
        }
        let secrets_in_clear = granted.any(|host| host.lets_secrets_leave_in_clear());
        let budgets = &self.context.budgets;
        budgets.take_http().map_err(|_| Error::ConnectionLimitReached)?;
        let permit =
            Arc::clone(&budgets.http_in_flight).try_acquire_owned().map_err(|_| Error::ConnectionLimitReached)?;
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host).to_owned();
        let security = if scheme == Scheme::Https { Security::Tls } else { Security::Plain };
        Ok(Admitted { host, port: port.unwrap_or(scheme.default_port()), security, secrets_in_clear, permit })
    }
}

/// A request that may leave.
struct Admitted {
    host: String,
    port: u16,
    security: Security,
    secrets_in_clear: bool,
    permit: OwnedSemaphorePermit,
}

impl WasiHttpHooks for Outbound {
    fn send_request(
        &mut self,
        mut request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _transmitted: Driver,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Driver), Error>> + Send> {
        let admitted = self.admit(request.uri()).and_then(|admitted| {
            check_length(&request, self.context.limits.http_body)?;
            let cargo = secrets::fill(request.headers_mut(), &self.context.secrets)?;
            Ok((admitted, cargo))
        });
        let context = Arc::clone(&self.context);
        Box::new(async move {
            let (admitted, cargo) = admitted?;
            let (stream, permits) = connect(&context, admitted, cargo, &options).await?;
            exchange(&context, stream, Outgoing { request, options, cargo, permits }).await
        })
    }
}

/// What the bot and the host have given for a connection, for as long as it is open.
type Permits = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// Waits for a connection's place and makes it.
async fn connect(
    context: &GuestContext,
    admitted: Admitted,
    cargo: Cargo,
    options: &Option<RequestOptions>,
) -> Result<(Stream, Permits), Error> {
    let default = DialTimeouts::default();
    let wanted = options.as_ref().and_then(|options| options.connect_timeout);
    let timeouts = DialTimeouts { connect: at_most(default.connect, wanted), ..default };
    // Who waits here is bounded by what the bots have in flight, and the first comes first.
    let place = Arc::clone(&context.services.http_connections).acquire_owned();
    let place = match tokio::time::timeout(timeouts.connect, place).await {
        Ok(Ok(place)) => place,
        Ok(Err(AcquireError { .. })) | Err(_) => {
            note(context, "a request got no connection", "error", "the bots of this host have all that there may be");
            return Err(unfit("the host has all the connections that there may be"));
        }
    };
    let Admitted { host, port, security, secrets_in_clear, permit } = admitted;
    let guard = context.services.guard.clone();
    let stream = dial_foreign(&host, port, security, guard, timeouts).await.map_err(|error| {
        note(context, "a request got no connection", "error", &error.to_string());
        dial_error(&error)
    })?;
    if cargo == Cargo::Secret {
        secrets::check_way(security, stream.peer(), secrets_in_clear).inspect_err(|_| {
            note(context, "a request was refused: its secret would leave in the clear", "host", &host);
        })?;
    }
    Ok((stream, (permit, place)))
}

/// A request that has its connection.
struct Outgoing {
    request: Request<WasiBody>,
    options: Option<RequestOptions>,
    cargo: Cargo,
    permits: Permits,
}

/// Sends the request over a new connection and returns the head of the answer, and what drives the rest.
async fn exchange(
    context: &GuestContext,
    stream: Stream,
    outgoing: Outgoing,
) -> Result<(Response<WasiBody>, Driver), Error> {
    let Outgoing { request, options, cargo, permits } = outgoing;
    let bytes_max = context.limits.http_body;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    // An instance that stays could keep an answer that it does not read; no event may have one for longer than it lasts itself.
    let lifetime = context.limits.event_timeout.max(context.limits.init_timeout);
    let driver = tokio::spawn(async move {
        let outcome = tokio::time::timeout(lifetime, connection).await;
        drop(permits);
        outcome.unwrap_or(Ok(()))
    });
    // Dropped with the answer, it ends the connection; so nothing of a request outlives its event.
    let driver = AbortOnDrop(driver);
    let mut request = request.map(|body| Limited::new(body, usize::try_from(bytes_max).unwrap_or(usize::MAX)));
    *request.uri_mut() = origin_form(request.uri());
    let wanted = options.as_ref().and_then(|options| options.first_byte_timeout);
    let response = tokio::time::timeout(at_most(FIRST_BYTE_TIMEOUT, wanted), sender.send_request(request));
    let response = response.await.map_err(|_| Error::ConnectionReadTimeout)?;
    let (mut head, body) = response.map_err(|error| sending_error(error, bytes_max))?.into_parts();
    let redactor = Arc::clone(context.redactor());
    answer::redact(&mut head.headers, &redactor);
    if cargo == Cargo::Secret {
        answer::check_readable(&head.headers)?;
    }
    let wanted = options.and_then(|options| options.between_bytes_timeout);
    let terms = Terms { bytes_max, idle_timeout: at_most(IDLE_TIMEOUT, wanted), redactor };
    let response = Response::from_parts(head, Answer::new(body, terms)?.boxed_unsync());
    Ok((response, Box::new(driver.join())))
}

/// Returns what a guest wants, where that is no more than it may have.
fn at_most(most: Duration, wanted: Option<Duration>) -> Duration {
    wanted.map_or(most, |wanted| wanted.min(most))
}

/// Refuses a request that says itself that its body is too long. One that does not say is cut off where it passes that.
fn check_length(request: &Request<WasiBody>, bytes_max: u64) -> Result<(), Error> {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    match length {
        Some(length) if bytes_max < length => Err(Error::HttpRequestBodySize(Some(bytes_max))),
        _ => Ok(()),
    }
}

/// Tells a body that was cut off from a connection that broke.
fn sending_error(error: hyper::Error, bytes_max: u64) -> Error {
    match error.source().is_some_and(|source| source.is::<LengthLimitError>()) {
        true => Error::HttpRequestBodySize(Some(bytes_max)),
        false => error.into(),
    }
}

/// Says something in the bot's log, which is bounded: a guest can have it said as often as it likes.
fn note(context: &GuestContext, text: &str, field: &str, value: &str) {
    context.log.line(tracing::Level::WARN, text, &[(field.to_owned(), value.to_owned())], Instant::now());
}

struct AbortOnDrop(tokio::task::JoinHandle<Result<(), hyper::Error>>);

impl AbortOnDrop {
    async fn join(mut self) -> Result<(), Error> {
        match (&mut self.0).await {
            Ok(outcome) => outcome.map_err(Error::from),
            Err(_) => Err(Error::ConnectionTerminated),
        }
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Returns the path and the query alone: what a server that is no proxy expects.
fn origin_form(uri: &Uri) -> Uri {
    uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")).into()
}

/// Returns whether an authority names a user: `http://granted@elsewhere` reads as one host and means another.
fn has_user(authority: &Authority) -> bool {
    authority.as_str().contains('@')
}

/// What a guest is told: the class, without the addresses of the operator's network.
fn dial_error(error: &DialError) -> Error {
    match error {
        DialError::Resolve { .. } => Error::DnsError { rcode: None, info_code: None },
        DialError::Forbidden { .. } => Error::DestinationIpProhibited,
        DialError::Connect { source, .. } if source.kind() == std::io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        DialError::Connect { .. } => Error::ConnectionRefused,
        DialError::ServerName { .. } => Error::TlsCertificateError,
        DialError::Tls { .. } => Error::TlsProtocolError,
    }
}

#[cfg(test)]
mod tests;
