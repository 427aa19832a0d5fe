//! Calls of the implementation's API and their answers, which come back over the socket they left by, or by HTTP.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::event::{field, scalar};
use crate::connector::link::brief;
use crate::egress::{AddressGuard, Endpoint, HttpClient};

/// How long a call may wait to be written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls that wait to be written.
const QUEUE_MAX: usize = 16;
/// How long an address that takes no more calls is left alone, where it does not say.
const LIMITED_WAIT: Duration = Duration::from_secs(5);
/// The code of a call that is wrong in itself.
pub(super) const RETCODE_BAD: i64 = 1400;
/// The code of an action that the implementation does not have.
pub(super) const RETCODE_UNKNOWN: i64 = 1404;
/// Calls of one socket that wait for their answers.
pub(super) const PENDING_MAX: usize = 64;

/// What an implementation answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// `ok`, `async` or `failed`.
    pub(super) status: String,
    /// 0 is success, 1 is "accepted".
    pub(super) retcode: i64,
    /// What the call asked for.
    pub(super) data: Value,
    /// Why not, where the implementation says.
    pub(super) message: String,
}

impl Answer {
    /// Reads an answer. One without a code counts as a failure.
    pub(super) fn read(mut frame: Value) -> Self {
        let message = [field(&frame, "wording"), field(&frame, "message")].into_iter().find(|text| !text.is_empty());
        Self {
            status: field(&frame, "status").to_owned(),
            retcode: frame.get("retcode").and_then(scalar).and_then(|code| code.parse().ok()).unwrap_or(-1),
            message: message.map(brief).unwrap_or_default(),
            data: frame.get_mut("data").map(Value::take).unwrap_or_default(),
        }
    }

    fn failed(retcode: i64, message: String) -> Self {
        Self { status: "failed".to_owned(), retcode, data: Value::Null, message }
    }
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// It did not leave.
    #[error("the implementation is not connected")]
    NotConnected,
    /// It left; the socket ended before the answer came.
    #[error("the connection was lost before the answer came")]
    Lost,
    /// It left, as far as anybody can say.
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// By HTTP: it did not leave, or was not looked at.
    #[error("{0}")]
    Unsent(String),
    /// By HTTP: it left, and what came back does not say what became of it.
    #[error("{0}")]
    Unclear(String),
    /// By HTTP: the access token is refused.
    #[error("{}", super::refuses_token(*.0))]
    Refused(StatusCode),
    /// By HTTP: too many calls.
    #[error("too many calls")]
    Limited(Duration),
}

/// A call on its way to a socket.
#[derive(Debug)]
pub(super) struct Call {
    action: &'static str,
    parameters: Value,
    answer: oneshot::Sender<Result<Answer, CallError>>,
}

/// The way to the implementation's API.
#[derive(Debug)]
pub(super) struct Caller(Way);

#[derive(Debug)]
enum Way {
    /// To the socket that takes calls at the moment.
    Socket(Mutex<Option<mpsc::Sender<Call>>>),
    /// To its address, with what shows who calls.
    Http(Box<HttpClient>, HeaderMap),
}

impl Caller {
    /// Returns the way by sockets, of which there is none yet.
    pub(super) fn sockets() -> Self {
        Self(Way::Socket(Mutex::default()))
    }

    /// Returns the way by HTTP.
    pub(super) fn http(endpoint: Endpoint, headers: HeaderMap, guard: AddressGuard) -> Self {
        Self(Way::Http(Box::new(HttpClient::new(endpoint, guard)), headers))
    }

    /// Makes a new socket the one that takes calls. It does so until its receiver is dropped or another socket comes.
    pub(super) fn open(&self) -> mpsc::Receiver<Call> {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        if let Way::Socket(current) = &self.0 {
            *current.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        }
        receiver
    }

    /// Calls the API; the answer may take as long as `patience`. Cancelled, the call may have been made or not.
    pub(super) async fn call(
        &self,
        action: &'static str,
        parameters: Value,
        patience: Duration,
    ) -> Result<Answer, CallError> {
        match &self.0 {
            Way::Http(client, headers) => post(client, headers, action, &parameters, patience).await,
            Way::Socket(current) => {
                let current = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let socket = current.ok_or(CallError::NotConnected)?;
                let (answer, answered) = oneshot::channel();
                let call = Call { action, parameters, answer };
                timeout(WRITE_TIMEOUT, socket.send(call))
                    .await
                    .map_err(|_| CallError::NotConnected)?
                    .map_err(|_| CallError::NotConnected)?;
                drop(socket);
                match timeout(patience, answered).await {
                    Ok(answered) => answered.unwrap_or(Err(CallError::Lost)),
                    Err(_) => Err(CallError::TimedOut(patience)),
                }
            }
        }
    }
}

async fn post(
    client: &HttpClient,
    headers: &HeaderMap,
    action: &'static str,
    parameters: &Value,
    patience: Duration,
) -> Result<Answer, CallError> {
    let body = parameters.to_string();
    let response = client.call(Method::POST, &format!("/{action}"), headers.clone(), body, patience).await;
    let response = response.map_err(|error| match error.perhaps_sent() {
        true => CallError::Unclear(error.to_string()),
        false => CallError::Unsent(error.to_string()),
    })?;
    judge(response.status, &response.body, response.retry_after)
}

/// Reads what came back by HTTP. The statuses are those of the protocol, and of what may stand in between.
fn judge(status: StatusCode, body: &[u8], retry_after: Option<Duration>) -> Result<Answer, CallError> {
    let said = || format!("HTTP {status}");
    match status.as_u16() {
        200..=299 => {
            let frame = serde_json::from_slice(body).ok().filter(Value::is_object);
            frame.map(Answer::read).ok_or_else(|| CallError::Unclear("an answer that is no JSON object".to_owned()))
        }
        401 | 403 => Err(CallError::Refused(status)),
        404 => Ok(Answer::failed(RETCODE_UNKNOWN, said())),
        429 => Err(CallError::Limited(retry_after.unwrap_or(LIMITED_WAIT))),
        503 => Err(retry_after.map_or_else(|| CallError::Unsent(said()), CallError::Limited)),
        400..=499 => Ok(Answer::failed(RETCODE_BAD, said())),
        _ => Err(CallError::Unclear(said())),
    }
}

/// The calls of one socket that wait for their answers. Dropped with the socket, which tells each caller that it is lost.
#[derive(Debug, Default)]
pub(super) struct Pending {
    calls: Mutex<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    by_echo: HashMap<String, oneshot::Sender<Result<Answer, CallError>>>,
    last_echo: u64,
}

impl Pending {
    fn with<T>(&self, act: impl FnOnce(&mut Calls) -> T) -> T {
        act(&mut self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns whether anybody waits for an answer.
    pub(super) fn is_waited_for(&self) -> bool {
        self.with(|calls| calls.by_echo.values().any(|caller| !caller.is_closed()))
    }

    /// Notes a call and returns the frame to write; none if nobody waits for the answer any more, or too many do.
    pub(super) fn begin(&self, call: Call) -> Option<String> {
        let Call { action, parameters, answer } = call;
        self.with(|calls| {
            calls.by_echo.retain(|_, caller| !caller.is_closed());
            if answer.is_closed() {
                return None;
            }
            if calls.by_echo.len() >= PENDING_MAX {
                let _ = answer.send(Err(CallError::NotConnected));
                return None;
            }
            calls.last_echo += 1;
            let echo = calls.last_echo.to_string();
            let frame = json!({"action": action, "params": parameters, "echo": echo}).to_string();
            calls.by_echo.insert(echo, answer);
            Some(frame)
        })
    }

    /// Gives an answer to whoever waits for it; an answer that nobody waits for is late and of no use.
    pub(super) fn finish(&self, echo: &Value, answer: Answer) {
        let echo = echo.as_str().map_or_else(|| echo.to_string(), str::to_owned);
        if let Some(caller) = self.with(|calls| calls.by_echo.remove(&echo)) {
            let _ = caller.send(Ok(answer));
        }
    }
}

/// Tells the callers whose calls never left, so that they may try again elsewhere.
pub(super) fn refuse_rest(calls: &mut mpsc::Receiver<Call>) {
    calls.close();
    while let Ok(call) = calls.try_recv() {
        let _ = call.answer.send(Err(CallError::NotConnected));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> (Call, oneshot::Receiver<Result<Answer, CallError>>) {
        let (answer, answered) = oneshot::channel();
        (Call { action: "get_status", parameters: json!({}), answer }, answered)
    }

    fn echo_of(frame: &str) -> Value {
        serde_json::from_str::<Value>(frame).unwrap()["echo"].clone()
    }

    fn ok() -> Answer {
        Answer { status: "ok".to_owned(), retcode: 0, data: Value::Null, message: String::new() }
    }

    #[test]
    fn every_status_of_http_has_its_class() {
        let check = |status: u16, body: &str, wait: Option<u64>| {
            judge(StatusCode::from_u16(status).unwrap(), body.as_bytes(), wait.map(Duration::from_secs))
        };
        assert_eq!(check(200, r#"{"status":"ok","retcode":0,"data":null}"#, None), Ok(ok()));
        assert_eq!(check(200, r#"{"status":"failed","retcode":"100"}"#, None).unwrap().retcode, 100);
        for (status, code) in [(400, RETCODE_BAD), (406, RETCODE_BAD), (413, RETCODE_BAD), (404, RETCODE_UNKNOWN)] {
            assert_eq!(check(status, "", None).unwrap().retcode, code, "{status}");
        }
        for status in [401, 403] {
            assert!(matches!(check(status, "", None), Err(CallError::Refused(_))), "{status}");
        }
        assert_eq!(check(429, "", Some(9)), Err(CallError::Limited(Duration::from_secs(9))));
        assert_eq!(check(429, "", None), Err(CallError::Limited(LIMITED_WAIT)));
        assert_eq!(check(503, "", Some(9)), Err(CallError::Limited(Duration::from_secs(9))));
        assert!(matches!(check(503, "", None), Err(CallError::Unsent(_))));
        for (status, body) in [(200, ""), (200, "[]"), (200, "<html>"), (302, ""), (500, ""), (502, ""), (504, "")] {
            assert!(matches!(check(status, body, None), Err(CallError::Unclear(_))), "{status} {body}");
        }
    }

    #[test]
    fn an_answer_finds_its_call_whatever_the_order() {
        let pending = Pending::default();
        let ((first, mut first_answer), (second, mut second_answer)) = (call(), call());
        let (first, second) = (pending.begin(first).unwrap(), pending.begin(second).unwrap());
        pending.finish(&echo_of(&second), Answer { retcode: 2, ..ok() });
        assert!(first_answer.try_recv().is_err());
        pending.finish(&echo_of(&first), ok());
        assert_eq!(first_answer.try_recv().unwrap().unwrap().retcode, 0);
        assert_eq!(second_answer.try_recv().unwrap().unwrap().retcode, 2);
        assert!(!pending.is_waited_for());
        pending.finish(&json!("nobody's"), ok());
    }

    #[test]
    fn calls_that_were_given_up_make_room_for_others() {
        let pending = Pending::default();
        let mut kept = Vec::new();
        for _ in 0..PENDING_MAX {
            let (call, answered) = call();
            assert!(pending.begin(call).is_some());
            kept.push(answered);
        }
        let (refused, mut answered) = call();
        assert_eq!(pending.begin(refused), None);
        assert_eq!(answered.try_recv().unwrap(), Err(CallError::NotConnected));
        kept.clear();
        assert!(!pending.is_waited_for());
        let (abandoned, answered) = call();
        drop(answered);
        assert_eq!(pending.begin(abandoned), None);
        let (call, _answered) = call();
        assert!(pending.begin(call).is_some());
    }

    #[test]
    fn what_is_pending_when_the_socket_ends_is_lost() {
        let pending = Pending::default();
        let (call, mut answered) = call();
        pending.begin(call).unwrap();
        drop(pending);
        assert_eq!(answered.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}
