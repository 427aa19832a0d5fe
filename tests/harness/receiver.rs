//! Somebody's HTTP server on 127.0.0.1 that takes what is posted to it and answers as it is told to.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::eventually;

/// What becomes of one request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// An answer.
    Status {
        /// The status.
        status: u16,
        /// The header `Retry-After`, in seconds.
        retry_after: Option<u64>,
        /// The body.
        body: String,
    },
    /// The connection ends without an answer.
    Reset,
    /// There is never an answer.
    Hang,
}

impl Answer {
    /// Returns an answer of this status and body.
    pub fn status(status: u16, body: &str) -> Self {
        Self::Status { status, retry_after: None, body: body.to_owned() }
    }

    /// Returns "too many requests", with a pause in seconds.
    pub fn too_many(seconds: u64) -> Self {
        Self::Status { status: 429, retry_after: Some(seconds), body: "too many".to_owned() }
    }
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Received {
    /// When.
    pub at: Instant,
    /// Path and query.
    pub target: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: String,
}

#[derive(Debug, Default)]
struct State {
    answers: VecDeque<Answer>,
    received: Vec<Received>,
}

/// The server. Ends when dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Receiver {
    /// Starts a server that answers "ok" to whatever it is not told to answer otherwise.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let state = Arc::new(Mutex::default());
        let server = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self { address, state, server }
    }

    /// Returns its URL with this path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Says what becomes of the next requests of which nothing is said yet.
    pub fn then(&self, answers: impl IntoIterator<Item = Answer>) {
        lock(&self.state).answers.extend(answers);
    }

    /// Returns what came, in order.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.state).received.clone()
    }

    /// Waits for so many requests, and returns what came.
    pub async fn wait(&self, requests: usize, within: Duration) -> Vec<Received> {
        eventually(within, "requests", || Some(self.received()).filter(|received| received.len() >= requests)).await
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let state = Arc::clone(&state);
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&state), request));
                    // That a connection breaks is a part of many tests.
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let answer = {
        let mut state = lock(&state);
        state.received.push(Received {
            at: Instant::now(),
            target: head.uri.to_string(),
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        });
        state.answers.pop_front().unwrap_or_else(|| Answer::status(200, "ok"))
    };
    match answer {
        Answer::Status { status, retry_after, body } => {
            let mut builder = Response::builder().status(status);
            if let Some(seconds) = retry_after {
                builder = builder.header("retry-after", seconds);
            }
            builder.body(Full::from(body)).map_err(io::Error::other)
        }
        // hyper closes the connection of a service that fails.
        Answer::Reset => Err(io::ErrorKind::ConnectionReset.into()),
        Answer::Hang => std::future::pending().await,
    }
}
