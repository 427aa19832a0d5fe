//! The cookie of a session: how it is named, set, read and taken back; and the headers by which a browser keeps pages apart.

use http::header::{
    CONTENT_SECURITY_POLICY, HeaderMap, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderName, HeaderValue};

use crate::access::Key;

/// Over what a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// In clear.
    Plain,
    /// Over TLS.
    Tls,
}

/// What a browser may load for a page, and who may show it: what comes from here only, and nobody else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
/// A year.
const TLS_ONLY: &str = "max-age=31536000";

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

impl Transport {
    /// Under TLS with a prefix by which a browser takes it from this host alone, and over TLS alone.
    fn cookie_name(self) -> &'static str {
        match self {
            Self::Plain => "bothost_session",
            Self::Tls => "__Host-bothost_session",
        }
    }

    /// Returns the header that has a browser keep a session's id: it goes to this host only, and to no script.
    pub(super) fn set_cookie(self, id: &Key) -> HeaderValue {
        self.cookie(id.expose(), "")
    }

    /// Returns the header that has a browser forget it.
    pub(super) fn clear_cookie(self) -> HeaderValue {
        self.cookie("", "; Max-Age=0")
    }

    fn cookie(self, value: &str, end: &str) -> HeaderValue {
        let secure = if self == Self::Tls { "; Secure" } else { "" };
        let name = self.cookie_name();
        let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{end}");
        let mut header = HeaderValue::try_from(text).expect("a key has letters, digits, `-` and `_`");
        header.set_sensitive(true);
        header
    }

    /// Adds to an answer what has a browser keep it to itself.
    pub(super) fn secure(self, headers: &mut HeaderMap) {
        let fixed = [
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
            // Not `no-referrer`: under that a page's own forms come with `Origin: null`, as those of another site do.
            (REFERRER_POLICY, "same-origin"),
            (OPENER_POLICY, "same-origin"),
            (RESOURCE_POLICY, "same-origin"),
        ];
        for (name, value) in fixed {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if self == Self::Tls {
            headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(TLS_ONLY));
        }
    }
}

/// Returns the session's id in a header of cookies.
pub(super) fn session_id(header: &HeaderValue, transport: Transport) -> Option<Key> {
    let pairs = header.to_str().ok()?.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == transport.cookie_name()).map(|(_, value)| Key::given(value)).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_read_from_what_was_set_and_only_under_its_own_name() {
        let id = Key::generate("").unwrap();
        for (transport, expected) in [(Transport::Plain, false), (Transport::Tls, true)] {
            let set = transport.set_cookie(&id);
            let text = set.to_str().unwrap();
            assert!(text.contains("; HttpOnly; SameSite=Strict") && text.contains("; Path=/;"), "{text}");
            assert_eq!(text.contains("; Secure") && text.starts_with("__Host-"), expected, "{text}");
            let sent = HeaderValue::try_from(format!("x=y; {}; z", text.split(';').next().unwrap())).unwrap();
            assert_eq!(session_id(&sent, transport).unwrap().expose(), id.expose());
            let other = if transport == Transport::Tls { Transport::Plain } else { Transport::Tls };
            assert!(session_id(&sent, other).is_none());
            assert!(transport.clear_cookie().to_str().unwrap().contains("Max-Age=0"));
        }
    }
}
