//! The pages of people: signing in, one's own account, tenants with their accounts and tokens, what is on offer to them, the audit log;
//! and the page that says why something was not done. Pure.

use std::collections::BTreeMap;

use askama::Template;
use serde::Deserialize;

use super::language::Language;
use super::pager::Pager;
use super::settings::Field;
use super::shell::Shell;

/// Signing in.
#[derive(Debug, Template)]
#[template(path = "sign_in.html")]
pub(super) struct SignInPage {
    pub(super) shell: Shell,
    /// The name that was given the last time.
    pub(super) name: String,
}

/// One's own account.
#[derive(Debug, Template)]
#[template(path = "account.html")]
pub(super) struct AccountPage {
    pub(super) shell: Shell,
}

/// A new token, once.
#[derive(Debug, Template)]
#[template(path = "token.html")]
pub(super) struct TokenPage {
    pub(super) shell: Shell,
    pub(super) name: String,
    pub(super) token: String,
}

/// Why something was not done.
#[derive(Debug, Template)]
#[template(path = "refusal.html")]
pub(super) struct RefusalPage {
    pub(super) shell: Shell,
    pub(super) status: u16,
    pub(super) why: String,
}

/// A tenant as the API tells of it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tenant {
    name: String,
    /// Its bots, each with its phase.
    bots: BTreeMap<String, String>,
    queued: u64,
}

/// An account as the API tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Account {
    name: String,
    role: String,
    tenant: Option<String>,
    /// `enabled` or `disabled`.
    standing: String,
}

impl Account {
    fn is_disabled(&self) -> bool {
        self.standing == "disabled"
    }
}

/// A token as the API tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Token {
    name: String,
    role: String,
    tenant: Option<String>,
    last_used_at: Option<String>,
}

/// Tenants, accounts and tokens.
#[derive(Debug, Template)]
#[template(path = "tenants.html")]
pub(super) struct TenantsPage {
    pub(super) shell: Shell,
    pub(super) tenants: Vec<Tenant>,
    pub(super) accounts: Vec<Account>,
    pub(super) tokens: Vec<Token>,
}

/// What can be had, as the API tells.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Offer {
    pub(super) name: String,
    pub(super) title: Option<String>,
    pub(super) title_zh: Option<String>,
    pub(super) summary: Option<String>,
    pub(super) summary_zh: Option<String>,
    /// Keys of the connector to fill in.
    pub(super) ask: Vec<AskedKey>,
    pub(super) ask_secrets: Vec<String>,
    /// Its settings.
    pub(super) form: Vec<Field>,
    /// Why it cannot be had at the moment.
    pub(super) unavailable: Option<String>,
}

/// A key to fill in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(super) struct AskedKey {
    name: String,
    secret: bool,
}

impl Offer {
    fn title(&self, language: &Language) -> &str {
        let own = if *language == Language::Chinese { self.title_zh.as_deref() } else { None };
        own.or(self.title.as_deref()).filter(|title| !title.is_empty()).unwrap_or(&self.name)
    }

    fn summary(&self, language: &Language) -> &str {
        let own = if *language == Language::Chinese { self.summary_zh.as_deref() } else { None };
        own.or(self.summary.as_deref()).unwrap_or("")
    }
}

/// What is on offer.
#[derive(Debug, Template)]
#[template(path = "offers.html")]
pub(super) struct OffersPage {
    pub(super) shell: Shell,
    pub(super) offers: Vec<Offer>,
}

/// An entry of the audit log, as the API tells.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    pub(super) seq: u64,
    at: String,
    who: String,
    method: String,
    verb: String,
    subject: String,
    outcome: String,
}

impl Record {
    fn what(&self) -> String {
        [self.method.as_str(), self.verb.as_str()]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// The audit log.
#[derive(Debug, Template)]
#[template(path = "audit.html")]
pub(super) struct AuditPage {
    pub(super) shell: Shell,
    pub(super) who: String,
    pub(super) since: String,
    pub(super) records: Vec<Record>,
    pub(super) refusal: Option<String>,
    pub(super) pager: Pager,
}
