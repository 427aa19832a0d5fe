//! Finding events that were taken over, and what the router has counted of them.

use http::StatusCode;
use serde_json::{Value, json};

use super::Operated;

fn texts(events: &Value) -> Vec<&str> {
    events.as_array().unwrap().iter().map(|event| event["text"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_found_by_what_they_say_where_and_who_hears_them_page_by_page() {
    let operated = Operated::start("", &["one", "two"]).await;
    for (conversation, text) in [("lobby", "Hello one"), ("hall", "hello TWO"), ("lobby", "good bye")] {
        operated.host.say(conversation, text).await;
    }
    let body = json!({ "text": "hello alone", "conversation": "lobby" });
    operated.client.edit("/api/v1/bots/one/events", Some(&body)).await.unwrap();
    let done = "/api/v1/events?state=done&text=alone";
    operated.asked_until(done, |events| events[0]["handlings"][0]["state"] == "done").await;

    operated.asked_until("/api/v1/events?bot=two&state=done", |events| events[2].is_object()).await;

    let cases = [
        ("events", vec!["hello alone", "good bye", "hello TWO", "Hello one"]),
        ("events?text=HELLO", vec!["hello alone", "hello TWO", "Hello one"]),
        ("events?text=hello&conversation=lobby", vec!["hello alone", "Hello one"]),
        ("events?bot=two", vec!["good bye", "hello TWO", "Hello one"]),
        ("bots/two/events?text=alone", vec![]),
        ("bots/one/events?text=alone&connector=chat", vec!["hello alone"]),
        ("events?connector=other", vec![]),
        ("events?until=1h", vec![]),
        ("events?since=1h&limit=1", vec!["hello alone"]),
        ("events?state=dead", vec![]),
    ];
    for (path, expected) in cases {
        let events = operated.get(&format!("/api/v1/{path}")).await;
        assert_eq!(texts(&events), expected, "{path}");
    }
    let events = operated.get("/api/v1/events?bot=two").await;
    assert_eq!(events[0]["handlings"].as_array().map(Vec::len), Some(1), "only of the bot that is asked for");

    let (mut found, mut before) = (Vec::new(), String::new());
    for _ in 0..2 {
        let page = operated.get(&format!("/api/v1/events?limit=2{before}")).await;
        found.extend(texts(&page).into_iter().map(str::to_owned));
        before = format!("&before={}", page[1]["seq"]);
    }
    assert_eq!(found, ["hello alone", "good bye", "hello TWO", "Hello one"]);

    let said = operated.told(&["events", "two", "--text", "hello", "--state", "done"]).await;
    assert!(said.contains("hello TWO") && said.contains("two done") && !said.contains("alone"), "{said}");
    assert_eq!(operated.told(&["events", "--text", "nobody said this"]).await, "nothing was found\n");
    let refused = operated.client.get("/api/v1/events?state=lost").await;
    assert!(refused.unwrap_err().to_string().contains("dropped"), "it lists what can be asked for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_router_counts_what_came_once_and_to_whom_it_went() {
    let operated = Operated::start("", &["one", "two"]).await;
    operated.host.put("two.toml", b"priority = \"critical\"\n");
    operated.host.bot_when("two", |status| status.edition > 2).await;
    operated.host.serving("two").await;
    for _ in 0..2 {
        operated.host.chat.say("lobby", "the same", "hello").await.unwrap();
    }
    let body = json!({ "text": "hello", "id": "1" });
    for _ in 0..2 {
        operated.client.edit("/api/v1/bots/one/events", Some(&body)).await.unwrap();
    }
    let is_counted = |router: &Value| router["remembered_ids"] == 2;
    let router = operated.asked_until("/api/v1/router", is_counted).await;
    let handed = json!({ "critical": 1, "high": 0, "normal": 2, "low": 0 });
    assert_eq!(
        router,
        json!({
            "received": 2, "injected": 2, "timers": 0, "handed": handed, "unrouted": 0, "duplicates": 2, "remembered_ids": 2,
            "overflowing": 0, "on_their_way": 0, "held_back": "no", "stalls": 0,
        })
    );
    let (status, _) = operated.refused("/api/v1/router", None).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
}
