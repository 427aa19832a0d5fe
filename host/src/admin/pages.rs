//! The dashboard: pages for operators and tenants, without anything that a reader has to have but a browser. Everything that they show
//! and do goes through the API (`pages/client`), in the name of who looks; they read nothing of the host themselves.
//!
//! ```text
//! request ─gate─► sights ─┐                        ┌─► one noun's page (bots, alerts, records, …): a model and its template
//!                 deeds ──┴─► client ─► API ─views─┘      in `templates/`, with marks, texts in two languages, and the shell around
//! ```
//!
//! Forms are plain POSTs that lead back with what they came to. The one script adds what a page can do beyond that, and is not needed.

mod alerts;
mod assets;
mod bot;
mod bots;
mod client;
mod configuration;
mod connectors;
mod deeds;
mod form;
mod language;
mod live;
mod marks;
mod measured;
mod overview;
mod pager;
mod people;
mod records;
mod reply;
mod settings;
mod shell;
mod sight_of_bot;
mod sights;
mod text;
mod visit;

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, StatusCode, Uri};
use hyper::body::Bytes;

use self::client::Refusal;
use self::shell::Shell;
use self::visit::Visit;
use super::api::Api;
use super::ask::Ask;
use super::auth::Visitor;
use super::endpoint::{Access, Answers, Endpoint};
use super::parameter::{Kind, Parameter};
use super::problem::{Answer, Problem, redirect};
use super::query::Query;
use crate::access::Role;
use crate::clock::Timestamp;

const fn text(name: &'static str, about: &'static str) -> Parameter {
    Parameter::new(name, Kind::Text, about)
}

const SEARCH: Parameter = text("search", "whose name has this in it");
const PHASE: Parameter = text("phase", "in this phase only");
const SORT: Parameter = text("sort", "in which order");
const PAGE: Parameter = text("page", "which page, from 1");
const TEXT: Parameter = text("text", "what it says");
const BOT: Parameter = text("bot", "of this bot only");
const CONNECTOR: Parameter = text("connector", "of this connector only");
const CONVERSATION: Parameter = text("conversation", "of this conversation only");
const STATE: Parameter = text("state", "how it stands");
const SINCE: Parameter = text("since", "not before");
const BEFORE: Parameter = text("before", "what comes after a page");
const FROM: Parameter = text("from", "the generation to compare");
const TO: Parameter = text("to", "the one to compare it with");
const WHO: Parameter = text("who", "by whom");

pub(super) fn endpoints() -> Vec<Endpoint> {
    let (tenant, host, admin) = (Access::Tenant(Role::Viewer), Access::Host(Role::Viewer), Access::Host(Role::Admin));
    let bot = Access::Bot(Role::Viewer);
    let mut all = vec![
        sight("/", tenant, &[], "what is wrong, and how much there is", async |visit| sights::overview(&visit).await),
        sight("/bots", tenant, &[SEARCH, PHASE, SORT, PAGE], "the bots", async |visit| sights::bots(&visit).await),
        sight("/bots/{bot}", bot, &[], "one bot", async |visit| sight_of_bot::show(&visit).await),
        sight("/connectors", host, &[], "the connectors", async |visit| sights::connectors(&visit).await),
        sight(
            "/messages",
            tenant,
            &[TEXT, BOT, CONNECTOR, CONVERSATION, STATE, SINCE, BEFORE],
            "messages",
            async |visit| sights::messages(&visit).await,
        ),
        sight("/messages/{event}", tenant, &[], "what became of a message", async |visit| {
            sights::message(&visit).await
        }),
        sight("/dead-letters", tenant, &[BOT, PAGE], "dead letters", async |visit| sights::letters(&visit).await),
        sight("/outbox", host, &[STATE, CONNECTOR, PAGE], "the outbox", async |visit| sights::outbox(&visit).await),
        sight("/alerts", tenant, &[], "alerts", async |visit| sights::alerts(&visit).await),
        sight("/configuration", host, &[FROM, TO], "the configuration", async |visit| {
            sights::configuration(&visit).await
        }),
        sight("/tenants", host, &[], "tenants, accounts and tokens", async |visit| sights::tenants(&visit).await),
        sight("/offers", tenant, &[], "what is on offer", async |visit| sights::offers(&visit).await),
        sight("/account", Access::SignedIn, &[], "one's account", async |visit| sights::account(&visit).await),
        sight("/sign-in", Access::Anybody, &[], "signing in", async |visit| sights::sign_in(&visit).await),
        sight("/audit", admin, &[WHO, SINCE, BEFORE], "the audit log", async |visit| sights::audit(&visit).await),
        Endpoint::get("/live", tenant, "says when to look again")
            .raw(Answers::Text("text/event-stream"), async |api: Arc<Api>, ask: Ask| live::follow(&api, &ask)),
        Endpoint::get("/assets/{file}", Access::Anybody, "what pages load").raw(Answers::Page, async |_, ask: Ask| {
            assets::find(&ask.uri_path).map(reply::asset).ok_or(Problem::NotFound)
        }),
    ];
    all.extend(deeds::endpoints());
    all
}

/// Refuses a request, on a page where it asks for one: a person reads no JSON.
pub(super) async fn refuse(api: &Arc<Api>, head: &Parts, problem: Problem) -> Answer {
    let visitor = head.extensions.get::<Visitor>().filter(|_| reply::is_for_a_person(&head.uri, &head.headers));
    let Some(from) = visitor.cloned() else { return problem.into_answer() };
    if problem.is_unknown_caller() {
        return redirect(StatusCode::SEE_OTHER, "/sign-in");
    }
    let ask = Ask {
        visitor: from.caller.clone(),
        from,
        uri_path: head.uri.path().to_owned(),
        path: Vec::new(),
        query: Query::default(),
        headers: head.headers.clone(),
        body: Bytes::new(),
        stream: None,
    };
    let shell = Visit::new(Arc::clone(api), ask).shell().await;
    reply::refusal(shell, &head.headers, problem)
}

/// Turns a request away of which nothing is known but its head, on a page where it asks for one.
pub(super) fn turn_away(uri: &Uri, headers: &HeaderMap, problem: Problem) -> Answer {
    if !reply::is_for_a_person(uri, headers) {
        return problem.into_answer();
    }
    let shell = Shell::new(reply::language(headers), "/", Timestamp::now());
    reply::refusal(shell, headers, problem)
}

/// Returns an endpoint that shows a page; what is refused is told on a page as well.
fn sight<R>(
    path: &'static str,
    access: Access,
    parameters: &'static [Parameter],
    summary: &'static str,
    handler: impl Fn(Arc<Visit>) -> R + Send + Sync + Clone + 'static,
) -> Endpoint
where
    R: Future<Output = Result<Answer, Refusal>> + Send + 'static,
{
    Endpoint::get(path, access, summary).takes(parameters).raw(Answers::Page, move |api: Arc<Api>, ask: Ask| {
        let handler = handler.clone();
        async move {
            let visit = Arc::new(Visit::new(api, ask));
            Ok::<_, Problem>(match handler(Arc::clone(&visit)).await {
                Ok(answer) => answer,
                Err(refusal) => visit.refused(refusal).await,
            })
        }
    })
}

#[cfg(test)]
mod served;
#[cfg(test)]
mod tests;
