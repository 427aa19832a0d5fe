//! The terminal as a chat: lines of the input are messages, what bots do is shown as lines of the output. Owns no terminal
//! itself: it reads and writes what it is given.

mod stdin;

use std::io::{self, IsTerminal};

use serde::Deserialize;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::config::Nature;
use super::deliveries::refuse_rest;
use super::{Delivery, DeliveryError, Inbox, Link, Ports, Receipt, StatusPublisher};
use crate::action::{Act, Outgoing, ResolvedAction};
use crate::clock::Timestamp;
use crate::event::{Conversation, ConversationKind, Event, EventKind, Message, User};
use crate::id::ConnectorName;

/// The id of the one conversation.
pub const CONVERSATION: &str = "console";
/// A longer line becomes several messages.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// What its table holds.
pub(super) const NATURE: Nature = Nature { name: "console", keys: &[], askable: &[] };

/// `type = "console"`. There is nothing to configure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleConfig {}

/// Whether somebody sits there who wants to see where to type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prompt {
    /// Write one before each line.
    Shown,
    /// Write what bots say and nothing else.
    Hidden,
}

/// Runs on this process's own input and output. See [`run_on`].
pub(super) async fn run(_: ConsoleConfig, ports: Ports) {
    let prompt = if io::stdin().is_terminal() && io::stdout().is_terminal() { Prompt::Shown } else { Prompt::Hidden };
    run_on(stdin::lines(), tokio::io::stdout(), prompt, ports).await;
}

/// Runs on any input and output. At the end of the input it publishes [`Link::Stopped`] and goes on delivering until it is
/// told to stop.
pub async fn run_on(input: impl AsyncBufRead + Unpin, output: impl AsyncWrite + Unpin, prompt: Prompt, ports: Ports) {
    let Ports { name, inbox, deliveries, status, cancel, .. } = ports;
    let line_was_read = Notify::new();
    let receive = receive(input, &name, &inbox, &status, &cancel, &line_was_read);
    let show = show(deliveries, output, prompt, &cancel, &line_was_read);
    tokio::join!(receive, show);
    status.publish(Link::Stopped);
}

async fn receive(
    mut input: impl AsyncBufRead + Unpin,
    name: &ConnectorName,
    inbox: &Inbox,
    status: &StatusPublisher,
    cancel: &CancellationToken,
    line_was_read: &Notify,
) {
    status.publish(Link::Connected);
    let user = std::env::var("USER").ok().filter(|user| !user.is_empty()).unwrap_or_else(|| "you".to_owned());
    for number in 1u64.. {
        let line = tokio::select! {
            () = cancel.cancelled() => break,
            // Given up half-way only when nothing is read any more.
            line = read_line(&mut input) => line,
        };
        let text = match line {
            Ok(Some(text)) => text,
            Ok(None) => break,
            Err(error) => {
                tracing::warn!(connector = %name, %error, "cannot read the console");
                break;
            }
        };
        status.succeeded();
        if !text.trim().is_empty() {
            let taken = cancel.run_until_cancelled(inbox.take_over(message(name, &user, number, text))).await;
            if taken != Some(Ok(())) {
                break;
            }
        }
        line_was_read.notify_one();
    }
    status.publish(Link::Stopped);
}

/// Reads the next line without its end; none at the end of the input. Not cancel-safe.
async fn read_line(input: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    if input.take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await? == 0 {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&line);
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn message(connector: &ConnectorName, user: &str, number: u64, text: String) -> Event {
    let conversation = Conversation {
        connector: connector.clone(),
        id: CONVERSATION.to_owned(),
        kind: ConversationKind::Direct,
        title: None,
        thread: None,
    };
    let message = Message {
        id: number.to_string(),
        conversation,
        sender: User { id: user.to_owned(), name: Some(user.to_owned()), is_bot: false },
        text,
        attachments: Vec::new(),
        reply_to: None,
        addressed: true,
        sent_at: Timestamp::now(),
        reply_deadline: None,
    };
    Event::now(Some(connector.clone()), EventKind::Message(message))
}

async fn show(
    mut deliveries: mpsc::Receiver<Delivery>,
    mut output: impl AsyncWrite + Unpin,
    prompt: Prompt,
    cancel: &CancellationToken,
    line_was_read: &Notify,
) {
    let is_shown = prompt == Prompt::Shown;
    let mut last_id = 0u64;
    if is_shown {
        let _ = write(&mut output, "> ").await;
    }
    loop {
        tokio::select! {
            () = cancel.cancelled() => break,
            () = line_was_read.notified(), if is_shown => {
                let _ = write(&mut output, "> ").await;
            }
            delivery = deliveries.recv() => {
                let Some(Delivery { action, outcome, .. }) = delivery else { break };
                let mut text = describe(&action);
                if is_shown {
                    // Over the prompt that stands there, and a new one below.
                    text = format!("\r{text}> ");
                }
                last_id += 1;
                let _ = outcome.send(match write(&mut output, &text).await {
                    Ok(()) => Ok(Receipt { platform_id: Some(format!("out-{last_id}")) }),
                    Err(error) => Err(DeliveryError::Permanent(format!("cannot write to the console: {error}"))),
                });
            }
        }
    }
    refuse_rest(&mut deliveries);
}

async fn write(output: &mut (impl AsyncWrite + Unpin), text: &str) -> io::Result<()> {
    output.write_all(text.as_bytes()).await?;
    output.flush().await
}

/// Returns what a person reads of an action, one or more whole lines.
fn describe(action: &ResolvedAction) -> String {
    let text = match &action.act {
        Act::Send { message, .. } => describe_message(message),
        Act::Edit { target, message } => format!("* edited {target}: {}", describe_message(message)),
        Act::Delete { target } => format!("* deleted {target}"),
        Act::React { target, emoji } => format!("* reacted to {target} with {emoji}"),
    };
    tame(&text) + "\n"
}

fn describe_message(message: &Outgoing<String>) -> String {
    let uploads = message.uploads.iter();
    let uploads = uploads.map(|upload| format!("* file {} ({} bytes)", upload.name, upload.content.len()));
    let text = (!message.text.is_empty()).then(|| message.text.clone());
    let lines: Vec<_> = text.into_iter().chain(uploads).collect();
    lines.join("\n")
}

/// Takes out of a bot's text what a terminal would obey: control characters but line ends and tabs, and those that turn the
/// direction of writing around.
fn tame(text: &str) -> String {
    let is_obeyed = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t')) || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().filter(|c| !is_obeyed(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_that_a_terminal_obeys_is_left(text in any::<String>()) {
            let tamed = tame(&text);
            prop_assert!(tamed.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'), "{:?}", tamed);
        }
    }

    #[test]
    fn escape_sequences_lose_their_power_and_text_stays() {
        assert_eq!(tame("a\u{1b}[2J\u{9b}31m\r\u{7}b\tc\nd\u{202e}é👍"), "a[2J31mb\tc\ndé👍");
    }

    #[tokio::test]
    async fn a_line_without_end_is_read_in_pieces() {
        let endless = vec![b'x'; LINE_BYTES_MAX as usize + 10];
        let mut input = &endless[..];
        assert_eq!(read_line(&mut input).await.unwrap().unwrap().len(), LINE_BYTES_MAX as usize);
        assert_eq!(read_line(&mut input).await.unwrap().unwrap().len(), 10);
        assert_eq!(read_line(&mut input).await.unwrap(), None);
    }
}
