//! Calls another host on `!fetch URL [AUTHORIZATION]`, which becomes the header of that name: answers the status and the first
//! 100 bytes, or why it failed.

use bothost_guest::http::Request;
use bothost_guest::{Bot, Command, Manifest, Result};

const SHOWN_BYTES: usize = 100;

struct Fetch;

bothost_guest::export!(Fetch);

impl Bot for Fetch {
    fn describe() -> Manifest {
        guests::manifest("fetch", &["fetch"])
    }

    fn on_command(command: &Command) -> Result {
        match command.name.as_str() {
            "fetch" => command.answer(fetch(command.text())).map(drop),
            _ => guests::ping(command),
        }
    }
}

fn fetch(text: &str) -> String {
    let (url, authorization) = text.split_once(' ').unwrap_or((text, ""));
    let mut request = Request::get(url);
    if !authorization.is_empty() {
        request = request.header("authorization", authorization);
    }
    match request.send() {
        Ok(response) => {
            let shown = &response.body[..response.body.len().min(SHOWN_BYTES)];
            format!("{} {}", response.status, String::from_utf8_lossy(shown))
        }
        Err(failure) => failure.to_string(),
    }
}
