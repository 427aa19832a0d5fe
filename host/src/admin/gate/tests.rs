//! Every endpoint, asked by everybody there may be.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::access::{Role, Scope, Way};
use crate::admin::{Observed, Sources, api};
use crate::alert::Alerts;
use crate::bot::phase::BotStatus;
use crate::generation::Archive;
use crate::metrics::Metrics;
use crate::store::engine::Engine as _;
use crate::store::{Store, StoreOptions};
use crate::supervisor::Control;

/// Who may ask for what: a line `METHOD PATH WHO` for each endpoint. An endpoint that is not in here is a failure, and so is a line without one.
const TABLE: &str = include_str!("access.txt");

/// Everybody there may be, by what the table calls them.
fn callers() -> Vec<(&'static str, Option<Caller>)> {
    let of = |role, tenant: Option<&str>| {
        let scope = tenant.map_or(Scope::Host, |tenant| Scope::Tenant(tenant.parse().unwrap()));
        Some(Caller { name: "somebody".into(), role, scope, way: Way::Token })
    };
    vec![
        ("nobody", None),
        ("viewer", of(Role::Viewer, None)),
        ("operator", of(Role::Operator, None)),
        ("admin", of(Role::Admin, None)),
        ("tenant's viewer", of(Role::Viewer, Some("acme"))),
        ("tenant's operator", of(Role::Operator, Some("acme"))),
        ("other tenant's viewer", of(Role::Viewer, Some("other"))),
        ("other tenant's operator", of(Role::Operator, Some("other"))),
    ]
}

/// Returns who gets past the gate, by what the table says of an endpoint. Written apart from what it tests.
fn expected(who: &str) -> BTreeSet<&'static str> {
    let least = |role: &str| match role {
        "viewer" => 1,
        "operator" => 2,
        "admin" => 3,
        other => panic!("{other} is no role"),
    };
    let rank = |name: &str| least(name.rsplit(' ').next().unwrap());
    let names = callers().into_iter().map(|(name, _)| name);
    match who.split_once(' ').unwrap_or((who, "viewer")) {
        ("anybody", _) => names.collect(),
        ("signed-in", _) => names.filter(|name| *name != "nobody").collect(),
        ("host", role) => {
            names.filter(|name| *name != "nobody" && !name.contains("tenant") && rank(name) >= least(role)).collect()
        }
        ("tenant", role) => names.filter(|name| *name != "nobody" && rank(name) >= least(role)).collect(),
        ("bot", role) => {
            let names = names.filter(|name| *name != "nobody" && !name.starts_with("other"));
            names.filter(|name| rank(name) >= least(role)).collect()
        }
        (other, _) => panic!("{other} is nobody"),
    }
}

fn table() -> BTreeMap<(&'static str, &'static str), &'static str> {
    let lines = TABLE.lines().filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let mut words = line.splitn(3, ' ');
            let mut word = || words.next().unwrap_or_else(|| panic!("{line}"));
            ((word(), word()), word().trim())
        })
        .collect()
}

/// What there is to ask about: a bot `echo` of the tenant `acme`.
pub(in crate::admin) fn sources(dir: &std::path::Path) -> Sources {
    // So that the editor knows the bot as well.
    std::fs::write(dir.join("config.toml"), "[bots.echo]\ntenant = \"acme\"\n").unwrap();
    let metrics = Arc::new(Metrics::new());
    let store = Store::open(dir, StoreOptions::default()).unwrap();
    let archive = Archive::open(dir, store.blobs().clone(), NonZeroUsize::MIN).unwrap();
    let control = Control::ended();
    let sources = Sources {
        observed: Observed::nothing(Arc::clone(&metrics)),
        injector: crate::router::Injector::to_nobody(store.clone(), Arc::clone(&metrics)),
        metrics: Arc::clone(&metrics),
        alerts: Arc::new(Alerts::new(metrics)),
        bots: Arc::default(),
        connectors: Arc::default(),
        store,
        editor: crate::admin::editor(archive, dir.join("config.toml"), control.clone()),
        control,
        access: crate::access::Book::absent(),
        audit: crate::audit::Audit::absent(),
        certificate: None,
        logs: Some(dir.join("logs")),
        is_ready: watch::channel(true).1,
    };
    let echo = BotStatus { tenant: "acme".parse().unwrap(), ..BotStatus::new("echo".parse().unwrap()) };
    sources.bots.replace([("echo".parse().unwrap(), watch::channel(echo).1)].into());
    sources
}

/// Answers a request of somebody who was let in, or was not, as the door would say.
pub(in crate::admin) async fn answered(router: &Router, mut request: Request<Body>, caller: Option<Caller>) -> Answer {
    request.extensions_mut().insert(Visitor::of(caller, Problem::Unauthorized));
    TowerToHyperService::new(router.clone()).call(request).await.unwrap()
}

/// Returns whether somebody gets past the gate.
async fn gets_in(router: &Router, endpoint: &Endpoint, caller: Option<Caller>) -> bool {
    let path = endpoint.path.split('/').map(|part| match part {
        "{bot}" => "echo",
        "{event}" => "0198f3a21b7c00000123456789abcdef",
        part if part.starts_with('{') => "1",
        part => part,
    });
    let path = path.collect::<Vec<_>>().join("/");
    let request = Request::builder().method(endpoint.method.clone()).uri(&path).body(Body::empty()).unwrap();
    let answer = answered(router, request, caller).await;
    let is_page = endpoint.is_page();
    let status = answer.status();
    if status == StatusCode::SEE_OTHER && is_page {
        return answer.headers()[http::header::LOCATION] != "/sign-in";
    }
    if status == StatusCode::NOT_FOUND {
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        return !String::from_utf8_lossy(&body).contains("there is no bot `echo`");
    }
    !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

#[tokio::test]
async fn f096_every_endpoint_lets_in_those_the_table_names_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let router = crate::admin::router(sources(dir.path()), CancellationToken::new(), TaskTracker::new());
    let mut table = table();
    let mut wrong = Vec::new();
    let endpoints = api::endpoints();
    for endpoint in &endpoints {
        let Some(who) = table.remove(&(endpoint.method.as_str(), endpoint.path)) else {
            wrong.push(format!("{endpoint:?} is not in the table"));
            continue;
        };
        let expected = expected(who);
        for (name, caller) in callers() {
            let is_in = gets_in(&router, endpoint, caller).await;
            if is_in != expected.contains(name) {
                wrong.push(format!("{} {} ({who}): {name} gets in: {is_in}", endpoint.method, endpoint.path));
            }
        }
    }
    wrong.extend(table.keys().map(|(method, path)| format!("{method} {path} is in the table and nowhere else")));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn f096_no_spelling_of_a_path_leads_past_the_gate() {
    let dir = tempfile::tempdir().unwrap();
    let router = crate::admin::router(sources(dir.path()), CancellationToken::new(), TaskTracker::new());
    let ask = async |path: &str, header: Option<(&'static str, &str)>, caller: Option<Caller>| {
        let mut request = Request::builder().uri(path);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        answered(&router, request.body(Body::empty()).unwrap(), caller).await.status()
    };
    let tenant = || callers().into_iter().find(|(name, _)| *name == "tenant's operator").unwrap().1;
    for path in [
        "//api/v1/bots",
        "/api/v1//bots",
        "/api//v1/queue",
        "/API/v1/bots",
        "/api/v1/BOTS",
        "/api/v1/bots/..;/queue",
        "/api/v1/bots/%2e%2e/queue",
        "/api/v1/bots/../queue",
        "/api/v1/bots/echo%2f..%2fother",
        "/api/v1/bots/%65cho/../../queue",
        "/api/v1/queue;jsessionid=1",
        "/api/v1/queue/",
        "/api/v1/queue%00",
        "/api/v1/queue%20",
        "/health/../api/v1/queue",
        "/health/live/../../api/v1/queue",
        "/api/openapi.json/../v1/queue",
        "/api/v2/bots",
        "/.%2e/api/v1/queue",
    ] {
        let status = ask(path, None, None).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}, nobody");
        let status = ask(path, None, tenant()).await;
        assert!(matches!(status, StatusCode::NOT_FOUND | StatusCode::FORBIDDEN), "{path}, a tenant: {status}");
    }
    // No header stands for a path or a method.
    for header in [("x-original-url", "/health"), ("x-rewrite-url", "/health"), ("x-http-method-override", "GET")] {
        assert_eq!(ask("/api/v1/queue", Some(header), None).await, StatusCode::UNAUTHORIZED, "{header:?}");
    }
    let by_override = ask("/api/v1/bots/echo", Some(("x-http-method-override", "DELETE")), tenant()).await;
    assert_eq!(by_override, StatusCode::OK, "it was a GET, whatever the header says");
}

/// Asks with an admin's session, whose pages would send `csrf`.
async fn by_session(router: &Router, endpoint: &Endpoint, headers: &[(&str, &str)], body: &'static str) -> StatusCode {
    let path = endpoint.path.split('/').map(|part| if part.starts_with('{') { "1" } else { part });
    let path = path.collect::<Vec<_>>().join("/");
    let kind = match endpoint.reads {
        Reads::Whole { media_type, .. } | Reads::Stream { media_type } => media_type,
        Reads::Nothing => JSON,
    };
    let mut request = Request::builder().method(endpoint.method.clone()).uri(&path).header(CONTENT_TYPE, kind);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::from(body)).unwrap();
    let admin = Caller { name: "anna".into(), role: Role::Admin, scope: Scope::Host, way: Way::Session };
    let visitor = Visitor { csrf: Some(Key::given("right")), ..Visitor::of(Some(admin), Problem::Unauthorized) };
    request.extensions_mut().insert(visitor);
    TowerToHyperService::new(router.clone()).call(request).await.unwrap().status()
}

#[tokio::test]
async fn f095_no_endpoint_changes_anything_by_a_session_without_what_its_pages_know() {
    let dir = tempfile::tempdir().unwrap();
    let router = crate::admin::router(sources(dir.path()), CancellationToken::new(), TaskTracker::new());
    let mut wrong = Vec::new();
    let endpoints = api::endpoints();
    let changes: Vec<_> = endpoints.iter().filter(|endpoint| endpoint.is_change()).collect();
    assert!(changes.len() > 60, "{}", changes.len());
    for endpoint in changes {
        let others: [(&[(&str, &str)], &'static str); 5] = [
            (&[], ""),
            (&[("x-csrf-token", "")], ""),
            (&[("x-csrf-token", "wrong")], ""),
            (&[("cookie", "csrf=right")], "csrf=wrong"),
            (&[("x-csrf-token", "wrong")], "csrf=right"),
        ];
        for (headers, body) in others {
            let status = by_session(&router, endpoint, headers, body).await;
            if status != StatusCode::FORBIDDEN {
                wrong.push(format!("{endpoint:?} with {headers:?} {body}: {status}"));
            }
        }
        let status = by_session(&router, endpoint, &[("x-csrf-token", "right")], "").await;
        if status == StatusCode::FORBIDDEN {
            wrong.push(format!("{endpoint:?} refuses what is right"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
