//! Where platforms reach connectors by HTTP. A listener is shared by all connectors that name its address, each with paths of its own;
//! it is there as long as one of them wants it. What comes in is bounded, read whole as raw bytes, and handed to the connector of
//! its path, which answers once the host has it.
//!
//! TLS is for a proxy in front: a listener speaks HTTP/1.1 in the clear.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Connections that one listener serves at a time; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 256;
/// How long a client may take over a request's head, or be silent between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
/// How long a client may take over a request's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest body, in bytes.
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;
/// How long a connector may take to answer. Platforms give up sooner and come again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A body that is too large is read to its end up to this many bytes, for whoever writes it reads no answer before.
const DRAIN_BYTES_MAX: usize = 16 << 20;
/// Requests that wait for one connector.
const REQUESTS_MAX: usize = 64;
/// How long accepting rests after it failed, for want of descriptors most likely.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// The listeners of a host. All clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Ingress {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// By the address that they really have.
    listeners: Mutex<BTreeMap<SocketAddr, Listener>>,
    /// Those that are being closed; each is cancelled once its address is free again.
    leaving: Mutex<Vec<(SocketAddr, CancellationToken)>>,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Listener {
    paths: Arc<Mutex<Paths>>,
    /// Ends the listener when it goes.
    _end: DropGuard,
    /// Cancelled once its address is free again.
    left: CancellationToken,
}

/// Which connector gets the requests of a path; one that ends with `/` has everything below it.
type Paths = BTreeMap<String, mpsc::Sender<Knock>>;

/// Why no requests come.
#[derive(Debug, thiserror::Error)]
pub(super) enum IngressError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Another connector has the path.
    #[error("another connector has the path {path} on {address}: give each its own")]
    Taken {
        /// The address.
        address: SocketAddr,
        /// The path.
        path: String,
    },
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ingress {
    /// Returns the door at this path, and listens on the address if nobody does yet. A path that ends with `/` stands for everything
    /// below it.
    pub(super) async fn open(&self, listen: SocketAddr, path: &str) -> Result<Door, IngressError> {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        loop {
            let entered = self.enter(listen, path, &sender)?;
            match entered {
                Entered::At(address) => {
                    return Ok(Door { address, path: path.to_owned(), requests, shared: Arc::clone(&self.shared) });
                }
                Entered::Wait(left) => left.cancelled().await,
            }
        }
    }

    /// Takes a path of the listener at this address, which begins to listen if none does. All of it is one step: of connectors that
    /// start side by side one binds and the others join it.
    fn enter(&self, listen: SocketAddr, path: &str, sender: &mpsc::Sender<Knock>) -> Result<Entered, IngressError> {
        let mut listeners = lock(&self.shared.listeners);
        if let Some(listener) = listeners.get(&listen) {
            return match lock(&listener.paths).entry(path.to_owned()) {
                Entry::Occupied(_) => Err(IngressError::Taken { address: listen, path: path.to_owned() }),
                Entry::Vacant(entry) => {
                    entry.insert(sender.clone());
                    Ok(Entered::At(listen))
                }
            };
        }
        if let Some(left) = self.leaving(listen) {
            return Ok(Entered::Wait(left));
        }
        let bound = bind(listen).map_err(|source| IngressError::Bind { address: listen, source })?;
        let address = bound.local_addr().unwrap_or(listen);
        let (end, left) = (CancellationToken::new(), CancellationToken::new());
        let paths = Arc::new(Mutex::new(Paths::from([(path.to_owned(), sender.clone())])));
        let (_end, guard) = (end.clone().drop_guard(), left.clone().drop_guard());
        listeners.insert(address, Listener { paths: Arc::clone(&paths), _end, left });
        self.shared.tasks.spawn(serve(bound, paths, end, guard, self.shared.tasks.clone()));
        Ok(Entered::At(address))
    }

    /// Returns the listener that had this address and has not given it back yet.
    fn leaving(&self, listen: SocketAddr) -> Option<CancellationToken> {
        let mut leaving = lock(&self.shared.leaving);
        leaving.retain(|(_, left)| !left.is_cancelled());
        leaving.iter().find(|(address, _)| *address == listen).map(|(_, left)| left.clone())
    }

    /// Returns once everything that was begun has ended. The doors are closed before.
    pub async fn closed(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

/// What came of asking for a path.
enum Entered {
    /// It is there.
    At(SocketAddr),
    /// Its address is about to be free: cancelled then.
    Wait(CancellationToken),
}

/// Binds at once: there is no name to look up.
fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// One path of one listener. Dropped, requests for it are answered with 404.
#[derive(Debug)]
pub(super) struct Door {
    address: SocketAddr,
    path: String,
    requests: mpsc::Receiver<Knock>,
    shared: Arc<Shared>,
}

impl Door {
    /// Returns where it really listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the next request. Cancel-safe.
    pub(super) async fn next(&mut self) -> Knock {
        match self.requests.recv().await {
            Some(knock) => knock,
            // The sender is in the listener's paths until this is dropped.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let mut listeners = lock(&self.shared.listeners);
        let Entry::Occupied(entry) = listeners.entry(self.address) else { return };
        let is_last = {
            let mut paths = lock(&entry.get().paths);
            paths.remove(&self.path);
            paths.is_empty()
        };
        if is_last {
            lock(&self.shared.leaving).push((self.address, entry.remove().left));
        }
    }
}

/// A request, whole. Dropped unanswered, it is answered with 503: come again.
#[derive(Debug)]
pub(super) struct Knock {
    /// `GET`, `POST`, …
    pub(super) method: Method,
    /// The whole path.
    pub(super) path: String,
    /// What follows the `?`.
    pub(super) query: Option<String>,
    /// The headers.
    pub(super) headers: HeaderMap,
    /// The body as it came.
    pub(super) body: Bytes,
    answer: oneshot::Sender<Response<Full<Bytes>>>,
}

impl Knock {
    /// Returns a header that came exactly once and is text; none otherwise.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    }

    /// Returns a request that nobody waits for.
    #[cfg(test)]
    pub(super) fn post(headers: HeaderMap, body: impl Into<Bytes>) -> Self {
        let (path, body, (answer, _)) = ("/".to_owned(), body.into(), oneshot::channel());
        Self { method: Method::POST, path, query: None, headers, body, answer }
    }

    /// Answers with a status and nothing else.
    pub(super) fn answer(self, status: StatusCode) {
        self.answer_with(status, "text/plain", Bytes::new());
    }

    /// Answers with JSON.
    pub(super) fn answer_json(self, status: StatusCode, json: &serde_json::Value) {
        self.answer_with(status, "application/json", Bytes::from(json.to_string()));
    }

    fn answer_with(self, status: StatusCode, media_type: &'static str, body: Bytes) {
        // A client that has gone hears nothing, and comes again.
        let _ = self.answer.send(reply(status, media_type, body));
    }
}

fn reply(status: StatusCode, media_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Serves a listener until its end.
async fn serve(
    listener: TcpListener,
    paths: Arc<Mutex<Paths>>,
    end: CancellationToken,
    left: DropGuard,
    tasks: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = end.run_until_cancelled(async {
            // Never closed.
            let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((listener.accept().await?.0, place))
        });
        match accepted.await {
            None => {
                drop(listener);
                drop(left);
                return;
            }
            Some(Ok((stream, place))) => {
                let (paths, end) = (Arc::clone(&paths), end.clone());
                tasks.spawn(async move {
                    serve_connection(stream, &paths, &end).await;
                    drop(place);
                });
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "a connection of a platform was not accepted");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, paths: &Mutex<Paths>, end: &CancellationToken) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(async |request| Ok::<_, Infallible>(answer(paths, request).await));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // How a connection ended is the client's affair.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = end.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(BODY_TIMEOUT, connection).await;
}

/// Answers a request. A chunked one is the last of its connection. It may have had a `Content-Length` too, which hyper takes away
/// before anybody sees it, and whoever stands in front may have gone by that: what follows here may be what was inside there.
async fn answer(paths: &Mutex<Paths>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let is_chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    let mut response = answer_one(paths, request).await;
    if is_chunked {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn answer_one(paths: &Mutex<Paths>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let refuse = |status| reply(status, "text/plain", Bytes::new());
    let (head, body) = request.into_parts();
    let Some(door) = find(&lock(paths), head.uri.path()) else { return refuse(StatusCode::NOT_FOUND) };
    let body = match timeout(BODY_TIMEOUT, read(body)).await {
        Ok(Ok(body)) => body,
        Ok(Err(status)) => return refuse(status),
        Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT),
    };
    let (answer, answered) = oneshot::channel();
    let (path, query) = (head.uri.path().to_owned(), head.uri.query().map(str::to_owned));
    let knock = Knock { method: head.method, path, query, headers: head.headers, body, answer };
    if let Err(error) = door.try_send(knock) {
        return refuse(match error {
            mpsc::error::TrySendError::Full(_) => StatusCode::TOO_MANY_REQUESTS,
            mpsc::error::TrySendError::Closed(_) => StatusCode::SERVICE_UNAVAILABLE,
        });
    }
    match timeout(ANSWER_TIMEOUT, answered).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) | Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE),
    }
}

/// Reads a body, or returns the status that says why not.
async fn read(mut body: Incoming) -> Result<Bytes, StatusCode> {
    let announced = body.size_hint().lower();
    if announced <= BODY_BYTES_MAX as u64 {
        match Limited::new(&mut body, BODY_BYTES_MAX).collect().await {
            Ok(body) => return Ok(body.to_bytes()),
            Err(error) if !error.is::<LengthLimitError>() => return Err(StatusCode::BAD_REQUEST),
            Err(_) => {}
        }
    }
    if announced <= DRAIN_BYTES_MAX as u64 {
        let mut rest = Limited::new(body, DRAIN_BYTES_MAX);
        while let Some(Ok(_)) = rest.frame().await {}
    }
    Err(StatusCode::PAYLOAD_TOO_LARGE)
}

fn find(paths: &Paths, path: &str) -> Option<mpsc::Sender<Knock>> {
    let below = || {
        paths
            .iter()
            .filter(|(own, _)| own.ends_with('/') && path.starts_with(own.as_str()))
            .map(|(_, door)| door)
            .next_back()
    };
    paths.get(path).or_else(below).cloned()
}

#[cfg(test)]
mod tests;
