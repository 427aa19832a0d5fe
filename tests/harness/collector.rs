//! A collector of telemetry, as far as HTTP goes: keeps what it is sent, and answers as it is told. What the bodies mean is for the
//! tests to read.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What it does with one request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Takes it and says this.
    Taken(Bytes),
    /// Refuses it with a status, and says when to come again.
    Status(u16, Option<&'static str>),
    /// Never answers.
    Never,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Where to.
    pub path: String,
    /// What came with it.
    pub headers: HeaderMap,
    /// What it said.
    pub body: Bytes,
    /// When it was there.
    pub at: Instant,
}

/// The collector. Ends when dropped.
#[derive(Debug)]
pub struct FakeCollector {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _server: JoinSet<()>,
}

#[derive(Debug)]
struct State {
    sent: Vec<Sent>,
    script: VecDeque<Answer>,
    otherwise: Answer,
}

impl FakeCollector {
    /// Starts one that does `otherwise` with everything that [`FakeCollector::script`] does not decide.
    pub async fn start(otherwise: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let state = Arc::new(Mutex::new(State { sent: Vec::new(), script: VecDeque::new(), otherwise }));
        let mut server = JoinSet::new();
        server.spawn(serve(listener, Arc::clone(&state)));
        Self { address, state, _server: server }
    }

    /// Starts one that takes everything.
    pub async fn willing() -> Self {
        Self::start(Answer::Taken(Bytes::new())).await
    }

    /// Returns what goes into `endpoint`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Decides what becomes of the request after those that are already decided.
    pub fn script(&self, answer: Answer) {
        lock(&self.state).script.push_back(answer);
    }

    /// Returns what it was sent to a path so far, in the order of arrival, taken or not.
    pub fn sent(&self, path: &str) -> Vec<Sent> {
        lock(&self.state).sent.iter().filter(|sent| sent.path == path).cloned().collect()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        // Cancel safe: an accept, and a set's `join_next`.
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                let state = Arc::clone(&state);
                let service = service_fn(move |request| answer(Arc::clone(&state), request));
                connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let answer = {
        let mut state = lock(&state);
        state.sent.push(Sent { path: parts.uri.path().to_owned(), headers: parts.headers, body, at: Instant::now() });
        state.script.pop_front().unwrap_or_else(|| state.otherwise.clone())
    };
    match answer {
        Answer::Taken(body) => Ok(Response::new(Full::new(body))),
        Answer::Status(status, retry_after) => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            if let Some(text) = retry_after {
                response.headers_mut().insert(http::header::RETRY_AFTER, text.parse().expect("a header"));
            }
            Ok(response)
        }
        Answer::Never => std::future::pending().await,
    }
}
