//! `/api/v1/tokens`: what lets programs in.

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::ask::Ask;
use super::endpoint::{Access, Endpoint, Listing};
use super::problem::Problem;
use super::schema::{NameWord, RoleWord};
use crate::access::{AccessError, NewToken, Role, Token};
use crate::clock::Timestamp;
use crate::id::{TenantName, TokenName};

const BODY_BYTES_MAX: usize = 8 << 10;

/// A token as the API shows it: everything but what lets in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    /// Its name.
    pub name: String,
    /// What it may do: `viewer`, `operator` or `admin`.
    #[schemars(with = "RoleWord")]
    pub role: Role,
    /// Whose things it sees; none: the whole host's.
    pub tenant: Option<String>,
    /// When it was made, in RFC 3339.
    pub created_at: String,
    /// From when on it does not let in; none: it does until it is revoked.
    pub expires_at: Option<String>,
    /// When it last let somebody in since the host began; none: it has not.
    pub last_used_at: Option<String>,
}

impl TokenView {
    fn of((name, token, used): &(TokenName, Token, Option<Timestamp>)) -> Self {
        Self {
            name: name.to_string(),
            role: token.power.role(),
            tenant: token.power.scope().tenant().map(ToString::to_string),
            created_at: token.created_at.to_string(),
            expires_at: token.expires_at.map(|at| at.to_string()),
            last_used_at: used.map(|at| at.to_string()),
        }
    }
}

/// A token that was just made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewTokenView {
    /// What lets in. It is shown this once, and kept nowhere.
    pub token: String,
    /// What else there is to it.
    #[serde(flatten)]
    pub about: TokenView,
}

/// A token to be made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct New {
    /// Its name.
    #[schemars(with = "NameWord")]
    name: TokenName,
    /// What it may do: `viewer`, `operator` or `admin`.
    #[schemars(with = "RoleWord")]
    role: Role,
    /// Whose things it sees; none: the whole host's.
    #[serde(default)]
    #[schemars(with = "Option<NameWord>")]
    tenant: Option<TenantName>,
    /// From when on it does not let in, in RFC 3339; none: it does until it is revoked.
    #[serde(default)]
    #[schemars(extend("format" = "date-time"))]
    expires_at: Option<String>,
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    let admin = Access::Host(Role::Admin);
    vec![
        Endpoint::get("/api/v1/tokens", admin, "every token, without what lets in")
            .list(async |api, _| Ok(Listing::whole(all(&api)))),
        Endpoint::post("/api/v1/tokens", admin, "makes a token and shows it, this once")
            .reads_json::<New>(BODY_BYTES_MAX)
            .with_status(StatusCode::CREATED)
            .named_by("name")
            .json(async |api, ask| create(&api, &ask).await),
        Endpoint::delete("/api/v1/tokens/{token}", admin, "revokes a token; what was begun with it ends")
            .json(async |api, ask| revoke(&api, &ask).await),
    ]
}

/// Returns every token, by name.
pub(super) fn all(api: &Api) -> Vec<TokenView> {
    api.sources.access.tokens().iter().map(TokenView::of).collect()
}

fn find(api: &Api, name: &TokenName) -> Result<TokenView, Problem> {
    let found = api.sources.access.tokens().iter().find(|(other, ..)| other == name).map(TokenView::of);
    found.ok_or_else(|| AccessError::Absent { what: "token", name: name.to_string() }.into())
}

async fn create(api: &Api, ask: &Ask) -> Result<NewTokenView, Problem> {
    let New { name, role, tenant, expires_at } = ask.json()?;
    let parse = |text: String| text.parse().map_err(|error| Problem::Unprocessable(format!("`expires_at`: {error}")));
    let expires_at = expires_at.map(parse).transpose()?;
    let key = api.sources.access.create_token(NewToken { name: name.clone(), role, tenant, expires_at }).await?;
    Ok(NewTokenView { token: key.expose().to_owned(), about: find(api, &name)? })
}

async fn revoke(api: &Api, ask: &Ask) -> Result<TokenView, Problem> {
    let absent = |error| Problem::Absent(format!("{error}; GET /api/v1/tokens lists them"));
    let name: TokenName = ask.part("token").parse().map_err(absent)?;
    let view = find(api, &name)?;
    api.sources.access.revoke_token(name).await?;
    Ok(view)
}
