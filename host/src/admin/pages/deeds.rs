//! What the forms of the pages do. Each has an endpoint of its own that asks for the same role as the API's, has that carried out by the
//! API, and leads back to where the form was, with what it came to.

use std::sync::Arc;

use http::Method;
use serde_json::{Map, Value, json};

use super::client::{Order, Refusal, Reply};
use super::form::Form;
use super::language::Language;
use super::people::{Offer, SignInPage, TokenPage};
use super::shell::Flash;
use super::text::fill;
use super::visit::Visit;
use super::{reply, settings};
use crate::access::Role;
use crate::admin::api::Api;
use crate::admin::ask::Ask;
use crate::admin::chronicle::{CameTo, SignedInAs};
use crate::admin::endpoint::{Access, Answers, BODY_BYTES_MAX, Endpoint, Reads};
use crate::admin::problem::{Answer, Problem};
use http::StatusCode;

/// Most dead letters that one form decides about: what a page shows.
const CHOSEN_MAX: usize = 200;
/// How many of them the audit log names.
const NAMED_MAX: usize = 20;

/// A form whose fields are parameters of one endpoint of the API.
#[derive(Debug, Clone)]
struct Deed {
    path: &'static str,
    access: Access,
    method: Method,
    api: &'static str,
    /// The fields that are parameters.
    fields: &'static [&'static str],
    summary: &'static str,
}

impl Deed {
    const fn post(path: &'static str, access: Access, api: &'static str, summary: &'static str) -> Self {
        Self { path, access, method: Method::POST, api, fields: &[], summary }
    }

    const fn with(mut self, fields: &'static [&'static str]) -> Self {
        self.fields = fields;
        self
    }

    const fn delete(path: &'static str, access: Access, api: &'static str, summary: &'static str) -> Self {
        Self { path, access, method: Method::DELETE, api, fields: &[], summary }
    }
}

const BOT: Access = Access::Bot(Role::Operator);
const OPERATOR: Access = Access::Host(Role::Operator);
const ADMIN: Access = Access::Host(Role::Admin);

static DEEDS: &[Deed] = &[
    Deed::post("/bots/{bot}/start", BOT, "/api/v1/bots/{bot}/start", "starts a bot"),
    Deed::post("/bots/{bot}/stop", BOT, "/api/v1/bots/{bot}/stop", "stops a bot"),
    Deed::post("/bots/{bot}/restart", BOT, "/api/v1/bots/{bot}/restart", "restarts a bot"),
    Deed::post("/bots/{bot}/reset", BOT, "/api/v1/bots/{bot}/reset", "resets a bot"),
    Deed::post("/bots/{bot}/enable", BOT, "/api/v1/bots/{bot}/enable", "switches a bot on"),
    Deed::post("/bots/{bot}/disable", BOT, "/api/v1/bots/{bot}/disable", "switches a bot off"),
    Deed::post("/connectors/{connector}/start", OPERATOR, "/api/v1/connectors/{connector}/start", "starts a connector"),
    Deed::post("/connectors/{connector}/stop", OPERATOR, "/api/v1/connectors/{connector}/stop", "stops a connector"),
    Deed::post(
        "/connectors/{connector}/restart",
        OPERATOR,
        "/api/v1/connectors/{connector}/restart",
        "restarts a connector",
    ),
    Deed::post(
        "/bots/{bot}/connectors/{connector}/start",
        BOT,
        "/api/v1/bots/{bot}/connectors/{connector}/start",
        "starts a bot's own connector",
    ),
    Deed::post(
        "/bots/{bot}/connectors/{connector}/stop",
        BOT,
        "/api/v1/bots/{bot}/connectors/{connector}/stop",
        "stops a bot's own connector",
    ),
    Deed::post(
        "/bots/{bot}/connectors/{connector}/restart",
        BOT,
        "/api/v1/bots/{bot}/connectors/{connector}/restart",
        "restarts a bot's own connector",
    ),
    Deed::post("/outbox/{send}/retry", OPERATOR, "/api/v1/outbox/{send}/retry", "delivers an action after all"),
    Deed::delete("/outbox/{send}/drop", OPERATOR, "/api/v1/outbox/{send}", "gives an action up"),
    Deed::post("/outbox/replay", OPERATOR, "/api/v1/outbox/replay", "delivers what waits now")
        .with(&["connector", "lost_since"]),
    Deed::post(
        "/alerts/{alert}/ack",
        Access::Tenant(Role::Operator),
        "/api/v1/alerts/{alert}/ack",
        "looks after an alert",
    ),
    Deed::post(
        "/alerts/{alert}/resolve",
        Access::Tenant(Role::Operator),
        "/api/v1/alerts/{alert}/resolve",
        "ends an alert",
    ),
    Deed::post(
        "/alerts/channels/{channel}/test",
        OPERATOR,
        "/api/v1/alerts/channels/{channel}/test",
        "sends a test notice",
    ),
    Deed::post(
        "/configuration/{version}/rollback",
        ADMIN,
        "/api/v1/config/versions/{version}/rollback",
        "goes back to a generation",
    )
    .with(&["reason"]),
    Deed::delete("/accounts/{account}/remove", ADMIN, "/api/v1/accounts/{account}", "removes an account"),
    Deed::delete("/tokens/{token}/revoke", ADMIN, "/api/v1/tokens/{token}", "revokes a token"),
];

pub(super) fn endpoints() -> Vec<Endpoint> {
    let tenant = Access::Tenant(Role::Operator);
    let mut all: Vec<_> =
        DEEDS
            .iter()
            .map(|deed| {
                post(deed.path, deed.access, deed.summary, move |visit, form| async move {
                    perform(&visit, deed, &form).await
                })
            })
            .collect();
    all.extend([
        post("/sign-in", Access::Anybody, "signs in", async |visit, form| sign_in(&visit, &form).await),
        post("/sign-out", Access::SignedIn, "signs out", async |visit, form| sign_out(&visit, &form).await),
        post("/language", Access::Anybody, "chooses a language", async |_, form| Ok(language(&form))),
        post("/dead-letters", tenant, "decides about dead letters", async |visit, form| letters(&visit, &form).await),
        post("/bots/{bot}/settings", BOT, "changes a bot's settings", async |visit, form| {
            settings(&visit, &form).await
        }),
        post("/offers/{offer}", tenant, "picks what is on offer", async |visit, form| rent(&visit, &form).await),
        post("/accounts", ADMIN, "makes an account", async |visit, form| account(&visit, &form).await),
        post("/accounts/{account}/enable", ADMIN, "lets an account in", async |visit, form| {
            switch(&visit, &form, "enabled").await
        }),
        post("/accounts/{account}/disable", ADMIN, "shuts an account out", async |visit, form| {
            switch(&visit, &form, "disabled").await
        }),
        post("/tokens", ADMIN, "makes a token", async |visit, form| token(&visit, &form).await),
        post("/account/password", Access::SignedIn, "changes one's password", async |visit, form| {
            password(&visit, &form).await
        }),
    ]);
    all
}

/// Returns an endpoint that takes a form. What is refused is told on the page that the form was on.
fn post<R>(
    path: &'static str,
    access: Access,
    summary: &'static str,
    handler: impl Fn(Arc<Visit>, Arc<Form>) -> R + Send + Sync + Clone + 'static,
) -> Endpoint
where
    R: Future<Output = Result<Answer, Refusal>> + Send + 'static,
{
    let form = Reads::Whole {
        media_type: "application/x-www-form-urlencoded",
        schema: None,
        bytes_max: BODY_BYTES_MAX,
        is_required: false,
    };
    let serve = move |api: Arc<Api>, ask: Ask| {
        let handler = handler.clone();
        async move {
            let form = Arc::new(Form::read(&ask.body));
            let visit = Arc::new(Visit::new(api, ask));
            let done = handler(visit, Arc::clone(&form)).await;
            Ok::<_, Problem>(done.unwrap_or_else(|Refusal { status, why }| {
                let flash = Flash { is_good: false, text: why };
                came_to(reply::back(form.text("back").unwrap_or("/"), Some(&flash)), status, String::new())
            }))
        }
    };
    Endpoint::post(path, access, summary).reads(form).raw(Answers::Page, serve)
}

/// Says in an answer that leads back what came of the form, for the audit log.
fn came_to(mut answer: Answer, status: u16, about: String) -> Answer {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.extensions_mut().insert(CameTo { status, about });
    answer
}

/// Leads back to where the form was.
fn done(visit: &Visit, form: &Form) -> Answer {
    let text = reply::language(&visit.ask.headers).text().done.to_owned();
    reply::back(form.text("back").unwrap_or("/"), Some(&Flash { is_good: true, text }))
}

async fn perform(visit: &Visit, deed: &Deed, form: &Form) -> Result<Answer, Refusal> {
    let mut order = Order::new(deed.method.clone(), deed.api).parts(&visit.ask.path);
    for field in deed.fields {
        order = order.with(field, form.text(field).unwrap_or_default());
    }
    visit.client().send(order).await?;
    Ok(done(visit, form))
}

fn language(form: &Form) -> Answer {
    let mut answer = reply::back(form.text("back").unwrap_or("/"), None);
    if let Some(language) = form.text("language").and_then(Language::from_tag) {
        reply::remember(&mut answer, language);
    }
    answer
}

/// Signs in with a name and a password, or without a name with a token.
async fn sign_in(visit: &Visit, form: &Form) -> Result<Answer, Refusal> {
    let (name, secret) = (form.text("name").unwrap_or_default(), form.text("password").unwrap_or_default());
    let body = match (name, secret) {
        (_, "") => json!({}),
        ("", token) => json!({ "token": token }),
        (name, password) => json!({ "name": name, "password": password }),
    };
    match visit.client().send(Order::new(Method::POST, "/api/v1/session").body(body)).await {
        Ok(session) => {
            let mut answer = with_cookies(reply::back("/", None), &session);
            if let Some(name) = session.extensions.get::<SignedInAs>() {
                answer.extensions_mut().insert(name.clone());
            }
            Ok(answer)
        }
        Err(Refusal { status, why }) => {
            let shell = visit.shell().await;
            let shell = super::shell::Shell {
                flash: Some(Flash { is_good: false, text: why }),
                path: "/sign-in".to_owned(),
                ..shell
            };
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::UNAUTHORIZED);
            Ok(reply::page(status, &SignInPage { shell, name: name.to_owned() }, &visit.ask.headers))
        }
    }
}

async fn sign_out(visit: &Visit, _form: &Form) -> Result<Answer, Refusal> {
    let ended = visit.client().send(Order::new(Method::DELETE, "/api/v1/session")).await?;
    // The first page leads on to where one signs in.
    Ok(with_cookies(reply::back("/", None), &ended))
}

fn with_cookies(mut answer: Answer, from: &Reply) -> Answer {
    for cookie in from.cookies() {
        answer.headers_mut().append(http::header::SET_COOKIE, cookie.clone());
    }
    answer
}

/// Has each of the chosen tried again or dropped, and tells how many were not and why the last of those was not.
async fn letters(visit: &Visit, form: &Form) -> Result<Answer, Refusal> {
    let text = reply::language(&visit.ask.headers).text();
    let verb = if form.text("verb") == Some("drop") { "drop" } else { "retry" };
    let (mut decided, mut refusals) = (Vec::new(), Vec::new());
    for chosen in form.all("choose").take(CHOSEN_MAX) {
        let Some((bot, event)) = chosen.split_once('/') else { continue };
        let order = match verb {
            "drop" => Order::new(Method::DELETE, "/api/v1/dead-letters/{event}"),
            _ => Order::new(Method::POST, "/api/v1/dead-letters/{event}/retry"),
        };
        match visit.client().send(order.part("event", event).with("bot", bot)).await {
            Ok(_) => decided.push(chosen),
            Err(refusal) => refusals.push(refusal),
        }
    }
    let done = fill(text.letters_decided, decided.len());
    let (status, flash) = match refusals.pop() {
        None if decided.is_empty() => (400, Flash { is_good: false, text: text.nothing_chosen.to_owned() }),
        None => (200, Flash { is_good: true, text: done }),
        Some(Refusal { status, why }) => {
            let refused = fill(text.letters_refused, refusals.len() + 1);
            let status = if decided.is_empty() { status } else { 200 };
            (status, Flash { is_good: false, text: format!("{done} {refused} {why}") })
        }
    };
    let answer = reply::back(form.text("back").unwrap_or("/"), Some(&flash));
    Ok(came_to(answer, status, named(verb, &decided)))
}

/// Names what was decided about, and how much more of it there was.
fn named(verb: &str, decided: &[&str]) -> String {
    let names = &decided[..decided.len().min(NAMED_MAX)];
    let more = decided.len() - names.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{verb} {}{more}", names.join(", "))
}

/// Returns the fields of a group that are not empty: a secret that is not given stays.
fn group(form: &Form, name: &str) -> Value {
    let fields = form.group(name).filter(|(_, value)| !value.is_empty());
    Value::Object(fields.map(|(name, value)| (name.to_owned(), Value::from(value))).collect::<Map<_, _>>())
}

async fn settings(visit: &Visit, form: &Form) -> Result<Answer, Refusal> {
    let path = "/api/v1/bots/{bot}/settings";
    let known: settings::Form = visit.client().get(Order::get(path).parts(&visit.ask.path)).await?;
    let body = json!({
        "settings": known.read(form),
        "connector": group(form, "connector"),
        "secrets": group(form, "secret"),
    });
    visit.client().send(Order::new(Method::PUT, path).parts(&visit.ask.path).body(body)).await?;
    Ok(done(visit, form))
}

async fn rent(visit: &Visit, form: &Form) -> Result<Answer, Refusal> {
    let offers: Vec<Offer> = visit.client().get(Order::get("/api/v1/offers")).await?;
    let offer = offers.into_iter().find(|offer| offer.name == visit.ask.part("offer")).unwrap_or_default();
    let mut body = json!({
        "offer": visit.ask.part("offer"),
        "connector": group(form, "connector"),
        "secrets": group(form, "secret"),
        "enabled": true,
    });
    if !offer.form.is_empty() {
        body["settings"] = settings::Form { fields: offer.form, ..settings::Form::default() }.read(form);
    }
    let rented = visit.client().send(Order::new(Method::POST, "/api/v1/rentals").body(body)).await?;
    let bot = rented.json::<Value>()["bot"].as_str().unwrap_or_default().to_owned();
    let text = reply::language(&visit.ask.headers).text().done.to_owned();
    Ok(came_to(reply::back("/bots", Some(&Flash { is_good: true, text })), 200, bot))
}

/// Returns the fields that are given, as JSON.
fn given(form: &Form, names: &[&str]) -> Value {
    let given = names.iter().filter_map(|name| Some(((*name).to_owned(), Value::from(form.text(name)?))));
    Value::Object(given.collect::<Map<_, _>>())
}

async fn account(visit: &Visit, form: &Form) -> Result<Answer, Refusal> {
    let body = given(form, &["name", "password", "role", "tenant"]);
    visit.client().send(Order::new(Method::POST, "/api/v1/accounts").body(body)).await?;
    Ok(came_to(done(visit, form), 200, form.text("name").unwrap_or_default().to_owned()))
}

async fn switch(visit: &Visit, form: &Form, standing: &str) -> Result<Answer, Refusal> {
    let order = Order::new(Method::PATCH, "/api/v1/accounts/{account}").parts(&visit.ask.path);
    visit.client().send(order.body(json!({ "standing": standing }))).await?;
    Ok(done(visit, form))
}

/// Makes a token and shows it, this once: no address and no cookie may hold it, so nothing leads back.
async fn token(visit: &Visit, form: &Form) -> Result<Answer, Refusal> {
    let body = given(form, &["name", "role", "tenant"]);
    let made = visit.client().send(Order::new(Method::POST, "/api/v1/tokens").body(body)).await?;
    let token = made.json::<Value>().get("token").and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = form.text("name").unwrap_or_default().to_owned();
    let page = visit.page(&TokenPage { shell: visit.shell().await, name: name.clone(), token });
    Ok(came_to(page, 200, name))
}

async fn password(visit: &Visit, form: &Form) -> Result<Answer, Refusal> {
    let name = visit.shell().await.who.map(|who| who.name).unwrap_or_default();
    let order = Order::new(Method::POST, "/api/v1/accounts/{account}/password").part("account", &name);
    visit.client().send(order.body(given(form, &["current", "password"]))).await?;
    Ok(reply::back("/", None))
}
