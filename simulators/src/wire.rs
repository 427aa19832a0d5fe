//! The HTTP side of every simulated platform: a server on 127.0.0.1, what was called, and what goes wrong with a call.

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// What goes wrong with one call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The call is not carried out, and this is the answer.
    Answer(Reply),
    /// The call is carried out, and the connection breaks in the middle of the answer.
    CutAnswer,
    /// The call is carried out, and the connection breaks before the answer.
    Reset,
    /// The call is carried out, and the answer never comes.
    Hang,
    /// The call is carried out, and a byte of the answer comes every so often.
    Trickle(Duration),
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// The status; 0 counts as 200.
    pub status: u16,
    /// Headers besides the length.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Reply {
    /// Returns an answer in JSON.
    pub fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Self { status, headers, body: body.to_string() }
    }

    /// Returns the page of a proxy that has lost the server behind it.
    pub fn html(status: u16) -> Self {
        let headers = vec![("content-type".to_owned(), "text/html".to_owned())];
        Self { status, headers, body: "<html><h1>Bad gateway</h1></html>".to_owned() }
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }
}

/// A request, whole.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: Method,
    /// The path, not decoded.
    pub path: String,
    /// What follows the `?`; empty where nothing does.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Request {
    /// Returns a header; empty where it is absent or no text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Returns the body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// One call, as it was seen.
#[derive(Debug, Clone)]
pub struct Call {
    /// What the platform calls it: a method's name, or the method and the path.
    pub operation: String,
    /// The request.
    pub request: Request,
    /// When it had arrived.
    pub at: Instant,
    /// The status of the answer; none while there is none.
    pub status: Option<u16>,
}

/// What was called, and what is to go wrong, by operation.
#[derive(Debug, Default)]
pub struct Book {
    script: Mutex<HashMap<String, VecDeque<Option<Fault>>>>,
    calls: Mutex<Vec<Call>>,
    clients: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Book {
    /// Has the next call of `operation` about which nothing is decided yet go wrong.
    pub fn fail_next(&self, operation: &str, fault: Fault) {
        lock(&self.script).entry(operation.to_owned()).or_default().push_back(Some(fault));
    }

    /// Has the next call of `operation` about which nothing is decided yet go well.
    pub fn pass_next(&self, operation: &str) {
        lock(&self.script).entry(operation.to_owned()).or_default().push_back(None);
    }

    /// Returns every call, in the order of arrival.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.calls).clone()
    }

    /// Returns every call of one operation, in the order of arrival.
    pub fn calls_of(&self, operation: &str) -> Vec<Call> {
        lock(&self.calls).iter().filter(|call| call.operation == operation).cloned().collect()
    }

    /// Returns how many calls there were.
    pub fn calls_len(&self) -> usize {
        lock(&self.calls).len()
    }

    /// Returns how many clients are connected by HTTP.
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::SeqCst)
    }

    fn begin(&self, operation: &str, request: &Request) -> (usize, Option<Fault>) {
        let mut calls = lock(&self.calls);
        calls.push(Call {
            operation: operation.to_owned(),
            request: request.clone(),
            at: Instant::now(),
            status: None,
        });
        let number = calls.len() - 1;
        drop(calls);
        (number, lock(&self.script).get_mut(operation).and_then(VecDeque::pop_front).flatten())
    }

    fn end(&self, number: usize, status: u16) {
        if let Some(call) = lock(&self.calls).get_mut(number) {
            call.status = Some(status);
        }
    }
}

/// What a platform does with requests.
pub trait Platform: Send + Sync + 'static {
    /// What is called and what goes wrong.
    fn book(&self) -> &Book;

    /// Returns what the platform calls this request, such as a method's name.
    fn operation(&self, request: &Request) -> String;

    /// Carries a request out.
    fn answer(&self, request: Request) -> impl Future<Output = Reply> + Send;
}

/// A server on a port of its own. Ends when dropped, with all its connections.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Starts one on a free port of 127.0.0.1.
    pub async fn start(platform: Arc<impl Platform>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        Self::on(listener, platform)
    }

    /// Starts one on a listener that is bound already.
    pub fn on(listener: TcpListener, platform: Arc<impl Platform>) -> Self {
        let address = listener.local_addr().expect("a bound listener");
        Self { address, task: tokio::spawn(serve(listener, platform)) }
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns where it listens, as `http://…` without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn serve<P: Platform>(listener: TcpListener, platform: Arc<P>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let client = Client::new(&platform);
                connections.spawn(async move {
                    let service = service_fn(|request| handle(&*client.0, request));
                    // A client that goes away in the middle is a part of many tests.
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, counted from the moment it is accepted for as long as it lasts.
struct Client<P: Platform>(Arc<P>);

impl<P: Platform> Client<P> {
    fn new(platform: &Arc<P>) -> Self {
        platform.book().clients.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(platform))
    }
}

impl<P: Platform> Drop for Client<P> {
    fn drop(&mut self) {
        self.0.book().clients.fetch_sub(1, Ordering::SeqCst);
    }
}

type Answer = Response<BoxBody<Bytes, io::Error>>;

async fn handle(platform: &impl Platform, request: hyper::Request<Incoming>) -> io::Result<Answer> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let (path, query) = (head.uri.path().to_owned(), head.uri.query().unwrap_or_default().to_owned());
    let request = Request { method: head.method, path, query, headers: head.headers, body };
    let (number, fault) = platform.book().begin(&platform.operation(&request), &request);
    let reply = match &fault {
        Some(Fault::Answer(reply)) => reply.clone(),
        _ => platform.answer(request).await,
    };
    platform.book().end(number, if reply.status == 0 { 200 } else { reply.status });
    let bytes = Bytes::from(reply.body.clone());
    match fault {
        None | Some(Fault::Answer(_)) => Ok(answer(&reply, Full::new(bytes).map_err(|never| match never {}).boxed())),
        Some(Fault::Reset) => Err(io::ErrorKind::ConnectionReset.into()),
        Some(Fault::Hang) => pending().await,
        Some(Fault::CutAnswer) => {
            let frames = [Ok(Frame::data(bytes.slice(..bytes.len() / 2))), Err(io::ErrorKind::ConnectionReset.into())];
            Ok(sized(answer(&reply, BodyExt::boxed(StreamBody::new(stream::iter(frames)))), bytes.len()))
        }
        Some(Fault::Trickle(every)) => {
            let length = bytes.len();
            let drops = stream::unfold(bytes, move |mut rest| async move {
                let drop = (!rest.is_empty()).then(|| rest.split_to(1))?;
                tokio::time::sleep(every).await;
                Some((Ok(Frame::data(drop)), rest))
            });
            Ok(sized(answer(&reply, BodyExt::boxed(StreamBody::new(drops))), length))
        }
    }
}

fn answer(reply: &Reply, body: BoxBody<Bytes, io::Error>) -> Answer {
    let mut response = Response::new(body);
    if reply.status != 0 {
        *response.status_mut() = StatusCode::from_u16(reply.status).expect("a status");
    }
    for (name, value) in &reply.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
        response.headers_mut().append(name, HeaderValue::from_str(value).expect("a header's value"));
    }
    response
}

fn sized(mut answer: Answer, length: usize) -> Answer {
    answer.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
    answer
}
