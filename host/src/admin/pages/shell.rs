//! What every page has around its content: the language, who looks at it, what he may do, where he is, and what his last deed came to.

use super::assets::{self, Assets};
use super::bots;
use super::language::Language;
use super::marks::{self, Moment, Tag, Tone};
use super::text::Text;
use crate::access::Role;
use crate::clock::Timestamp;

/// Characters of an id in a listing.
const ID_CHARS: usize = 12;

/// Who looks at a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) name: String,
    pub(super) role: Role,
    /// None: the whole host is his.
    pub(super) tenant: Option<String>,
}

/// What a deed came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flash {
    pub(super) is_good: bool,
    pub(super) text: String,
}

impl Flash {
    pub(super) fn class(&self) -> &'static str {
        if self.is_good { "good" } else { "bad" }
    }

    pub(super) fn sign(&self) -> &'static str {
        if self.is_good { "✓" } else { "▲" }
    }
}

/// An entry of the menu.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) path: &'static str,
    pub(super) label: &'static str,
    pub(super) is_current: bool,
    /// How much there wants attention.
    pub(super) count: usize,
}

/// What every page has.
#[derive(Debug, Clone)]
pub(super) struct Shell {
    pub(super) language: Language,
    pub(super) text: &'static Text,
    /// None: nobody was let in yet.
    pub(super) who: Option<Who>,
    /// The session's secret against forged forms; none: there is no session.
    pub(super) csrf: Option<String>,
    /// The path as it came.
    pub(super) path: String,
    /// Where a deed leads back to.
    pub(super) back: String,
    pub(super) flash: Option<Flash>,
    /// How many alerts are up.
    pub(super) alerts: usize,
    pub(super) now: Timestamp,
}

impl Shell {
    /// Returns what a page has that nobody was let in to.
    pub(super) fn new(language: Language, path: &str, now: Timestamp) -> Self {
        let text = language.text();
        Self {
            language,
            text,
            who: None,
            csrf: None,
            path: path.to_owned(),
            back: path.to_owned(),
            flash: None,
            alerts: 0,
            now,
        }
    }

    pub(super) fn assets(&self) -> &'static Assets {
        assets::addresses()
    }

    /// Returns the menu: what concerns one's own bots, and what concerns the host.
    pub(super) fn menu(&self) -> Vec<Vec<Entry>> {
        let t = self.text;
        let entry = |path: &'static str, label: &'static str| Entry {
            path,
            label,
            is_current: if path == "/" { self.path == "/" } else { within(&self.path, path) },
            count: if path == "/alerts" { self.alerts } else { 0 },
        };
        let Some(who) = &self.who else { return Vec::new() };
        if who.tenant.is_some() {
            let own = ["/", "/bots", "/offers", "/alerts"].into_iter().zip([t.overview, t.bots, t.offers, t.alerts]);
            let records = [entry("/messages", t.messages), entry("/dead-letters", t.dead_letters)];
            let own = own.map(|(path, label)| entry(path, label)).collect();
            return vec![own, records.into(), vec![entry("/account", t.account)]];
        }
        let daily = [("/", t.overview), ("/bots", t.bots), ("/connectors", t.connectors), ("/alerts", t.alerts)];
        let records = [("/messages", t.messages), ("/dead-letters", t.dead_letters), ("/outbox", t.outbox)];
        let mut host =
            vec![entry("/configuration", t.configuration), entry("/tenants", t.tenants), entry("/offers", t.offers)];
        if self.may_administer() {
            host.push(entry("/audit", t.audit));
        }
        let entries =
            |pairs: &[(&'static str, &'static str)]| pairs.iter().map(|(path, label)| entry(path, label)).collect();
        vec![entries(&daily), entries(&records), host]
    }

    /// Returns the hidden fields that every form has: one proves that the form came from a page of this session, one says where to lead
    /// back to.
    pub(super) fn hidden(&self) -> Hidden<'_> {
        Hidden { csrf: self.csrf.as_deref(), back: &self.back }
    }

    pub(super) fn has_session(&self) -> bool {
        self.csrf.is_some()
    }

    /// Returns whether he sees the whole host.
    pub(super) fn sees_host(&self) -> bool {
        self.who.as_ref().is_some_and(|who| who.tenant.is_none())
    }

    /// Returns whether he may act upon what he sees: all of the host's, or his tenant's own.
    pub(super) fn may_act(&self) -> bool {
        self.may(Role::Operator)
    }

    /// Returns whether he may do what an operator of the host does.
    pub(super) fn may_operate(&self) -> bool {
        self.sees_host() && self.may(Role::Operator)
    }

    /// Returns whether he may do what an admin of the host does.
    pub(super) fn may_administer(&self) -> bool {
        self.sees_host() && self.may(Role::Admin)
    }

    /// Returns whether he may pick from what is on offer.
    pub(super) fn may_rent(&self) -> bool {
        !self.sees_host() && self.may(Role::Operator)
    }

    /// Returns whether he has a role, wherever.
    pub(super) fn may(&self, role: Role) -> bool {
        self.who.as_ref().is_some_and(|who| who.role >= role)
    }

    pub(super) fn moment(&self, at: &str) -> Moment {
        Moment::new(at, self.now, self.text)
    }

    pub(super) fn cut(&self, id: &str) -> String {
        let tail: Vec<_> = id.chars().rev().take(ID_CHARS).collect();
        let cut: String = tail.into_iter().rev().collect();
        if cut.len() < id.len() { format!("…{cut}") } else { cut }
    }

    pub(super) fn milliseconds(&self, number: &f64) -> String {
        marks::milliseconds(*number)
    }

    pub(super) fn count(&self, number: &u64) -> String {
        marks::count(*number)
    }

    pub(super) fn role_word(&self, role: &Role) -> &'static str {
        match role {
            Role::Viewer => self.text.role_viewer,
            Role::Operator => self.text.role_operator,
            Role::Admin => self.text.role_admin,
        }
    }

    pub(super) fn role_name(&self, role: &str) -> String {
        role.parse::<Role>().map_or_else(|_| role.to_owned(), |role| self.role_word(&role).to_owned())
    }

    pub(super) fn switched(&self, is_on: impl std::borrow::Borrow<bool>) -> Tag {
        if *is_on.borrow() {
            Tag::new(Tone::Good, self.text.switched_on)
        } else {
            Tag::new(Tone::Plain, self.text.switched_off)
        }
    }

    pub(super) fn severity(&self, severity: &str) -> Tag {
        match severity {
            "critical" => Tag::new(Tone::Bad, self.text.severity_critical),
            "warning" => Tag::new(Tone::Warn, self.text.severity_warning),
            "info" => Tag::new(Tone::Plain, self.text.severity_info),
            other => Tag::new(Tone::Plain, other),
        }
    }

    pub(super) fn phase(&self, phase: &str) -> Tag {
        Tag::new(bots::tone(phase), bots::phase_word(phase, self.text))
    }

    pub(super) fn turn(&self, turn: &str) -> Tag {
        match turn {
            "fired" => Tag::new(Tone::Bad, self.text.turn_fired),
            "changed" => Tag::new(Tone::Warn, self.text.turn_changed),
            "acknowledged" => Tag::new(Tone::Plain, self.text.turn_acknowledged),
            "resolved" => Tag::new(Tone::Good, self.text.turn_resolved),
            other => Tag::new(Tone::Plain, other),
        }
    }

    /// Returns where an event or an action stands.
    pub(super) fn standing(&self, state: &str) -> Tag {
        let tone = match state {
            "done" | "delivered" => Tone::Good,
            "dead" | "lost" => Tone::Bad,
            "perhaps-sent" => Tone::Warn,
            _ => Tone::Plain,
        };
        Tag::new(tone, self.standing_word(state))
    }

    pub(super) fn standing_word(&self, state: &str) -> String {
        let t = self.text;
        let word = match state {
            "waiting" => t.state_waiting,
            "done" => t.state_done,
            "dead" => t.state_dead,
            "dropped" => t.state_dropped,
            "unwanted" => t.state_unwanted,
            "delivered" => t.state_delivered,
            "perhaps-sent" => t.state_perhaps_sent,
            "lost" => t.state_lost,
            other => other,
        };
        word.to_owned()
    }
}

fn within(path: &str, section: &str) -> bool {
    path.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The hidden fields of a form.
#[derive(Debug, askama::Template)]
#[template(
    source = r#"{% if let Some(csrf) = csrf %}<input type="hidden" name="csrf" value="{{ csrf }}">{% endif %}<input type="hidden" name="back" value="{{ back }}">"#,
    ext = "html"
)]
pub(super) struct Hidden<'a> {
    csrf: Option<&'a str>,
    back: &'a str,
}

impl askama::filters::HtmlSafe for Hidden<'_> {}
