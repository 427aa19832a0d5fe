//! By HTTP: the implementation posts each event to us, signed, and is told that it arrived once the host has it; we post each call
//! to the implementation. What it could be told to do in the answer to an event is never used: an answer that is lost is not
//! repeated, and nobody would know.

use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use data_encoding::HEXLOWER_PERMISSIVE;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hmac::{Hmac, KeyInit, Mac};
use http::{Method, StatusCode};
use serde_json::json;
use sha1::Sha1;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::calls::CallError;
use super::event::{self, Frame};
use super::{Account, REFUSED_WAIT, Standing};
use crate::backoff::Backoff;
use crate::connector::Inbox;
use crate::connector::ingress::{Door, IngressError, Knock};
use crate::connector::link::{End, Life, full_jitter};
use crate::secret::Secret;

/// Events that are on their way into the host at one moment.
const EVENTS_MAX: usize = 64;
/// How long the host is given for what is left when everything ends.
const LAST_WAIT: Duration = Duration::from_secs(2);
/// The first wait after a call that did not arrive.
const WAIT_INITIAL: Duration = Duration::from_secs(1);

/// Both directions of one account.
pub(super) struct Exchange<'a> {
    account: &'a Account,
    inbox: &'a Inbox,
    secret: Option<&'a Secret>,
    /// The account that is logged in, once the implementation has said so.
    self_id: Mutex<Option<String>>,
}

/// Why the API is of no use.
enum Trouble {
    /// It does not let us in, or has another account.
    Refused(String),
    /// It does not answer.
    Lost(String),
}

impl From<CallError> for Trouble {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(_) => Self::Refused(error.to_string()),
            other => Self::Lost(other.to_string()),
        }
    }
}

impl<'a> Exchange<'a> {
    pub(super) fn new(account: &'a Account, inbox: &'a Inbox, secret: Option<&'a Secret>) -> Self {
        Self { account, inbox, secret, self_id: Mutex::default() }
    }

    /// Takes events at the door and looks after the API until `cancel` is given.
    pub(super) async fn live(
        &self,
        opened: Result<Door, IngressError>,
        life: Life<'_>,
        cancel: &CancellationToken,
    ) -> End {
        let mut door = match opened {
            Ok(door) => door,
            Err(error) => {
                tracing::warn!(connector = %self.account.name, %error, "cannot take OneBot events");
                return End::lost(error);
            }
        };
        life.listening(door.address());
        tracing::info!(connector = %self.account.name, address = %door.address(), "waiting for OneBot events");
        self.account.note(life, |standing| *standing = Standing { unproven: true, ..Standing::default() });
        let mut on_their_way = FuturesUnordered::new();
        let serve = async {
            loop {
                tokio::select! {
                    Some(()) = on_their_way.next() => {}
                    knock = door.next(), if on_their_way.len() < EVENTS_MAX => {
                        on_their_way.extend(self.take(knock, life).await);
                    }
                }
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = serve => {}
            () = self.look_after(life) => {}
        }
        drop(door);
        // What the host still takes is still answered.
        let _ = timeout(LAST_WAIT, pin!(on_their_way).count()).await;
        End::Stopped
    }

    /// Judges a request. Answers it, or returns what will once the host has decided.
    async fn take(&self, knock: Knock, life: Life<'_>) -> Option<impl Future<Output = ()> + use<>> {
        let frame = match self.admit(&knock) {
            Ok(frame) => frame,
            Err(status) => {
                tracing::debug!(connector = %self.account.name, %status, "turned a OneBot event away");
                knock.answer(status);
                return None;
            }
        };
        life.heard();
        match frame {
            Frame::Event { event, .. } => {
                if let Ok(submitted) = self.inbox.submit(*event).await {
                    return Some(async move {
                        let taken = submitted.taken().await;
                        knock.answer(taken.map_or(StatusCode::SERVICE_UNAVAILABLE, |()| StatusCode::NO_CONTENT));
                    });
                }
                knock.answer(StatusCode::SERVICE_UNAVAILABLE);
            }
            Frame::Heartbeat { online, .. } => {
                self.account.note(life, |standing| standing.offline = !online);
                knock.answer(StatusCode::NO_CONTENT);
            }
            Frame::Answer { .. } | Frame::Nothing | Frame::Garbage => knock.answer(StatusCode::NO_CONTENT),
        }
        None
    }

    /// Returns what a request brings, or why it is turned away. The signature comes before anything of the body is looked at.
    fn admit(&self, knock: &Knock) -> Result<Frame, StatusCode> {
        if knock.method != Method::POST {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        if let Some(secret) = self.secret {
            let given = knock.header("x-signature").ok_or(StatusCode::UNAUTHORIZED)?;
            if !is_signed(secret, &knock.body, given) {
                return Err(StatusCode::FORBIDDEN);
            }
        }
        let text = std::str::from_utf8(&knock.body).map_err(|_| StatusCode::BAD_REQUEST)?;
        let claimed = knock.header("x-self-id").ok_or(StatusCode::BAD_REQUEST)?;
        let frame = event::read(&self.account.name, text);
        let written = match &frame {
            // The header is not signed; the body is.
            Frame::Event { self_id, .. } if self_id != claimed => return Err(StatusCode::BAD_REQUEST),
            Frame::Answer { .. } | Frame::Garbage => return Err(StatusCode::BAD_REQUEST),
            _ => claimed,
        };
        let known = self.self_id.lock().unwrap_or_else(PoisonError::into_inner);
        // One connector, one account.
        if self.account.stranger(written).is_some() || known.as_ref().is_some_and(|known| known != written) {
            return Err(StatusCode::CONFLICT);
        }
        Ok(frame)
    }

    /// Asks the API now and then whether it is there and the account online, and publishes it. Never returns.
    async fn look_after(&self, life: Life<'_>) {
        let mut backoff = Backoff::new(WAIT_INITIAL.min(self.account.reconnect_max), self.account.reconnect_max, 0.0);
        let every = self.account.stall_timeout / 2;
        loop {
            let wait = match self.probe(every).await {
                Ok(online) => {
                    backoff.reset();
                    life.of_use();
                    self.account
                        .note(life, |standing| *standing = Standing { offline: !online, ..Standing::default() });
                    life.heard();
                    every
                }
                Err(Trouble::Refused(error)) => {
                    tracing::warn!(connector = %self.account.name, %error, "the OneBot API is of no use");
                    self.account.note(life, |standing| {
                        *standing = Standing { refused: Some(error), unproven: true, ..Standing::default() };
                    });
                    REFUSED_WAIT
                }
                Err(Trouble::Lost(error)) => {
                    tracing::warn!(connector = %self.account.name, %error, "the OneBot API does not answer");
                    let wait = full_jitter(backoff.next(0.5), fastrand::f64());
                    let missing = (format!("the implementation's API does not answer: {error}"), wait);
                    self.account.note(life, |standing| {
                        *standing = Standing { missing: Some(missing), unproven: true, ..Standing::default() };
                    });
                    wait
                }
            };
            sleep(wait).await;
        }
    }

    /// Returns whether the account is online.
    async fn probe(&self, patience: Duration) -> Result<bool, Trouble> {
        if self.account.standing().unproven {
            let self_id = self.account.identity(patience).await?;
            if let Some(error) = self.account.stranger(&self_id) {
                return Err(Trouble::Refused(error));
            }
            *self.self_id.lock().unwrap_or_else(PoisonError::into_inner) = Some(self_id);
        }
        let answer = self.account.call("get_status", json!({}), patience).await?;
        // One that cannot say has answered all the same.
        Ok(event::is_online(&answer.data))
    }
}

/// Returns whether this is the signature of the body: `sha1=` and the HMAC-SHA1 in hexadecimal digits. Compared in constant time.
fn is_signed(secret: &Secret, body: &[u8], given: &str) -> bool {
    let digits = given.strip_prefix("sha1=").map(str::as_bytes);
    let Some(given) = digits.and_then(|digits| HEXLOWER_PERMISSIVE.decode(digits).ok()) else { return false };
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.expose().as_bytes()).expect("a key of any length will do");
    mac.update(body);
    mac.verify_slice(&given).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_these_bytes_and_this_secret() {
        // RFC 2202, test case 2.
        let (secret, body) = (Secret::new("Jefe"), b"what do ya want for nothing?");
        let good = "sha1=effcdf6ae5eb2fa2d27416d5f184df9c259a7c79";
        assert!(is_signed(&secret, body, good));
        assert!(is_signed(&secret, body, &good.to_uppercase().replacen("SHA1", "sha1", 1)));
        assert!(!is_signed(&secret, b"what do ya want for nothing!", good));
        assert!(!is_signed(&Secret::new("jefe"), body, good));
        for bad in [
            "",
            "sha1=",
            "sha1=ef",
            "sha1=xy",
            "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
            &good.replace("sha1", "sha256"),
        ] {
            assert!(!is_signed(&secret, body, bad), "{bad}");
        }
    }
}
