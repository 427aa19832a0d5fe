//! Which addresses may be dialled. Names are resolved before it is asked.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::doors::Doors;

/// What a range of addresses is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "`Display` says what each is")]
pub enum AddressRange {
    Unspecified,
    ThisNetwork,
    Loopback,
    OwnDoor,
    LinkLocal,
    Metadata,
    Private,
    CarrierNat,
    Multicast,
    Broadcast,
    Documentation,
    Benchmark,
    Tunnel,
    Reserved,
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "the unspecified address",
            Self::ThisNetwork => "\"this network\"",
            Self::Loopback => "this machine",
            Self::OwnDoor => "where this host itself listens",
            Self::LinkLocal => "link-local, where clouds keep their metadata",
            Self::Metadata => "where a cloud keeps its metadata",
            Self::Private => "a private network",
            Self::CarrierNat => "the shared space of carriers",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::Documentation => "reserved for documentation",
            Self::Benchmark => "reserved for benchmarks",
            Self::Tunnel => "a tunnel whose far end cannot be judged",
            Self::Reserved => "reserved",
        })
    }
}

/// An address that must not be dialled, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{address} is not allowed: it is {range}")]
pub struct ForbiddenAddress {
    /// The address.
    pub address: IpAddr,
    /// What it is for.
    pub range: AddressRange,
}

/// Decides which addresses may be dialled. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AddressGuard {
    reach: Reach,
    /// Refused whatever else may be reached.
    doors: Option<Doors>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    PublicOnly,
    NoMetadata,
    Any,
}

impl Default for AddressGuard {
    /// The strict one.
    fn default() -> Self {
        Self::public_only()
    }
}

impl AddressGuard {
    /// Returns the guard for addresses that somebody else chose: only what the whole internet can reach.
    pub const fn public_only() -> Self {
        Self { reach: Reach::PublicOnly, doors: None }
    }

    /// Returns the guard that lets everything through: for what a program is told by whoever runs it.
    pub const fn any() -> Self {
        Self { reach: Reach::Any, doors: None }
    }

    /// Returns the guard for addresses that a configuration names: anything but where clouds keep their metadata, which is all
    /// that is link-local and a few addresses beside. Whoever may edit it by the admin side is not by that to have what the
    /// machine may.
    pub const fn no_metadata() -> Self {
        Self { reach: Reach::NoMetadata, doors: None }
    }

    /// Returns the same guard, which refuses these doors of the host as well, whatever it lets through otherwise.
    #[must_use]
    pub fn besides(self, doors: Doors) -> Self {
        Self { doors: Some(doors), ..self }
    }

    /// Judges one resolved address, at the moment it is dialled.
    ///
    /// # Errors
    ///
    /// The address and the range it lies in.
    pub fn check(&self, address: SocketAddr) -> Result<(), ForbiddenAddress> {
        let is_own_door = self.doors.as_ref().is_some_and(|doors| doors.lead_to(address));
        let range = match self.reach {
            _ if is_own_door => Some(AddressRange::OwnDoor),
            Reach::Any => None,
            Reach::PublicOnly => special(address.ip()),
            Reach::NoMetadata => {
                special(address.ip()).filter(|range| matches!(range, AddressRange::LinkLocal | AddressRange::Metadata))
            }
        };
        range.map_or(Ok(()), |range| Err(ForbiddenAddress { address: address.ip(), range }))
    }
}

fn special(address: IpAddr) -> Option<AddressRange> {
    match address {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => special_v6(v6),
    }
}

/// What of IANA's special-purpose registry is not globally reachable, and before it where clouds keep metadata outside of
/// link-local. The first match names the range.
const SPECIAL_V4: [(Ipv4Addr, u32, AddressRange); 19] = [
    // Alibaba Cloud, "Instance metadata". It lies within what carriers share.
    (Ipv4Addr::new(100, 100, 100, 200), 32, AddressRange::Metadata),
    // Azure, "What is IP address 168.63.129.16?": a public address that every virtual machine has for itself.
    (Ipv4Addr::new(168, 63, 129, 16), 32, AddressRange::Metadata),
    // Oracle Cloud Infrastructure Classic, "Retrieving Instance Metadata".
    (Ipv4Addr::new(192, 0, 0, 192), 32, AddressRange::Metadata),
    (Ipv4Addr::new(0, 0, 0, 0), 8, AddressRange::ThisNetwork),
    (Ipv4Addr::new(10, 0, 0, 0), 8, AddressRange::Private),
    (Ipv4Addr::new(100, 64, 0, 0), 10, AddressRange::CarrierNat),
    (Ipv4Addr::new(127, 0, 0, 0), 8, AddressRange::Loopback),
    (Ipv4Addr::new(169, 254, 0, 0), 16, AddressRange::LinkLocal),
    (Ipv4Addr::new(172, 16, 0, 0), 12, AddressRange::Private),
    (Ipv4Addr::new(192, 0, 0, 0), 24, AddressRange::Reserved),
    (Ipv4Addr::new(192, 0, 2, 0), 24, AddressRange::Documentation),
    (Ipv4Addr::new(192, 88, 99, 0), 24, AddressRange::Tunnel),
    (Ipv4Addr::new(192, 168, 0, 0), 16, AddressRange::Private),
    (Ipv4Addr::new(198, 18, 0, 0), 15, AddressRange::Benchmark),
    (Ipv4Addr::new(198, 51, 100, 0), 24, AddressRange::Documentation),
    (Ipv4Addr::new(203, 0, 113, 0), 24, AddressRange::Documentation),
    (Ipv4Addr::new(224, 0, 0, 0), 4, AddressRange::Multicast),
    (Ipv4Addr::BROADCAST, 32, AddressRange::Broadcast),
    (Ipv4Addr::new(240, 0, 0, 0), 4, AddressRange::Reserved),
];

/// As for version 4. What lies outside `2000::/3` and is not named here is reserved.
const SPECIAL_V6: [(Ipv6Addr, u32, AddressRange); 17] = [
    // AWS: metadata at `::254`, credentials of pods at `::23`, and whatever else EC2 serves its machines.
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32, AddressRange::Metadata),
    // Google Cloud, `fd20:ce::254`; Oracle Cloud, `fd00:c1::a9fe:a9fe`; Scaleway, `fd00:42::42`.
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0), 32, AddressRange::Metadata),
    (Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0, 0), 32, AddressRange::Metadata),
    (Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0), 32, AddressRange::Metadata),
    (Ipv6Addr::UNSPECIFIED, 128, AddressRange::Unspecified),
    (Ipv6Addr::LOCALHOST, 128, AddressRange::Loopback),
    // IPv4-compatible addresses were given up; nothing public lives there.
    (Ipv6Addr::UNSPECIFIED, 96, AddressRange::Tunnel),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, AddressRange::Private),
    (Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64, AddressRange::Reserved),
    // Teredo hides an IPv4 address behind a relay.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, AddressRange::Tunnel),
    (Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0), 48, AddressRange::Benchmark),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, AddressRange::Reserved),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, AddressRange::Documentation),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, AddressRange::Documentation),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, AddressRange::Private),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, AddressRange::LinkLocal),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, AddressRange::Multicast),
];

fn special_v4(address: Ipv4Addr) -> Option<AddressRange> {
    let inside = |base: Ipv4Addr, length: u32| (address.to_bits() ^ base.to_bits()) >> (32 - length) == 0;
    SPECIAL_V4.iter().find(|(base, length, _)| inside(*base, *length)).map(|(_, _, range)| *range)
}

fn special_v6(address: Ipv6Addr) -> Option<AddressRange> {
    if let Some(inner) = embedded_v4(address) {
        return special_v4(inner);
    }
    let inside = |base: Ipv6Addr, length: u32| (address.to_bits() ^ base.to_bits()) >> (128 - length) == 0;
    let named = SPECIAL_V6.iter().find(|(base, length, _)| inside(*base, *length)).map(|(_, _, range)| *range);
    let global_unicast = inside(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
    named.or((!global_unicast).then_some(AddressRange::Reserved))
}

/// Returns the version 4 address that a packet to this address ends up at: IPv4-mapped, NAT64, 6to4.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = address.to_bits();
    let low = Ipv4Addr::from_bits(bits as u32);
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => Some(low),
        [0x2002, ..] => Some(Ipv4Addr::from_bits((bits >> 80) as u32)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range_of(address: &str) -> Option<AddressRange> {
        check(&AddressGuard::public_only(), address).err().map(|error| error.range)
    }

    fn check(guard: &AddressGuard, address: &str) -> Result<(), ForbiddenAddress> {
        guard.check(SocketAddr::new(address.parse().unwrap(), 80))
    }

    #[test]
    fn every_special_range_is_refused_at_both_of_its_ends() {
        use AddressRange::*;
        let cases = [
            ("0.0.0.0", "0.255.255.255", ThisNetwork),
            ("10.0.0.0", "10.255.255.255", Private),
            ("100.64.0.0", "100.127.255.255", CarrierNat),
            ("127.0.0.0", "127.255.255.255", Loopback),
            ("169.254.0.0", "169.254.169.254", LinkLocal),
            ("172.16.0.0", "172.31.255.255", Private),
            ("192.168.0.0", "192.168.255.255", Private),
            ("192.0.2.0", "203.0.113.255", Documentation),
            ("198.18.0.0", "198.19.255.255", Benchmark),
            ("224.0.0.0", "239.255.255.255", Multicast),
            ("240.0.0.0", "255.255.255.254", Reserved),
            ("255.255.255.255", "255.255.255.255", Broadcast),
            ("::", "::", Unspecified),
            ("::1", "::1", Loopback),
            ("::2", "::8.8.8.8", Tunnel),
            ("::ffff:127.0.0.1", "::ffff:127.255.255.255", Loopback),
            ("::ffff:169.254.169.254", "64:ff9b::169.254.169.254", LinkLocal),
            ("64:ff9b::10.0.0.1", "2002:a00:1::1", Private),
            ("64:ff9b:1::1", "fdff:ffff::1", Private),
            ("2001::1", "2001:0:ffff::1", Tunnel),
            ("2001:db8::1", "3fff:fff::1", Documentation),
            ("fe80::1", "febf::1", LinkLocal),
            ("fec0::1", "5f00::1", Reserved),
            ("ff02::1", "ff0e::1", Multicast),
        ];
        for (first, last, range) in cases {
            assert_eq!(range_of(first), Some(range), "{first}");
            assert_eq!(range_of(last), Some(range), "{last}");
        }
    }

    #[test]
    fn public_addresses_next_to_special_ones_are_allowed() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "223.255.255.255",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:101:101::1",
        ] {
            assert_eq!(range_of(address), None, "{address}");
        }
    }

    #[test]
    fn where_clouds_keep_their_metadata_nothing_of_others_is_sent() {
        let guard = AddressGuard::no_metadata();
        for (address, is_allowed) in [
            ("169.254.169.254", false),
            ("::ffff:169.254.169.254", false),
            ("fe80::1", false),
            ("fd00:ec2::254", false),
            ("fd00:ec2::23", false),
            ("fd20:ce::254", false),
            ("fd00:c1::a9fe:a9fe", false),
            ("fd00:42::42", false),
            ("100.100.100.200", false),
            ("::ffff:100.100.100.200", false),
            ("192.0.0.192", false),
            ("168.63.129.16", false),
            ("100.100.100.201", true),
            ("fd00:1::1", true),
            ("127.0.0.1", true),
            ("10.0.0.1", true),
            ("::1", true),
            ("1.1.1.1", true),
        ] {
            assert_eq!(check(&guard, address).is_ok(), is_allowed, "{address}");
            assert!(
                is_allowed || range_of(address).is_some(),
                "{address}: what is kept from operators is kept from guests"
            );
        }
    }

    #[test]
    fn the_operators_own_addresses_are_not_judged() {
        for address in ["127.0.0.1", "::1", "169.254.169.254"] {
            assert_eq!(check(&AddressGuard::any(), address), Ok(()));
        }
    }

    #[test]
    fn a_refusal_names_the_address_and_why() {
        let error = check(&AddressGuard::public_only(), "169.254.169.254").unwrap_err();
        assert_eq!(
            error.to_string(),
            "169.254.169.254 is not allowed: it is link-local, where clouds keep their metadata"
        );
    }

    proptest! {
        #[test]
        fn what_std_calls_special_is_refused(bits in any::<u32>()) {
            let address = Ipv4Addr::from_bits(bits);
            let special = address.is_loopback() || address.is_private() || address.is_link_local()
                || address.is_multicast() || address.is_broadcast() || address.is_documentation()
                || address.is_unspecified();
            if special {
                prop_assert!(special_v4(address).is_some(), "{address}");
            }
        }

        #[test]
        fn every_form_of_an_address_gets_the_verdict_of_the_address(bits in any::<u32>()) {
            let plain = Ipv4Addr::from_bits(bits);
            let [a, b, c, d] = plain.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            for form in [
                plain.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 1, 2, 3, 4, 5),
            ] {
                prop_assert_eq!(special_v6(form), special_v4(plain), "{}", form);
            }
            prop_assert!(special_v6(plain.to_ipv6_compatible()).is_some());
        }

        #[test]
        fn only_global_unicast_leaves_over_version_6(bits in any::<u128>()) {
            let address = Ipv6Addr::from_bits(bits);
            if special_v6(address).is_none() && embedded_v4(address).is_none() {
                prop_assert_eq!(bits >> 125, 1);
            }
        }
    }
}
