//! Posting updates to the webhook, one at a time, each again until it is answered with 2xx.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HOST};
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::state::State;

/// Between two tries of one update. The real one waits longer and longer.
const RETRY_EVERY: Duration = Duration::from_millis(20);
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// A webhook that is set.
#[derive(Debug, Clone)]
pub(super) struct Hook {
    pub(super) url: String,
    pub(super) secret: Option<String>,
    pub(super) max_connections: i64,
    /// How many posts failed; stands for the date of the last one.
    pub(super) errors: i64,
    pub(super) last_error: Option<String>,
}

impl Hook {
    /// Returns one that nobody answers.
    pub(super) fn nowhere() -> Self {
        let url = "http://127.0.0.1:1/".to_owned();
        Self { url, secret: None, max_connections: 40, errors: 0, last_error: None }
    }
}

/// Posts whatever happens while a webhook is set.
pub(super) async fn post(state: Arc<State>) {
    let mut changed = state.changed.subscribe();
    loop {
        changed.mark_unchanged();
        let (Some(hook), Some(update)) = (state.webhook(), state.first_update()) else {
            if changed.changed().await.is_err() {
                return;
            }
            continue;
        };
        let answer = timeout(ANSWER_WITHIN, post_one(&hook, &update)).await;
        let answer = answer.unwrap_or_else(|_| Err("Read timeout expired".to_owned()));
        state.note_posted(&answer);
        match answer {
            Ok(200..300) => state.drop_update(&update),
            _ => sleep(RETRY_EVERY).await,
        }
    }
}

async fn post_one(hook: &Hook, update: &Value) -> Result<u16, String> {
    let uri: Uri = hook.url.parse().map_err(|_| "Bad URL".to_owned())?;
    let authority = uri.authority().ok_or_else(|| "Bad URL".to_owned())?.clone();
    let address = (authority.host().to_owned(), authority.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(address).await.map_err(|_| "Connection refused".to_owned())?;
    let broken = |error: hyper::Error| format!("Connection broke: {error}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let mut request = Request::post(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(HOST, authority.as_str())
        .header(CONTENT_TYPE, "application/json");
    if let Some(secret) = &hook.secret {
        request = request.header("X-Telegram-Bot-Api-Secret-Token", secret);
    }
    let request = request.body(Full::new(Bytes::from(update.to_string()))).map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status().as_u16();
        response.into_body().collect().await.map_err(broken)?;
        Ok(status)
    };
    tokio::pin!(connection, answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => {
            ended.map_err(broken)?;
            answer.await
        }
    }
}
