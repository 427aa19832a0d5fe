//! Calls of the implementation's API and their answers, which come back over the socket they left by.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// How long a call may wait to be written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls that wait to be written.
const QUEUE_MAX: usize = 16;
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

/// Why a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
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
}

/// A call on its way to a socket.
#[derive(Debug)]
pub(super) struct Call {
    action: &'static str,
    parameters: Value,
    answer: oneshot::Sender<Result<Answer, CallError>>,
}

/// The way to the socket that takes calls at the moment.
#[derive(Debug, Default)]
pub(super) struct Caller {
    current: Mutex<Option<mpsc::Sender<Call>>>,
}

impl Caller {
    /// Makes a new socket the one that takes calls. It does so until its receiver is dropped or another socket comes.
    pub(super) fn open(&self) -> mpsc::Receiver<Call> {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    /// Calls the API; the answer may take as long as `patience`. Cancelled, the call may have been made or not.
    pub(super) async fn call(
        &self,
        action: &'static str,
        parameters: Value,
        patience: Duration,
    ) -> Result<Answer, CallError> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
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
