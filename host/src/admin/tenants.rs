//! `/api/v1/tenants`: who has bots or accounts here, and how the bots are.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::endpoint::{Access, Endpoint, Listing};
use crate::access::Role;

/// One tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TenantView {
    /// Its name.
    pub name: String,
    /// Its bots, each with the phase that it is in.
    pub bots: BTreeMap<String, String>,
    /// How many of them should serve and do not, for a reason of their own.
    pub ill: usize,
    /// Events that wait for its bots.
    pub queued: usize,
    /// Accounts that see its bots.
    pub accounts: usize,
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/api/v1/tenants",
            Access::Host(Role::Viewer),
            "who has bots or accounts here, and how the bots are",
        )
        .list(async |api, _| Ok(Listing::whole(list(&api)))),
    ]
}

/// Lists everybody who has a bot, or an account.
pub(super) fn list(api: &Api) -> Vec<TenantView> {
    let mut tenants: BTreeMap<String, TenantView> = BTreeMap::new();
    for status in api.sources.bots.statuses() {
        let name = status.tenant.to_string();
        let tenant = tenants.entry(name.clone()).or_insert_with(|| TenantView { name, ..TenantView::default() });
        tenant.bots.insert(status.name.to_string(), status.phase.as_str().to_owned());
        tenant.ill += usize::from(status.phase.is_ill());
        tenant.queued += status.queued;
    }
    for (_, account) in api.sources.access.accounts() {
        if let Some(tenant) = account.power.scope().tenant() {
            let name = tenant.to_string();
            let of = |name: String| TenantView { name, ..TenantView::default() };
            tenants.entry(name.clone()).or_insert_with(|| of(name)).accounts += 1;
        }
    }
    tenants.into_values().collect()
}
