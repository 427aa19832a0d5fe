//! `/api/v1/connectors`: how the connectors stand.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::ask::Ask;
use super::endpoint::{Access, Endpoint, Listing};
use crate::access::{Role, Scope};
use crate::connector::{Link, Status};
use crate::grants::ConnectorKey;

/// One connector as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConnectorView {
    /// Its name; a bot's own has the bot's before it.
    pub name: String,
    /// How it stands.
    pub link: String,
    /// Why, where there is a reason to give.
    pub detail: Option<String>,
    /// Since when, in RFC 3339.
    pub since: String,
    /// Connections that were made.
    pub connections: u64,
    /// When its platform last proved that it is there, in RFC 3339.
    pub last_success: Option<String>,
    /// When the last event came, in RFC 3339.
    pub last_event: Option<String>,
}

impl ConnectorView {
    fn new((key, status): &(ConnectorKey, Status)) -> Self {
        Self {
            name: key.to_string(),
            link: status.link.as_str().to_owned(),
            detail: match &status.link {
                Link::BackingOff { error, .. } | Link::Contested { error, .. } | Link::AuthFailed { error } => {
                    Some(error.clone())
                }
                Link::Connecting | Link::Connected | Link::Stopped => None,
            },
            since: status.since.to_string(),
            connections: status.connections,
            last_success: status.signs.last_success().map(|moment| moment.to_string()),
            last_event: status.signs.last_event().map(|moment| moment.to_string()),
        }
    }
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/connectors", Access::Tenant(Role::Viewer), "how the connectors stand")
            .list(async |api, ask| Ok(Listing::whole(list(&api, &ask)))),
    ]
}

/// Lists them; a tenant is shown those of its own bots.
pub(super) fn list(api: &Api, ask: &Ask) -> Vec<ConnectorView> {
    let is_covered = |key: &ConnectorKey| match (ask.scope(), &key.owner) {
        (Scope::Host, _) => true,
        (scope, Some(bot)) => api.covers(scope, bot),
        (Scope::Tenant(_), None) => false,
    };
    let connectors = api.sources.connectors.entries();
    connectors.iter().filter(|(key, _)| is_covered(key)).map(ConnectorView::new).collect()
}
