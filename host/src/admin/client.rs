//! The other end of the admin socket, for the verbs that talk to a running host.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::logs::escape;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why a running host did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("no host is running: nobody answers on {socket:?}")]
    NotRunning {
        /// The socket.
        socket: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The socket belongs to another user.
    #[error("{socket:?} belongs to another user: run this as the user that runs the host")]
    NotAllowed {
        /// The socket.
        socket: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The socket cannot be reached for another reason.
    #[error("cannot connect to {socket:?}")]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("the host's answer to {path} broke off")]
    Broken {
        /// What was asked.
        path: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer came in time.
    #[error("the host did not answer {path} within {} s", timeout.as_secs())]
    TimedOut {
        /// What was asked.
        path: String,
        /// How long it had.
        timeout: Duration,
    },
    /// The host refused.
    #[error("the host refused {path} with {status}: {detail}")]
    Refused {
        /// What was asked.
        path: String,
        /// The answer's status.
        status: StatusCode,
        /// The problem's detail.
        detail: String,
    },
}

/// Asks a running host by its admin socket. Needs a tokio runtime.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    timeout: Option<Duration>,
}

impl Client {
    /// Returns a client of the host whose socket this is.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), timeout: Some(TIMEOUT) }
    }

    /// Returns a client that waits for an answer as long as the host is there, for what may take minutes.
    pub fn patient(self) -> Self {
        Self { timeout: None, ..self }
    }

    /// Asks for a path that answers JSON.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]; an answer whose status is no success is [`ClientError::Refused`].
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.ask(Method::GET, path, None).await
    }

    /// Has the host do what a path stands for, and returns what it says.
    ///
    /// # Errors
    ///
    /// As [`Client::get`]. After [`ClientError::Broken`] and [`ClientError::TimedOut`] it may have been done.
    pub async fn post(&self, path: &str) -> Result<Value, ClientError> {
        self.ask(Method::POST, path, None).await
    }

    /// Has the host remove what a path names, and returns what it says.
    ///
    /// # Errors
    ///
    /// As [`Client::post`].
    pub async fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.ask(Method::DELETE, path, None).await
    }

    /// Has the host edit its configuration, and returns what it says when the edit has come into force. `body` is sent as JSON.
    ///
    /// # Errors
    ///
    /// As [`Client::post`].
    pub async fn edit(&self, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        self.clone().patient().ask(Method::POST, path, body).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| connect_error(&self.socket, source))?;
        let exchange = exchange(stream, method, path, body);
        let answer = match self.timeout {
            None => exchange.await,
            Some(timeout) => tokio::time::timeout(timeout, exchange)
                .await
                .map_err(|_| ClientError::TimedOut { path: path.to_owned(), timeout })?,
        };
        let (status, body) = answer.map_err(|source| ClientError::Broken { path: path.to_owned(), source })?;
        if status.is_success() {
            return Ok(body);
        }
        let detail = body["detail"].as_str().unwrap_or("no reason given");
        // A line for each mistake.
        let detail = detail.lines().map(escape).collect::<Vec<_>>().join("\n");
        Err(ClientError::Refused { path: path.to_owned(), status, detail })
    }
}

fn connect_error(socket: &Path, source: io::Error) -> ClientError {
    let socket = socket.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning { socket, source },
        io::ErrorKind::PermissionDenied => ClientError::NotAllowed { socket, source },
        _ => ClientError::Connect { socket, source },
    }
}

async fn exchange(
    stream: UnixStream,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<(StatusCode, Value), Box<dyn std::error::Error + Send + Sync>> {
    let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
    let request = Request::builder().method(method).uri(path).header(HOST, "localhost");
    let request = request.header(CONTENT_TYPE, "application/json").body(Full::new(body))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let answer = async move {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes();
        Ok((status, serde_json::from_slice(&body)?))
    };
    // The connection ends once the sender is gone; its own error shows in the answer.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}
