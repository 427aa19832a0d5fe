//! The other end of the admin socket, for the verbs that talk to a running host, and the table that `host ps` prints.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::BotView;
use crate::logs::escape;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;
const HEADINGS: [&str; 7] = ["NAME", "PHASE", "VERSION", "QUEUED", "HANDLED", "FAULTS", "DETAIL"];
/// A cell is cut to this many characters: versions and details are other people's texts.
const CELL_CHARS_MAX: usize = 200;

/// Why a running host did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("no host is running: nobody answers on {socket:?}")]
    NotRunning {
        /// The socket.
        socket: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The socket belongs to another user.
    #[error("{socket:?} belongs to another user: run this as the user that runs the host")]
    NotAllowed {
        /// The socket.
        socket: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The socket cannot be reached for another reason.
    #[error("cannot connect to {socket:?}")]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("the host's answer to {path} broke off")]
    Broken {
        /// What was asked.
        path: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer came in time.
    #[error("the host did not answer {path} within {} s", TIMEOUT.as_secs())]
    TimedOut {
        /// What was asked.
        path: String,
    },
    /// The host refused.
    #[error("the host refused {path} with {status}: {detail}")]
    Refused {
        /// What was asked.
        path: String,
        /// The answer's status.
        status: StatusCode,
        /// The problem's detail.
        detail: String,
    },
}

/// Asks a running host by its admin socket. Needs a tokio runtime.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// Returns a client of the host whose socket this is.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// Asks for a path that answers JSON.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]; an answer of another status than 200 is [`ClientError::Refused`].
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| connect_error(&self.socket, source))?;
        let (status, body) = tokio::time::timeout(TIMEOUT, exchange(stream, path))
            .await
            .map_err(|_| ClientError::TimedOut { path: path.to_owned() })?
            .map_err(|source| ClientError::Broken { path: path.to_owned(), source })?;
        if status == StatusCode::OK {
            return Ok(body);
        }
        let detail = escape(body["detail"].as_str().unwrap_or("no reason given")).into_owned();
        Err(ClientError::Refused { path: path.to_owned(), status, detail })
    }
}

fn connect_error(socket: &Path, source: io::Error) -> ClientError {
    let socket = socket.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning { socket, source },
        io::ErrorKind::PermissionDenied => ClientError::NotAllowed { socket, source },
        _ => ClientError::Connect { socket, source },
    }
}

async fn exchange(
    stream: UnixStream,
    path: &str,
) -> Result<(StatusCode, Value), Box<dyn std::error::Error + Send + Sync>> {
    let request = Request::get(path).header(HOST, "localhost").body(Empty::<Bytes>::new())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let answer = async move {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes();
        Ok((status, serde_json::from_slice(&body)?))
    };
    // The connection ends once the sender is gone; its own error shows in the answer.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}

/// Returns the bots as a table, one line each below a line of headings.
pub fn table(bots: &[BotView]) -> String {
    let rows: Vec<_> = bots.iter().map(row).collect();
    let mut widths = HEADINGS.map(|heading| heading.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let headings = HEADINGS.map(str::to_owned);
    let lines = std::iter::once(&headings).chain(&rows).map(|row| {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    });
    lines.collect()
}

fn row(bot: &BotView) -> [String; HEADINGS.len()] {
    [
        cell(&bot.name),
        cell(&bot.phase),
        cell(bot.version.as_deref().unwrap_or("-")),
        bot.queued.to_string(),
        bot.handled.to_string(),
        bot.faults.to_string(),
        cell(bot.detail.as_deref().unwrap_or("")),
    ]
}

fn cell(text: &str) -> String {
    let escaped = escape(text);
    match escaped.char_indices().nth(CELL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &escaped[..end]),
        None => escaped.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_aligns_its_columns() {
        let echo = BotView {
            name: "echo".into(),
            phase: "running".into(),
            version: Some("1.2.0".into()),
            handled: 12_345,
            ..BotView::default()
        };
        let broken = BotView {
            name: "broken-bot".into(),
            phase: "rejected".into(),
            detail: Some("no such file".into()),
            ..BotView::default()
        };
        let expected = "\
NAME        PHASE     VERSION  QUEUED  HANDLED  FAULTS  DETAIL
echo        running   1.2.0    0       12345    0
broken-bot  rejected  -        0       0        0       no such file
";
        assert_eq!(table(&[echo, broken]), expected);
    }

    #[test]
    fn no_text_of_a_bot_breaks_the_table() {
        let bot = BotView {
            version: Some("v".repeat(10_000)),
            detail: Some("a\nNAME\u{1b}[2J\u{202e}".into()),
            ..BotView::default()
        };
        let table = table(&[bot]);
        assert_eq!(table.lines().count(), 2);
        assert!(table.len() < 1000 && table.contains(r"a\nNAME\u{1b}[2J\u{202e}"), "{table}");
    }
}
