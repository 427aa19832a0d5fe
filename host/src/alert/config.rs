//! `[alerts]`: who is told of alerts, and by which rules the host raises some itself.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::channel::ChannelConfig;
use super::rule::RuleConfig;
use crate::document::At;
use crate::id::{ChannelName, RuleName};

/// `[alerts]`
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AlertsConfig {
    /// `[alerts.channels.NAME]`
    pub channels: BTreeMap<ChannelName, ChannelConfig>,
    /// `[alerts.rules.NAME]`: the operator's own, and what he changes of the host's.
    pub rules: BTreeMap<RuleName, RuleConfig>,
}

/// `[alerts]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertsTable {
    /// The channels.
    pub channels: BTreeMap<ChannelName, At<ChannelConfig>>,
    /// The rules.
    pub rules: BTreeMap<RuleName, At<RuleConfig>>,
}

impl AlertsTable {
    /// Returns what is written, without where it is written.
    pub fn into_config(self) -> AlertsConfig {
        let channels = self.channels.into_iter().map(|(name, channel)| (name, channel.value)).collect();
        let rules = self.rules.into_iter().map(|(name, rule)| (name, rule.value)).collect();
        AlertsConfig { channels, rules }
    }
}
