//! Pages rendered from made-up facts: in both languages, escaped, with what keyboards and screen readers need, and nothing that the
//! pages' policy forbids. What they look like is left in `target/tmp/pages`.

use std::path::PathBuf;
use std::time::Instant;

use askama::Template;
use serde_json::{Value, json};

use super::language::Language;
use super::marks::{Spark, Tag, Tone};
use super::overview::{Figure, Health, OverviewPage, Trouble};
use super::pager::Pager;
use super::shell::{Flash, Shell, Who};
use super::{alerts, assets, bot, bots, configuration, connectors, people, records, settings};
use crate::access::Role;
use crate::clock::Timestamp;

/// What must never come out as it went in.
const HOSTILE: &str = "<script>alert(1)</script>\" onload=\"x";

fn now() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

fn shell(language: Language, path: &str, role: Role, tenant: Option<&str>) -> Shell {
    let who = Who { name: "maria".to_owned(), role, tenant: tenant.map(str::to_owned) };
    Shell { who: Some(who), csrf: Some("c5rf".to_owned()), alerts: 2, ..Shell::new(language, path, now()) }
}

fn admin(language: Language, path: &str) -> Shell {
    shell(language, path, Role::Admin, None)
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn wave(seed: usize, points: usize) -> Vec<f64> {
    (0..points).map(|at| f64::from(u32::try_from((at * 7 + seed * 13) % 17 + (at + seed) % 5).unwrap())).collect()
}

fn some_bots(number: usize) -> Vec<bots::Bot> {
    let phases = [
        "running",
        "running",
        "running",
        "running",
        "probation",
        "degraded",
        "running",
        "quarantined",
        "stopped",
        "disabled",
    ];
    let names =
        ["echo", "weather", "lottery", "reminder", "translator", "trading", "welcome", "polls", "faq", "digest"];
    let bot = |at: usize| {
        let phase = phases[at % phases.len()];
        let detail = match phase {
            "degraded" => Some("5 faults within 1 min: trap: unreachable executed"),
            "quarantined" => Some("more than 10 restarts within 5 min"),
            _ => None,
        };
        json!({
            "name": if at < names.len() { names[at].to_owned() } else { format!("{}-{at}", names[at % names.len()]) },
            "tenant": if at.is_multiple_of(3) { "acme" } else { "default" }, "phase": phase, "detail": detail,
            "since": "2026-01-31T08:15:00Z", "version": "1.4.2", "handled": 1_204 * at + 310, "faults": at % 4,
            "queued": if phase == "degraded" { 42 } else { 0 }, "memory_peak_bytes": (at % 11 + 1) * 5_800_000, "memory_limit_bytes": 64 << 20,
            "fuel_limit": 1_000_000_000, "component": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        })
    };
    (0..number).map(|at| read(bot(at))).collect()
}

fn bots_page(shell: Shell, asked: bots::Asked, all: Vec<bots::Bot>) -> bots::BotsPage {
    let text = shell.text;
    let selection = bots::Selection::new(asked, all, text);
    selection.page(shell, |bot| {
        let events = wave(bot.name.len(), 30);
        bots::Row::new(bot, &events, Some(2.4e8), text)
    })
}

fn overview(shell: Shell, is_well: bool) -> OverviewPage {
    let text = shell.text;
    let parts = json!([
        { "part": "connector telegram", "since": "2026-01-31T11:52:00Z", "why": "401 Unauthorized: the platform refuses the token" },
        { "part": "bot trading", "since": "2026-01-31T11:40:00Z", "why": "degraded: 5 faults within 1 min: trap: unreachable executed" },
        { "part": "configuration", "since": "2026-01-31T09:00:00Z", "why": "config.toml:14:1: unknown key `max_restart`; did you mean `max_restarts`?" },
    ]);
    let (level, parts) = if is_well { ("full", json!([])) } else { ("reduced", parts) };
    let health: Health = read(json!({ "level": level, "uptime_seconds": 273_000, "degraded": parts }));
    let alert = read(json!({
        "id": "a1", "key": "queue-growing", "severity": "critical", "summary": "the queue will be full in about 2 h",
        "raised_at": "2026-01-31T11:30:00Z", "bot": "trading"
    }));
    let mut troubles: Vec<_> = health.degraded.iter().map(|part| Trouble::part(part, &shell)).collect();
    if !is_well {
        troubles.push(Trouble::alert(&alert, &shell));
        troubles.push(Trouble::letters(7, false, &shell));
        troubles.push(Trouble::lost(100, true, &shell));
    }
    let figure = |name, value: &str, unit, more: &str, seed| Figure {
        name,
        value: value.to_owned(),
        unit,
        more: more.to_owned(),
        spark: Some(Spark::new(&wave(seed, 60), name)),
    };
    let figures = vec![
        figure(text.events_per_second, "184", "/s", "15.9 M", 1),
        figure(text.latency, "12", "ms", "", 2),
        figure(text.memory, "412", "MiB", "6.4 GiB", 3),
        figure(text.queue, "1,203", "", "100,000", 4),
        figure(text.outbox, "18", "", "", 5),
        Figure { name: text.generation, value: "41".to_owned(), ..Figure::default() },
    ];
    let phases = bots::phases(&some_bots(40), "", text);
    OverviewPage::new(shell, &health, troubles, figures, phases)
}

fn bot_page(shell: Shell, name: &str) -> bot::BotPage {
    let text = shell.text;
    let mut shown = some_bots(6).remove(5);
    shown.name = name.to_owned();
    let field = |name: &str, kind: Value, value: Value| json!({ "pointer": format!("/{name}"), "title": name, "kind": kind, "value": value, "description": "What it is for" });
    let form: settings::Form = read(json!({
        "form": [
            field("greeting", json!({ "type": "text" }), json!(HOSTILE)),
            field("limit", json!({ "type": "whole", "min": 1, "max": 9 }), json!(5)),
            field("quiet", json!({ "type": "truth" }), json!(true)),
            field("mode", json!({ "type": "choice", "choices": ["calm", HOSTILE] }), json!("calm")),
        ],
        "connector": [{ "name": "token", "set": true }],
        "secrets": [{ "name": "API_KEY", "set": false }],
    }));
    let incidents = vec![
        read(
            json!({ "id": 3, "at": "2026-01-31T11:58:00Z", "kind": "trap", "is_fault": true, "message": HOSTILE, "event": "01JJXYZ8Q2M4T6V8W0", "attempt": 2,
            "backtrace": ["trading::decide", "trading::handle", "guest#handle"], "strategy": "the event is tried again" }),
        ),
        read(json!({ "id": 2, "at": "2026-01-31T09:02:00Z", "kind": "reloaded", "message": "version 1.4.2" })),
    ];
    let figure = |name, value: &str, more: &str, spark: bool| Figure {
        name,
        value: value.to_owned(),
        unit: "",
        more: more.to_owned(),
        spark: spark.then(|| Spark::new(&wave(3, 60), name)),
    };
    let line = |level: &str, text: &str| bot::LogLine {
        at: "2026-01-31T11:58:00.123Z".into(),
        level: level.into(),
        text: text.into(),
    };
    bot::BotPage {
        tag: shown.tag(text),
        switch: shown.switch(),
        may_switch: shell.may(Role::Operator),
        is_ill: shown.is_ill(),
        figures: vec![
            figure(text.events_of_last_hour, "1,840", "", true),
            figure(text.faults, "3", "", false),
            figure(text.queue, "42", "", false),
            figure(text.memory, "34 MiB", "64 MiB", false),
        ],
        facts: vec![
            bot::Fact { name: text.version, value: "1.4.2".into() },
            bot::Fact { name: text.fuel, value: "1.0 G".into() },
        ],
        settings: Some(form),
        incidents,
        state: vec![bot::StateEntry::new("positions/BTC".into(), 2_048.0)],
        logs: vec![line("INFO", "tick"), line("WARN", HOSTILE), line("ERROR", "no price")],
        bot: shown,
        shell,
    }
}

fn alerts_page(shell: Shell) -> alerts::AlertsPage {
    let alert = json!({ "id": "a1", "key": "queue-growing", "severity": "critical", "state": "firing", "summary": "the queue will be full in about 2 h",
        "details": [["queue", "88,120"]], "raised_at": "2026-01-31T11:30:00Z", "times": 14 });
    let acknowledged = json!({ "id": "a2", "bot": "trading", "key": "slow", "severity": "warning", "state": "acknowledged", "acknowledged_by": "li",
        "summary": HOSTILE, "raised_at": "2026-01-30T11:30:00Z", "times": 1 });
    alerts::AlertsPage {
        active: vec![read(alert.clone()), read(acknowledged.clone())],
        channels: vec![read(
            json!({ "name": "ops", "kind": "slack", "enabled": true, "sent": 90, "failed": 2, "last_error": "503" }),
        )],
        rules: vec![
            read(
                json!({ "name": "queue-growing", "expression": "bothost_queue_events", "op": ">", "threshold": "80%", "severity": "critical", "enabled": true, "firing": 1, "value": "88 %" }),
            ),
            read(
                json!({ "name": "disk-full", "expression": "bothost_disk_free_bytes", "op": "<", "threshold": "1GiB", "severity": "warning", "enabled": true }),
            ),
        ],
        news: vec![
            read(json!({ "id": 9, "at": "2026-01-31T11:30:00Z", "turn": "fired", "alert": alert })),
            read(
                json!({ "id": 8, "at": "2026-01-30T12:00:00Z", "turn": "acknowledged", "by": "li", "alert": acknowledged }),
            ),
        ],
        shell,
    }
}

fn record_pages(of: &impl Fn(&str) -> Shell) -> Vec<(&'static str, String)> {
    let pager = |shell: &Shell| Pager::new(shell.text, String::new(), None, Some("/x?before=1&a=b".to_owned()));
    let send = json!({ "id": 4, "event": "01JJXYZ8Q2M4T6V8W0", "bot": "trading", "connector": "telegram", "conversation": "-100123", "kind": "send", "text": "BTC 101,200 ▲ 2 %",
        "state": "waiting", "attempts": 2, "committed_at": "2026-01-31T11:59:00Z" });
    let lost = json!({ "id": 5, "bot": "trading", "connector": "telegram", "text": HOSTILE, "state": "lost", "reason": "expired", "detail": "the platform was not reached for 1 h", "committed_at": "2026-01-31T10:59:00Z", "ended_at": "2026-01-31T11:59:00Z" });
    let fault = json!({ "attempt": 1, "at": "2026-01-31T11:58:01Z", "elapsed_ms": 12.5, "fuel": 1_200_345, "outcome": "trap", "message": "unreachable executed", "backtrace": ["a", "b"] });
    let story = json!({ "event": "01JJXYZ8Q2M4T6V8W0", "connector": "telegram", "received_at": "2026-01-31T11:58:00Z", "kind": "message", "conversation": "-100123", "text": HOSTILE, "duplicates": 1,
        "handlings": [{ "bot": "trading", "state": "dead", "ended_at": "2026-01-31T11:58:05Z", "attempts": 3, "faults": [fault] },
            { "bot": "echo", "state": "done", "ended_at": "2026-01-31T11:58:00Z", "elapsed_ms": 0.08, "fuel": 41_000, "attempts": 1, "sends": [{ "connector": "telegram", "state": "delivered", "text": "pong", "ended_at": "2026-01-31T11:58:01Z" }] }] });
    let found = json!({ "event": "01JJXYZ8Q2M4T6V8W0", "handlings": [{ "bot": "trading", "state": "dead" }], "received_at": "2026-01-31T11:58:00Z", "connector": "telegram", "conversation": null, "text": HOSTILE });
    let letter = json!({ "event": "01JJXYZ8Q2M4T6V8W0", "bot": "trading", "text": HOSTILE, "at": "2026-01-31T11:58:05Z", "attempts": 3, "reason": "trap", "message": "unreachable executed" });
    let mut pages = Vec::new();
    let shell = of("/messages");
    let text = shell.text;
    let page = records::MessagesPage {
        asked: records::Search::default(),
        states: records::states(text),
        rows: vec![read(found)],
        refusal: None,
        pager: pager(&shell),
        shell,
    };
    pages.push(("messages", page.render().unwrap()));
    pages.push(("message", records::MessagePage { shell: of("/messages/01"), story: read(story) }.render().unwrap()));
    let shell = of("/dead-letters");
    let page = records::LettersPage {
        bot: String::new(),
        letters: vec![read(letter.clone()), read(letter)],
        refusal: None,
        pager: pager(&shell),
        shell,
    };
    pages.push(("dead-letters", page.render().unwrap()));
    let shell = of("/outbox");
    let page = records::OutboxPage {
        state: "lost".into(),
        connector: String::new(),
        sends: vec![read(send), read(lost)],
        refusal: None,
        pager: pager(&shell),
        shell,
    };
    pages.push(("outbox", page.render().unwrap()));
    pages
}

fn people_pages(of: &impl Fn(&str) -> Shell) -> Vec<(&'static str, String)> {
    let pager = |shell: &Shell| Pager::new(shell.text, String::new(), None, None);
    let mut pages = Vec::new();
    let page = people::TenantsPage {
        shell: of("/tenants"),
        tenants: vec![read(
            json!({ "name": "acme", "bots": { "echo": "running", "reminder": "degraded" }, "queued": 3 }),
        )],
        accounts: vec![
            read(json!({ "name": "li", "role": "operator", "tenant": "acme" })),
            read(json!({ "name": HOSTILE, "role": "admin", "standing": "disabled" })),
        ],
        tokens: vec![read(json!({ "name": "ci", "role": "viewer", "last_used_at": "2026-01-31T11:58:00Z" }))],
    };
    pages.push(("tenants", page.render().unwrap()));
    let offers = vec![
        read(
            json!({ "name": "lottery", "title": "Lottery", "title_zh": "抽奖", "summary": "Draws winners in a group.", "summary_zh": "在群里抽奖。", "ask": [{ "name": "token", "secret": true }, { "name": "chat", "secret": false }] }),
        ),
        read(
            json!({ "name": "reminder", "title": HOSTILE, "summary": "Reminds you of things.", "ask": [{ "name": "token", "secret": true }, { "name": "chat", "secret": false }], "ask_secrets": ["API_KEY"] }),
        ),
    ];
    pages.push(("offers", people::OffersPage { shell: of("/offers"), offers }.render().unwrap()));
    pages.push(("account", people::AccountPage { shell: of("/account") }.render().unwrap()));
    pages.push((
        "token",
        people::TokenPage { shell: of("/tokens"), name: "ci".into(), token: "bh_x".into() }.render().unwrap(),
    ));
    pages.push((
        "refusal",
        people::RefusalPage { shell: of("/nowhere"), status: 404, why: HOSTILE.into() }.render().unwrap(),
    ));
    let shell = of("/audit");
    let record = json!({ "seq": 7, "at": "2026-01-31T11:58:00Z", "who": "maria", "method": "POST", "verb": "restart", "subject": "bots/trading", "outcome": "202" });
    let page = people::AuditPage {
        who: String::new(),
        since: String::new(),
        records: vec![read(record)],
        refusal: None,
        pager: pager(&shell),
        shell,
    };
    pages.push(("audit", page.render().unwrap()));
    pages
}

/// Every page, by name.
fn pages(language: Language) -> Vec<(&'static str, String)> {
    let of = |path: &str| admin(language, path);
    let flash = Flash { is_good: true, text: of("/").text.done.to_owned() };
    let tenant = |path: &str| shell(language, path, Role::Operator, Some("acme"));
    let connectors = vec![
        json!({ "name": "telegram", "type": "telegram", "link": "auth-failed", "detail": "401 Unauthorized", "since": "2026-01-31T11:52:00Z", "connections": 3, "last_event": "2026-01-31T11:51:00Z", "events": 120_332, "delivered": 98_111, "waiting": 18 }),
        json!({ "name": "trading/onebot", "type": "onebot", "link": "connected", "since": "2026-01-28T11:52:00Z", "connections": 1, "events": 12, "delivered": 11 }),
        json!({ "name": "console", "link": "stopped", "since": "2026-01-28T11:52:00Z" }),
    ];
    let rows = connectors.into_iter().map(|one| connectors::Row::new(read(one), &of("/connectors"))).collect();
    let version = |number: u64, reason: &str| {
        read(json!({ "generation": number, "at": "2026-01-31T09:00:00Z", "author": "maria", "reason": reason }))
    };
    let mut pages = vec![
        ("sign-in", people::SignInPage { shell: Shell::new(language, "/sign-in", now()), name: HOSTILE.into() }.render().unwrap()),
        ("overview", overview(of("/"), false).render().unwrap()),
        ("overview-well", overview(of("/"), true).render().unwrap()),
        ("overview-tenant", overview(tenant("/"), true).render().unwrap()),
        ("bots", bots_page(Shell { flash: Some(flash), ..of("/bots") }, bots::Asked::default(), some_bots(14)).render().unwrap()),
        ("bots-tenant", bots_page(tenant("/bots"), bots::Asked::default(), some_bots(3)).render().unwrap()),
        ("bot", bot_page(of("/bots/trading"), "trading").render().unwrap()),
        ("connectors", connectors::ConnectorsPage { shell: of("/connectors"), rows }.render().unwrap()),
        ("alerts", alerts_page(of("/alerts")).render().unwrap()),
        ("configuration", configuration::ConfigurationPage {
            shell: of("/configuration"), generation: 41, text: "[host]\ndata_dir = \"data\"\n\n[connectors.telegram]\ntype = \"telegram\"\ntoken = \"[redacted]\"\n".into(),
            versions: vec![version(41, "more fuel for trading"), version(40, HOSTILE), version(39, "")], from: 40, to: 41,
            difference: Some(read(json!({ "from": 40, "to": 41, "texts": "--- config.toml 40\n+++ config.toml 41\n@@ -1,3 +1,3 @@\n [limits]\n-fuel_per_event = 1_000\n+fuel_per_event = 2_000", "changes": ["bot trading: component 9f86… → 2c26…"] }))),
        }.render().unwrap()),
    ];
    pages.extend(record_pages(&of));
    pages.extend(people_pages(&of));
    pages.extend(
        people_pages(&tenant)
            .into_iter()
            .filter(|(name, _)| *name == "offers")
            .map(|(_, page)| ("offers-tenant", page)),
    );
    pages
}

fn both() -> impl Iterator<Item = (Language, &'static str, String)> {
    [Language::English, Language::Chinese]
        .into_iter()
        .flat_map(|language| pages(language).into_iter().map(move |(name, page)| (language, name, page)))
}

/// The opening tags of a page.
fn tags(page: &str) -> impl Iterator<Item = &str> {
    page.split('<')
        .skip(1)
        .filter(|piece| piece.starts_with(|c: char| c.is_ascii_alphabetic()))
        .map(|piece| piece.split('>').next().unwrap())
}

#[test]
fn every_page_is_left_to_be_looked_at() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/tmp/pages");
    std::fs::create_dir_all(dir.join("assets")).unwrap();
    let addresses = assets::addresses();
    for path in [&addresses.style, &addresses.script, &addresses.icon] {
        std::fs::write(dir.join(&path[1..]), assets::find(path).unwrap().content).unwrap();
    }
    for (language, name, page) in both() {
        let page = page.replace("\"/assets/", "\"assets/");
        std::fs::write(dir.join(format!("{name}.{}.html", language.tag())), page).unwrap();
    }
}

#[test]
fn what_comes_from_bots_and_people_is_never_markup() {
    for (_, name, page) in both() {
        assert!(!page.contains("<script>"), "{name}");
        assert!(!page.contains("\" onload="), "{name}");
    }
    let page = bot_page(admin(Language::English, "/bots/x"), HOSTILE).render().unwrap();
    assert!(!page.contains("<script>") && page.contains("&#60;script&#62;"), "{page}");
}

#[test]
fn no_page_has_what_its_policy_forbids() {
    for (_, name, page) in both() {
        for tag in tags(&page) {
            // Every second piece stands between quotation marks, which no value can end: they are escaped.
            let outside: String = tag.split('"').step_by(2).collect();
            let mut attributes = outside.split_ascii_whitespace().skip(1);
            assert!(
                attributes.all(|attribute| !attribute.starts_with("style=") && !attribute.starts_with("on")),
                "{name}: <{tag}>"
            );
            assert!(!tag.contains("//") && !tag.contains("javascript:") && !tag.contains("data:"), "{name}: <{tag}>");
            assert!(
                !tag.starts_with("style") && (!tag.starts_with("script") || tag.contains(" src=\"/assets/")),
                "{name}: <{tag}>"
            );
        }
    }
}

#[test]
fn every_page_has_its_landmarks_and_its_language() {
    for (language, name, page) in both() {
        assert!(page.contains(&format!("<html lang=\"{}\">", language.tag())), "{name}");
        for (what, number) in
            [("<main id=\"content\"", 1), ("<h1>", 1), ("<title>", 1), ("<header", 1), ("name=\"viewport\"", 1)]
        {
            assert!(page.matches(what).count() >= number, "{name} has no {what}");
        }
        if name != "sign-in" {
            assert!(
                page.contains("class=\"skip\" href=\"#content\"") && page.contains("<nav id=\"menu\" aria-label="),
                "{name}"
            );
        }
        assert_eq!(page.matches("<table>").count(), page.matches("<caption>").count(), "{name}");
        for tag in tags(&page) {
            assert!(!tag.starts_with("th ") || tag.contains("scope="), "{name}: <{tag}>");
            assert!(!tag.starts_with("svg") || tag.contains("aria-label="), "{name}: <{tag}>");
            assert!(!tag.starts_with("img") || tag.contains("alt="), "{name}: <{tag}>");
        }
    }
}

#[test]
fn every_form_that_changes_something_proves_where_it_comes_from() {
    for (_, name, page) in both().filter(|(_, name, _)| *name != "sign-in") {
        for form in
            page.split("<form").skip(1).filter(|form| form.split('>').next().unwrap().contains("method=\"post\""))
        {
            let form = form.split("</form>").next().unwrap();
            assert!(form.contains("name=\"csrf\" value=\"c5rf\""), "{name}: {form}");
        }
    }
}

#[test]
fn what_somebody_may_not_do_is_not_shown() {
    let language = Language::English;
    let page = |role, tenant| {
        bots_page(shell(language, "/bots", role, tenant), bots::Asked::default(), some_bots(4)).render().unwrap()
    };
    let (viewer, operator, owner) = (page(Role::Viewer, None), page(Role::Operator, None), page(Role::Admin, None));
    let renter = page(Role::Operator, Some("acme"));
    assert!(!viewer.contains("/restart") && operator.contains("/bots/echo/restart"));
    assert!(!operator.contains("data-upload") && owner.contains("data-upload"));
    assert!(
        !renter.contains("href=\"/configuration\"")
            && !renter.contains("href=\"/outbox\"")
            && renter.contains("/bots/echo/restart")
            && !renter.contains("data-upload")
    );
    let page = |role| bot_page(shell(language, "/bots/x", role, None), "x").render().unwrap();
    assert!(!page(Role::Viewer).contains("/disable") && page(Role::Operator).contains("/bots/x/disable"));
}

#[test]
fn a_thousand_bots_are_shown_fifty_at_a_time() {
    let begun = Instant::now();
    let page = bots_page(admin(Language::English, "/bots"), bots::Asked::default(), some_bots(1_000));
    let rendered = page.render().unwrap();
    println!("1,000 bots: {} bytes in {:?}", rendered.len(), begun.elapsed());
    assert_eq!(rendered.matches("<tr>").count(), bots::ROWS + 1);
    assert!(rendered.contains("1–50 of 1000") && rendered.contains("href=\"/bots?page=2\""), "the next page is linked");
    let last = bots::Asked { page: 19, ..bots::Asked::default() };
    let last = bots_page(admin(Language::English, "/bots"), last, some_bots(1_000)).render().unwrap();
    assert!(last.contains("951–1000 of 1000") && !last.contains("rel=\"next\""));
}

#[test]
fn a_sign_is_told_in_words_as_well() {
    for tone in [Tone::Bad, Tone::Warn, Tone::Plain, Tone::Good] {
        let tag = Tag::new(tone, "word").to_string();
        assert!(tag.contains("aria-hidden=\"true\"") && tag.contains("word"), "{tag}");
    }
}
