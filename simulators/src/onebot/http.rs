//! The HTTP side: the API by `POST` and `GET`, and events that are posted to the application, signed.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use http::Method;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha1::Sha1;
use tokio::net::TcpStream;

use super::api::{self, Outcome};
use super::{Fault, Shared};
use crate::wire::{Book, Platform, Reply, Request};

/// The API behind a server.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) shared: Arc<Shared>,
    pub(super) book: Book,
}

impl Platform for Api {
    fn book(&self) -> &Book {
        &self.book
    }

    fn operation(&self, request: &Request) -> String {
        request.path.trim_start_matches('/').to_owned()
    }

    async fn answer(&self, request: Request) -> Reply {
        let status = |status| Reply { status, ..Reply::default() };
        if let Some(token) = self.shared.token() {
            match request.header("authorization").strip_prefix("Bearer ") {
                None => return status(401),
                Some(given) if given != token => return status(403),
                Some(_) => {}
            }
        }
        if request.method != Method::POST {
            return status(405);
        }
        if !request.header("content-type").starts_with("application/json") {
            return status(406);
        }
        let Value::Object(parameters) = request.json() else { return status(400) };
        let frame = json!({"action": self.operation(&request), "params": parameters});
        match api::call(&self.shared, &frame) {
            Outcome::Answer(answer) if answer["retcode"] == 1404 => status(404),
            Outcome::Answer(answer) => Reply::json(200, &answer),
            Outcome::Silence | Outcome::Disconnect => {
                panic!(
                    "{:?} and {:?} are faults of sockets; by HTTP they stand in the book",
                    Fault::Silence,
                    Fault::Disconnect
                )
            }
        }
    }
}

/// Returns the signature of a body.
pub(super) fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("a key of any length will do");
    mac.update(body);
    format!("sha1={}", HEXLOWER.encode(&mac.finalize().into_bytes()))
}

/// Posts a body and returns the status of the answer; none where there was none. Panics where something else is wrong.
pub(super) async fn post(url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Option<u16> {
    let (host, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("http://HOST/PATH");
    let stream = TcpStream::connect(host).await.expect("an application that listens");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("a connection");
    let mut request = http::Request::builder()
        .method(Method::POST)
        .uri(format!("/{path}"))
        .header("host", host)
        .header("content-type", "application/json")
        .header("user-agent", "OneBot/11");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body))).expect("a request");
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await;
    connection.abort();
    response.ok().map(|response| response.status().as_u16())
}
