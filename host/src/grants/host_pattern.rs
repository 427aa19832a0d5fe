//! A host that a bot may call over HTTP, as an operator writes it: `api.example.com`, `*.example.com`, `[::1]:8080`. Pure.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

/// Longest name of a host and of one of its labels, in bytes, as DNS has it.
const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// How a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// By TLS.
    Https,
}

impl Scheme {
    /// Returns the port that it stands for.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Http => "http://",
            Self::Https => "https://",
        }
    }
}

/// Which host, and which port of it, a request may go to.
///
/// `example.com` is that host alone, `*.example.com` every name below it and not itself. Case does not matter, nor does the dot
/// that may end a name. Without a port only the port that the request's scheme stands for is allowed; with one only that.
/// Addresses are written as such (`192.0.2.1`, `[2001:db8::1]`), and a name never stands for the address it resolves to.
/// With `https://` in front only requests by TLS are allowed, with `http://` only those in the clear, and these with secrets in them,
/// which otherwise leave by TLS alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    scheme: Option<Scheme>,
    host: Host,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    /// A name, in lower case.
    Name(String),
    /// What follows `*.`, in lower case.
    Below(String),
    Address(IpAddr),
}

/// Why a text is no pattern of hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` names no host: {reason}")]
pub struct HostPatternError {
    given: String,
    reason: &'static str,
}

impl HostPattern {
    /// Returns whether a request that it allows may have secrets in it though it is sent in the clear.
    pub fn lets_secrets_leave_in_clear(&self) -> bool {
        self.scheme == Some(Scheme::Http)
    }

    /// Returns whether a request may go to `host`, which stands as in a URL: an IPv6 address in brackets or without.
    /// `port` is the one that the URL names.
    pub fn allows(&self, scheme: Scheme, host: &str, port: Option<u16>) -> bool {
        let default_port = scheme.default_port();
        if self.scheme.is_some_and(|own| own != scheme)
            || port.unwrap_or(default_port) != self.port.unwrap_or(default_port)
        {
            return false;
        }
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return self.host == Host::Address(address);
        }
        let name = host.strip_suffix('.').unwrap_or(host);
        match &self.host {
            Host::Name(own) => own.eq_ignore_ascii_case(name),
            Host::Below(suffix) => below(name, suffix),
            Host::Address(_) => false,
        }
    }
}

/// Returns whether `name` is a name below `suffix`: it ends in a dot and the suffix, and something stands before them.
fn below(name: &str, suffix: &str) -> bool {
    let (name, suffix) = (name.as_bytes(), suffix.as_bytes());
    let Some(dot) = name.len().checked_sub(suffix.len() + 1) else { return false };
    dot > 0 && name[dot] == b'.' && name[dot + 1..].eq_ignore_ascii_case(suffix)
}

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<Self, HostPatternError> {
        parse(text).map_err(|reason| {
            // A refused text may be anything, so it is cut and its control characters are escaped before people read it.
            let given = text.chars().take(HOST_BYTES_MAX).flat_map(char::escape_debug).collect();
            HostPatternError { given, reason }
        })
    }
}

fn parse(text: &str) -> Result<HostPattern, &'static str> {
    let schemed = |scheme: Scheme| text.strip_prefix(scheme.prefix()).map(|rest| (Some(scheme), rest));
    let (scheme, rest) = [Scheme::Http, Scheme::Https].into_iter().find_map(schemed).unwrap_or((None, text));
    let (host, port) = parse_place(rest)?;
    Ok(HostPattern { scheme, host, port })
}

fn parse_place(text: &str) -> Result<(Host, Option<u16>), &'static str> {
    if text.contains('/') {
        return Err("write the host, with `http://` or `https://` at most and without path, such as `api.example.com`");
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or("the bracket before an IPv6 address must be closed")?;
        let address = address.parse().map_err(|_| "brackets hold an IPv6 address, such as `[2001:db8::1]`")?;
        let port = match port.strip_prefix(':') {
            Some(port) => Some(parse_port(port)?),
            None if port.is_empty() => None,
            None => return Err("after an IPv6 address only `:PORT` may follow"),
        };
        return Ok((Host::Address(IpAddr::V6(address)), port));
    }
    if text.matches(':').count() > 1 {
        return Err("an IPv6 address is written in brackets, such as `[2001:db8::1]`");
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(parse_port(port)?)),
        None => (text, None),
    };
    Ok((parse_host(host)?, port))
}

fn parse_port(text: &str) -> Result<u16, &'static str> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ => Err("a port is a whole number from 1 to 65535"),
    }
}

fn parse_host(text: &str) -> Result<Host, &'static str> {
    if let Some(suffix) = text.strip_prefix("*.") {
        return check_name(suffix).map(Host::Below);
    }
    match text.parse() {
        Ok(address) => Ok(Host::Address(IpAddr::V4(address))),
        Err(_) => check_name(text).map(Host::Name),
    }
}

/// Returns the name in lower case, without the dot that may end it.
fn check_name(text: &str) -> Result<String, &'static str> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return Err("it is empty");
    }
    if !name.is_ascii() {
        return Err("only ASCII is read; write an international name in its `xn--` form");
    }
    if name.contains('*') {
        return Err("`*` stands only for whole labels at the front, as in `*.example.com`");
    }
    if name.len() > HOST_BYTES_MAX {
        return Err("a name has at most 253 characters");
    }
    let mut last = "";
    for label in name.split('.') {
        let letters = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if label.is_empty() || label.len() > LABEL_BYTES_MAX || !letters {
            return Err("between its dots a name has 1 to 63 of the letters a-z, 0-9, `-`, `_`");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("between its dots a name neither begins nor ends with `-`");
        }
        last = label;
    }
    // Resolvers read `127.1` and `0x7f000001` as addresses, so a name that ends in a number could be one in disguise.
    let hexadecimal = last.strip_prefix("0x").or(last.strip_prefix("0X"));
    if last.bytes().all(|byte| byte.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        return Err("a name that ends in a number is an address; write all four numbers, such as `127.0.0.1`");
    }
    Ok(name.to_ascii_lowercase())
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.scheme.map_or("", Scheme::prefix))?;
        match &self.host {
            Host::Name(name) => f.write_str(name)?,
            Host::Below(suffix) => write!(f, "*.{suffix}")?,
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}")?,
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl<'de> Deserialize<'de> for HostPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns whether `pattern` allows what stands in the authority of a URL.
    #[track_caller]
    fn allows(pattern: &str, host: &str, port: Option<u16>, default: u16) -> bool {
        let scheme = if default == 443 { Scheme::Https } else { Scheme::Http };
        pattern.parse::<HostPattern>().unwrap().allows(scheme, host, port)
    }

    #[test]
    fn a_pattern_allows_its_host_and_port_and_nothing_else() {
        for (pattern, host, port, expected) in [
            ("example.com", "example.com", None, true),
            ("example.com", "EXAMPLE.com", None, true),
            ("Example.COM", "example.com", None, true),
            ("example.com", "example.com.", None, true),
            ("example.com.", "example.com", None, true),
            ("example.com", "example.com", Some(443), true),
            ("example.com", "example.com", Some(8443), false),
            ("example.com", "example.com", Some(80), false),
            ("example.com:8443", "example.com", Some(8443), true),
            ("example.com:8443", "example.com", None, false),
            ("example.com:443", "example.com", None, true),
            ("example.com", "api.example.com", None, false),
            ("example.com", "notexample.com", None, false),
            ("example.com", "example.com.evil.net", None, false),
            ("example.com", "example.com..", None, false),
            ("*.example.com", "api.example.com", None, true),
            ("*.example.com", "a.b.Example.com", None, true),
            ("*.example.com", "example.com", None, false),
            ("*.example.com", ".example.com", None, false),
            ("*.example.com", "evilexample.com", None, false),
            ("*.example.com:1", "a.example.com", Some(1), true),
            ("127.0.0.1", "127.0.0.1", None, true),
            ("127.0.0.1", "127.0.0.2", None, false),
            ("[::1]", "[::1]", None, true),
            ("[::1]", "::1", None, true),
            ("[::1]", "[0:0:0:0:0:0:0:1]", None, true),
            ("[::1]:9", "[::1]", Some(9), true),
            ("127.0.0.1", "[::ffff:127.0.0.1]", None, false),
            ("*.example.com", "127.0.0.1", None, false),
            ("example.com", "", None, false),
            ("https://example.com", "example.com", None, true),
            ("https://example.com:8443", "example.com", Some(8443), true),
            ("http://example.com", "example.com", None, false),
            ("http://[::1]:9", "[::1]", Some(9), false),
        ] {
            assert_eq!(allows(pattern, host, port, 443), expected, "{pattern} {host} {port:?}");
        }
    }

    #[test]
    fn a_scheme_in_front_allows_that_alone_and_only_the_clear_one_lets_secrets_leave_so() {
        for (pattern, in_clear, by_tls, secrets) in [
            ("example.com:81", true, true, false),
            ("http://example.com:81", true, false, true),
            ("https://example.com:81", false, true, false),
        ] {
            assert_eq!(allows(pattern, "example.com", Some(81), 80), in_clear, "{pattern}");
            assert_eq!(allows(pattern, "example.com", Some(81), 443), by_tls, "{pattern}");
            let pattern: HostPattern = pattern.parse().unwrap();
            assert_eq!(pattern.lets_secrets_leave_in_clear(), secrets, "{pattern}");
        }
    }

    #[test]
    fn what_names_no_host_is_refused_with_the_reason() {
        for (bad, reason) in [
            ("", "it is empty"),
            ("*", "`*` stands only"),
            ("*.", "it is empty"),
            ("a.*.com", "`*` stands only"),
            ("*a.com", "`*` stands only"),
            ("ftp://example.com", "without path"),
            ("http://", "it is empty"),
            ("http://https://a.com", "without path"),
            ("example.com/path", "without path"),
            ("user@example.com", "1 to 63"),
            ("a..b", "1 to 63"),
            (" a.com", "1 to 63"),
            ("-a.com", "neither begins"),
            ("münchen.de", "`xn--` form"),
            ("example.com:", "from 1 to 65535"),
            ("example.com:0", "from 1 to 65535"),
            ("example.com:+80", "from 1 to 65535"),
            ("example.com:65536", "from 1 to 65535"),
            ("::1", "in brackets"),
            ("[::1", "must be closed"),
            ("[127.0.0.1]", "IPv6 address"),
            ("[::1]80", "only `:PORT`"),
            ("127.1", "all four numbers"),
            ("2130706433", "all four numbers"),
            ("0x7f000001", "all four numbers"),
            ("*.0.0.1", "all four numbers"),
            ("256.1.1.1", "all four numbers"),
        ] {
            let error = bad.parse::<HostPattern>().unwrap_err().to_string();
            assert!(error.contains(reason), "{bad}: {error}");
        }
        let long = format!("{}.com", "a.".repeat(130));
        assert!(long.parse::<HostPattern>().unwrap_err().to_string().contains("253"));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_shown_reads_back(text in "\\PC*|(https?://)?[a-c.*:\\[\\]0-9-]{0,20}", host in "\\PC*") {
            if let Ok(pattern) = text.parse::<HostPattern>() {
                pattern.allows(Scheme::Https, &host, None);
                prop_assert_eq!(pattern.to_string().parse(), Ok(pattern));
            }
        }

        #[test]
        fn a_wildcard_allows_exactly_the_names_below(name in "[a-z]{1,5}(\\.[a-z]{1,5}){0,3}", more in "[a-z]{1,5}") {
            let pattern: HostPattern = format!("*.{name}").parse().unwrap();
            let (sub, joined) = (format!("{more}.{name}"), format!("{more}{name}"));
            prop_assert!(pattern.allows(Scheme::Https, &sub, None));
            prop_assert!(!pattern.allows(Scheme::Https, &joined, None));
            prop_assert!(!pattern.allows(Scheme::Https, &name, None));
        }
    }
}
