//! The ways on which people are told of alerts: webhooks, Slack, Discord, Telegram, e-mail. A channel sends one notice when it is
//! asked to; when, and what is in it, is decided in `alert/notice`.

use serde::Deserialize;

/// `[alerts.channels.NAME]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelConfig {}
