//! `/api/v1/accounts`: whom a password lets in.

use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::ask::Ask;
use super::endpoint::{Access, Endpoint, Listing};
use super::problem::{Problem, chain};
use super::schema::{NameWord, RoleWord, StandingWord};
use super::session::denied;
use crate::access::{AccessError, Account, AccountChange, NewAccount, Role, Standing, Way};
use crate::id::{AccountName, TenantName};
use crate::secret::Secret;

const BODY_BYTES_MAX: usize = 8 << 10;
const ONE: &str = "/api/v1/accounts/{account}";

/// An account as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountView {
    /// Its name.
    pub name: String,
    /// What it may do: `viewer`, `operator` or `admin`.
    #[schemars(with = "RoleWord")]
    pub role: Role,
    /// Whose things it sees; none: the whole host's.
    pub tenant: Option<String>,
    /// Whether it lets in: `enabled` or `disabled`.
    #[schemars(with = "StandingWord")]
    pub standing: Standing,
    /// When it was made, in RFC 3339.
    pub created_at: String,
}

impl AccountView {
    fn of(name: &AccountName, account: &Account) -> Self {
        Self {
            name: name.to_string(),
            role: account.power.role(),
            tenant: account.power.scope().tenant().map(ToString::to_string),
            standing: account.standing,
            created_at: account.created_at.to_string(),
        }
    }
}

/// An account to be made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct New {
    /// Its name.
    #[schemars(with = "NameWord")]
    name: AccountName,
    /// Its password: 12 to 1,024 bytes.
    #[schemars(with = "String", length(min = 12, max = 1024))]
    password: Secret,
    /// What it may do: `viewer`, `operator` or `admin`.
    #[schemars(with = "RoleWord")]
    role: Role,
    /// Whose things it sees; none: the whole host's.
    #[serde(default)]
    #[schemars(with = "Option<NameWord>")]
    tenant: Option<TenantName>,
}

/// What is changed of an account; what is none stays.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Change {
    /// What it may do.
    #[serde(default)]
    #[schemars(with = "Option<RoleWord>")]
    role: Option<Role>,
    /// Whether it lets in: `enabled` or `disabled`.
    #[serde(default)]
    #[schemars(with = "Option<StandingWord>")]
    standing: Option<Standing>,
}

/// Another password.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Password {
    /// The new one: 12 to 1,024 bytes.
    #[schemars(with = "String", length(min = 12, max = 1024))]
    password: Secret,
    /// The one until now, where it is one's own account.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    current: Option<Secret>,
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    let admin = Access::Host(Role::Admin);
    vec![
        Endpoint::get("/api/v1/accounts", admin, "every account").list(async |api, _| Ok(Listing::whole(all(&api)))),
        Endpoint::post("/api/v1/accounts", admin, "makes an account")
            .reads_json::<New>(BODY_BYTES_MAX)
            .with_status(StatusCode::CREATED)
            .named_by("name")
            .json(async |api, ask| add(&api, &ask).await),
        Endpoint::of(
            Method::PATCH,
            ONE,
            admin,
            "changes what an account may do, or whether it lets in; its sessions end",
        )
        .reads_json::<Change>(BODY_BYTES_MAX)
        .json(async |api, ask| change(&api, &ask).await),
        Endpoint::delete(ONE, admin, "removes an account; its sessions end")
            .json(async |api, ask| remove(&api, &ask).await),
        Endpoint::post(
            "/api/v1/accounts/{account}/password",
            Access::SignedIn,
            "gives an account another password, one's own or as an admin; its sessions end",
        )
        .reads_json::<Password>(BODY_BYTES_MAX)
        .json(async |api, ask| password(&api, &ask).await),
    ]
}

/// Returns every account, by name.
pub(super) fn all(api: &Api) -> Vec<AccountView> {
    api.sources.access.accounts().iter().map(|(name, account)| AccountView::of(name, account)).collect()
}

fn name(ask: &Ask) -> Result<AccountName, Problem> {
    ask.part("account").parse().map_err(|error| Problem::Absent(format!("{error}; GET /api/v1/accounts lists them")))
}

fn find(api: &Api, name: &AccountName) -> Result<AccountView, Problem> {
    let found = api.sources.access.accounts().into_iter().find(|(other, _)| other == name);
    let absent = || AccessError::Absent { what: "account", name: name.to_string() }.into();
    found.map(|(name, account)| AccountView::of(&name, &account)).ok_or_else(absent)
}

async fn add(api: &Api, ask: &Ask) -> Result<AccountView, Problem> {
    let New { name, password, role, tenant } = ask.json()?;
    api.sources.access.add_account(NewAccount { name: name.clone(), password, role, tenant }).await?;
    find(api, &name)
}

async fn change(api: &Api, ask: &Ask) -> Result<AccountView, Problem> {
    let (name, Change { role, standing }) = (name(ask)?, ask.json()?);
    api.sources.access.change_account(name.clone(), AccountChange { role, standing }).await?;
    find(api, &name)
}

async fn remove(api: &Api, ask: &Ask) -> Result<AccountView, Problem> {
    let name = name(ask)?;
    let view = find(api, &name)?;
    api.sources.access.remove_account(name).await?;
    Ok(view)
}

async fn password(api: &Api, ask: &Ask) -> Result<AccountView, Problem> {
    let (name, Password { password, current }) = (name(ask)?, ask.json()?);
    let (caller, book) = (ask.caller(), &api.sources.access);
    if caller.way == Way::Session && &*caller.name == name.as_str() {
        // Whoever finds a browser open does not make the account his own by that.
        let Some(current) = current else {
            return Err(Problem::BadRequest("`current` is missing: the password until now".to_owned()));
        };
        book.check_password(name.as_str(), &current, ask.from.source()).await.map_err(denied)?;
    } else if !caller.runs_host(Role::Admin) {
        let detail = format!("only {name} itself, signed in, and an admin of the host may change this password");
        return Err(Problem::Forbidden(detail));
    }
    book.set_password(name.clone(), password).await?;
    find(api, &name)
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Absent { .. } => Self::Absent(error.to_string()),
            AccessError::Taken { .. } | AccessError::Full { .. } => Self::Conflict(error.to_string()),
            AccessError::PasswordLength { .. } => Self::BadRequest(error.to_string()),
            AccessError::Reserved { .. } | AccessError::Power(_) | AccessError::Expired => {
                Self::Unprocessable(error.to_string())
            }
            AccessError::Damaged { .. }
            | AccessError::Newer { .. }
            | AccessError::Disk { .. }
            | AccessError::Random(_) => Self::Unavailable(chain(&error)),
        }
    }
}
