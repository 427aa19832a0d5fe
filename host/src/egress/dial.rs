//! Making a connection: resolve, judge every address, connect, and TLS where it is asked for.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::{AddressGuard, ForbiddenAddress};
use super::race::{HEAD_START, Lost, connect_first, turns};
use super::resolve::{look_up, look_up_foreign, look_up_or_recall};

/// In the clear or by TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Security {
    Plain,
    Tls,
}

/// How long making a connection may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DialTimeouts {
    /// Resolving the name and connecting, all addresses together.
    pub connect: Duration,
    /// The TLS handshake.
    pub tls: Duration,
}

impl Default for DialTimeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), tls: Duration::from_secs(5) }
    }
}

/// Why no connection came about. Nothing was sent over one.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address, or nobody could say.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// None of the name's addresses may be dialled.
    #[error("{host} is out of bounds: {source}")]
    Forbidden {
        /// The name.
        host: String,
        /// The first of them.
        source: ForbiddenAddress,
    },
    /// None of the allowed addresses took the connection; this is the last that was tried.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// That address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The host is none that a certificate can be for.
    #[error("{host} cannot be reached by TLS: no valid name")]
    ServerName {
        /// The host.
        host: String,
    },
    /// No TLS with this host.
    #[error("TLS with {host} failed: {source}")]
    Tls {
        /// The host.
        host: String,
        /// Why; of a certificate outside its time the clock may be to blame, and the text has both times.
        source: io::Error,
    },
}

/// Connects to `host`, a name or an address, over addresses that `guard` allows and over no other. For places that a configuration
/// names: where the name cannot be resolved, the addresses that it had within the last ten minutes are tried.
///
/// # Errors
///
/// Every [`DialError`] means that nothing was sent.
pub async fn dial(
    host: &str,
    port: u16,
    security: Security,
    guard: AddressGuard,
    timeouts: DialTimeouts,
) -> Result<Stream, DialError> {
    let tcp = connect(host, port, &guard, timeouts.connect, look_up_or_recall).await?;
    secure(host, tcp, security, timeouts.tls).await
}

/// Connects as [`dial`] does, by what the name resolves to now and nothing else: for who wants to know whether it does.
///
/// # Errors
///
/// Every [`DialError`] means that nothing was sent.
pub async fn dial_afresh(
    host: &str,
    port: u16,
    security: Security,
    guard: AddressGuard,
    timeouts: DialTimeouts,
) -> Result<Stream, DialError> {
    let tcp = connect(host, port, &guard, timeouts.connect, look_up).await?;
    secure(host, tcp, security, timeouts.tls).await
}

/// Connects as [`dial_afresh`] does to a place that somebody else chose: names that nobody answers hold up no others than such.
///
/// # Errors
///
/// Every [`DialError`] means that nothing was sent.
pub async fn dial_foreign(
    host: &str,
    port: u16,
    security: Security,
    guard: AddressGuard,
    timeouts: DialTimeouts,
) -> Result<Stream, DialError> {
    let tcp = connect(host, port, &guard, timeouts.connect, look_up_foreign).await?;
    secure(host, tcp, security, timeouts.tls).await
}

/// Returns the addresses of a configured place that may be dialled, in the order to try them: for who can only dial by himself. They
/// are for one connection; for the next they are asked for again.
///
/// # Errors
///
/// Those of [`dial`] that come before there is a connection. There is at least one address otherwise.
pub async fn resolve(
    host: &str,
    port: u16,
    guard: &AddressGuard,
    within: Duration,
) -> Result<Vec<SocketAddr>, DialError> {
    judged(host, guard, look_up_or_recall(host.to_owned(), port, within)).await
}

/// Resolves a name, once, and connects to what of that may be dialled. There is no second question whose answer could differ from
/// the one that was judged.
async fn connect<F>(
    host: &str,
    port: u16,
    guard: &AddressGuard,
    within: Duration,
    look_up: impl FnOnce(String, u16, Duration) -> F,
) -> Result<TcpStream, DialError>
where
    F: Future<Output = io::Result<Vec<SocketAddr>>>,
{
    let deadline = Instant::now() + within;
    let addresses = judged(host, guard, look_up(host.to_owned(), port, within)).await?;
    let tcp = connect_first(&addresses, HEAD_START, deadline).await.map_err(|lost| match lost {
        Some(Lost { address, source }) => DialError::Connect { address, source },
        None => resolve_error(host, io::ErrorKind::NotFound.into()),
    })?;
    // Requests are small and each waits for its answer.
    let _ = tcp.set_nodelay(true);
    Ok(tcp)
}

async fn judged(
    host: &str,
    guard: &AddressGuard,
    resolved: impl Future<Output = io::Result<Vec<SocketAddr>>>,
) -> Result<Vec<SocketAddr>, DialError> {
    let resolved = resolved.await.map_err(|source| resolve_error(host, source))?;
    Ok(turns(allowed(host, resolved, guard)?))
}

fn resolve_error(host: &str, source: io::Error) -> DialError {
    DialError::Resolve { host: host.to_owned(), source }
}

/// Returns what of a name's addresses may be dialled.
fn allowed(host: &str, resolved: Vec<SocketAddr>, guard: &AddressGuard) -> Result<Vec<SocketAddr>, DialError> {
    let mut refused = None;
    let mut addresses = Vec::new();
    for address in resolved {
        match guard.check(address) {
            Ok(()) => addresses.push(address),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    match refused {
        Some(source) if addresses.is_empty() => Err(DialError::Forbidden { host: host.to_owned(), source }),
        _ => Ok(addresses),
    }
}

async fn secure(host: &str, tcp: TcpStream, security: Security, within: Duration) -> Result<Stream, DialError> {
    match security {
        Security::Plain => Ok(Stream(Inner::Plain(tcp))),
        Security::Tls => {
            let name =
                ServerName::try_from(host.to_owned()).map_err(|_| DialError::ServerName { host: host.to_owned() })?;
            let tls = start_tls(Arc::clone(&TLS), name, tcp, within)
                .await
                .map_err(|source| DialError::Tls { host: host.to_owned(), source })?;
            Ok(Stream(Inner::Tls(Box::new(tls))))
        }
    }
}

/// The trust of the whole process, built once.
static TLS: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    Arc::new(tls_config(roots))
});

/// Returns what speaks TLS 1.2 and 1.3 with whom these vouch for.
pub(crate) fn tls_config(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the suites of TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

async fn start_tls(
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    tcp: TcpStream,
    within: Duration,
) -> io::Result<TlsStream<TcpStream>> {
    timeout(within, TlsConnector::from(config).connect(name, tcp))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A connection, in the clear or by TLS.
#[derive(Debug)]
pub struct Stream(Inner);

impl Stream {
    /// Returns the address of the other end; none where the connection is gone.
    pub fn peer(&self) -> Option<SocketAddr> {
        match &self.0 {
            Inner::Plain(tcp) => tcp.peer_addr().ok(),
            Inner::Tls(tls) => tls.get_ref().0.peer_addr().ok(),
        }
    }
}

#[derive(Debug)]
enum Inner {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

macro_rules! on_inner {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.get_mut().0 {
            Inner::Plain(tcp) => {
                let $stream = Pin::new(tcp);
                $call
            }
            Inner::Tls(tls) => {
                let $stream = Pin::new(tls.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_inner!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_inner!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_inner!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_inner!(self, stream => stream.poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_inner!(self, stream => stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Inner::Plain(tcp) => tcp.is_write_vectored(),
            Inner::Tls(tls) => tls.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;

    use super::*;
    use crate::egress::{AddressRange, Doors};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_name_for_this_machine_is_refused_after_it_was_resolved() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["localhost", "127.0.0.1", "0x7f.1", "2130706433", "::1", "::ffff:127.0.0.1"] {
            let result = dial(host, port, Security::Plain, AddressGuard::public_only(), DialTimeouts::default()).await;
            match result {
                Err(DialError::Forbidden { source, .. }) => {
                    assert_eq!(source.range, AddressRange::Loopback)
                }
                // Where the machine has no IPv6, its resolver knows no such address.
                Err(DialError::Resolve { .. }) => {}
                other => panic!("{host}: {other:?}"),
            }
        }
    }

    #[test]
    fn of_a_mixed_answer_only_the_allowed_addresses_are_tried() {
        let mixed = ["10.0.0.1:80", "1.1.1.1:80", "[::1]:80"].map(|address| address.parse().unwrap());
        let kept = allowed("host", mixed.to_vec(), &AddressGuard::public_only()).unwrap();
        assert_eq!(kept, ["1.1.1.1:80".parse().unwrap()]);
    }

    /// Two listeners on one port: one that the guard allows and one that it does not, as a public address and a private one are.
    async fn allowed_and_forbidden() -> (TcpListener, TcpListener, AddressGuard) {
        let forbidden = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = forbidden.local_addr().unwrap();
        let allowed = TcpListener::bind(("127.0.0.2", address.port())).await.unwrap();
        let doors = Doors::default();
        doors.add(address);
        (allowed, forbidden, AddressGuard::any().besides(doors))
    }

    #[tokio::test]
    async fn f017_a_name_that_changes_its_mind_is_asked_once_and_taken_at_its_word() {
        let (allowed, forbidden, guard) = allowed_and_forbidden().await;
        let (good, bad) = (allowed.local_addr().unwrap(), forbidden.local_addr().unwrap());
        let answers = RefCell::new(VecDeque::from([vec![good], vec![bad]]));
        let look_up = async |_, _, _| Ok(answers.borrow_mut().pop_front().unwrap());
        let within = Duration::from_secs(60);

        let stream = connect("rebinds.example", good.port(), &guard, within, look_up).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        assert_eq!(answers.borrow().len(), 1, "it was asked once");
        let error = connect("rebinds.example", good.port(), &guard, within, look_up).await.unwrap_err();
        assert!(
            matches!(&error, DialError::Forbidden { source, .. } if source.range == AddressRange::OwnDoor),
            "{error}"
        );
        let both = async |_, _, _| Ok(vec![bad, good, bad]);
        let stream = connect("both.example", good.port(), &guard, within, both).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);

        // The first whom the forbidden one meets is this test.
        let mine = TcpStream::connect(bad).await.unwrap();
        assert_eq!(forbidden.accept().await.unwrap().1, mine.local_addr().unwrap());
    }

    #[tokio::test]
    async fn f069_a_name_without_addresses_and_a_resolver_that_is_away_are_no_connection() {
        let (guard, within) = (AddressGuard::any(), Duration::from_secs(60));
        let none = async |_, _, _| Ok(Vec::new());
        let away = async |_, _, _| Err(io::Error::other("the resolver is away"));
        let errors = [
            connect("none.example", 80, &guard, within, none).await.unwrap_err(),
            connect("away.example", 80, &guard, within, away).await.unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, DialError::Resolve { .. }), "{error}");
        }
    }

    #[tokio::test]
    async fn f069_of_fifty_addresses_one_that_works_is_found_behind_a_broken_family() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let working = listener.local_addr().unwrap();
        // Nothing routes to the prefix that is for documents, so these fail or never answer.
        let broken = (0..49).map(|last| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], 9)));
        let found: Vec<_> = broken.chain([working]).collect();
        let look_up = async |_, _, _| Ok(found.clone());
        let stream = connect("many.example", 80, &AddressGuard::any(), Duration::from_secs(60), look_up).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), working);
    }

    #[tokio::test]
    async fn a_server_that_never_answers_the_handshake_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let timeouts = DialTimeouts { tls: Duration::from_millis(50), ..DialTimeouts::default() };
        let error = dial("127.0.0.1", port, Security::Tls, AddressGuard::any(), timeouts).await.unwrap_err();
        assert!(matches!(&error, DialError::Tls { source, .. } if source.kind() == io::ErrorKind::TimedOut), "{error}");
    }
}
