//! Pages as the router serves them: with what the API tells behind them, to everybody there may be.

use std::time::Instant;

use axum::Router;
use axum::body::{self, Body};
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use http::{Request, StatusCode};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::assets;
use crate::access::{Caller, Role, Scope, Way};
use crate::admin::gate::tests::{answered, sources};
use crate::admin::problem::{Answer, Problem};
use crate::bot::phase::{BotStatus, Phase};
use crate::clock::Timestamp;
use crate::history::History;
use crate::metrics::snapshot::{Family, Histogram, Kind, Series, Snapshot, Value};
use crate::store::observations::Observations;

fn caller(role: Role, tenant: Option<&str>) -> Option<Caller> {
    let scope = tenant.map_or(Scope::Host, |tenant| Scope::Tenant(tenant.parse().unwrap()));
    Some(Caller { name: "maria".into(), role, scope, way: Way::Token })
}

/// A served dashboard, and the directory that it needs.
struct Served {
    router: Router,
    _dir: tempfile::TempDir,
}

impl Served {
    fn new(more_bots: usize) -> Self {
        Self::with_history(more_bots, 0)
    }

    /// As [`Served::new`], with what was measured of each of the bots at so many moments of the last hour.
    fn with_history(more_bots: usize, moments: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut sources = sources(dir.path());
        let (observations, _) = Observations::open(dir.path()).unwrap();
        sources.observed.history = History::new(observations);
        for moment in 0..moments {
            sources.observed.history.record(&measured(more_bots, moment, moments));
        }
        if more_bots > 0 {
            let bot = |at: usize| {
                let name: crate::id::BotName = format!("bot-{at}").parse().unwrap();
                let phase = if at == 700 { Phase::Quarantined { reason: "<b>why</b>".into() } } else { Phase::Running };
                (name.clone(), watch::channel(BotStatus { phase, ..BotStatus::new(name) }).1)
            };
            sources.bots.replace((0..more_bots).map(bot).collect());
        }
        Self {
            router: crate::admin::router(sources, CancellationToken::new(), tokio_util::task::TaskTracker::new()),
            _dir: dir,
        }
    }

    async fn get(&self, path: &str, who: Option<Caller>) -> Answer {
        answered(&self.router, Request::get(path).body(Body::empty()).unwrap(), who).await
    }

    async fn post(&self, path: &str, form: &'static str, who: Option<Caller>) -> Answer {
        let request = Request::post(path).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        answered(&self.router, request.body(Body::from(form)).unwrap(), who).await
    }

    /// Asks for the page that an answer leads to, with the cookies that it sets.
    async fn follow(&self, answer: &Answer, who: Option<Caller>) -> Answer {
        let mut request = Request::get(answer.headers()[LOCATION].to_str().unwrap());
        for cookie in answer.headers().get_all(SET_COOKIE) {
            request = request.header(COOKIE, cookie.to_str().unwrap().split(';').next().unwrap());
        }
        answered(&self.router, request.body(Body::empty()).unwrap(), who).await
    }
}

/// Returns what was measured of bots at one of so many moments of the last hour.
fn measured(bots: usize, moment: u64, moments: u64) -> Snapshot {
    let begun = Timestamp::now().as_millis() - 3_600_000;
    let at = Timestamp::from_millis(begun + 3_600_000 * (moment + 1) / moments);
    #[expect(clippy::cast_precision_loss, reason = "it is small")]
    let number = Value::Number(7.0 * moment as f64);
    let fuel = Histogram {
        sum: 5e4,
        count: 7 * moment,
        buckets: vec![(1e4, 5 * moment), (1e6, 7 * moment), (f64::INFINITY, 7 * moment)],
    };
    let family = |kind, value: &Value| {
        let labels = |at| [("bot".into(), format!("bot-{at}").into())].into();
        Family { kind, series: (0..bots).map(|at| Series { labels: labels(at), value: value.clone() }).collect() }
    };
    let families = [
        ("bothost_attempt_ended_total".into(), family(Kind::Counter, &number)),
        ("bothost_attempt_fuel_units".into(), family(Kind::Histogram, &Value::Histogram(fuel))),
    ];
    Snapshot { at, families: families.into() }
}

async fn text(answer: Answer) -> String {
    String::from_utf8(body::to_bytes(answer.into_body(), 64 << 20).await.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn every_page_is_served_under_a_strict_policy() {
    let served = Served::new(0);
    let paths = [
        "/",
        "/bots",
        "/bots?search=e&phase=running&sort=name&page=2",
        "/bots/echo",
        "/connectors",
        "/messages",
        "/dead-letters",
        "/outbox",
        "/outbox?state=lost",
        "/alerts",
        "/tenants",
        "/offers",
        "/account",
        "/audit",
    ];
    for path in paths {
        let answer = served.get(path, caller(Role::Admin, None)).await;
        let policy = answer.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        let status = answer.status();
        let page = text(answer).await;
        assert_eq!(status, StatusCode::OK, "{path}: {page}");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(page.contains("<main id=\"content\"") && page.contains("maria"), "{path}: {page}");
    }
}

#[tokio::test]
async fn nobody_is_led_to_where_he_can_sign_in() {
    let served = Served::new(0);
    for path in ["/", "/bots", "/configuration"] {
        let answer = served.get(path, None).await;
        assert_eq!(
            (answer.status(), &answer.headers()[LOCATION]),
            (StatusCode::SEE_OTHER, &"/sign-in".parse().unwrap()),
            "{path}"
        );
    }
    let page = text(served.get("/sign-in", None).await).await;
    assert!(page.contains("action=\"/sign-in\"") && !page.contains("echo"), "{page}");
    let again = served.get("/sign-in", caller(Role::Viewer, None)).await;
    assert_eq!(again.headers()[LOCATION], "/");
}

#[tokio::test]
async fn a_tenant_sees_its_bots_and_no_other() {
    let served = Served::new(0);
    let own = text(served.get("/bots", caller(Role::Operator, Some("acme"))).await).await;
    assert!(own.contains("href=\"/bots/echo\"") && !own.contains("href=\"/configuration\""), "{own}");
    let foreign = text(served.get("/bots", caller(Role::Operator, Some("other"))).await).await;
    assert!(!foreign.contains("href=\"/bots/echo\""), "{foreign}");
    let answer = served.get("/bots/echo", caller(Role::Operator, Some("other"))).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_form_leads_back_and_the_page_says_what_it_came_to() {
    let served = Served::new(0);
    let operator = || caller(Role::Operator, None);
    // Nobody controls the bots here, which is a reason to tell.
    let answer = served.post("/bots/echo/restart", "back=%2Fbots%3Fsort%3Dname", operator()).await;
    assert_eq!(
        (answer.status(), &answer.headers()[LOCATION]),
        (StatusCode::SEE_OTHER, &"/bots?sort=name".parse().unwrap())
    );
    let page = served.follow(&answer, operator()).await;
    let forgotten = page.headers()[SET_COOKIE].to_str().unwrap().to_owned();
    assert!(forgotten.starts_with("bothost_flash=;") && forgotten.contains("Max-Age=0"), "{forgotten}");
    let page = text(page).await;
    assert!(page.contains("flash bad"), "{page}");
    let answer = served.post("/bots/echo/restart", "back=%2F%2Fevil.example", operator()).await;
    assert_eq!(answer.headers()[LOCATION], "/");
    let answer = served.post("/bots/echo/restart", "", caller(Role::Viewer, None)).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_chosen_language_is_the_next_pages() {
    let served = Served::new(0);
    let answer = served.post("/language", "language=zh-Hans&back=%2Fbots", caller(Role::Viewer, None)).await;
    let page = text(served.follow(&answer, caller(Role::Viewer, None)).await).await;
    assert!(page.contains("<html lang=\"zh-Hans\">") && page.contains("机器人"), "{page}");
}

#[tokio::test]
async fn what_pages_load_never_changes_under_its_name() {
    let served = Served::new(0);
    for path in [&assets::addresses().style, &assets::addresses().script, &assets::addresses().icon] {
        let answer = served.get(path, None).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert!(answer.headers()[CACHE_CONTROL].to_str().unwrap().contains("immutable"));
    }
    assert_eq!(served.get("/assets/style.css", None).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_thousand_bots_are_listed_with_the_ill_one_first() {
    let served = Served::with_history(1_000, 240);
    let begun = Instant::now();
    let page = text(served.get("/bots", caller(Role::Admin, None)).await).await;
    println!("1,000 bots with an hour of history, served: {} bytes in {:?}", page.len(), begun.elapsed());
    let first = page.find("href=\"/bots/bot-").unwrap();
    assert!(page[first..].starts_with("href=\"/bots/bot-700\""), "{}", &page[first..first + 40]);
    assert!(page.contains("aria-label=\"Events, last hour: 1."), "what was measured is shown");
    assert!(page.contains("of 1000") && !page.contains("<b>why"), "it is escaped");
    let overview = text(served.get("/", caller(Role::Admin, None)).await).await;
    assert!(overview.contains("href=\"/bots/bot-700\""), "the first page leads to what is ill");
}

#[tokio::test]
async fn a_person_is_refused_on_a_page_and_a_program_as_ever() {
    let served = Served::new(0);
    let ask = async |method: &str, path: &str, accept: &str, who: Option<Caller>| {
        let request = Request::builder().method(method).uri(path).header(ACCEPT, accept);
        let answer = answered(&served.router, request.body(Body::empty()).unwrap(), who).await;
        (answer.status().as_u16(), answer.headers().clone(), text(answer).await)
    };
    let html = "text/html,application/xhtml+xml;q=0.9";
    let tenant = || caller(Role::Operator, Some("acme"));
    for (method, path, status) in [
        ("GET", "/configuration", 403),
        ("GET", "/nowhere", 404),
        ("GET", "/bots/absent", 404),
        ("GET", "/sign-out", 405),
        ("POST", "/accounts", 403),
        ("GET", "/bots?colour=red", 400),
    ] {
        let (said, headers, page) = ask(method, path, html, tenant()).await;
        assert_eq!(said, status, "{path}: {page}");
        assert!(page.contains("role=\"alert\"") && page.contains("href=\"/offers\""), "{path}: {page}");
        assert_eq!(headers.contains_key(ALLOW), status == 405, "{path}");
    }
    let (status, headers, _) = ask("GET", "/nowhere", html, None).await;
    assert_eq!((status, &headers[LOCATION]), (303, &"/sign-in".parse().unwrap()));
    for (path, accept) in [("/nowhere", "*/*"), ("/api/v1/nowhere", html)] {
        let (status, headers, _) = ask("GET", path, accept, tenant()).await;
        assert_eq!((status, &headers[CONTENT_TYPE]), (404, &"application/problem+json".parse().unwrap()), "{path}");
    }
}

#[test]
fn who_comes_by_a_wrong_name_is_turned_away_on_a_page() {
    let headers = [(ACCEPT, "text/html".parse().unwrap())].into_iter().collect();
    let answer = super::turn_away(&"/bots".parse().unwrap(), &headers, Problem::WrongHost);
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()[CONTENT_TYPE]),
        (421, &"text/html; charset=utf-8".parse().unwrap())
    );
    let answer = super::turn_away(&"/api/v1/bots".parse().unwrap(), &headers, Problem::WrongHost);
    assert_eq!(answer.headers()[CONTENT_TYPE], "application/problem+json");
}

#[tokio::test]
async fn a_decision_about_many_goes_on_after_a_refusal_and_tells_of_it() {
    let served = Served::new(0);
    let form = "verb=retry&back=%2Fdead-letters&choose=echo%2F1&choose=echo%2F0198f3a21b7c00000123456789abcdef";
    for (form, said) in [(form, "0 decided. 2 refused:"), ("verb=drop&back=%2Fdead-letters", "Nothing is chosen.")] {
        let answer = served.post("/dead-letters", form, caller(Role::Operator, None)).await;
        let page = text(served.follow(&answer, caller(Role::Operator, None)).await).await;
        assert!(page.contains("flash bad") && page.contains(said), "{page}");
    }
}
