//! What the operator puts and removes by name: connectors that every bot may use, and entries of bots.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::api::Api;
use super::ask::Ask;
use super::configuration::{EditView, edited, who};
use super::endpoint::{Access, Endpoint, Reads, Tagged};
use super::parameter::EDIT;
use super::problem::Problem;
use super::rentals::optional_match;
use crate::access::Role;
use crate::generation::Placing;
use crate::id::{BotName, ConnectorName};

/// What a body may have.
const BODY_BYTES_MAX: usize = 256 << 10;

/// A table of the configuration, as JSON.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
struct TableBody(Map<String, Value>);

pub(super) fn endpoints() -> Vec<Endpoint> {
    let act = Access::Host(Role::Admin);
    let entry = Reads::Whole {
        media_type: "application/json",
        schema: Some(schemars::SchemaGenerator::subschema_for::<TableBody>),
        bytes_max: BODY_BYTES_MAX,
        is_required: true,
    };
    vec![
        Endpoint::put(
            "/api/v1/connectors/{connector}",
            act,
            "puts a connector that every bot may use; `[redacted]` keeps a secret",
        )
        .takes(EDIT)
        .reads_json::<TableBody>(BODY_BYTES_MAX)
        .tagged(async |api, ask| {
            let TableBody(table) = ask.json()?;
            place(&api, &ask, Placing::Connector(connector(&ask)?, table)).await
        }),
        Endpoint::delete("/api/v1/connectors/{connector}", act, "removes a connector that every bot may use")
            .takes(EDIT)
            .tagged(async |api, ask| place(&api, &ask, Placing::NoConnector(connector(&ask)?)).await),
        Endpoint::put("/api/v1/bots/{bot}", act, "puts a bot's own file, as JSON or, by its content type, as TOML")
            .takes(EDIT)
            .reads(entry)
            .tagged(async |api, ask| {
                let what = bot_file(&ask)?;
                place(&api, &ask, what).await
            }),
        Endpoint::delete("/api/v1/bots/{bot}", act, "removes a bot: its entry, and its component if no other uses it")
            .takes(EDIT)
            .tagged(async |api, ask| place(&api, &ask, Placing::NoBot(ask.bot()?)).await),
    ]
}

fn connector(ask: &Ask) -> Result<ConnectorName, Problem> {
    ask.part("connector").parse().map_err(|error| Problem::Absent(format!("{error}")))
}

fn bot_file(ask: &Ask) -> Result<Placing, Problem> {
    let name: BotName = ask.part("bot").parse().map_err(|error| Problem::BadRequest(format!("{error}")))?;
    let kind = ask.headers.get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    if kind.starts_with("application/toml") {
        let text = String::from_utf8(ask.body.to_vec());
        return text
            .map(|text| Placing::Bot(name, text))
            .map_err(|_| Problem::BadRequest("the body is not UTF-8".to_owned()));
    }
    let TableBody(table) = ask.json()?;
    Ok(Placing::BotTable(name, table))
}

/// Has something put to its place, or removed.
pub(super) async fn place(api: &Api, ask: &Ask, what: Placing) -> Result<Tagged<EditView>, Problem> {
    edited(ask, api.sources.editor.place(who(ask), optional_match(ask)?, what).await)
}
