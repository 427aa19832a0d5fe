//! The other end of the admin side, for the verbs that talk to a running host: by its socket on this machine, or by its address in a
//! network. A request is a connection; redirects are not followed, so that a token goes nowhere but to the host it is for.

mod content;
mod door;
mod events;
mod url;

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, LINK};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use self::content::Content;
use self::door::Door;
pub use self::door::{OpenWay, Trust};
use self::events::EventReader;
pub use self::events::ServerEvent;
pub use self::url::{HostUrl, HostUrlError, Scheme};
use crate::logs::escape;
use crate::secret::Secret;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a host that is followed may say nothing: it says something each 15 seconds.
const SILENT_MAX: Duration = Duration::from_secs(60);
/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// What is understood.
const ACCEPTED: &str = "application/json, application/openmetrics-text;q=0.9, */*;q=0.1";
/// Pages of a listing that are read at most.
const PAGES_MAX: usize = 1_000;
/// Entries of a listing that are read at most.
const ENTRIES_MAX: usize = 1_000_000;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a host cannot be asked over the network.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The token would travel in the clear.
    #[error(
        "{url} is in the clear, and everybody on the way could read the token: use https://, \
         or --insecure where the way is known to be safe"
    )]
    OpenToOthers {
        /// Where it would go.
        url: HostUrl,
    },
    /// It has characters that no header takes.
    #[error("the token has characters that no token has, such as a line break")]
    NoToken,
    /// The certificates to trust cannot be read.
    #[error("cannot read certificates from {path:?}, which must be PEM")]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: BoxError,
    },
}

/// Why a running host did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("no host is running: nobody answers on {at}")]
    NotRunning {
        /// The socket or the address.
        at: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The socket belongs to another user.
    #[error("{at} belongs to another user: run this as the user that runs the host")]
    NotAllowed {
        /// The socket.
        at: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The socket cannot be reached for another reason.
    #[error("cannot connect to {at}")]
    Connect {
        /// The socket.
        at: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Who answers there is not known to be the host.
    #[error("{at} does not speak TLS, or its certificate is not trusted; one of a private authority takes --ca-file")]
    Untrusted {
        /// The address.
        at: String,
        /// What is wrong with it.
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
        source: BoxError,
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
    /// A listing has no end.
    #[error("the host's listing {path} has more than can be read: ask for less of it")]
    TooLong {
        /// What was asked.
        path: String,
    },
}

/// Asks a running host. Needs a tokio runtime.
#[derive(Debug, Clone)]
pub struct Client {
    door: Door,
    timeout: Option<Duration>,
}

impl Client {
    /// Returns a client of the host whose socket this is.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { door: Door::Socket(socket.into()), timeout: Some(TIMEOUT) }
    }

    /// Returns a client of the host at an address, which says this token where there is one. Reads the file of `trust`.
    ///
    /// # Errors
    ///
    /// See [`RemoteError`].
    pub fn by_url(url: HostUrl, token: Option<Secret>, trust: &Trust, open: OpenWay) -> Result<Self, RemoteError> {
        Ok(Self { door: Door::url(url, token, trust, open)?, timeout: Some(TIMEOUT) })
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
        Ok(self.ask(Method::GET, path, None).await?.json(path)?.0)
    }

    /// Asks for one page of a listing, and returns it with the path of the next one, where there is one.
    ///
    /// # Errors
    ///
    /// As [`Client::get`].
    pub async fn page(&self, path: &str) -> Result<(Value, Option<String>), ClientError> {
        let (page, headers) = self.ask(Method::GET, path, None).await?.json(path)?;
        Ok((page, next_page(&headers)))
    }

    /// Has the host put what is no JSON to a path, as long as it takes.
    ///
    /// # Errors
    ///
    /// As [`Client::post`].
    pub async fn put(&self, path: &str, media_type: &'static str, body: Vec<u8>) -> Result<Value, ClientError> {
        let content = Content { media_type, bytes: body.into() };
        Ok(self.clone().patient().ask_with(Method::PUT, path, content).await?.json(path)?.0)
    }

    /// Asks for a listing, and for its further pages as long as the host names a next one.
    ///
    /// # Errors
    ///
    /// As [`Client::get`]; [`ClientError::TooLong`] where there is no end of it.
    pub async fn list(&self, path: &str) -> Result<Value, ClientError> {
        let (mut whole, headers) = self.ask(Method::GET, path, None).await?.json(path)?;
        let mut next = next_page(&headers);
        let mut pages = 1;
        while let (Some(page), Value::Array(entries)) = (&next, &mut whole) {
            if pages == PAGES_MAX || entries.len() > ENTRIES_MAX {
                return Err(ClientError::TooLong { path: path.to_owned() });
            }
            let (more, headers) = self.ask(Method::GET, page, None).await?.json(page)?;
            match more {
                Value::Array(more) => entries.extend(more),
                _ => break,
            }
            next = next_page(&headers);
            pages += 1;
        }
        Ok(whole)
    }

    /// Asks for a path that answers text.
    ///
    /// # Errors
    ///
    /// As [`Client::get`].
    pub async fn text(&self, path: &str) -> Result<String, ClientError> {
        let answer = self.ask(Method::GET, path, None).await?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// Has the host do what a path stands for, and returns what it says.
    ///
    /// # Errors
    ///
    /// As [`Client::get`]. After [`ClientError::Broken`] and [`ClientError::TimedOut`] it may have been done.
    pub async fn post(&self, path: &str) -> Result<Value, ClientError> {
        Ok(self.ask(Method::POST, path, None).await?.json(path)?.0)
    }

    /// Has the host remove what a path names, and returns what it says.
    ///
    /// # Errors
    ///
    /// As [`Client::post`].
    pub async fn delete(&self, path: &str) -> Result<Value, ClientError> {
        Ok(self.ask(Method::DELETE, path, None).await?.json(path)?.0)
    }

    /// Has the host edit its configuration, and returns what it says when the edit has come into force. `body` is sent as JSON.
    ///
    /// # Errors
    ///
    /// As [`Client::post`].
    pub async fn edit(&self, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        self.send(Method::POST, path, body).await
    }

    /// Has the host do with a path what a method stands for, as long as it takes. `body` is sent as JSON.
    ///
    /// # Errors
    ///
    /// As [`Client::post`].
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        Ok(self.clone().patient().ask(method, path, body).await?.json(path)?.0)
    }

    /// Follows a path that answers with server-sent events, until `on_event` breaks or the host ends it.
    ///
    /// # Errors
    ///
    /// As [`Client::get`]; [`ClientError::TimedOut`] where the host falls silent.
    pub async fn follow(
        &self,
        path: &str,
        mut on_event: impl FnMut(ServerEvent) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let broken = |source: BoxError| ClientError::Broken { path: path.to_owned(), source };
        let silent = |_| ClientError::TimedOut { path: path.to_owned(), timeout: SILENT_MAX };
        let stream = tokio::time::timeout(TIMEOUT, self.door.open()).await.map_err(silent)??;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(error.into()))?;
        let followed = async {
            let request = self.request(Method::GET, path, Content::json(None)).map_err(broken)?;
            let answer = tokio::time::timeout(SILENT_MAX, sender.send_request(request)).await.map_err(silent)?;
            let answer = answer.map_err(|error| broken(error.into()))?;
            if !answer.status().is_success() {
                return Answer::read(answer).await.map_err(broken)?.checked(path).map(drop);
            }
            let (mut body, mut reader) = (answer.into_body(), EventReader::default());
            while let Some(frame) = tokio::time::timeout(SILENT_MAX, body.frame()).await.map_err(silent)? {
                let Ok(piece) = frame.map_err(|error| broken(error.into()))?.into_data() else { continue };
                if reader.feed(&piece).into_iter().any(|event| on_event(event).is_break()) {
                    break;
                }
            }
            Ok(())
        };
        // The connection has no end of its own while it is followed.
        let connection = async {
            let _ = connection.await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            followed = followed => followed,
            () = connection => Ok(()),
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, ClientError> {
        self.ask_with(method, path, Content::json(body)).await
    }

    async fn ask_with(&self, method: Method, path: &str, content: Content) -> Result<Answer, ClientError> {
        let asked = async {
            let stream = self.door.open().await?;
            let request = self.request(method, path, content);
            let answer = async { exchange(TokioIo::new(stream), request?).await };
            answer.await.map_err(|source| ClientError::Broken { path: path.to_owned(), source })
        };
        let answer = match self.timeout {
            None => asked.await,
            Some(timeout) => tokio::time::timeout(timeout, asked)
                .await
                .map_err(|_| ClientError::TimedOut { path: path.to_owned(), timeout })?,
        };
        answer?.checked(path)
    }

    fn request(&self, method: Method, path: &str, content: Content) -> Result<Request<Full<Bytes>>, BoxError> {
        let Content { media_type, bytes } = content;
        let request = self.door.sign(Request::builder().method(method).uri(self.door.target(path)));
        Ok(request.header(ACCEPT, ACCEPTED).header(CONTENT_TYPE, media_type).body(Full::new(bytes))?)
    }
}

/// What a host has answered.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    async fn read(answer: Response<Incoming>) -> Result<Self, BoxError> {
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
        Ok(Self { status: head.status, headers: head.headers, body })
    }

    /// Returns it unless the host refused.
    fn checked(self, path: &str) -> Result<Self, ClientError> {
        if self.status.is_success() {
            return Ok(self);
        }
        // What is between may have answered, and does so in pages for people.
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or("no reason given");
        // A line for each mistake.
        let detail = detail.lines().map(escape).collect::<Vec<_>>().join("\n");
        Err(ClientError::Refused { path: path.to_owned(), status: self.status, detail })
    }

    fn json(self, path: &str) -> Result<(Value, HeaderMap), ClientError> {
        if self.body.is_empty() {
            return Ok((Value::Null, self.headers));
        }
        let broken = |source: serde_json::Error| ClientError::Broken { path: path.to_owned(), source: source.into() };
        Ok((serde_json::from_slice(&self.body).map_err(broken)?, self.headers))
    }
}

async fn exchange(stream: TokioIo<Box<dyn door::Stream>>, request: Request<Full<Bytes>>) -> Result<Answer, BoxError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    let answer = async move { Answer::read(sender.send_request(request).await?).await };
    // The connection ends once the sender is gone; its own error shows in the answer.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}

/// Returns the path of the next page that an answer names. Only its path and query count: it is asked of the same host.
fn next_page(headers: &HeaderMap) -> Option<String> {
    let links = headers.get_all(LINK).iter().filter_map(|link| link.to_str().ok());
    let target = links.flat_map(|link| link.split('<').skip(1)).find_map(|link| {
        let (target, parameters) = link.split_once('>')?;
        let is_next = parameters
            .trim_end_matches([',', ' '])
            .split(';')
            .any(|parameter| matches!(parameter.trim(), r#"rel="next""# | "rel=next"));
        is_next.then_some(target)
    })?;
    let uri: http::Uri = target.parse().ok()?;
    Some(uri.path_and_query()?.as_str().to_owned()).filter(|path| path.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_asked_of_the_same_host() {
        let next = |link: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LINK, link.parse().unwrap());
            next_page(&headers)
        };
        let page = Some("/api/v1/bots?after=b".to_owned());
        assert_eq!(next(r#"</api/v1/bots?after=b>; rel="next""#), page);
        assert_eq!(next(r#"<https://evil.example/api/v1/bots?after=b>; rel="next""#), page);
        assert_eq!(next(r#"</first>; rel="first", </api/v1/bots?after=b>; rel="next""#), page);
        assert_eq!(next(r#"</first>; rel="first""#), None);
        assert_eq!(next("nonsense"), None);
    }
}
