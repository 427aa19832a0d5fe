//! Which sockets an account has at the moment. Pure.

use std::fmt;

use tokio_util::sync::CancellationToken;

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Universal,
    Api,
    Event,
}

impl Role {
    pub(super) fn takes_calls(self) -> bool {
        self != Self::Event
    }

    fn brings_events(self) -> bool {
        self != Self::Api
    }
}

/// What an account lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Both,
    Events,
    Calls,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Both => "connection",
            Self::Events => "event socket",
            Self::Calls => "API socket",
        })
    }
}

/// An entry of the roster.
#[derive(Debug, Clone)]
pub(super) struct Socket {
    /// Tells it from others of this roster.
    pub(super) number: u64,
    /// Cancelled when a newer socket takes its place.
    pub(super) cancel: CancellationToken,
    role: Role,
}

/// The sockets of one account. A connector serves one account: whose messages went where would be a riddle otherwise.
#[derive(Debug, Default)]
pub(super) struct Roster {
    self_id: Option<String>,
    sockets: Vec<Socket>,
    last_number: u64,
}

impl Roster {
    /// Returns the account whose sockets are open, if any are.
    pub(super) fn self_id(&self) -> Option<&str> {
        self.self_id.as_deref().filter(|_| !self.sockets.is_empty())
    }

    /// Adds a socket. Those that were for the same, and those of another account, are cancelled and gone.
    pub(super) fn attach(&mut self, self_id: &str, role: Role, cancel: CancellationToken) -> Socket {
        let is_same = self.self_id.as_deref() == Some(self_id);
        let replaces =
            |old: Role| (role.takes_calls() && old.takes_calls()) || (role.brings_events() && old.brings_events());
        self.sockets.retain(|old| {
            let stays = is_same && !replaces(old.role);
            if !stays {
                old.cancel.cancel();
            }
            stays
        });
        self.self_id = Some(self_id.to_owned());
        self.last_number += 1;
        let socket = Socket { number: self.last_number, cancel, role };
        self.sockets.push(socket.clone());
        socket
    }

    /// Removes a socket; returns whether it was still there, and not replaced before.
    pub(super) fn detach(&mut self, number: u64) -> bool {
        let before = self.sockets.len();
        self.sockets.retain(|socket| socket.number != number);
        self.sockets.len() < before
    }

    /// Returns what there is no socket for.
    pub(super) fn missing(&self) -> Option<Missing> {
        let has_calls = self.sockets.iter().any(|socket| socket.role.takes_calls());
        let has_events = self.sockets.iter().any(|socket| socket.role.brings_events());
        match (has_calls, has_events) {
            (true, true) => None,
            (true, false) => Some(Missing::Events),
            (false, true) => Some(Missing::Calls),
            (false, false) => Some(Missing::Both),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_whole_with_one_universal_socket_or_with_both_others() {
        let mut roster = Roster::default();
        assert_eq!(roster.missing(), Some(Missing::Both));
        let api = roster.attach("10", Role::Api, CancellationToken::new());
        assert_eq!(roster.missing(), Some(Missing::Events));
        roster.attach("10", Role::Event, CancellationToken::new());
        assert_eq!((roster.missing(), roster.self_id()), (None, Some("10")));
        let universal = roster.attach("10", Role::Universal, CancellationToken::new());
        assert_eq!(roster.missing(), None);
        assert!(api.cancel.is_cancelled() && !roster.detach(api.number));
        assert!(roster.detach(universal.number));
        assert_eq!((roster.missing(), roster.self_id()), (Some(Missing::Both), None));
    }

    #[test]
    fn a_newer_socket_replaces_the_older_one_of_its_role_only() {
        let mut roster = Roster::default();
        let event = roster.attach("10", Role::Event, CancellationToken::new());
        let old = roster.attach("10", Role::Api, CancellationToken::new());
        let new = roster.attach("10", Role::Api, CancellationToken::new());
        assert!(old.cancel.is_cancelled());
        assert!(!event.cancel.is_cancelled() && !new.cancel.is_cancelled());
    }
}
