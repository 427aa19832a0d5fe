//! Handing a bot an event, as if somebody had written to it.

use http::StatusCode;
use serde_json::json;

use super::Operated;

const EVENTS: &str = "/api/v1/bots/one/events";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_injected_event_is_handled_once_by_its_bot_and_answered_in_its_conversation() {
    let operated = Operated::start("", &["one", "two"]).await;
    let body = json!({ "text": "!count", "conversation": "lobby", "user": "7", "user_name": "Ada", "id": "first" });
    let first = operated.client.edit(EVENTS, Some(&body)).await.unwrap();
    assert_eq!((&first["state"], &first["connector"]), (&"queued".into(), &"chat".into()));
    let again = operated.client.edit(EVENTS, Some(&body)).await.unwrap();
    assert_eq!(again, json!({ "event": null, "bot": "one", "connector": "chat", "state": "duplicate" }));

    // A second answer, or one of the other bot, would come before this one.
    let body = json!({ "text": "!count", "conversation": "lobby" });
    operated.client.edit(EVENTS, Some(&body)).await.unwrap();
    assert_eq!(operated.host.answers_since(0, 2).await, ["1", "2"]);
    let actions = operated.host.chat.delivered(2).await;
    assert!(actions.iter().all(|action| action.at.id == "lobby"), "{actions:?}");
    assert_eq!(operated.host.bot("two").unwrap().handled, 0);
    let story = operated.get(&format!("/api/v1/events/{}", first["event"].as_str().unwrap())).await;
    assert_eq!((&story["duplicates"], &story["handlings"][0]["bot"]), (&1.into(), &"one".into()));
    assert_eq!(story["platform_id"], "operator:first");

    let said = operated.told(&["send", "two", "!echo by hand", "--conversation", "hall"]).await;
    assert!(said.contains("waits for two, as from chat"), "{said}");
    assert_eq!(operated.host.answers_since(2, 1).await, ["by hand"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_nobody_can_be_handed_is_refused_with_what_would_do() {
    let config =
        "[connectors.qq]\ntype = \"onebot\"\nmode = \"reverse\"\nlisten = \"127.0.0.1:0\"\naccess_token = \"t\"\n";
    let operated = Operated::start(config, &["one"]).await;
    operated.host.put("off.toml", b"enabled = false\n");
    operated.host.bot_when("off", |_| true).await;
    let text = json!({ "text": "hello" });
    let cases = [
        (EVENTS, text.clone(), StatusCode::UNPROCESSABLE_ENTITY, "has to be named: chat, qq"),
        (EVENTS, json!({ "text": "x", "connector": "irc" }), StatusCode::UNPROCESSABLE_ENTITY, "it hears chat, qq"),
        (EVENTS, json!({ "text": "", "connector": "chat" }), StatusCode::BAD_REQUEST, "the text has 1 to"),
        (EVENTS, json!({ "texts": "x" }), StatusCode::BAD_REQUEST, "not of the form"),
        ("/api/v1/bots/nobody/events", text.clone(), StatusCode::NOT_FOUND, "no bot `nobody`"),
        ("/api/v1/bots/off/events", text, StatusCode::CONFLICT, "takes no events"),
    ];
    for (path, body, expected, why) in cases {
        let (status, detail) = operated.refused(path, Some(&body)).await;
        assert_eq!(status, expected, "{path} {body}: {detail}");
        assert!(detail.contains(why), "{detail}");
    }
    assert_eq!(operated.get("/api/v1/router").await["injected"], 0);
}
