//! Where this host itself listens, so that nobody who is not meant to knocks there from within.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, PoisonError, RwLock};

/// The TCP addresses that this host listens on. Clones share them.
///
/// What somebody else leads to such an address, as a gateway that translates this machine's public address does, cannot be seen
/// from here.
#[derive(Debug, Clone, Default)]
pub struct Doors(Arc<RwLock<BTreeSet<SocketAddr>>>);

impl Doors {
    /// Adds an address that is listened on, with its real port.
    pub fn add(&self, listening: SocketAddr) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(canonical(listening));
    }

    /// Forgets an address that is listened on no more.
    pub fn remove(&self, listening: SocketAddr) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&canonical(listening));
    }

    /// Returns whether a connection to `address` arrives at one of the doors.
    pub(super) fn lead_to(&self, address: SocketAddr) -> bool {
        let address = canonical(address);
        let doors = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut on_port = doors.iter().filter(|door| door.port() == address.port()).peekable();
        if on_port.peek().is_none() {
            return false;
        }
        // To dial the unspecified address is to dial this machine.
        address.ip().is_unspecified()
            || on_port.any(|door| door.ip() == address.ip() || door.ip().is_unspecified() && is_local(address))
    }
}

/// Returns the address without the disguises of version 6.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        // With its scope: a link-local address is one of this machine's only on its own link.
        IpAddr::V6(_) => address,
        v4 @ IpAddr::V4(_) => SocketAddr::new(v4, address.port()),
    }
}

/// Returns whether this machine has the address. Only what is its own can be bound; nothing is sent. Where the system lets foreign
/// addresses be bound (`ip_nonlocal_bind`), every address counts as its own.
fn is_local(mut address: SocketAddr) -> bool {
    address.set_port(0);
    address.ip().is_loopback() || UdpSocket::bind(address).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(door: &str, address: &str) -> bool {
        let doors = Doors::default();
        doors.add(door.parse().unwrap());
        doors.lead_to(address.parse().unwrap())
    }

    #[test]
    fn f017_a_door_is_found_by_every_spelling_of_its_address() {
        for (door, address, expected) in [
            ("127.0.0.1:8080", "127.0.0.1:8080", true),
            ("127.0.0.1:8080", "[::ffff:127.0.0.1]:8080", true),
            ("127.0.0.1:8080", "0.0.0.0:8080", true),
            ("127.0.0.1:8080", "[::]:8080", true),
            ("127.0.0.1:8080", "127.0.0.1:8081", false),
            ("127.0.0.1:8080", "127.0.0.2:8080", false),
            ("127.0.0.1:8080", "1.1.1.1:8080", false),
            ("[::1]:8080", "[::1]:8080", true),
            ("0.0.0.0:8080", "127.0.0.1:8080", true),
            ("0.0.0.0:8080", "127.9.9.9:8080", true),
            ("[::]:8080", "127.0.0.1:8080", true),
            ("[::]:8080", "[::1]:8080", true),
            ("[::]:8080", "[::ffff:127.0.0.1]:8080", true),
            ("0.0.0.0:8080", "127.0.0.1:443", false),
            ("0.0.0.0:8080", "1.1.1.1:8080", false),
        ] {
            assert_eq!(leads(door, address), expected, "{door} {address}");
        }
    }

    #[test]
    fn f017_a_door_on_every_address_is_found_by_the_machines_own_and_by_no_other() {
        // To connect a datagram socket sends nothing, and tells which address this machine would speak from.
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let own = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr());
        if let Ok(own) = own {
            assert!(leads("0.0.0.0:8080", &format!("{}:8080", own.ip())), "{own}");
        }
        assert!(!leads("0.0.0.0:8080", "192.0.2.1:8080"));
    }

    #[test]
    fn a_door_that_is_closed_is_none() {
        let (doors, address) = (Doors::default(), "127.0.0.1:8080".parse().unwrap());
        doors.add(address);
        doors.clone().remove(address);
        assert!(!doors.lead_to(address));
    }
}
