//! What a gateway is told by the platform that it belongs to.

use std::time::Duration;

use serde_json::Value;

use super::session::SessionLimit;
use crate::connector::link::End;
use crate::egress::WebSocketUrl;
use crate::event::Event;

/// What a close code calls for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::connector) enum Closing {
    /// The session is alive.
    Resume,
    /// The session is gone.
    Identify,
    /// As [`Closing::Resume`], after this long.
    ResumeAfter(Duration),
    /// Another configuration is needed; what is wrong, in words.
    Refused(&'static str),
}

/// A numbered message of the platform.
#[derive(Debug, Clone)]
pub(in crate::connector) struct Dispatch {
    /// What it is, such as `MESSAGE_CREATE`.
    pub(in crate::connector) kind: String,
    /// What it says.
    pub(in crate::connector) data: Value,
    /// The platform's id of the frame itself, where it has one.
    pub(in crate::connector) id: Option<String>,
    /// Its number in its session: the same when it comes again.
    pub(in crate::connector) seq: u64,
}

/// A platform's own side of the protocol.
pub(in crate::connector) trait Platform {
    /// Returns where to connect when there is nothing to resume, and whether an identify is allowed there.
    async fn invitation(&self) -> Result<Invitation, End>;
    /// Returns what an identify says.
    async fn identify(&self) -> Result<Value, End>;
    /// Returns what a resume of this session says.
    async fn resume(&self, session_id: &str, seq: u64) -> Result<Value, End>;
    /// Takes in what `READY` says, and returns what is wrong with it.
    fn ready(&self, data: &Value) -> Result<(), End>;
    /// Takes in a dispatch before the host gets its events: what answers to them will need. The host waits for it.
    async fn arriving(&self, _dispatch: &Dispatch) {}
    /// Returns the events of a dispatch, in order.
    fn events(&self, dispatch: &Dispatch) -> Vec<Event>;
    /// Told once the host has every event of a dispatch. Must not wait.
    fn taken(&self, dispatch: &Dispatch);
    /// Judges a close code; `None` where it has none.
    fn closing(&self, code: Option<u16>) -> Closing;
}

/// What a platform answers to "where is the gateway".
#[derive(Debug, Clone)]
pub(in crate::connector) struct Invitation {
    /// Where to connect.
    pub(in crate::connector) url: WebSocketUrl,
    /// How often identifying is allowed.
    pub(in crate::connector) limit: SessionLimit,
}
