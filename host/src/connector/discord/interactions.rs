//! Answers to interactions, and the door by which they come over HTTP. Discord waits three seconds for an answer, and a bot may take
//! longer: so it gets one that says nothing, once the host has the event, and the bot's own messages follow by the usual way. Of a slash
//! command that is the note "is thinking", seen by who gave the command and taken back at once.

use std::net::SocketAddr;
use std::time::Duration;

use data_encoding::HEXLOWER_PERMISSIVE;
use ed25519_dalek::{Signature, VerifyingKey};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::rest::{Rest, RestError, Route};
use super::words::{Interaction, Reader};
use crate::clock::Timestamp;
use crate::connector::ingress::{Door, Ingress, Knock};
use crate::connector::link::{Connection, End, Life};
use crate::connector::{Inbox, Submitted};

/// Answers that wait to be sent. One that finds no place is left out: who asked sees that the bot did not answer in time.
pub(super) const WAITING_MAX: usize = 256;
/// Answers on their way, and requests on their way into the host.
const IN_FLIGHT_MAX: usize = 32;
/// Discord waits no longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the address may take to be free.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);
/// How often and how far apart it is tried to take a note back; Discord may be about to show it.
const WITHDRAWALS: u32 = 3;
const WITHDRAWAL_PAUSE: Duration = Duration::from_secs(1);
/// What was signed longer ago, or is to be signed only later, is none of Discord's.
const AGE_MAX: Duration = Duration::from_secs(300);
/// Discord's code for an interaction that has its answer.
const ANSWERED_ALREADY: u64 = 40060;
/// Only who gave the command sees it.
const EPHEMERAL: u64 = 1 << 6;

/// What is to be answered.
#[derive(Debug)]
pub(super) struct Pending {
    interaction: Interaction,
    /// Whether the first answer is given: it was that to an HTTP request.
    is_answered: bool,
}

impl Pending {
    /// Returns an interaction that came by the gateway.
    pub(super) fn new(interaction: Interaction) -> Self {
        Self { interaction, is_answered: false }
    }
}

/// Returns the answer to an interaction of a kind.
fn answer(kind: u64) -> Value {
    match kind {
        1 => json!({"type": 1}),
        3 => json!({"type": 6}),
        4 => json!({"type": 8, "data": {"choices": []}}),
        _ => json!({"type": 5, "data": {"flags": EPHEMERAL}}),
    }
}

/// Sends answers until `cancel` is given, then finishes those it has begun.
pub(super) async fn answer_all(rest: &Rest, mut waiting: mpsc::Receiver<Pending>, cancel: &CancellationToken) {
    let mut in_flight = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(()) = in_flight.next() => {}
            () = cancel.cancelled() => break,
            Some(pending) = waiting.recv(), if in_flight.len() < IN_FLIGHT_MAX => in_flight.push(settle(rest, pending)),
        }
    }
    while in_flight.next().await.is_some() {}
}

async fn settle(rest: &Rest, pending: Pending) {
    let Pending { interaction, is_answered } = pending;
    let Interaction { id, application_id, kind, .. } = &interaction;
    let token = interaction.token.expose();
    if !is_answered {
        let path = format!("/interactions/{id}/{token}/callback");
        let route = Route { method: Method::POST, path, name: "callback", major: String::new() };
        if let Err(error) = rest.call_open(&route, answer(*kind).to_string(), ANSWER_TIMEOUT).await {
            // One that came twice was answered the first time.
            if !error.is(ANSWERED_ALREADY) {
                tracing::warn!(%error, "an interaction was not answered in time; who asked is told so by Discord");
            }
            return;
        }
    }
    if !matches!(kind, 2 | 5) {
        return;
    }
    let path = format!("/webhooks/{application_id}/{token}/messages/@original");
    let route = Route { method: Method::DELETE, path, name: "followup", major: String::new() };
    for _ in 0..WITHDRAWALS {
        match rest.call_open(&route, String::new(), ANSWER_TIMEOUT).await {
            Err(RestError::Refused { status: 404, .. }) => sleep(WITHDRAWAL_PAUSE).await,
            _ => return,
        }
    }
}

/// What comes in at the door, and what is needed for it.
#[derive(Debug)]
pub(super) struct Desk<'a> {
    pub(super) listen: SocketAddr,
    pub(super) path: &'a str,
    pub(super) key: &'a VerifyingKey,
    pub(super) application_id: Option<&'a str>,
    pub(super) reader: Reader<'a>,
    pub(super) inbox: &'a Inbox,
    pub(super) pending: &'a mpsc::Sender<Pending>,
}

impl Desk<'_> {
    /// Keeps the door open until the connector is told to stop.
    pub(super) async fn run(&self, connection: &Connection, ingress: &Ingress, cancel: &CancellationToken) {
        connection.keep(OPEN_TIMEOUT, cancel, |life| self.live(connection, ingress, life)).await;
    }

    async fn live(&self, connection: &Connection, ingress: &Ingress, life: Life<'_>) -> End {
        let mut door = match ingress.open(self.listen, self.path).await {
            Ok(door) => door,
            Err(error) => return End::lost(error),
        };
        connection.listening(door.address());
        life.connected();
        life.of_use();
        // Nobody may knock for hours, and that is no sign of anything.
        life.while_deaf(self.serve(&mut door)).await
    }

    async fn serve(&self, door: &mut Door) -> End {
        let mut on_their_way = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(stops) = on_their_way.next() => if stops { return End::Stopped },
                knock = door.next(), if on_their_way.len() < IN_FLIGHT_MAX => {
                    let interaction = match self.judge(&knock, Timestamp::now()) {
                        Ok(interaction) => interaction,
                        Err(status) => {
                            knock.answer(status);
                            continue;
                        }
                    };
                    // Submitted here, one after another, so that they stay in order.
                    let submitted = match interaction.event {
                        Some(event) => match self.inbox.submit(event).await {
                            Ok(submitted) => Some(submitted),
                            Err(_) => return End::Stopped,
                        },
                        None => None,
                    };
                    on_their_way.push(self.finish(knock, interaction.read, submitted));
                }
            }
        }
    }

    /// Answers once the host has the event. Returns whether the host takes no more.
    async fn finish(&self, knock: Knock, interaction: Interaction, submitted: Option<Submitted>) -> bool {
        if let Some(submitted) = submitted
            && submitted.taken().await.is_err()
        {
            knock.answer(StatusCode::SERVICE_UNAVAILABLE);
            return true;
        }
        knock.answer_json(StatusCode::OK, &answer(interaction.kind));
        // No place: the note stays until Discord takes it away.
        let _ = self.pending.try_send(Pending { interaction, is_answered: true });
        false
    }

    /// Reads a request that Discord signed; an error is the status to refuse it with.
    fn judge(&self, knock: &Knock, now: Timestamp) -> Result<Judged, StatusCode> {
        if knock.method != Method::POST {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        let header = |name| knock.header(name).unwrap_or_default();
        if !is_signed(self.key, header("x-signature-ed25519"), header("x-signature-timestamp"), &knock.body, now) {
            return Err(StatusCode::UNAUTHORIZED);
        }
        let data: Value = serde_json::from_slice(&knock.body).map_err(|_| StatusCode::BAD_REQUEST)?;
        let read = Interaction::read(&data).ok_or(StatusCode::BAD_REQUEST)?;
        if self.application_id.is_some_and(|own| own != read.application_id) {
            return Err(StatusCode::UNAUTHORIZED);
        }
        let event = self.reader.interaction(&read, &data);
        Ok(Judged { read, event })
    }
}

struct Judged {
    read: Interaction,
    event: Option<crate::event::Event>,
}

/// Returns whether a body bears the signature of a key's owner over it and a time that is about now.
fn is_signed(key: &VerifyingKey, signature: &str, timestamp: &str, body: &[u8], now: Timestamp) -> bool {
    let Ok(seconds) = timestamp.parse::<u64>() else { return false };
    let signed_at = Timestamp::from_millis(seconds.saturating_mul(1000));
    if now.saturating_since(signed_at).max(signed_at.saturating_since(now)) > AGE_MAX {
        return false;
    }
    let Ok(signature) = HEXLOWER_PERMISSIVE.decode(signature.as_bytes()) else { return false };
    let Ok(signature) = Signature::from_slice(&signature) else { return false };
    key.verify_strict(&[timestamp.as_bytes(), body].concat(), &signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;
    use ed25519_dalek::{Signer, SigningKey};

    #[test]
    fn only_what_the_key_signed_just_now_is_believed() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let sign = |key: &SigningKey, text: &str| HEXLOWER.encode(&key.sign(text.as_bytes()).to_bytes());
        let now = Timestamp::from_millis(1_700_000_000_000);
        let check = |signature: &str, timestamp: &str, body: &str| {
            is_signed(&key.verifying_key(), signature, timestamp, body.as_bytes(), now)
        };
        let good = sign(&key, "1700000000{}");
        assert!(check(&good, "1700000000", "{}"));
        assert!(check(&good.to_uppercase(), "1700000000", "{}"));
        assert!(!check(&good, "1700000001", "{}"), "another time");
        assert!(!check(&good, "1700000000", "{} "), "another body");
        assert!(!check(&sign(&SigningKey::from_bytes(&[2; 32]), "1700000000{}"), "1700000000", "{}"), "another key");
        for nonsense in ["", "zz", &good[2..]] {
            assert!(!check(nonsense, "1700000000", "{}"));
        }
        for seconds in [1_699_999_699, 1_700_000_301] {
            let timestamp = seconds.to_string();
            assert!(!check(&sign(&key, &format!("{timestamp}{{}}")), &timestamp, "{}"), "too far from now");
        }
        assert!(!check(&sign(&key, "soon{}"), "soon", "{}"));
    }
}
