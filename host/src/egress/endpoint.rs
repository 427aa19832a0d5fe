//! Where to connect to, as an operator writes it: a URL of which every part is known to be good.

use std::fmt;

use http::Uri;
use serde::{Deserialize, Deserializer, de};

use super::dial::Security;

/// Why a text is no address to connect to. Never repeats the text: URLs carry tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an address of the form {plain}://HOST[:PORT][/PATH] or {tls}://HOST[:PORT][/PATH], without user or fragment"
)]
pub struct EndpointError {
    plain: &'static str,
    tls: &'static str,
}

/// A place to connect to. Shows itself without its path and query.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// In the clear or by TLS.
    pub security: Security,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port, given or by the scheme.
    pub port: u16,
    /// Host and port as the `Host` header has them.
    pub authority: String,
    /// Path and query as given, `/` at the least.
    pub target: String,
}

impl Endpoint {
    fn parse(text: &str, plain: &'static str, tls: &'static str) -> Result<Self, EndpointError> {
        let error = EndpointError { plain, tls };
        let uri: Uri = text.parse().map_err(|_| error)?;
        let security = match uri.scheme_str() {
            Some(scheme) if scheme == plain => Security::Plain,
            Some(scheme) if scheme == tls => Security::Tls,
            _ => return Err(error),
        };
        let authority = uri.authority().ok_or(error)?;
        if authority.host().is_empty() || authority.as_str().contains('@') || text.contains('#') {
            return Err(error);
        }
        Ok(Self {
            security,
            host: authority.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: authority.port_u16().unwrap_or(if security == Security::Tls { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            target: uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.authority)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({:?}, {})", self.security, self.authority)
    }
}

macro_rules! url_type {
    ($(#[$doc:meta])* $name:ident, $plain:literal, $tls:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(pub Endpoint);

        impl std::str::FromStr for $name {
            type Err = EndpointError;
            fn from_str(text: &str) -> Result<Self, EndpointError> {
                Endpoint::parse(text, $plain, $tls).map(Self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

url_type! {
    /// An `http` or `https` URL.
    HttpUrl, "http", "https"
}
url_type! {
    /// A `ws` or `wss` URL.
    WebSocketUrl, "ws", "wss"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_with_the_port_of_its_scheme() {
        let HttpUrl(endpoint) = "https://api.telegram.org".parse().unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port, endpoint.target.as_str()), ("api.telegram.org", 443, "/"));
        let WebSocketUrl(endpoint) = "ws://[::1]:6700/event?access_token=s3cret".parse().unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("::1", 6700));
        assert_eq!(endpoint.target, "/event?access_token=s3cret");
    }

    #[test]
    fn what_is_shown_of_a_url_holds_nothing_secret() {
        let WebSocketUrl(endpoint) = "ws://host:1/?access_token=s3cret".parse().unwrap();
        assert!(!format!("{endpoint} {endpoint:?}").contains("s3cret"));
    }

    #[test]
    fn other_schemes_users_and_fragments_are_refused_with_the_right_form() {
        for bad in ["", "host:80", "ftp://host", "file:///etc/passwd", "http://", "http://a@b", "http://a/#b", "ws://a"]
        {
            let error = bad.parse::<HttpUrl>().unwrap_err().to_string();
            assert!(error.contains("https://HOST"), "{bad}: {error}");
        }
    }
}
