//! Calls another host on `!fetch URL [AUTHORIZATION]`, which becomes the header of that name, and on `!post URL COUNT`, with so many
//! bytes: answers the status and the first 100 bytes, or why it failed, and logs all that it got.

use bothost_guest::http::Request;
use bothost_guest::{Bot, Command, Manifest, Result, log};

const SHOWN_BYTES: usize = 100;

struct Fetch;

bothost_guest::export!(Fetch);

impl Bot for Fetch {
    fn describe() -> Manifest {
        guests::manifest("fetch", &["fetch", "post"])
    }

    fn on_command(command: &Command) -> Result {
        let (url, rest) = command.text().split_once(' ').unwrap_or((command.text(), ""));
        let request = match command.name.as_str() {
            "fetch" if rest.is_empty() => Request::get(url),
            "fetch" => Request::get(url).header("authorization", rest),
            "post" => Request::post(url).body(vec![b'x'; rest.parse().unwrap_or_default()]),
            _ => return guests::ping(command),
        };
        command.answer(send(&request)).map(drop)
    }
}

fn send(request: &Request) -> String {
    match request.send() {
        Ok(response) => {
            log::info!("{:?} {}", response.headers, String::from_utf8_lossy(&response.body));
            let shown = &response.body[..response.body.len().min(SHOWN_BYTES)];
            format!("{} {}", response.status, String::from_utf8_lossy(shown))
        }
        Err(failure) => failure.to_string(),
    }
}
