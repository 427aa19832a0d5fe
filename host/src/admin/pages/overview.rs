//! The first page: what is wrong, the worst first and each with the next step, and then how much there is. Pure.

use askama::Template;
use serde::Deserialize;
use std::collections::BTreeMap;

use super::bots::{self, Bot, PhaseCount};
use super::marks::{Moment, Spark, Tag, Tone, count};
use super::shell::Shell;
use super::text::Text;
use crate::admin::AlertView;

/// Troubles that are shown at once.
const TROUBLES_SHOWN: usize = 20;

/// The host at a glance, as the API tells.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Glance {
    pub(super) health: Health,
}

/// How the host is, as the API tells.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Health {
    pub(super) level: String,
    pub(super) uptime_seconds: u64,
    pub(super) bots: BTreeMap<String, usize>,
    pub(super) connectors: BTreeMap<String, usize>,
    pub(super) degraded: Vec<Part>,
}

/// A part that does not work as it should, as the API tells.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Part {
    pub(super) part: String,
    pub(super) since: Option<String>,
    pub(super) why: String,
}

impl Health {
    pub(super) fn tag(&self, text: &Text) -> Tag {
        match self.level.as_str() {
            "full" => Tag::new(Tone::Good, text.level_full),
            "reduced" => Tag::new(Tone::Warn, text.level_reduced),
            "essential" => Tag::new(Tone::Bad, text.level_essential),
            "none" => Tag::new(Tone::Bad, text.level_none),
            other => Tag::new(Tone::Plain, other),
        }
    }
}

/// Something that is wrong.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    tone: Tone,
    what: String,
    why: String,
    since: Option<Moment>,
    /// Where it can be dealt with.
    link: String,
    /// What is to be done there.
    step: &'static str,
}

impl Trouble {
    fn class(&self) -> &'static str {
        self.tone.class()
    }

    fn sign(&self) -> &'static str {
        self.tone.sign()
    }

    fn word(&self, text: &Text) -> &'static str {
        if self.tone == Tone::Bad { text.severity_critical } else { text.severity_warning }
    }

    /// Tells of an alert that is up.
    pub(super) fn alert(alert: &AlertView, shell: &Shell) -> Self {
        let tone = if alert.severity == "critical" { Tone::Bad } else { Tone::Warn };
        let of = alert.bot.as_ref().map(|bot| format!("{}: {bot}", shell.text.bot));
        Self {
            tone,
            what: alert.summary.clone(),
            why: [of, Some(alert.key.clone())].into_iter().flatten().collect::<Vec<_>>().join(" · "),
            since: Some(shell.moment(&alert.raised_at)),
            link: "/alerts".to_owned(),
            step: shell.text.look_at_alert,
        }
    }

    /// Tells of a part that does not work as it should.
    pub(super) fn part(part: &Part, shell: &Shell) -> Self {
        let text = shell.text;
        let (kind, name) = part.part.split_once(' ').unwrap_or((&part.part, ""));
        let (tone, what, link, step) = match kind {
            "bot" => (Tone::Warn, format!("{}: {name}", text.bot), format!("/bots/{name}"), text.look_at_bot),
            "connector" => {
                (Tone::Bad, format!("{}: {name}", text.connector), "/connectors".to_owned(), text.look_at_connectors)
            }
            "store" => (Tone::Bad, text.store_is_in_trouble.to_owned(), "/alerts".to_owned(), text.look_at_alert),
            "configuration" => {
                let link = "/configuration".to_owned();
                (Tone::Bad, text.configuration.to_owned(), link, text.look_at_configuration)
            }
            _ => (Tone::Warn, part.part.clone(), "/alerts".to_owned(), text.look_at_alert),
        };
        let since = part.since.as_deref().map(|since| shell.moment(since));
        Self { tone, what, why: part.why.clone(), since, link, step }
    }

    /// Tells of a bot that should serve and does not.
    pub(super) fn bot(bot: &Bot, shell: &Shell) -> Self {
        Self {
            tone: bots::tone(&bot.phase),
            what: format!("{}: {}", shell.text.bot, bot.name),
            why: bot.detail.clone().unwrap_or_default(),
            since: Some(shell.moment(&bot.since)),
            link: format!("/bots/{}", bot.name),
            step: shell.text.look_at_bot,
        }
    }

    /// Tells of messages that wait for somebody's decision.
    pub(super) fn letters(number: usize, is_more: bool, shell: &Shell) -> Self {
        let text = shell.text;
        let number = format!("{}{}", count(number as u64), if is_more { "+" } else { "" });
        Self {
            tone: Tone::Warn,
            what: format!("{}: {number}", text.dead_letters),
            why: text.dead_letters_hint.to_owned(),
            since: None,
            link: "/dead-letters".to_owned(),
            step: text.look_at_letters,
        }
    }

    /// Tells of actions that came to nothing.
    pub(super) fn lost(number: usize, is_more: bool, shell: &Shell) -> Self {
        let text = shell.text;
        let number = format!("{}{}", count(number as u64), if is_more { "+" } else { "" });
        Self {
            tone: Tone::Warn,
            what: format!("{} · {}: {number}", text.outbox, text.lost),
            why: String::new(),
            since: None,
            link: "/outbox?state=lost".to_owned(),
            step: text.look_at_outbox,
        }
    }
}

/// One figure.
#[derive(Debug, Default)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) unit: &'static str,
    pub(super) more: String,
    pub(super) spark: Option<Spark>,
}

/// The page.
#[derive(Debug, Template)]
#[template(path = "overview.html")]
pub(super) struct OverviewPage {
    shell: Shell,
    level: Tag,
    uptime: String,
    troubles: Vec<Trouble>,
    trouble_count: usize,
    troubles_left_out: usize,
    figures: Vec<Figure>,
    phases: Vec<PhaseCount>,
}

impl OverviewPage {
    pub(super) fn new(
        shell: Shell,
        health: &Health,
        mut troubles: Vec<Trouble>,
        figures: Vec<Figure>,
        phases: Vec<PhaseCount>,
    ) -> Self {
        troubles.sort_by_key(|trouble| trouble.tone);
        let trouble_count = troubles.len();
        troubles.truncate(TROUBLES_SHOWN);
        Self {
            level: health.tag(shell.text),
            uptime: super::marks::span(health.uptime_seconds),
            troubles_left_out: trouble_count - troubles.len(),
            shell,
            troubles,
            trouble_count,
            figures,
            phases,
        }
    }
}
