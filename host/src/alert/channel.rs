//! The ways on which people are told of alerts: webhooks, Slack, Discord, Telegram, e-mail. A channel sends one notice when it is
//! asked to; when, and what is in it, is decided in `alert/notice`.
//!
//! What guests wrote is data on every one of them: it is escaped, cut, and mentions nobody.

mod config;
mod discord;
mod email;
mod post;
#[cfg(test)]
pub(super) mod scripted;
mod slack;
mod telegram;
pub(super) mod text;
mod webhook;

use std::time::{Duration, Instant};

pub use self::config::ChannelConfig;
use self::config::Way;
use self::discord::Discord;
use self::email::Email;
use self::slack::Slack;
use self::telegram::Telegram;
use self::webhook::Webhook;
use super::notice::Notice;
use crate::egress::{DialError, HttpError};
use crate::id::ChannelName;

/// How long one try may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A platform's words are cut to this many characters.
const WORDS_CHARS_MAX: usize = 300;

/// Why a notice was not delivered. Shows neither a secret nor the path of a URL.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// There is no channel of that name.
    #[error("there is no channel `{channel}`; {}", unknown_remedy(channel, near.as_ref()))]
    Unknown {
        /// The name.
        channel: ChannelName,
        /// The one that is there and was likely meant.
        near: Option<ChannelName>,
    },
    /// What is configured cannot be used, as far as only its use shows it.
    #[error("the channel's {key} cannot be used: {problem}")]
    Unusable {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// No answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// An answer that is no yes.
    #[error("HTTP {status}: {words}")]
    Refused {
        /// The status.
        status: u16,
        /// In the platform's words.
        words: String,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The mail server did not take it.
    #[error("the mail server does not take it: {words}")]
    Mail {
        /// In its words, or why there are none.
        words: String,
        /// It will not take it later either.
        is_final: bool,
    },
}

fn unknown_remedy(channel: &ChannelName, near: Option<&ChannelName>) -> String {
    match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("a table [alerts.channels.{channel}] would make it"),
    }
}

/// Whether to try again after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advice {
    /// After a wait of one's own choice.
    Retry,
    /// After exactly so long: the platform says so.
    Wait(Duration),
    /// It cannot help.
    GiveUp,
}

impl ChannelError {
    /// Returns whether to try again.
    pub(super) fn advice(&self) -> Advice {
        match self {
            Self::Unknown { .. } | Self::Unusable { .. } => Advice::GiveUp,
            Self::Http(HttpError::Malformed | HttpError::Dial(DialError::Forbidden { .. })) => Advice::GiveUp,
            Self::Http(_) => Advice::Retry,
            // Timeouts of the platform's own, and "too early".
            Self::Refused { status: 408 | 425 | 429 | 500.., retry_after, .. } => {
                retry_after.map_or(Advice::Retry, Advice::Wait)
            }
            Self::Refused { .. } => Advice::GiveUp,
            Self::Mail { is_final, .. } if *is_final => Advice::GiveUp,
            Self::Mail { .. } => Advice::Retry,
        }
    }
}

/// A notice that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// How long that took.
    pub elapsed: Duration,
    /// What the platform said.
    pub answer: String,
}

/// One channel, ready to send. Connects with each notice anew.
#[derive(Debug)]
pub(super) enum Channel {
    Webhook(Webhook),
    Slack(Slack),
    Discord(Discord),
    Telegram(Telegram),
    Email(Box<Email>),
    #[cfg(test)]
    Scripted(scripted::Scripted),
}

impl Channel {
    /// Returns a channel. What is wrong with its configuration shows when it sends.
    pub(super) fn new(config: &ChannelConfig) -> Self {
        match &config.way {
            Way::Webhook(config) => Self::Webhook(Webhook::new(config.clone())),
            Way::Slack(config) => Self::Slack(Slack::new(config.clone())),
            Way::Discord(config) => Self::Discord(Discord::new(config.clone())),
            Way::Telegram(config) => Self::Telegram(Telegram::new(config.clone())),
            Way::Email(config) => Self::Email(Box::new(Email::new(config.clone()))),
            #[cfg(test)]
            Way::Scripted(scripted) => Self::Scripted(scripted.clone()),
        }
    }

    /// Sends a notice. Takes 30 s at most. Cancelled, it may have been sent or not.
    ///
    /// # Errors
    ///
    /// See [`ChannelError`].
    pub(super) async fn send(&self, notice: &Notice) -> Result<Delivered, ChannelError> {
        let begun = Instant::now();
        let answer = match self {
            Self::Webhook(webhook) => webhook.send(notice).await,
            Self::Slack(slack) => slack.send(notice).await,
            Self::Discord(discord) => discord.send(notice).await,
            Self::Telegram(telegram) => telegram.send(notice).await,
            Self::Email(email) => email.send(notice).await,
            #[cfg(test)]
            Self::Scripted(scripted) => scripted.send(notice).await,
        }?;
        Ok(Delivered { elapsed: begun.elapsed(), answer })
    }
}

/// Returns what somebody else said as one line, cut, and without what must not be seen.
fn words(text: &str, secrets: &[&str]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "[redacted]");
    }
    let line: String = text::one_line(&text).chars().take(WORDS_CHARS_MAX).collect();
    if line.trim().is_empty() { "no further words".to_owned() } else { line.trim().to_owned() }
}

#[cfg(test)]
mod tests;
