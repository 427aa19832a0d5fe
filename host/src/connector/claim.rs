//! What a connector needs that another cannot have at the same time.

use std::fmt;
use std::net::SocketAddr;

use crate::secret::Secret;

/// Something that is there once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Credentials that their platform serves to one connection at a time; what they are, for people.
    Credential(&'static str, Secret),
    /// An address that nobody else listens on.
    Listen(SocketAddr),
    /// A path of an address that others may listen on too.
    Door(SocketAddr, String),
}

impl Claim {
    /// Returns whether two connectors cannot have these at the same time.
    pub fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Credential(kind, one), Self::Credential(other_kind, other)) => kind == other_kind && one == other,
            (Self::Door(one, path), Self::Door(other, other_path)) if one == other => {
                path == other_path && one.port() != 0
            }
            (Self::Listen(one) | Self::Door(one, _), Self::Listen(other) | Self::Door(other, _)) => {
                overlap(*one, *other)
            }
            (Self::Credential(..), _) | (_, Self::Credential(..)) => false,
        }
    }
}

impl fmt::Display for Claim {
    /// Says that somebody has it, up to the word "of"; no credential is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(what, _) => write!(f, "has the {what}"),
            Self::Listen(address) => write!(f, "listens on {address}, an address"),
            Self::Door(address, path) => write!(f, "listens on {address} at {path}, a place"),
        }
    }
}

/// Returns whether two sockets cannot listen on these at the same time. Port 0 is another port each time.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let same_address = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && same_address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_overlap_when_one_address_covers_the_other() {
        for (one, other, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            assert_eq!(overlap(one.parse().unwrap(), other.parse().unwrap()), expected, "{one} {other}");
        }
    }
}
