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

/// A name may answer with any number of addresses; more than this many are not tried.
const ADDRESSES_MAX: usize = 8;

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
    /// Resolving the name and connecting, all addresses together; each gets an even share of what is left, so that one that
    /// never answers does not use up the time of the next.
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
    /// The last of the allowed addresses did not take the connection.
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

/// Connects to `host`, a name or an address, over addresses that `guard` allows and over no other.
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
    let deadline = Instant::now() + timeouts.connect;
    let resolve_error = |source| DialError::Resolve { host: host.to_owned(), source };
    let resolved = timeout(timeouts.connect, tokio::net::lookup_host((host, port)))
        .await
        .map_err(|_| resolve_error(io::ErrorKind::TimedOut.into()))?
        .map_err(resolve_error)?;
    let addresses = allowed(host, resolved, guard)?;
    let tcp = connect_any(host, &addresses, deadline).await?;
    // Requests are small and each waits for its answer.
    let _ = tcp.set_nodelay(true);
    match security {
        Security::Plain => Ok(Stream(Inner::Plain(tcp))),
        Security::Tls => {
            let name =
                ServerName::try_from(host.to_owned()).map_err(|_| DialError::ServerName { host: host.to_owned() })?;
            let tls = start_tls(Arc::clone(&TLS), name, tcp, timeouts.tls)
                .await
                .map_err(|source| DialError::Tls { host: host.to_owned(), source })?;
            Ok(Stream(Inner::Tls(Box::new(tls))))
        }
    }
}

fn allowed(
    host: &str,
    resolved: impl Iterator<Item = SocketAddr>,
    guard: AddressGuard,
) -> Result<Vec<SocketAddr>, DialError> {
    let mut refused = None;
    let mut addresses = Vec::new();
    for address in resolved {
        match guard.check(address.ip()) {
            Ok(()) if addresses.len() < ADDRESSES_MAX => addresses.push(address),
            Ok(()) => {}
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    match refused {
        Some(source) if addresses.is_empty() => Err(DialError::Forbidden { host: host.to_owned(), source }),
        _ => Ok(addresses),
    }
}

/// Tries one address after another until one takes the connection.
async fn connect_any(host: &str, addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, DialError> {
    let no_address = io::Error::new(io::ErrorKind::NotFound, "no addresses");
    let mut last = DialError::Resolve { host: host.to_owned(), source: no_address };
    for (index, &address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - index).unwrap_or(1);
        let source = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(source)) => source,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        last = DialError::Connect { address, source };
    }
    Err(last)
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
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_name_for_this_machine_is_refused_after_it_was_resolved() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["localhost", "127.0.0.1", "0x7f.1", "2130706433", "::1", "::ffff:127.0.0.1"] {
            let result = dial(host, port, Security::Plain, AddressGuard::public_only(), DialTimeouts::default()).await;
            match result {
                Err(DialError::Forbidden { source, .. }) => {
                    assert_eq!(source.range, crate::egress::AddressRange::Loopback)
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
        let kept = allowed("host", mixed.into_iter(), AddressGuard::public_only()).unwrap();
        assert_eq!(kept, ["1.1.1.1:80".parse().unwrap()]);
    }

    #[test]
    fn of_very_many_addresses_the_first_few_are_tried() {
        let many = (0..50).map(|last| SocketAddr::from(([1, 1, 1, last], 80)));
        assert_eq!(allowed("host", many, AddressGuard::public_only()).unwrap().len(), ADDRESSES_MAX);
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_followed_by_the_next() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let stream = connect_any("host", &[closed, open], Instant::now() + Duration::from_secs(5)).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
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
