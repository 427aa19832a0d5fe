//! Pages as the router serves them: with what the API tells behind them, to everybody there may be.

use std::time::Instant;

use axum::Router;
use axum::body::{self, Body};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use http::{Request, StatusCode};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::assets;
use crate::access::{Caller, Role, Scope, Way};
use crate::admin::gate::tests::{answered, sources};
use crate::admin::problem::Answer;
use crate::bot::phase::{BotStatus, Phase};

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
        let dir = tempfile::tempdir().unwrap();
        let sources = sources(dir.path());
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
    let served = Served::new(1_000);
    let begun = Instant::now();
    let page = text(served.get("/bots", caller(Role::Admin, None)).await).await;
    println!("1,000 bots, served: {} bytes in {:?}", page.len(), begun.elapsed());
    let first = page.find("href=\"/bots/bot-").unwrap();
    assert!(page[first..].starts_with("href=\"/bots/bot-700\""), "{}", &page[first..first + 40]);
    assert!(page.contains("of 1000") && !page.contains("<b>why"), "it is escaped");
    let overview = text(served.get("/", caller(Role::Admin, None)).await).await;
    assert!(overview.contains("href=\"/bots/bot-700\""), "the first page leads to what is ill");
}
