//! Outgoing HTTP of guests: to granted hosts, over addresses that the guard allows, within the bot's budgets. At once, not part
//! of the transaction.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::egress::{DialError, DialTimeouts, Security, dial};
use crate::sandbox::context::GuestContext;
use crate::secret::Secret;

/// How long to wait for the head of an answer, unless the guest wants less. The event's own timeout usually ends it first.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of the head of an answer.
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
        let security = if uri.scheme() == Some(&http::uri::Scheme::HTTPS) { Security::Tls } else { Security::Plain };
        let default_port = if security == Security::Tls { 443 } else { 80 };
        let port = authority.port_u16();
        let granted = self.context.grants.http.iter().flatten();
        if has_user(authority) || !granted.into_iter().any(|host| host.allows(authority.host(), port, default_port)) {
            note(&self.context, "a request was refused: the host is not in grants.http", "host", authority.host());
            return Err(Error::HttpRequestDenied);
        }
        let budgets = &self.context.budgets;
        budgets.take_http().map_err(|_| Error::ConnectionLimitReached)?;
        let permit =
            Arc::clone(&budgets.http_in_flight).try_acquire_owned().map_err(|_| Error::ConnectionLimitReached)?;
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host).to_owned();
        Ok(Admitted { host, port: port.unwrap_or(default_port), security, permit })
    }
}

/// A request that may leave.
struct Admitted {
    host: String,
    port: u16,
    security: Security,
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
            fill_secrets(request.headers_mut(), &self.context.secrets)?;
            Ok(admitted)
        });
        let context = Arc::clone(&self.context);
        Box::new(async move {
            let Admitted { host, port, security, permit } = admitted?;
            let guard = context.services.guard;
            let connect = options.as_ref().and_then(|options| options.connect_timeout);
            let default = DialTimeouts::default();
            let timeouts =
                DialTimeouts { connect: connect.map_or(default.connect, |own| own.min(default.connect)), ..default };
            let stream = dial(&host, port, security, guard, timeouts).await.map_err(|error| {
                note(&context, "a request got no connection", "error", &error.to_string());
                dial_error(&error)
            })?;
            let first_byte = options.and_then(|options| options.first_byte_timeout);
            let first_byte = first_byte.map_or(FIRST_BYTE_TIMEOUT, |own| own.min(FIRST_BYTE_TIMEOUT));
            exchange(stream, request, first_byte, permit).await
        })
    }
}

/// Sends the request over a new connection and returns the head of the answer, and what drives the rest.
async fn exchange(
    stream: crate::egress::Stream,
    mut request: Request<WasiBody>,
    first_byte: Duration,
    permit: OwnedSemaphorePermit,
) -> Result<(Response<WasiBody>, Driver), Error> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(async move {
        let outcome = connection.await;
        drop(permit);
        outcome
    });
    // Dropped with the answer, it ends the connection; so nothing of a request outlives its event.
    let driver = AbortOnDrop(driver);
    *request.uri_mut() = origin_form(request.uri());
    let response = tokio::time::timeout(first_byte, sender.send_request(request));
    let response = response.await.map_err(|_| Error::ConnectionReadTimeout)??;
    let response = response.map(|body| body.map_err(Error::from).boxed_unsync());
    Ok((response, Box::new(driver.join())))
}

/// Says something in the bot's log, which is bounded: a guest can have it said as often as it likes.
fn note(context: &GuestContext, text: &str, field: &str, value: &str) {
    context.log.line(tracing::Level::WARN, text, &[(field.to_owned(), value.to_owned())], Instant::now());
}

/// Puts secrets where a guest wrote `{{secret:NAME}}` in a header: here, on the way to a granted host, and nowhere a guest
/// can see them. Once: what a secret's own text holds is left as it is. A name that the bot does not have refuses the request.
fn fill_secrets(headers: &mut HeaderMap, secrets: &BTreeMap<String, Secret>) -> Result<(), Error> {
    const BEGIN: &str = "{{secret:";
    const END: &str = "}}";
    for value in headers.values_mut() {
        let Some(mut rest) = value.to_str().ok().filter(|text| text.contains(BEGIN)) else { continue };
        let mut filled = String::new();
        while let Some((before, after)) = rest.split_once(BEGIN) {
            let (name, after) = after.split_once(END).ok_or_else(|| unfit("a `{{secret:` without its `}}`"))?;
            let secret = secrets.get(name).ok_or_else(|| unfit(&format!("no secret `{}`", name.escape_debug())))?;
            filled.push_str(before);
            filled.push_str(secret.expose());
            rest = after;
        }
        filled.push_str(rest);
        let with_secret = HeaderValue::from_str(&filled);
        let mut with_secret = with_secret.map_err(|_| unfit("a secret that cannot stand in a header"))?;
        with_secret.set_sensitive(true);
        *value = with_secret;
    }
    Ok(())
}

/// `wasi:http` has no code for it, and a denial would read as if the host were not granted.
fn unfit(why: &str) -> Error {
    Error::InternalError(Some(why.to_owned()))
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
mod tests {
    use super::*;

    fn filled(value: &str) -> Result<String, Error> {
        let secrets = [("KEY", "hunter2"), ("LINES", "hunter2\r\nx-evil: b")];
        let secrets = secrets.map(|(name, text)| (name.to_owned(), Secret::new(text))).into();
        let mut headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())]);
        fill_secrets(&mut headers, &secrets)?;
        Ok(headers[http::header::AUTHORIZATION].to_str().unwrap().to_owned())
    }

    #[test]
    fn secrets_stand_where_they_are_named_and_nowhere_else() {
        assert_eq!(filled("Bearer {{secret:KEY}}").unwrap(), "Bearer hunter2");
        assert_eq!(filled("{{secret:KEY}}:{{secret:KEY}}").unwrap(), "hunter2:hunter2");
        assert_eq!(filled("{{KEY}} secret:KEY").unwrap(), "{{KEY}} secret:KEY");
    }

    #[test]
    fn a_secret_that_the_bot_does_not_have_refuses_the_request() {
        for (value, why) in [
            ("{{secret:OTHER}}", "no secret `OTHER`"),
            ("{{secret:}}", "no secret ``"),
            ("{{secret:KEY", "without its `}}`"),
            ("{{secret:LINES}}", "cannot stand in a header"),
        ] {
            let told = match filled(value) {
                Err(Error::InternalError(Some(told))) => told,
                other => panic!("{value}: {other:?}"),
            };
            assert!(told.contains(why) && !told.contains("hunter2"), "{value}: {told}");
        }
    }

    #[test]
    fn a_filled_header_does_not_print_itself() {
        let mut headers = HeaderMap::from_iter([(http::header::COOKIE, HeaderValue::from_static("{{secret:KEY}}"))]);
        fill_secrets(&mut headers, &BTreeMap::from([("KEY".to_owned(), Secret::new("hunter2"))])).unwrap();
        assert!(!format!("{headers:?}").contains("hunter2"));
    }
}
