//! Where the admin side listens: the Unix socket's file, its permissions and its removal, and the TCP address.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use tokio::net::{TcpListener, UnixListener, UnixSocket};

use super::tls::TlsError;
use crate::access::Book;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 128;

/// Why the admin side does not listen.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The system does not take so long a path for a socket.
    #[error(
        "the admin socket's path {path:?} has {bytes} bytes, more than a socket's \
         may have (about 100): choose a shorter `[host] data_dir`"
    )]
    SocketPath {
        /// The path.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// Another host listens there.
    #[error("another host is running: it answers on the admin socket {path:?}")]
    Running {
        /// The path.
        path: PathBuf,
    },
    /// A file that is no socket is in the way.
    #[error("{path:?} is no socket; it is in the way of the admin socket and is left as it is")]
    NoSocket {
        /// The path.
        path: PathBuf,
    },
    /// The socket cannot be bound.
    #[error("cannot listen on the admin socket {path:?}")]
    Socket {
        /// The path.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The address is open to others and there is nobody who could be let in.
    #[error(
        "`[admin] listen` {address} is open to other machines: \
         add `token = \"${{BOTHOST_TOKEN}}\"` to `[admin]`, or an account with the role admin, or listen on 127.0.0.1"
    )]
    OpenToAll {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be bound.
    #[error("cannot listen on `[admin] listen` {address}")]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The thread or its runtime did not start.
    #[error("cannot start the admin thread")]
    Thread(#[source] io::Error),
}

/// The socket's file, which is removed when this is dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode, so that the file of a successor is left alone.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // Left behind it does no harm: the next start finds that nobody answers and replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds the Unix socket for its owner alone, replacing the file of a process that is gone. Needs a tokio runtime
/// around it.
///
/// Two hosts that start on one path at the same moment are kept apart by the data directory's lock, not here.
///
/// # Errors
///
/// See [`AdminError`].
pub(super) fn bind_socket(path: &Path) -> Result<(UnixListener, SocketFile), AdminError> {
    // Asked before anything is touched, since a path that is too long makes an error that does not say so.
    if std::os::unix::net::SocketAddr::from_pathname(path).is_err() {
        return Err(AdminError::SocketPath { path: path.to_owned(), bytes: path.as_os_str().len() });
    }
    remove_stale(path)?;
    let error = |source| AdminError::Socket { path: path.to_owned(), source };
    let socket = UnixSocket::new_stream().map_err(error)?;
    // The file gets the socket's own mode, so at no moment is it open to others.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(|source| error(source.into()))?;
    socket.bind(path).map_err(error)?;
    let file = SocketFile { path: path.to_owned(), identity: identity(path).map_err(error)? };
    // Systems other than Linux give the file a mode of their own; before `listen` nobody can connect.
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).map_err(error)?;
    let listener = socket.listen(BACKLOG).map_err(error)?;
    Ok((listener, file))
}

/// Binds the TCP address. Needs a tokio runtime around it.
///
/// # Errors
///
/// See [`AdminError`].
pub(super) async fn bind_tcp(address: SocketAddr, book: &Book) -> Result<TcpListener, AdminError> {
    if !address.ip().is_loopback() && !book.has_admin() {
        return Err(AdminError::OpenToAll { address });
    }
    TcpListener::bind(address).await.map_err(|source| AdminError::Tcp { address, source })
}

/// Removes the file of a socket that nobody listens on any more. Whatever else is there stays.
fn remove_stale(path: &Path) -> Result<(), AdminError> {
    let error = |source| AdminError::Socket { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(error(source)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(AdminError::NoSocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(error),
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(error(source)),
        Ok(_) => Err(AdminError::Running { path: path.to_owned() }),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}
