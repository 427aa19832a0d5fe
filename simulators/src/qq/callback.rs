//! What the platform posts to callbacks.

use data_encoding::HEXLOWER;
use ed25519_dalek::{Signer, SigningKey};
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// What a callback answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// The HTTP status.
    pub status: u16,
    /// The body as JSON; null where it is none.
    pub body: Value,
}

/// Signs a moment and a body with the key that follows from a secret.
pub(super) fn sign(secret: &str, timestamp: u64, body: &str) -> String {
    let mut seed = secret.to_owned();
    while seed.len() < 32 {
        seed = seed.repeat(2);
    }
    let seed: [u8; 32] = seed.as_bytes()[..32].try_into().expect("32 bytes");
    let signature = SigningKey::from_bytes(&seed).sign(format!("{timestamp}{body}").as_bytes());
    HEXLOWER.encode(&signature.to_bytes())
}

/// Posts a body.
pub(super) async fn post(url: &str, headers: &[(String, String)], body: &str) -> Result<Posted, String> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut request = Request::post(url)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, "QQBot-Callback");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).map_err(|error| error.to_string())?;
    let response = client.request(request).await.map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
    Ok(Posted { status, body: serde_json::from_slice(&body).unwrap_or_default() })
}
