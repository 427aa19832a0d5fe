//! Outgoing HTTP: one blocking call. Needs the feature `http`, and from the operator `grants.http = ["the.host"]`.
//!
//! A request leaves at once, it is not part of the transaction: send the event's id along where the other side can tell
//! repetitions by it. While it waits, other events of this bot are handled.
//!
//! ```no_run
//! use bothost_guest::{Result, http};
//!
//! fn price(symbol: &str) -> Result<f64> {
//!     let response = http::Request::get(format!("https://api.example.com/price/{symbol}"))
//!         .header("authorization", "Bearer {{secret:API_KEY}}")
//!         .send()?;
//!     response.json()
//! }
//! ```

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Failure, Result, host};

/// The largest body that is read where a request does not say: 8 MiB of the 64 MiB that a bot has by default.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A request to another host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// Such as `GET`.
    pub method: String,
    /// The whole address, `http://` or `https://`.
    pub url: String,
    /// Names and values, in the order they are sent.
    pub headers: Vec<(String, String)>,
    /// What is sent; empty for none.
    pub body: Vec<u8>,
    /// How long to wait for the connection, for the first byte, and between bytes. `None`: as long as the event may take.
    pub timeout: Option<Duration>,
    /// The largest body of the response, in bytes. 8 MiB by default.
    pub response_bytes_max: usize,
}

impl Request {
    /// Returns a request without headers or body.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: None,
            response_bytes_max: BODY_BYTES_MAX,
        }
    }

    /// Returns a `GET` request.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// Returns a `POST` request.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url)
    }

    /// Adds a header. `{{secret:NAME}}` in the value stands for a secret that the host puts in: in a request by https, or to a host
    /// that the operator granted as `http://HOST`. Where the answer repeats a secret, the bot reads as many `*`; it is asked for
    /// uncompressed, so that the host can see.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the body to a value as JSON, and adds the header that says so.
    ///
    /// # Errors
    ///
    /// [`Failure::Other`] where the value cannot be written as JSON.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Result<Self> {
        let body = serde_json::to_vec(value)?;
        Ok(self.header("content-type", "application/json").body(body))
    }

    /// Sets how long to wait for the connection, for the first byte, and between bytes.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the largest body of a response that is read, in bytes.
    pub fn response_bytes_max(mut self, bytes: usize) -> Self {
        self.response_bytes_max = bytes;
        self
    }

    /// Sends the request and waits for the whole response. A response of any status is `Ok`; redirects are not followed.
    ///
    /// # Errors
    ///
    /// [`NotGranted`](Failure::NotGranted) where the operator has not granted the host, [`Invalid`](Failure::Invalid) for
    /// a bad address or header and for a body to send above `limits.http_body`, [`TimedOut`](Failure::TimedOut),
    /// [`Unavailable`](Failure::Unavailable) where the other side cannot be reached or breaks off, or sends more than
    /// `limits.http_body` without saying so first, [`QuotaExceeded`](Failure::QuotaExceeded) past `limits.http_in_flight` or
    /// `limits.http_per_minute`, or where it says so, and [`Other`](Failure::Other) for a body above `response_bytes_max`.
    pub fn send(&self) -> Result<Response> {
        let response = host::http::send(self)?;
        if response.body.len() > self.response_bytes_max {
            return Err(body_too_large(self.response_bytes_max));
        }
        Ok(response)
    }
}

/// What the other host answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Such as 200.
    pub status: u16,
    /// Names and values, in the order they came. Bytes that are no UTF-8 are replaced.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Response {
    /// Returns the first header of this name. Case does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(candidate, _)| candidate.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Returns true for the statuses from 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns the body as text.
    ///
    /// # Errors
    ///
    /// [`Failure::Other`] where it is no UTF-8.
    pub fn text(&self) -> Result<&str> {
        Ok(std::str::from_utf8(&self.body)?)
    }

    /// Returns the body read as JSON.
    ///
    /// # Errors
    ///
    /// [`Failure::Other`] where it is no JSON of that shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}

/// Where an address leads, taken apart for `wasi:http`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Address<'a> {
    pub(crate) tls: Tls,
    /// Host and, if given, port.
    pub(crate) authority: &'a str,
    /// Begins with `/`; without the fragment, which is the client's own.
    pub(crate) path_and_query: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    Without,
    With,
}

impl<'a> Address<'a> {
    pub(crate) fn parse(url: &'a str) -> Result<Self> {
        let invalid = |why: &str| Failure::Invalid(format!("address {url:?}: {why}"));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid("no http:// or https:// in front"))?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => Tls::Without,
            "https" => Tls::With,
            _ => return Err(invalid("neither http:// nor https://")),
        };
        let rest = rest.split('#').next().unwrap_or(rest);
        let (authority, path_and_query) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.is_empty() {
            return Err(invalid("no host"));
        }
        if authority.contains('@') {
            return Err(invalid("user names belong into the authorization header"));
        }
        let path_and_query = match path_and_query.chars().next() {
            None => "/".to_owned(),
            Some('?') => format!("/{path_and_query}"),
            Some(_) => path_and_query.to_owned(),
        };
        Ok(Self { tls, authority, path_and_query })
    }
}

pub(crate) fn body_too_large(bytes_max: usize) -> Failure {
    Failure::Other(format!("the response has more than {bytes_max} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, tls: Tls, authority: &str, path_and_query: &str) {
        let address = Address::parse(url).expect("accepted");
        assert_eq!(address, Address { tls, authority, path_and_query: path_and_query.into() }, "{url}");
    }

    #[test]
    fn an_address_is_taken_apart() {
        check("https://example.com", Tls::With, "example.com", "/");
        check("HTTP://a.b:81/x?y=1#z", Tls::Without, "a.b:81", "/x?y=1");
        check("http://[::1]:80?q", Tls::Without, "[::1]:80", "/?q");
        check("http://a/?next=http://b/#c", Tls::Without, "a", "/?next=http://b/");
    }

    #[test]
    fn an_address_without_scheme_or_host_is_invalid() {
        for url in ["example.com", "ftp://example.com", "https:///path", "", "http://me:pw@a/"] {
            let failure = Address::parse(url).expect_err("refused");
            assert!(matches!(failure, Failure::Invalid(_)), "{url}: {failure}");
        }
    }
}
