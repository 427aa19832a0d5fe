//! Connections: accepted up to a cap, each with limits on its head, its body and its life.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::api::Api;
use super::auth::Door;
use super::problem::{Answer, Problem};

/// Connections that one listener serves at a time; further ones wait to be accepted. Each listener has its own, so that
/// nobody who comes by TCP keeps the operator from the socket.
const CONNECTIONS_MAX: usize = 256;
/// How long a client may take over a request's head, or be silent between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
const BODY_BYTES_MAX: u64 = 64 << 10;
/// How long one connection may last, so that one who does not read its answer gives its place back.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);
/// How long a connection whose life is over, or a host that stops, waits for answers under way.
const GRACE: Duration = Duration::from_secs(1);
/// How long accepting rests after it failed, for want of descriptors most likely.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// A bound listener of either kind.
#[derive(Debug)]
pub(super) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// What every connection needs.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) api: Arc<Api>,
    pub(super) connections: TaskTracker,
    pub(super) cancel: CancellationToken,
}

impl Server {
    /// Serves a listener until cancelled. Its connections end within [`GRACE`] after that; `connections` knows when.
    pub(super) async fn run(self, listener: Listener, door: Door) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.cancel.cancelled() => return,
                accepted = listener.accept(&places) => accepted,
            };
            match accepted {
                Ok((Stream::Unix(stream), place)) => self.spawn(stream, door.clone(), place),
                Ok((Stream::Tcp(stream), place)) => self.spawn(stream, door.clone(), place),
                Err(error) => {
                    warn!(%error, "admin connection not accepted");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    }

    fn spawn<S>(&self, stream: S, door: Door, place: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let server = self.clone();
        self.connections.spawn(async move {
            server.serve(stream, &door).await;
            drop(place);
        });
    }

    async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static, door: &Door) {
        let service = service_fn(async |request| Ok::<_, Infallible>(answer(&self.api, door, &request).await));
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
            () = tokio::time::sleep(CONNECTION_LIFE) => {}
            () = self.cancel.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = tokio::time::timeout(GRACE, connection).await;
    }
}

async fn answer(api: &Api, door: &Door, request: &Request<Incoming>) -> Answer {
    // No route reads a body. One of unknown length is not read either: the connection ends after the answer.
    if request.body().size_hint().lower() > BODY_BYTES_MAX {
        return Problem::BodyTooLarge.into_answer();
    }
    match door.check(request.uri(), request.headers()) {
        Ok(()) => api.answer(request.method(), request.uri()).await,
        Err(problem) => problem.into_answer(),
    }
}

enum Stream {
    Unix(tokio::net::UnixStream),
    Tcp(tokio::net::TcpStream),
}

impl Listener {
    /// Waits for a place and then for a connection. Cancelled, it loses neither.
    async fn accept(&self, places: &Arc<Semaphore>) -> io::Result<(Stream, OwnedSemaphorePermit)> {
        let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
        let stream = match self {
            Self::Unix(listener) => Stream::Unix(listener.accept().await?.0),
            Self::Tcp(listener) => Stream::Tcp(listener.accept().await?.0),
        };
        Ok((stream, place))
    }
}
