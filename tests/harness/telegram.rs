//! A strict Bot API server on 127.0.0.1. Strict: what Telegram would refuse, it refuses, and an update that was not confirmed
//! by an offset comes again.

mod methods;
mod state;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use self::methods::Refusal;
use self::state::State;
use crate::eventually;
use crate::host::PATIENCE;

pub use self::state::Call;

/// What goes wrong with one call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// "Too many requests", with this as `retry_after`; left out if it is null.
    RateLimited(Value),
    /// Any other refusal.
    Refuse {
        /// The status, also in the body.
        code: u16,
        /// In Telegram's words.
        description: String,
        /// As `parameters`.
        parameters: Value,
    },
    /// The page of a proxy that has lost the server behind it.
    Html(u16),
    /// The call is carried out, and the connection breaks in the middle of the answer.
    CutAnswer,
    /// The call is carried out, and the answer never comes.
    Hang,
}

impl Fault {
    /// Returns a refusal without parameters.
    pub fn refuse(code: u16, description: &str) -> Self {
        Self::Refuse { code, description: description.to_owned(), parameters: Value::Null }
    }
}

/// The server, and the users and operators behind it. Ends when dropped.
#[derive(Debug)]
pub struct FakeTelegram {
    address: SocketAddr,
    state: Arc<State>,
    server: JoinHandle<()>,
}

impl Drop for FakeTelegram {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeTelegram {
    /// Starts a server that knows one bot, `@EchoBot`, with this token and the number that it begins with; 42 where it begins with none.
    pub async fn start(token: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let state = Arc::new(State::new(token));
        let server = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self { address, state, server }
    }

    /// Returns what goes into `api_url`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Has a user write to a chat: a private one if its id is positive, a group else. Returns the update's id.
    pub fn push_message(&self, chat: i64, text: &str) -> i64 {
        let kind = if chat > 0 { "private" } else { "group" };
        self.push_update(
            "message",
            json!({
                "message_id": self.state.next_message_id(),
                "date": 1_700_000_000,
                "from": {"id": 7, "is_bot": false, "first_name": "Ann"},
                "chat": {"id": chat, "type": kind, "title": "Chat"},
                "text": text,
            }),
        )
    }

    /// Has anything happen. Returns the update's id. What the bot did not ask for by `allowed_updates` is left out.
    pub fn push_update(&self, kind: &str, payload: Value) -> i64 {
        self.state.push_update(kind, payload)
    }

    /// Returns the updates that no offset has confirmed.
    pub fn unconfirmed(&self) -> Vec<i64> {
        self.state.unconfirmed()
    }

    /// Returns the texts that bots sent and that were accepted, in order.
    pub fn sent(&self) -> Vec<Value> {
        self.calls_of("sendMessage")
            .into_iter()
            .filter(|call| call.status == Some(200))
            .map(|call| call.parameters)
            .collect()
    }

    /// Returns how many texts were accepted.
    pub fn sent_len(&self) -> usize {
        self.state.sent_len()
    }

    /// Returns every call, in the order of arrival.
    pub fn calls(&self) -> Vec<Call> {
        self.state.calls()
    }

    /// Returns every call of one method, in the order of arrival.
    pub fn calls_of(&self, method: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.method == method).collect()
    }

    /// Returns how many calls there were.
    pub fn calls_len(&self) -> usize {
        self.state.calls_len()
    }

    /// Waits until nobody is connected, and returns how many calls there were. After the end of the only client, that is the
    /// number of its last call: what it had written when it ended was read, and carried out or not.
    pub async fn deserted(&self) -> usize {
        // Connections are accepted in their order: once this one is at its end, none waits to be accepted.
        if let Ok(mut stream) = TcpStream::connect(self.address).await {
            stream.shutdown().await.ok();
            stream.read_to_end(&mut Vec::new()).await.ok();
        }
        let is_deserted = || (self.state.clients.load(Ordering::SeqCst) == 0).then_some(());
        eventually(PATIENCE, "the client's connections end", is_deserted).await;
        self.calls_len()
    }

    /// Has the next call of `method` about which nothing is decided yet go wrong.
    pub fn fail_next(&self, method: &str, fault: Fault) {
        self.state.script(method, Some(fault));
    }

    /// Has the next call of `method` about which nothing is decided yet go well.
    pub fn pass_next(&self, method: &str) {
        self.state.script(method, None);
    }

    /// Gives the bot another token that nobody knows: the old one is refused from now on.
    pub fn revoke_token(&self) {
        self.set_token("999:revoked");
    }

    /// Gives the bot this token: the old one is refused from now on.
    pub fn set_token(&self, token: &str) {
        self.state.set_token(token);
    }

    /// Has somebody set a webhook, so that polls are refused until it is deleted.
    pub fn set_webhook(&self) {
        self.state.set_webhook(true);
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let client = Client::new(&state);
                connections.spawn(async move {
                    let state = &client.0;
                    let service = service_fn(move |request| answer(Arc::clone(state), request));
                    // A client that goes away in the middle is a part of many tests.
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, counted for as long as it lasts.
struct Client(Arc<State>);

impl Client {
    fn new(state: &Arc<State>) -> Self {
        state.clients.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(state))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::SeqCst);
    }
}

type Answer = Response<BoxBody<Bytes, io::Error>>;

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let path = request.uri().path().to_owned();
    let bytes = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let Some((token, method)) = path.strip_prefix("/bot").and_then(|rest| rest.split_once('/')) else {
        return Ok(refusal(&Refusal::new(404, "Not Found")));
    };
    let parameters = if bytes.is_empty() { Ok(json!({})) } else { serde_json::from_slice::<Value>(&bytes) };
    let number = state.record(method, parameters.as_ref().ok());
    let fault = state.take_fault(method);
    let result = match (parameters, &fault) {
        _ if !state.knows(token) => Err(Refusal::new(401, "Unauthorized")),
        (Err(_), _) => Err(Refusal::new(400, "Bad Request: can't parse JSON object")),
        (Ok(_), Some(Fault::RateLimited(seconds))) => Err(rate_limited(seconds)),
        (Ok(_), Some(Fault::Refuse { code, description, parameters })) => {
            Err(Refusal { parameters: parameters.clone(), ..Refusal::new(*code, description) })
        }
        (Ok(_), Some(Fault::Html(status))) => {
            state.finish(number, *status);
            return Ok(whole(*status, format!("<html>{path}</html>")));
        }
        (Ok(parameters), _) => methods::call(&state, method, &parameters).await,
    };
    state.finish(number, result.as_ref().map_or_else(|refused| refused.code, |_| 200));
    let response = match &result {
        Ok(result) => whole(200, json!({"ok": true, "result": result}).to_string()),
        Err(refused) => refusal(refused),
    };
    match fault {
        Some(Fault::CutAnswer) => Ok(cut(response).await),
        Some(Fault::Hang) => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            Ok(response)
        }
        _ => Ok(response),
    }
}

fn rate_limited(seconds: &Value) -> Refusal {
    let parameters = if seconds.is_null() { Value::Null } else { json!({"retry_after": seconds}) };
    Refusal { parameters, ..Refusal::new(429, "Too Many Requests: retry later") }
}

fn refusal(refused: &Refusal) -> Answer {
    let mut body = json!({"ok": false, "error_code": refused.code, "description": refused.description});
    if !refused.parameters.is_null() {
        body["parameters"] = refused.parameters.clone();
    }
    whole(refused.code, body.to_string())
}

fn whole(status: u16, body: String) -> Answer {
    let mut response = Response::new(Full::from(body).map_err(|never| match never {}).boxed());
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response
}

/// Returns the same answer, of which only the first half ever arrives.
async fn cut(response: Answer) -> Answer {
    let body = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let half = body.slice(..body.len() / 2);
    let frames = [Ok(Frame::data(half)), Err(io::Error::from(io::ErrorKind::ConnectionReset))];
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(stream::iter(frames))));
    response.headers_mut().insert(http::header::CONTENT_LENGTH, body.len().into());
    response
}
