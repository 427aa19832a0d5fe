//! The way of a request from the door to its handler: found in the list of endpoints, let in or not, read, served. Whatever is not in the
//! list, and whoever may not, ends here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts as _, RawPathParams};
use axum::routing::{MethodFilter, MethodRouter};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes};

use super::api::Api;
use super::ask::Ask;
use super::auth::Visitor;
use super::chronicle::{self, Signed};
use super::endpoint::{Access, BODY_BYTES_MAX, Endpoint, Reads};
use super::operate::no_bot;
use super::pages;
use super::problem::{Answer, Problem, redirect};
use super::query::Query;
use crate::access::{Caller, Key, Way};

/// How long a client may take over a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// The header by which a session's page shows that it is one of this host's.
const CSRF_HEADER: &str = "x-csrf-token";
/// The field of a form that does the same.
const CSRF_FIELD: &str = "csrf";
const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// Returns the router of all endpoints.
///
/// # Panics
///
/// Two have one path and method, or a path is none: the list is fixed, and every test of the admin side builds it.
pub(super) fn router(api: &Arc<Api>, endpoints: Vec<Endpoint>) -> Router {
    let mut by_path: BTreeMap<&'static str, Vec<Endpoint>> = BTreeMap::new();
    for endpoint in endpoints {
        by_path.entry(endpoint.path).or_default().push(endpoint);
    }
    let mut router = Router::new();
    for (path, endpoints) in by_path {
        router = router.route(path, methods(api, endpoints));
    }
    let api = Arc::clone(api);
    router.fallback(move |request: Request<Body>| {
        let api = Arc::clone(&api);
        async move {
            let nothing = |visitor: Visitor| visitor.caller.map_or(visitor.refusal, |_| Problem::NotFound);
            let problem = visitor(&request).map_or(Problem::NotFound, nothing);
            pages::refuse(&api, &request.into_parts().0, problem).await
        }
    })
}

fn methods(api: &Arc<Api>, endpoints: Vec<Endpoint>) -> MethodRouter {
    let allow = allowed(&endpoints);
    let is_open = endpoints.iter().any(|endpoint| endpoint.access == Access::Anybody);
    let mut methods = MethodRouter::new();
    for endpoint in endpoints {
        let filter = MethodFilter::try_from(endpoint.method.clone()).expect("the list has common methods only");
        let (api, endpoint) = (Arc::clone(api), Arc::new(endpoint));
        methods = methods.on(filter, move |request: Request<Body>| {
            let (api, endpoint) = (Arc::clone(&api), Arc::clone(&endpoint));
            async move { serve(api, endpoint, request).await }
        });
    }
    let api = Arc::clone(api);
    methods.fallback(move |request: Request<Body>| {
        let (api, allow) = (Arc::clone(&api), allow.clone());
        async move {
            let refusal = visitor(&request).filter(|visitor| visitor.caller.is_none() && !is_open);
            let problem = refusal.map_or(Problem::MethodNotAllowed { allow }, |visitor| visitor.refusal);
            pages::refuse(&api, &request.into_parts().0, problem).await
        }
    })
}

/// Returns the methods of a path as the header `Allow` names them.
fn allowed(endpoints: &[Endpoint]) -> String {
    let mut allowed: Vec<&str> = Vec::new();
    for endpoint in endpoints {
        allowed.push(endpoint.method.as_str());
        if endpoint.method == Method::GET {
            allowed.push("HEAD");
        }
    }
    allowed.sort_by_key(|method| (!matches!(*method, "GET" | "HEAD"), *method));
    allowed.join(", ")
}

fn visitor<B>(request: &Request<B>) -> Option<Visitor> {
    request.extensions().get::<Visitor>().cloned()
}

async fn serve(api: Arc<Api>, endpoint: Arc<Endpoint>, request: Request<Body>) -> Answer {
    let (head, body) = request.into_parts();
    let seen = endpoint.is_page().then(|| head.clone());
    match (try_serve(Arc::clone(&api), &endpoint, head, body).await, seen) {
        (Ok(answer), _) => answer,
        // A person is shown where to sign in.
        (Err(problem), Some(_)) if problem.is_unknown_caller() => redirect(StatusCode::SEE_OTHER, "/sign-in"),
        (Err(problem), Some(head)) => pages::refuse(&api, &head, problem).await,
        (Err(problem), None) => problem.into_answer(),
    }
}

async fn try_serve(api: Arc<Api>, endpoint: &Arc<Endpoint>, mut head: Parts, body: Body) -> Result<Answer, Problem> {
    // Without one nobody has looked at the request's head.
    let from = head.extensions.get::<Visitor>().cloned().ok_or(Problem::Unauthorized)?;
    let signed = Signed::of(&from, &head, endpoint);
    let path = parts_of_path(&mut head).await?;
    if let Err(problem) = admit(&api, endpoint.access, from.caller.as_ref(), from.refusal.clone(), &path) {
        chronicle::refused(&api, endpoint, signed, &problem).await;
        return Err(problem);
    }
    // Nobody but a browser sends what another one's page wrote; programs were never asked to say what they send.
    let is_program = from.caller.as_ref().is_some_and(|caller| caller.way != Way::Session);
    if let Reads::Whole { media_type: JSON, is_required, .. } = endpoint.reads
        && !is_program
    {
        check_media_type(&head.headers, is_required)?;
    }
    let query = match endpoint.parameters {
        Some(known) => Query::parse(head.uri.query(), known)?,
        None => Query::default(),
    };
    let (body, stream) = match endpoint.reads {
        Reads::Whole { bytes_max, .. } => (read(body, bytes_max).await?, None),
        Reads::Stream { .. } => (Bytes::new(), Some(Mutex::new(body))),
        Reads::Nothing if body.size_hint().lower() > BODY_BYTES_MAX as u64 => return Err(Problem::BodyTooLarge),
        // One of unknown length is not read either: the connection ends after the answer.
        Reads::Nothing => (Bytes::new(), None),
    };
    if let Some(csrf) = from.csrf.as_ref().filter(|_| endpoint.is_change())
        && !bears(csrf, &head.headers, &body)
    {
        chronicle::refused(&api, endpoint, signed, &Problem::WrongCsrf).await;
        return Err(Problem::WrongCsrf);
    }
    let (uri_path, headers) = (head.uri.path().to_owned(), head.headers);
    let visitor = from.caller.clone();
    let ask = Ask { visitor, from, uri_path, path, query, headers, body, stream };
    if endpoint.is_change() {
        chronicle::change(api, Arc::clone(endpoint), ask, signed).await
    } else {
        endpoint.serve(api, ask).await
    }
}

/// Refuses a body that is not said to be JSON: a page of another origin can send no other without asking before.
fn check_media_type(headers: &HeaderMap, is_required: bool) -> Result<(), Problem> {
    let has_none =
        headers.get(CONTENT_LENGTH).is_none_or(|len| len == "0") && !headers.contains_key("transfer-encoding");
    if has_none && !is_required || is_of_type(headers, JSON) { Ok(()) } else { Err(Problem::WrongMediaType(JSON)) }
}

fn is_of_type(headers: &HeaderMap, wanted: &str) -> bool {
    let given = headers.get(CONTENT_TYPE).and_then(|given| given.to_str().ok());
    given.and_then(|given| given.split(';').next()).is_some_and(|given| given.trim().eq_ignore_ascii_case(wanted))
}

/// Returns whether a session's request bears what only pages of this host know.
fn bears(csrf: &Key, headers: &HeaderMap, body: &[u8]) -> bool {
    match headers.get(CSRF_HEADER) {
        Some(given) => csrf.matches(given.as_bytes()),
        None if is_of_type(headers, FORM) => {
            // A key has no character that a form would encode.
            let fields = body.split(|byte| *byte == b'&');
            let mut values = fields.filter_map(|field| field.strip_prefix(CSRF_FIELD.as_bytes())?.strip_prefix(b"="));
            values.next().is_some_and(|given| csrf.matches(given))
        }
        None => false,
    }
}

async fn parts_of_path(head: &mut Parts) -> Result<Vec<(String, String)>, Problem> {
    let parts = RawPathParams::from_request_parts(head, &()).await.map_err(|_| Problem::NotFound)?;
    Ok(parts.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// Decides whether somebody may ask.
///
/// # Errors
///
/// `refusal`: nobody was let in, and not anybody may. Otherwise that this one may not; of a bot of another tenant, that there is none.
pub(super) fn admit(
    api: &Api,
    access: Access,
    caller: Option<&Caller>,
    refusal: Problem,
    path: &[(String, String)],
) -> Result<(), Problem> {
    if access == Access::Anybody {
        return Ok(());
    }
    let caller = caller.ok_or(refusal)?;
    let needed = match access {
        Access::Anybody | Access::SignedIn => return Ok(()),
        Access::Host(role) | Access::Tenant(role) | Access::Bot(role) => role,
    };
    if caller.role < needed {
        return Err(Problem::Forbidden(format!(
            "this takes the role {needed}, and {} is {}",
            caller.name, caller.role
        )));
    }
    match (access, caller.scope.tenant()) {
        (Access::Host(_), Some(tenant)) => Err(Problem::Forbidden(format!(
            "this is about the whole host, and {} is of the tenant {tenant}",
            caller.name
        ))),
        (Access::Bot(_), Some(_)) => {
            let name = path.iter().find(|(key, _)| key == "bot").map_or("", |(_, name)| name);
            let is_own = name.parse().is_ok_and(|bot| api.covers(&caller.scope, &bot));
            if is_own { Ok(()) } else { Err(no_bot(name)) }
        }
        _ => Ok(()),
    }
}

async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(Problem::BodyTooLarge);
    }
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, bytes_max).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::BodyTooLarge),
        Ok(Err(_)) => Err(Problem::BadRequest("the request's body broke off".to_owned())),
        Err(_) => Err(Problem::TooSlow),
    }
}

#[cfg(test)]
pub(super) mod tests;
