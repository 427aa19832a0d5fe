//! The table of a webhook connector.

use std::net::SocketAddr;
use std::time::Duration;

use http::HeaderName;
use serde::Deserialize;

use super::may_be_unsigned;
use crate::connector::config::default_reconnect_max;
use crate::connector::signature::Scheme;
use crate::egress::HttpUrl;
use crate::secret::Secret;
use crate::units;

/// `type = "webhook"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Table")]
pub struct WebhookConfig {
    /// Where we listen.
    pub listen: SocketAddr,
    /// The path; one that ends with `/` has everything below it.
    pub path: String,
    /// How requests are signed.
    pub signature: Scheme,
    /// With what: `secret`, and `old_secret` while senders still have it. Each of them will do.
    pub secrets: Vec<Secret>,
    /// What `Authorization: Bearer` must have besides.
    pub bearer: Option<Secret>,
    /// How far the time of a signature may be from ours.
    pub tolerance: Duration,
    /// The header that is the same when a request comes again; by the scheme where none is given.
    pub dedup_header: Option<String>,
    /// The place in the body that is the same when a request comes again.
    pub dedup: Option<String>,
    /// How requests become messages; none: each is an event of its own kind.
    pub conversing: Option<Conversing>,
    /// Where what bots say is posted.
    pub reply_url: Option<HttpUrl>,
    /// What it is signed with; `secret` where none is given.
    pub reply_secret: Option<Secret>,
    /// The longest wait between two tries to listen.
    pub reconnect_max: Duration,
}

/// Where a message is in a body, by JSON pointers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversing {
    /// What is said.
    pub text: String,
    /// Where it is said: a pointer, or a name for all.
    pub conversation: String,
    /// Who says it; nobody in particular where none is given.
    pub sender: Option<String>,
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    listen: SocketAddr,
    path: String,
    secret: Option<Secret>,
    old_secret: Option<Secret>,
    #[serde(default)]
    signature: Scheme,
    bearer: Option<Secret>,
    #[serde(default = "default_tolerance", deserialize_with = "units::positive_duration")]
    tolerance: Duration,
    dedup_header: Option<String>,
    dedup: Option<String>,
    conversation: Option<String>,
    text: Option<String>,
    sender: Option<String>,
    reply_url: Option<HttpUrl>,
    reply_secret: Option<Secret>,
    #[serde(default = "default_reconnect_max", deserialize_with = "units::positive_duration")]
    reconnect_max: Duration,
}

fn default_tolerance() -> Duration {
    Duration::from_secs(5 * 60)
}

/// The name of the conversation where the table gives none.
const CONVERSATION: &str = "webhook";

/// Keys that do not go together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct TableError(&'static str);

impl TryFrom<Table> for WebhookConfig {
    type Error = TableError;

    fn try_from(table: Table) -> Result<Self, TableError> {
        let refuse = |why| Err(TableError(why));
        if !table.path.starts_with('/') || table.path.contains(['?', '#']) {
            return refuse("`path` begins with `/` and has neither `?` nor `#`");
        }
        let secrets: Vec<_> = table.secret.iter().chain(&table.old_secret).cloned().collect();
        if secrets.iter().chain(&table.bearer).chain(&table.reply_secret).any(|secret| secret.expose().is_empty()) {
            return refuse("a secret is empty; leave it out where there is none");
        }
        match (table.signature, table.secret.is_none()) {
            _ if table.secret.is_none() && table.old_secret.is_some() => {
                return refuse("`old_secret` needs a `secret`");
            }
            (Scheme::None, false) => return refuse("signature = \"none\" has no `secret`"),
            (Scheme::None, true) if !may_be_unsigned(table.listen, table.bearer.as_ref()) => {
                return refuse("signature = \"none\" needs a `bearer`, or a `listen` address of this machine alone");
            }
            (Scheme::None, true) | (_, false) => {}
            (_, true) => return refuse("a `signature` needs a `secret`"),
        }
        if table.dedup_header.as_ref().is_some_and(|name| HeaderName::try_from(name).is_err()) {
            return refuse("`dedup_header` is no name of a header");
        }
        let is_pointer = |pointer: &String| pointer.is_empty() || pointer.starts_with('/');
        if [&table.dedup, &table.text, &table.sender].into_iter().flatten().any(|pointer| !is_pointer(pointer)) {
            return refuse("`dedup`, `text` and `sender` are JSON pointers, such as \"/message/text\"");
        }
        let conversing = match (table.text, table.conversation, table.sender) {
            (None, None, None) => None,
            (None, ..) => {
                return refuse("`conversation` and `sender` need `text`, without which there are no messages");
            }
            (Some(text), conversation, sender) => {
                let conversation = conversation.unwrap_or_else(|| CONVERSATION.to_owned());
                Some(Conversing { text, conversation, sender })
            }
        };
        let reply_secret = table.reply_secret.or(table.secret);
        let Table { listen, path, signature, bearer, tolerance, dedup_header, dedup, .. } = table;
        let Table { reply_url, reconnect_max, .. } = table;
        Ok(Self {
            listen,
            path,
            signature,
            secrets,
            bearer,
            tolerance,
            dedup_header,
            dedup,
            conversing,
            reply_url,
            reply_secret,
            reconnect_max,
        })
    }
}
