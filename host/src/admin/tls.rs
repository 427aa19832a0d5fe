//! The certificate of the TCP listener: read from its two files, at the start and at every reload, and until when it is good.

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use tokio_rustls::TlsAcceptor;

use super::problem::chain;
use super::validity::ends_at;
use crate::action::Severity;
use crate::alert::Alerts;
use crate::clock::Timestamp;
use crate::config::TlsFiles;
use crate::supervisor::ReloadStep;

/// How long before its end a certificate is warned of.
const ENDS_SOON: Duration = Duration::from_secs(14 * 86_400);
/// Larger files are no certificates: a chain has a few kilobytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path:?} of `[admin] tls`")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file is not in PEM, or nothing in it is what is looked for.
    #[error("{path:?} of `[admin] tls` has no {what} in PEM, which begins with `-----BEGIN`")]
    Nothing {
        /// The file.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
    },
    /// Certificate and key do not go together, or one of them is of a kind that is not supported.
    #[error("the certificate {cert:?} and the key {key:?} of `[admin] tls` cannot be used together: {reason}")]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        reason: rustls::Error,
    },
}

/// A certificate that can be used, with its key.
#[derive(Clone)]
struct Pair {
    config: Arc<ServerConfig>,
    /// None: it cannot be read from it.
    ends_at: Option<Timestamp>,
}

/// What a listener shows of itself, and the way to renew it while it serves. Cheap to clone.
#[derive(Clone)]
pub struct TlsHandle(Arc<Shared>);

struct Shared {
    files: TlsFiles,
    pair: ArcSwap<Pair>,
}

impl fmt::Debug for TlsHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsHandle").field("files", &self.0.files).finish_non_exhaustive()
    }
}

impl TlsHandle {
    /// Reads a certificate and its key. Blocks.
    ///
    /// # Errors
    ///
    /// [`TlsError`].
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let pair = ArcSwap::from_pointee(Pair::read(&files)?);
        Ok(Self(Arc::new(Shared { files, pair })))
    }

    /// Reads the files again: connections from now on see what is in them. Blocks.
    ///
    /// # Errors
    ///
    /// [`TlsError`]: the one before stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.0.pair.store(Arc::new(Pair::read(&self.0.files)?));
        Ok(())
    }

    /// Returns until when the certificate is good, as far as it tells.
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.0.pair.load().ends_at
    }

    /// Returns what is no mistake and yet to be told: that it ends soon, that others may read the key.
    pub fn warnings(&self, now: Timestamp) -> Vec<String> {
        let TlsFiles { cert, key } = &self.0.files;
        let mut warnings = Vec::new();
        match self.ends_at() {
            Some(end) if end <= now => {
                warnings.push(format!("{}: the certificate of `[admin] tls` ended at {end}: renew it", cert.display()));
            }
            Some(end) if end <= now.saturating_add(ENDS_SOON) => {
                let days = end.saturating_since(now).as_secs() / 86_400;
                warnings.push(format!(
                    "{}: the certificate of `[admin] tls` ends in {days} days, at {end}: renew it, and `host reload`",
                    cert.display()
                ));
            }
            _ => {}
        }
        let is_open = key.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0);
        if is_open {
            let path = key.display();
            warnings.push(format!("{path}: others may read the key of `[admin] tls`: chmod 600 {path}"));
        }
        warnings
    }

    /// Returns what accepts one connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.pair.load().config))
    }
}

/// Reads the certificate again, where there is one, and says loudly if that could not be: in the log, as an alert, and to who asked.
pub(crate) async fn renew(certificate: Option<&TlsHandle>, alerts: &Alerts) -> Option<ReloadStep> {
    const KEY: &str = "admin-certificate";
    let handle = certificate?.clone();
    let read =
        tokio::task::spawn_blocking(move || handle.reload()).await.expect("reading a certificate does not panic");
    let (action, detail) = match read {
        Ok(()) => {
            alerts.resolve_host(KEY, Timestamp::now());
            ("read", String::new())
        }
        Err(error) => {
            let why = chain(&error);
            tracing::error!(error = %why, "the certificate of `[admin] tls` is not renewed: the one before stays");
            let summary = "the certificate of `[admin] tls` is not renewed: the one before stays";
            let details = vec![("reason".to_owned(), why.clone())];
            alerts.raise_host(KEY, Severity::Warning, summary, details, Timestamp::now());
            ("refused", why)
        }
    };
    Some(ReloadStep { subject: "[admin] tls".to_owned(), action: action.to_owned(), detail, elapsed_ms: 0 })
}

impl Pair {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let TlsFiles { cert, key } = files;
        let nothing = |path: &Path, what| TlsError::Nothing { path: path.to_owned(), what };
        let pem = read_file(cert)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| nothing(cert, "certificate"))?;
        let ends_at = ends_at(&chain[0]);
        // What is wrong with it is not repeated: it may hold a piece of the key.
        let secret = PrivateKeyDer::from_pem_slice(&read_file(key)?).map_err(|_| nothing(key, "private key"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map(|builder| builder.with_no_client_auth())
            .and_then(|builder| builder.with_single_cert(chain, secret));
        let mut config = config.map_err(|reason| TlsError::Pair { cert: cert.clone(), key: key.clone(), reason })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), ends_at })
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::File { path: path.to_owned(), source };
    let len = std::fs::metadata(path).map_err(failed)?.len();
    if len > FILE_BYTES_MAX {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    std::fs::read(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, not_after: (i32, u8, u8)) -> TlsFiles {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(not_after.0, not_after.1, not_after.2);
        let pair = rcgen::KeyPair::generate().unwrap();
        let cert = params.self_signed(&pair).unwrap();
        let files = TlsFiles { cert: dir.join("cert.pem"), key: dir.join("key.pem") };
        std::fs::write(&files.cert, cert.pem()).unwrap();
        std::fs::write(&files.key, pair.serialize_pem()).unwrap();
        std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o600)).unwrap();
        files
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_pair_is_read_with_its_end_and_what_is_to_be_told_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let files = write(dir.path(), (2031, 5, 20));
        let handle = TlsHandle::load(files.clone()).unwrap();
        assert_eq!(handle.ends_at(), Some(at("2031-05-20T00:00:00Z")));
        assert!(handle.warnings(at("2031-05-01T00:00:00Z")).is_empty());
        let said = handle.warnings(at("2031-05-10T00:00:00Z"));
        assert!(said.len() == 1 && said[0].contains("ends in 10 days"), "{said:?}");
        let said = handle.warnings(at("2031-06-01T00:00:00Z"));
        assert!(said.len() == 1 && said[0].contains("ended at 2031-05-20"), "{said:?}");
        std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o640)).unwrap();
        let said = handle.warnings(at("2031-05-01T00:00:00Z"));
        assert!(said.len() == 1 && said[0].contains("chmod 600"), "{said:?}");
    }

    #[test]
    fn a_pair_that_is_no_good_is_told_with_its_file_and_leaves_the_one_before() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = write(dir.path(), (2060, 1, 1));
        let handle = TlsHandle::load(files.clone()).unwrap();
        let others = write(other.path(), (2070, 1, 1));
        let check = |wanted: &[&str]| {
            let said = super::super::problem::chain(&handle.reload().unwrap_err());
            assert!(wanted.iter().all(|wanted| said.contains(wanted)), "{said}");
            assert_eq!(handle.ends_at(), Some(at("2060-01-01T00:00:00Z")));
        };
        std::fs::copy(&others.key, &files.key).unwrap();
        check(&["cannot be used together", "cert.pem", "key.pem"]);
        std::fs::copy(&files.cert, &files.key).unwrap();
        check(&["key.pem", "no private key"]);
        std::fs::write(&files.cert, "nonsense").unwrap();
        check(&["cert.pem", "no certificate"]);
        std::fs::remove_file(&files.cert).unwrap();
        check(&["cannot read", "cert.pem"]);
        std::fs::copy(&others.cert, &files.cert).unwrap();
        std::fs::copy(&others.key, &files.key).unwrap();
        handle.reload().unwrap();
        assert_eq!(handle.ends_at(), Some(at("2070-01-01T00:00:00Z")));
    }
}
