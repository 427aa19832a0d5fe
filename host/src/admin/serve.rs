//! Connections: accepted up to a cap, each with limits on its head, its body and its life.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::auth::{Door, TcpDoor};
use super::cookie::Transport;
use super::pages;
use super::problem::Answer;
use super::stream::Taken;
use super::tls::TlsHandle;

/// Connections that one listener serves at a time; further ones wait to be accepted. Each listener has its own, so that
/// nobody who comes by TCP keeps the operator from the socket.
const CONNECTIONS_MAX: usize = 256;
/// How long a client may take over a request's head, or be silent between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
/// How long accepting rests after it failed, for want of descriptors most likely.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// How long a client may take until both speak TLS. It has its place meanwhile.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// A bound listener of either kind.
#[derive(Debug)]
pub(super) enum Listener {
    Unix(UnixListener),
    /// With what it shows; none: it speaks in clear.
    Tcp(TcpListener, Option<TlsHandle>),
}

/// How long connections last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// How long one connection may last, so that one who does not read its answer gives its place back. What the host is at work
    /// on is waited for beyond that.
    life: Duration,
    /// How long a connection whose life is over, or a host that stops, waits for answers that are on their way.
    grace: Duration,
    /// How long one who follows something may take nothing of it; to one who takes it the life does not apply.
    stuck: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self { life: minute, grace: Duration::from_secs(1), stuck: minute }
    }
}

/// What the host is at work on for a connection.
#[derive(Debug, Clone)]
enum Work {
    Nothing,
    Answering,
    /// An answer without an end. Changes with every piece that is taken of it, and closes with it.
    Following(watch::Receiver<()>),
}

impl Work {
    /// Waits until the host owes the client nothing more. Cancel safe.
    async fn done(mut work: watch::Receiver<Self>, stuck: Duration) {
        loop {
            let now = work.borrow_and_update().clone();
            match now {
                Self::Nothing => return,
                // An error: whoever answers is gone.
                Self::Answering if work.changed().await.is_err() => return,
                Self::Answering => {}
                Self::Following(mut taken) => {
                    while let Ok(Ok(())) = tokio::time::timeout(stuck, taken.changed()).await {}
                    return;
                }
            }
        }
    }
}

/// What every connection needs.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) router: Router,
    pub(super) connections: TaskTracker,
    pub(super) cancel: CancellationToken,
    pub(super) patience: Patience,
}

impl Server {
    /// Serves a listener until cancelled. Its connections end within the grace after that; `connections` knows when.
    pub(super) async fn run(self, listener: Listener, door: Door) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.cancel.cancelled() => return,
                accepted = listener.accept(&places) => accepted,
            };
            match accepted {
                Ok((stream, place)) => {
                    let (server, door) = (self.clone(), door.clone());
                    self.connections.spawn(async move {
                        server.greet(stream, &door).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    warn!(%error, "admin connection not accepted");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    }

    /// Serves a connection, over TLS where the listener speaks it.
    async fn greet(&self, stream: Stream, door: &Door) {
        match stream {
            Stream::Unix(stream) => self.serve(stream, None, door).await,
            Stream::Tcp(stream, peer, None) => self.serve(stream, Some(peer), door).await,
            Stream::Tcp(stream, peer, Some(certificate)) => {
                let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, certificate.acceptor().accept(stream));
                // Whoever speaks something else, or nothing, is let go; how a handshake failed is the client's affair.
                if let Some(Ok(Ok(stream))) = self.cancel.run_until_cancelled(shaken).await {
                    self.serve(stream, Some(peer), door).await;
                }
            }
        }
    }

    async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static, peer: Option<IpAddr>, door: &Door) {
        let (say_work, work) = watch::channel(Work::Nothing);
        let service = service_fn(async |request| {
            say_work.send_replace(Work::Answering);
            let mut answer = answer(&self.router, door, peer, request).await;
            let taken = answer.extensions_mut().remove::<Taken>();
            say_work.send_replace(taken.map_or(Work::Nothing, |Taken(taken)| Work::Following(taken)));
            Ok::<_, Infallible>(answer)
        });
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
            () = tokio::time::sleep(self.patience.life) => {}
            () = self.cancel.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        // Only what waits for the client is cut: a reload takes as long as its bots take to compile.
        let over = async {
            let _ = self.cancel.run_until_cancelled(Work::done(work, self.patience.stuck)).await;
            tokio::time::sleep(self.patience.grace).await;
        };
        tokio::select! {
            _ = connection => {}
            () = over => {}
        }
    }
}

async fn answer(router: &Router, door: &Door, peer: Option<IpAddr>, mut request: Request<Incoming>) -> Answer {
    let received = door.receive(peer, request.method(), request.uri(), request.headers());
    let mut answer = match received {
        Err(problem) => pages::turn_away(request.uri(), request.headers(), problem),
        Ok(visitor) => {
            request.extensions_mut().insert(visitor);
            let served = TowerToHyperService::new(router.clone()).call(request.map(Body::new)).await;
            served.unwrap_or_else(|never| match never {})
        }
    };
    let transport = if let Door::Tcp(TcpDoor { transport, .. }) = door { *transport } else { Transport::Plain };
    transport.secure(answer.headers_mut());
    answer
}

enum Stream {
    Unix(tokio::net::UnixStream),
    Tcp(tokio::net::TcpStream, IpAddr, Option<TlsHandle>),
}

impl Listener {
    /// Waits for a place and then for a connection. Cancelled, it loses neither.
    async fn accept(&self, places: &Arc<Semaphore>) -> io::Result<(Stream, OwnedSemaphorePermit)> {
        let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
        let stream = match self {
            Self::Unix(listener) => Stream::Unix(listener.accept().await?.0),
            Self::Tcp(listener, certificate) => {
                let (stream, peer) = listener.accept().await?;
                Stream::Tcp(stream, peer.ip(), certificate.clone())
            }
        };
        Ok((stream, place))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::admin::Sources;
    use crate::supervisor::{Control, ReloadReport};

    const PATIENCE: Patience =
        Patience { life: Duration::from_millis(10), grace: Duration::from_millis(10), stuck: Duration::from_secs(30) };
    /// Longer than a connection lives.
    const LONG: Duration = Duration::from_millis(300);

    fn server(dir: &std::path::Path, control: Control) -> Server {
        let sources = Sources { control, ..crate::admin::gate::tests::sources(dir) };
        let (connections, cancel) = (TaskTracker::new(), CancellationToken::new());
        Server {
            router: crate::admin::router(sources, cancel.clone(), connections.clone()),
            connections,
            cancel,
            patience: PATIENCE,
        }
    }

    #[tokio::test]
    async fn an_answer_that_the_host_is_at_work_on_outlives_its_connections_life() {
        let dir = tempfile::tempdir().unwrap();
        let reload = |_| async {
            tokio::time::sleep(LONG).await;
            Ok(ReloadReport { generation: 7, ..ReloadReport::default() })
        };
        let (control, supervisor) = Control::answered_by(|_, _| Ok(()), reload);
        let server = server(dir.path(), control);
        let (mut client, stream) = tokio::io::duplex(1 << 10);
        client.write_all(b"POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        let read = client.read_to_string(&mut answer);
        let served = async { tokio::join!(server.serve(stream, None, &Door::Socket), read) };
        tokio::select! {
            (_, read) = served => drop(read.unwrap()),
            () = supervisor => panic!("it ended first"),
        }
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"generation\":7"), "{answer}");
    }

    #[tokio::test]
    async fn a_connection_that_the_host_owes_nothing_ends_with_its_life() {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path(), Control::ended());
        let (mut client, stream) = tokio::io::duplex(64);
        // Asks, and never reads the answer.
        client.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        server.serve(stream, None, &Door::Socket).await;
        drop(client);
    }

    #[tokio::test]
    async fn who_follows_log_lines_outlives_the_connections_life_until_it_takes_nothing_or_the_host_stops() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("logs")).unwrap();
        let path = dir.path().join("logs/host.log");
        std::fs::write(&path, "first\n").unwrap();
        let server = server(dir.path(), Control::ended());
        let request = b"GET /api/v1/logs?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n";

        let (mut client, stream) = tokio::io::duplex(1 << 10);
        client.write_all(request).await.unwrap();
        let reads = async {
            let (mut heard, mut piece) = (String::new(), [0; 256]);
            while !heard.contains("second") {
                let count = client.read(&mut piece).await.unwrap();
                assert!(count > 0, "it has ended: {heard}");
                heard.push_str(std::str::from_utf8(&piece[..count]).unwrap());
                if heard.contains("first") && std::fs::read(&path).unwrap() == b"first\n" {
                    tokio::time::sleep(LONG).await;
                    std::fs::write(&path, "first\nsecond\n").unwrap();
                }
            }
            server.cancel.cancel();
        };
        tokio::join!(server.serve(stream, None, &Door::Socket), reads);

        let impatient = Patience { stuck: Duration::from_millis(10), ..PATIENCE };
        let server = Server { cancel: CancellationToken::new(), patience: impatient, ..server };
        let (mut client, stream) = tokio::io::duplex(64);
        client.write_all(&request[..]).await.unwrap();
        // Returns although the client is there and reads nothing.
        server.serve(stream, None, &Door::Socket).await;
        drop(client);
    }
}
