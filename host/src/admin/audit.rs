//! `/api/v1/audit`: who changed what.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::ask::Ask;
use super::endpoint::{Access, Endpoint, Listing};
use super::parameter::{BEFORE, Kind, LIMIT, Parameter, SINCE};
use super::problem::{Problem, chain};
use crate::access::Role;
use crate::audit::{Outcome, Query, Record};
use crate::clock::Timestamp;

/// One record as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditView {
    /// Its number; `before` takes it.
    pub seq: u64,
    /// When, in RFC 3339.
    pub at: String,
    /// Who.
    pub who: String,
    /// By what he was let in: `socket`, `token`, `session`; `none`: he was not; `host`: the host itself.
    pub way: String,
    /// From where; none: from this machine.
    pub address: Option<String>,
    /// What he did: a method, or a word.
    pub verb: String,
    /// To what.
    pub subject: String,
    /// What came of it: `done`, `refused` or `failed`.
    #[schemars(with = "String")]
    pub outcome: Outcome,
    /// More, for people.
    pub detail: Option<String>,
    /// Its hash, by which the next one is tied to it.
    pub hash: String,
}

impl From<Record> for AuditView {
    fn from(record: Record) -> Self {
        Self {
            seq: record.seq,
            at: record.at.to_string(),
            who: record.who,
            way: record.way,
            address: record.address,
            verb: record.verb,
            subject: record.subject,
            outcome: record.outcome,
            detail: record.detail,
            hash: record.hash.to_string(),
        }
    }
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    const WHO: Parameter = Parameter::new("who", Kind::Text, "only what this one did");
    vec![
        Endpoint::get("/api/v1/audit", Access::Host(Role::Admin), "who changed what, the newest first")
            .takes(&[WHO, SINCE, BEFORE, LIMIT])
            .list(async |api, ask| list(&api, &ask).await),
    ]
}

/// Returns a page of records.
pub(super) async fn list(api: &Api, ask: &Ask) -> Result<Listing<AuditView>, Problem> {
    let query = Query {
        before: ask.query.number("before")?,
        limit: ask.query.limit()? as usize,
        who: ask.query.text("who").map(str::to_owned),
        since: ask.query.moment("since", Timestamp::now())?,
    };
    let page = api.sources.audit.read(query).await.map_err(|error| Problem::Unavailable(chain(&error)))?;
    if page.damaged > 0 {
        tracing::error!(
            lines = page.damaged,
            "lines of the audit log are not what was written: `host doctor` says which"
        );
    }
    let next = page.next.map(|next| ("before", next.to_string()));
    Ok(Listing { items: page.records.into_iter().map(AuditView::from).collect(), next })
}
