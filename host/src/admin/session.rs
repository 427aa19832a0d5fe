//! `/api/v1/session`: signing in and out, and who somebody is.

use http::StatusCode;
use http::header::SET_COOKIE;
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::ask::Ask;
use super::auth::Visitor;
use super::chronicle::SignedInAs;
use super::endpoint::{Access, Answers, Endpoint};
use super::problem::{Answer, Problem, answer, json};
use super::schema::RoleWord;
use crate::access::{Caller, Denied, Opened, Role};
use crate::secret::Secret;

const BODY_BYTES_MAX: usize = 8 << 10;

/// Who somebody is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionView {
    /// What the audit log calls him.
    pub name: String,
    /// What he may do: `viewer`, `operator` or `admin`.
    #[schemars(with = "RoleWord")]
    pub role: Role,
    /// Whose things he sees; none: the whole host's.
    pub tenant: Option<String>,
    /// By what he was let in: `socket`, `token` or `session`.
    pub way: String,
    /// What a session's requests bear in `X-CSRF-Token` where they change something; none: it is no session.
    pub csrf: Option<String>,
}

impl SessionView {
    fn of(caller: &Caller, csrf: Option<&str>) -> Self {
        Self {
            name: caller.name.to_string(),
            role: caller.role,
            tenant: caller.scope.tenant().map(ToString::to_string),
            way: caller.way.as_str().to_owned(),
            csrf: csrf.map(str::to_owned),
        }
    }
}

/// What somebody shows: a name and a password, or a token.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SignIn {
    /// The account.
    name: Option<String>,
    /// Its password.
    #[schemars(with = "Option<String>")]
    password: Option<Secret>,
    /// Or a token, instead of both.
    #[schemars(with = "Option<String>")]
    token: Option<Secret>,
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    let view = || Answers::Json(SchemaGenerator::subschema_for::<SessionView>);
    vec![
        Endpoint::post("/api/v1/session", Access::Anybody, "signs in: the answer sets the session's cookie")
            .reads_json::<SignIn>(BODY_BYTES_MAX)
            .raw(view(), async |api, ask| {
                let opened = sign_in(&api, &ask.from, ask.json()?).await?;
                let view = SessionView::of(&opened.caller, Some(opened.csrf.expose()));
                Ok(with_session(json(StatusCode::OK, &view), &ask.from, &opened))
            }),
        Endpoint::get("/api/v1/session", Access::SignedIn, "who asks, and what a session's requests have to bear")
            .json(async |_, ask: Ask| {
                Ok(SessionView::of(ask.caller(), ask.from.csrf.as_ref().map(|key| key.expose())))
            }),
        Endpoint::delete("/api/v1/session", Access::SignedIn, "signs out")
            .with_status(StatusCode::NO_CONTENT)
            .raw(Answers::Nothing, async |api, ask| Ok(sign_out(&api, &ask.from))),
    ]
}

/// Begins a session.
///
/// # Errors
///
/// What is shown lets nobody in, or too many attempts failed before.
pub(super) async fn sign_in(api: &Api, from: &Visitor, shown: SignIn) -> Result<Opened, Problem> {
    let book = &api.sources.access;
    let opened = match shown {
        SignIn { name: Some(name), password: Some(password), token: None } => {
            book.sign_in(&name, &password, from.source()).await
        }
        SignIn { name: None, password: None, token: Some(token) } => book.sign_in_by_token(&token, from.source()),
        _ => return Err(Problem::BadRequest("send `name` and `password`, or `token`".to_owned())),
    };
    opened.map_err(denied)
}

/// Adds to an answer what makes the browser keep the session, and what the audit log makes of it.
pub(super) fn with_session(mut answer: Answer, from: &Visitor, opened: &Opened) -> Answer {
    answer.headers_mut().append(SET_COOKIE, from.transport.set_cookie(&opened.id));
    answer.extensions_mut().insert(SignedInAs(opened.caller.name.clone()));
    answer
}

/// Ends the session that a request came by, and has the browser forget it.
pub(super) fn sign_out(api: &Api, from: &Visitor) -> Answer {
    if let Some(id) = &from.session {
        api.sources.access.sign_out(id.expose().as_bytes());
    }
    let mut answer = answer(StatusCode::NO_CONTENT, "text/plain; charset=utf-8", hyper::body::Bytes::new());
    answer.headers_mut().append(SET_COOKIE, from.transport.clear_cookie());
    answer
}

/// Returns the problem of one who is not let in.
pub(super) fn denied(denied: Denied) -> Problem {
    match denied {
        Denied::Wrong => Problem::WrongPassword,
        Denied::Later(wait) => Problem::TooManyAttempts(wait),
    }
}
