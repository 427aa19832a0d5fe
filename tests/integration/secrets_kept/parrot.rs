//! Servers that refuse everything and repeat what they were told: the worst that a platform does with a secret.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What refusals there are, by turns.
const STATUSES: [u16; 5] = [401, 500, 404, 302, 403];
/// More is not read of one request.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// A server. Ends when dropped.
pub struct Parrot {
    address: SocketAddr,
    heard: Arc<Mutex<String>>,
    server: JoinHandle<()>,
}

impl Drop for Parrot {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Parrot {
    /// Starts one that speaks HTTP.
    pub async fn http() -> Self {
        Self::start(false).await
    }

    /// Starts one that speaks SMTP.
    pub async fn mail() -> Self {
        Self::start(true).await
    }

    async fn start(is_mail: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(String::new()));
        let own = Arc::clone(&heard);
        let server = tokio::spawn(async move {
            let mut turns = STATUSES.into_iter().cycle();
            while let Ok((stream, _)) = listener.accept().await {
                // One after the other; that a connection breaks is no failure.
                let _ = match is_mail {
                    true => mail(stream, &own).await,
                    false => http(stream, turns.next().unwrap_or(500), &own).await,
                };
            }
        });
        Self { address, heard, server }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}{path}", self.address)
    }

    /// Returns whether it was told this.
    pub fn has_heard(&self, text: &str) -> bool {
        self.heard.lock().unwrap().contains(text)
    }
}

async fn http(mut stream: TcpStream, status: u16, heard: &Mutex<String>) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    let head = loop {
        let count = stream.read(&mut piece).await?;
        bytes.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            break head.to_owned();
        }
        if count == 0 || bytes.len() > REQUEST_BYTES_MAX {
            return Ok(());
        }
    };
    heard.lock().unwrap().push_str(&head);
    let target = head.split(' ').nth(1).unwrap_or("/");
    // In the words of each platform.
    let said = format!("no: {head}");
    let body =
        json!({"ok": false, "error_code": status, "description": said, "message": said, "error": said}).to_string();
    let answer = format!(
        "HTTP/1.1 {status} {target}\r\nLocation: {target}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

async fn mail(stream: TcpStream, heard: &Mutex<String>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 parrot\r\n").await?;
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let said = line.trim().to_owned();
        line.clear();
        heard.lock().unwrap().push_str(&said);
        let answer = match said.split(' ').next().unwrap_or_default() {
            "EHLO" => "250-parrot\r\n250 AUTH PLAIN LOGIN\r\n".to_owned(),
            "QUIT" => return Ok(()),
            _ => format!("535 5.7.8 no: {said}\r\n"),
        };
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}
