//! Following events: they are told as they come and as they end, to whom they concern, by the API and on the command line.

use std::ops::ControlFlow;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bothost::admin::client::{OpenWay, ServerEvent, Trust};
use bothost::secret::Secret;
use http::StatusCode;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::mpsc;

use super::*;

/// How often something is said until somebody who begins to follow hears of it.
const SAY_EVERY: Duration = Duration::from_millis(200);

/// More than is told in a test.
const HEARD_MAX: usize = 1_000;

/// What one who follows heard.
struct Heard(mpsc::Receiver<Value>);

impl Heard {
    /// Follows a path, and returns once something is heard there of what is said to the bot `one`.
    async fn from(operated: &Operated, client: &Client, path: &str) -> Self {
        let (told, heard) = mpsc::channel(HEARD_MAX);
        let (client, path) = (client.clone(), path.to_owned());
        tokio::spawn(async move {
            let hear = |event: ServerEvent| {
                assert_eq!(event.name, "event", "{}", event.data);
                // Nobody hears any more what the test does not wait for.
                let _ = told.try_send(serde_json::from_str(&event.data).unwrap());
                ControlFlow::Continue(())
            };
            client.follow(&path, hear).await
        });
        let mut heard = Self(heard);
        let is_heard = AtomicBool::new(false);
        let say = async {
            while !is_heard.load(Ordering::Relaxed) {
                inject(operated, "one", "begin").await;
                tokio::time::sleep(SAY_EVERY).await;
            }
        };
        let hear = async {
            heard.next().await;
            is_heard.store(true, Ordering::Relaxed);
        };
        tokio::join!(say, hear);
        heard
    }

    async fn next(&mut self) -> Value {
        tokio::time::timeout(PATIENCE, self.0.recv()).await.expect("something is told").expect("it is followed")
    }

    /// Returns what is heard until a bot is done with what says this, that included.
    async fn until_done(&mut self, text: &str) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let event = self.next().await;
            let is_it = event["text"] == text && event["handlings"][0]["state"] == "done";
            all.push(event);
            if is_it {
                return all;
            }
        }
    }
}

async fn inject(operated: &Operated, bot: &str, text: &str) {
    let body = json!({ "text": text, "conversation": "lobby" });
    operated.client.edit(&format!("/api/v1/bots/{bot}/events"), Some(&body)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_told_as_they_come_and_as_they_end_to_whom_they_concern() {
    let operated = Arc::new(Operated::start("[admin]\nlisten = \"127.0.0.1:0\"\n", &["one", "two"]).await);
    operated.host.put("one.toml", b"tenant = \"acme\"\n");
    operated.host.bot_when("one", |status| status.tenant.as_str() == "acme" && status.phase.is_serving()).await;
    let token = json!({ "name": "acme", "role": "viewer", "tenant": "acme" });
    let made = operated.client.edit("/api/v1/tokens", Some(&token)).await.unwrap();
    let token = Secret::new(made["token"].as_str().unwrap().to_owned());
    let url = format!("http://{}", operated.host.host().admin_address().unwrap());
    let tenant = Client::by_url(url.parse().unwrap(), Some(token), &Trust::Web, OpenWay::Refused).unwrap();

    let mut whole = Heard::from(&operated, &operated.client, "/api/v1/events?follow=true").await;
    let mut of_tenant = Heard::from(&operated, &tenant, "/api/v1/events?follow=true").await;
    let mut done = Heard::from(&operated, &operated.client, "/api/v1/bots/one/events?follow=true&state=done").await;
    inject(&operated, "two", "of two alone").await;
    // It waits, and that is told; then it is done, and that is told.
    operated.client.post("/api/v1/bots/one/stop").await.unwrap();
    operated.host.say("lobby", "to both").await;
    let waiting = |event: &Value| event["text"] == "to both" && event["handlings"][0]["state"] == "waiting";
    while !waiting(&of_tenant.next().await) {}
    operated.client.post("/api/v1/bots/one/start").await.unwrap();

    let heard = of_tenant.until_done("to both").await;
    assert!(heard.iter().all(|event| event["handlings"][0]["bot"] == "one"), "{heard:?}");
    assert!(heard.iter().all(|event| event["handlings"].as_array().map(Vec::len) == Some(1)), "{heard:?}");
    let heard = done.until_done("to both").await;
    assert!(heard.iter().all(|event| event["handlings"][0]["state"] == "done"), "{heard:?}");
    let heard = whole.until_done("to both").await;
    let mut of_two = heard.iter().filter(|event| event["text"] == "of two alone");
    assert!(of_two.next_back().is_some_and(|event| event["handlings"][0]["bot"] == "two"), "{heard:?}");

    let (impossible, malformed) = (StatusCode::UNPROCESSABLE_ENTITY, StatusCode::BAD_REQUEST);
    for (path, expected) in
        [("/api/v1/events?follow=true&since=1h", impossible), ("/api/v1/events?follow=maybe", malformed)]
    {
        match operated.client.get(path).await {
            Err(ClientError::Refused { status, .. }) => assert_eq!(status, expected, "{path}"),
            other => panic!("{path}: {other:?}"),
        }
    }
    let elsewhere = tenant.get("/api/v1/bots/two/events?follow=true").await;
    assert!(matches!(elsewhere, Err(ClientError::Refused { status: StatusCode::NOT_FOUND, .. })), "{elsewhere:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_follows_events_and_says_where_a_search_goes_on() {
    let operated = Operated::start("", &["one"]).await;
    let mut follower = tokio::process::Command::new(PROGRAM)
        .args(["events", "one", "-f"])
        .current_dir(operated.host.home())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let say = async {
        loop {
            inject(&operated, "one", "heard at once").await;
            tokio::time::sleep(SAY_EVERY).await;
        }
    };
    let line = tokio::select! {
        line = tokio::time::timeout(PATIENCE, lines.next_line()) => line.unwrap().unwrap().unwrap(),
        () = say => unreachable!("it has no end"),
    };
    assert!(line.contains("one ") && line.contains("lobby  heard at once"), "{line}");

    for number in 0..3 {
        inject(&operated, "one", &format!("number {number}")).await;
    }
    let output = operated.run(&["events", "--text", "number", "--limit", "2"]).await;
    let [said, complained] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(said.contains("number 2") && said.contains("number 1") && !said.contains("number 0"), "{said}");
    let before =
        complained.trim().strip_prefix("these are 2; go on with --before ").unwrap_or_else(|| panic!("{complained}"));
    let rest = operated.told(&["events", "--text", "number", "--before", before]).await;
    assert!(rest.contains("number 0") && !rest.contains("number 1"), "{rest}");
}
