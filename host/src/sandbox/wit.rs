//! The interface that guests are written against, by version.
//!
//! To add a version: copy `wit/vX.Y` to a new folder and change it there; copy `wit/v0_1.rs` beside it; let the older of the
//! two only convert; add its case to [`classify`]; keep the older version's test guests. The rest of the host knows the
//! host's own types (`event`, `action`) and no version.

pub(super) mod v0_1;

/// The version of `bothost:bot` that this host serves.
pub const SERVED_VERSION: &str = "0.1.0";
/// What a bot exports.
pub(super) const GUEST_INTERFACE: &str = "bothost:bot/guest@0.1.0";

/// What an imported or exported name says of the component.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// The host has it.
    Yes,
    /// A version of our own package that this host does not have.
    OtherVersion(String),
    /// Nothing that this host has.
    No,
}

/// Decides from the name alone whether the host has an interface.
pub(super) fn classify(name: &str) -> Served {
    let Some((package, rest)) = name.split_once('/') else { return Served::No };
    let version = rest.split_once('@').map_or("", |(_, version)| version);
    match package {
        "bothost:bot" if version.starts_with("0.1.") => Served::Yes,
        "bothost:bot" => Served::OtherVersion(version.to_owned()),
        "wasi:cli" | "wasi:clocks" | "wasi:filesystem" | "wasi:http" | "wasi:io" | "wasi:random" | "wasi:sockets"
            if version.starts_with("0.2.") =>
        {
            Served::Yes
        }
        _ => Served::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_by_package_and_version() {
        assert_eq!(classify("bothost:bot/state@0.1.0"), Served::Yes);
        assert_eq!(classify("bothost:bot/state@0.2.0"), Served::OtherVersion("0.2.0".into()));
        assert_eq!(classify("wasi:io/poll@0.2.12"), Served::Yes);
        assert_eq!(classify("wasi:io/poll@0.3.0"), Served::No);
        assert_eq!(classify("wasi:keyvalue/store@0.2.0-draft"), Served::No);
        assert_eq!(classify("run"), Served::No);
    }
}
