//! The body of a request.

use hyper::body::Bytes;
use serde_json::Value;

/// What a host is sent.
pub(super) struct Content {
    pub(super) media_type: &'static str,
    pub(super) bytes: Bytes,
}

impl Content {
    /// Returns a value as JSON; none: nothing.
    pub(super) fn json(body: Option<&Value>) -> Self {
        let bytes = body.map_or_else(Bytes::new, |body| body.to_string().into());
        Self { media_type: "application/json", bytes }
    }
}
