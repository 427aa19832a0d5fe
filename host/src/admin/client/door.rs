//! The two ways to a host: its socket on this machine, and its address in a network. What comes out is a stream of bytes either way.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderValue, request};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::url::{HostUrl, Scheme};
use super::{ClientError, RemoteError};
use crate::egress::tls_config;
use crate::secret::Secret;

/// How long a machine may take to take a connection.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection of any kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Whom one who asks over the network believes to be the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// Whom the certificate authorities of the web vouch for.
    #[default]
    Web,
    /// Whom a certificate in this file, as PEM, vouches for, and nobody else.
    File(PathBuf),
}

/// Whether a token may be sent where others can read it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OpenWay {
    /// It is refused.
    #[default]
    Refused,
    /// The operator has said that the way is safe.
    Accepted,
}

/// How a host is reached.
#[derive(Clone)]
pub(super) enum Door {
    Socket(PathBuf),
    Url { url: HostUrl, token: Option<Secret>, tls: Option<Arc<ClientConfig>> },
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{path:?}"),
            Self::Url { url, .. } => url.fmt(f),
        }
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Door({self})")
    }
}

impl Door {
    pub(super) fn url(url: HostUrl, token: Option<Secret>, trust: &Trust, open: OpenWay) -> Result<Self, RemoteError> {
        if token.is_some() && url.is_open_to_others() && open == OpenWay::Refused {
            return Err(RemoteError::OpenToOthers { url });
        }
        if let Some(token) = &token
            && bearer(token).is_none()
        {
            return Err(RemoteError::NoToken);
        }
        let tls = match url.scheme {
            Scheme::Http => None,
            Scheme::Https => Some(Arc::new(tls_config(roots(trust)?))),
        };
        Ok(Self::Url { url, token, tls })
    }

    /// Connects.
    pub(super) async fn open(&self) -> Result<Box<dyn Stream>, ClientError> {
        let failed = |source: io::Error| {
            let at = self.to_string();
            match (source.kind(), self) {
                (io::ErrorKind::PermissionDenied, Self::Socket(_)) => ClientError::NotAllowed { at, source },
                (io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused, _) | (_, Self::Url { .. }) => {
                    ClientError::NotRunning { at, source }
                }
                _ => ClientError::Connect { at, source },
            }
        };
        match self {
            Self::Socket(path) => Ok(Box::new(UnixStream::connect(path).await.map_err(failed)?)),
            Self::Url { url, tls: None, .. } => Ok(Box::new(dial(url).await.map_err(failed)?)),
            Self::Url { url, tls: Some(tls), .. } => {
                let tcp = dial(url).await.map_err(failed)?;
                let distrust = |source| ClientError::Untrusted { at: url.to_string(), source };
                let name = ServerName::try_from(url.host.clone())
                    .map_err(|error| distrust(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
                Ok(Box::new(TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await.map_err(distrust)?))
            }
        }
    }

    /// Puts into a request's head who is asked and who asks.
    pub(super) fn sign(&self, request: request::Builder) -> request::Builder {
        match self {
            Self::Socket(_) => request.header(HOST, "localhost"),
            Self::Url { url, token, .. } => {
                let request = request.header(HOST, url.authority());
                match token.as_ref().and_then(bearer) {
                    Some(value) => request.header(AUTHORIZATION, value),
                    None => request,
                }
            }
        }
    }

    /// Returns what a path of the host is called on the way.
    pub(super) fn target(&self, path: &str) -> String {
        match self {
            Self::Socket(_) => path.to_owned(),
            Self::Url { url, .. } => format!("{}{path}", url.prefix),
        }
    }
}

async fn dial(url: &HostUrl) -> io::Result<TcpStream> {
    let connected = timeout(DIAL_TIMEOUT, TcpStream::connect((url.host.as_str(), url.port))).await;
    let tcp = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    // Best effort: it only makes small requests quicker.
    let _ = tcp.set_nodelay(true);
    Ok(tcp)
}

fn bearer(token: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn roots(trust: &Trust) -> Result<RootCertStore, RemoteError> {
    let Trust::File(path) = trust else {
        return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    };
    let failed =
        |source: Box<dyn std::error::Error + Send + Sync>| RemoteError::Authority { path: path.clone(), source };
    let bytes = std::fs::read(path).map_err(|error| failed(error.into()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        roots.add(certificate.map_err(|error| failed(error.into()))?).map_err(|error| failed(error.into()))?;
    }
    if roots.is_empty() { Err(failed("there is no certificate in it".into())) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(url: &str, token: Option<&str>, trust: &Trust, open: OpenWay) -> Result<Door, RemoteError> {
        Door::url(url.parse().unwrap(), token.map(Secret::new), trust, open)
    }

    #[test]
    fn a_token_is_not_sent_in_the_clear_to_another_machine_unless_that_is_wanted() {
        let (web, plain) = (Trust::Web, "http://10.0.0.7:8080");
        let refused = door(plain, Some("hunter2"), &web, OpenWay::Refused).unwrap_err();
        let said = refused.to_string();
        assert!(said.contains("https://") && said.contains("--insecure") && !said.contains("hunter2"), "{said}");
        assert!(door(plain, Some("hunter2"), &web, OpenWay::Accepted).is_ok());
        assert!(door(plain, None, &web, OpenWay::Refused).is_ok());
        assert!(door("http://127.0.0.1:8080", Some("hunter2"), &web, OpenWay::Refused).is_ok());
        assert!(door("https://10.0.0.7:8080", Some("hunter2"), &web, OpenWay::Refused).is_ok());
    }

    #[test]
    fn what_cannot_stand_in_a_header_is_no_token_and_is_not_shown() {
        let refused = door("https://localhost", Some("hunter2\r\nx: y"), &Trust::Web, OpenWay::Refused).unwrap_err();
        assert!(matches!(refused, RemoteError::NoToken) && !refused.to_string().contains("hunter2"));
        let door = door("https://localhost", Some("hunter2"), &Trust::Web, OpenWay::Refused).unwrap();
        assert!(!format!("{door:?}").contains("hunter2"));
        let signed = door.sign(http::Request::builder()).body(()).unwrap();
        assert!(!format!("{signed:?}").contains("hunter2"));
    }

    #[test]
    fn a_file_without_a_certificate_is_no_authority() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        std::fs::write(&path, "nothing").unwrap();
        let trust = Trust::File(path);
        let refused = door("https://localhost", None, &trust, OpenWay::Refused).unwrap_err();
        assert!(matches!(refused, RemoteError::Authority { .. }), "{refused:?}");
    }
}
