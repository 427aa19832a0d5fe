//! Where a host is that is asked over the network: `http://HOST:PORT` or `https://HOST:PORT`, perhaps below a path, as behind a proxy.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;

/// What is spoken on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// By TLS.
    Https,
}

/// The address of a host's admin side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostUrl {
    pub(super) scheme: Scheme,
    /// A name or an address, an IPv6 address without its brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// What is in front of every path; no slash at its end.
    pub(super) prefix: String,
}

/// Why a text is no address of a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostUrlError {
    /// It is no URL.
    #[error("it must be like https://bots.example.com:8080")]
    NoUrl,
    /// It is one of another kind.
    #[error("it must begin with http:// or https://")]
    Scheme,
    /// It has a name and a password in it, which would be seen.
    #[error("it must not contain a name or a password: a token comes from BOTHOST_TOKEN or --token-file")]
    UserInfo,
    /// It has a query.
    #[error("it must end before the `?`")]
    Query,
}

impl HostUrl {
    /// Returns whether what is sent there stays on this machine.
    pub fn is_loopback(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        address.map_or(self.host == "localhost", |address| address.is_loopback())
    }

    /// Returns whether others on the way can read what is sent.
    pub fn is_open_to_others(&self) -> bool {
        self.scheme == Scheme::Http && !self.is_loopback()
    }

    /// Returns what the header `Host` says.
    pub(super) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.scheme, self.port) {
            (Scheme::Http, 80) | (Scheme::Https, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

impl FromStr for HostUrl {
    type Err = HostUrlError;

    fn from_str(text: &str) -> Result<Self, HostUrlError> {
        let uri: Uri = text.parse().map_err(|_| HostUrlError::NoUrl)?;
        let (scheme, default_port) = match uri.scheme_str() {
            Some("http") => (Scheme::Http, 80),
            Some("https") => (Scheme::Https, 443),
            Some(_) => return Err(HostUrlError::Scheme),
            None => return Err(HostUrlError::NoUrl),
        };
        let authority = uri.authority().ok_or(HostUrlError::NoUrl)?;
        if authority.as_str().contains('@') {
            return Err(HostUrlError::UserInfo);
        }
        if uri.query().is_some() {
            return Err(HostUrlError::Query);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if host.is_empty() {
            return Err(HostUrlError::NoUrl);
        }
        let port = authority.port_u16().unwrap_or(default_port);
        Ok(Self { scheme, host, port, prefix: uri.path().trim_end_matches('/').to_owned() })
    }
}

impl fmt::Display for HostUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}{}", self.authority(), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_shown_in_one_form() {
        for (text, shown) in [
            ("https://Bots.example.com", "https://bots.example.com"),
            ("https://bots.example.com:443/", "https://bots.example.com"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:8080/admin/", "http://[::1]:8080/admin"),
        ] {
            assert_eq!(text.parse::<HostUrl>().unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_of_a_host_is_refused_with_its_reason() {
        for (text, error) in [
            ("", HostUrlError::NoUrl),
            ("bots.example.com:8080", HostUrlError::NoUrl),
            ("ftp://bots.example.com", HostUrlError::Scheme),
            ("https://me:secret@bots.example.com", HostUrlError::UserInfo),
            ("https://bots.example.com?token=secret", HostUrlError::Query),
        ] {
            assert_eq!(text.parse::<HostUrl>(), Err(error), "{text}");
        }
    }

    #[test]
    fn only_what_leaves_the_machine_in_the_clear_is_open_to_others() {
        let is_open = |text: &str| text.parse::<HostUrl>().unwrap().is_open_to_others();
        assert!(is_open("http://10.0.0.7:8080") && is_open("http://localhost.example.com"));
        for closed in ["http://localhost:8080", "http://127.9.9.9", "http://[::1]", "https://10.0.0.7"] {
            assert!(!is_open(closed), "{closed}");
        }
    }
}
