//! The webhook connector: what it believes, what it makes of it, and what it posts.

use std::time::{SystemTime, UNIX_EPOCH};

use bothost::action::{Act, Button, Outgoing};
use bothost::connector::{DeliveryError, Link};
use bothost::event::EventKind;
use harness::receiver::{Answer, Receiver};
use harness::rig::{Rig, WITHIN, outgoing, say, send};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use simulators::slack::post;

const SECRET: &str = "It's a Secret to Everybody";

async fn listening(table: &str) -> (Rig, String) {
    let mut rig = Rig::start("webhook", &format!("listen = \"127.0.0.1:0\"\npath = \"/hook\"\n{table}"));
    rig.connected().await;
    let address = rig.status.borrow().listening.expect("an address");
    (rig, format!("http://{address}/hook"))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs()
}

fn mac(text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(text: &str) -> String {
    data_encoding::HEXLOWER.encode(&mac(text))
}

/// Posts JSON with these headers; returns status and body.
async fn ask(url: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let mut request = http::Request::post(url).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    post(request.body(body.to_owned().into()).expect("a request")).await
}

/// As [`ask`], signed in the host's own way.
async fn tell(url: &str, at: u64, body: &str) -> u16 {
    let signature = format!("t={at},v1={}", hex(&format!("{at}.{body}")));
    ask(url, &[("x-bothost-signature", &signature)], body).await.0
}

#[tokio::test]
async fn every_scheme_of_others_is_believed_and_what_they_send_reaches_a_bot_whole() {
    for scheme in ["hmac-sha256", "github", "standard", "stripe"] {
        let (mut rig, url) = listening(&format!("secret = \"{SECRET}\"\nsignature = \"{scheme}\"")).await;
        let (body, at) = ("{\"id\": \"evt_1\", \"é\": 1}", now());
        let timed = format!("t={at},v1={}", hex(&format!("{at}.{body}")));
        let plain = format!("sha256={}", hex(body));
        let standard = format!("v1,{}", data_encoding::BASE64.encode(&mac(&format!("msg_1.{at}.{body}"))));
        let at = at.to_string();
        let headers = match scheme {
            "hmac-sha256" => vec![("x-bothost-signature", timed.as_str())],
            "stripe" => vec![("stripe-signature", timed.as_str())],
            "github" => {
                vec![("x-hub-signature-256", plain.as_str()), ("x-github-delivery", "guid"), ("x-github-event", "ping")]
            }
            _ => vec![
                ("webhook-id", "msg_1"),
                ("webhook-timestamp", at.as_str()),
                ("webhook-signature", standard.as_str()),
            ],
        };
        let ((status, said), event) = tokio::join!(ask(&url, &headers, body), rig.event());
        assert_eq!((status, said.as_str()), (200, ""), "{scheme}");
        let EventKind::Webhook { path, headers, body: received } = event.kind else { panic!("{scheme}") };
        assert_eq!((path.as_str(), received.as_slice()), ("/hook", body.as_bytes()));
        assert!(headers.iter().all(|(name, _)| !name.contains("signature")), "{headers:?}");
        assert_eq!(headers.iter().any(|(name, value)| name == "x-github-event" && value == "ping"), scheme == "github");
        rig.stop().await;
    }
}

#[tokio::test]
async fn f071_what_proves_nothing_is_refused_and_not_looked_at() {
    let (mut rig, url) = listening(&format!("secret = \"{SECRET}\"\ntolerance = \"1m\"\ntext = \"/text\"")).await;
    let (body, at) = ("{\"text\": \"hi\"}", now());
    let good = format!("t={at},v1={}", hex(&format!("{at}.{body}")));
    for headers in [
        &[][..],
        &[("x-bothost-signature", "t=1,v1=00")],
        &[("x-bothost-signature", ""), ("authorization", "Bearer x")],
        &[("x-bothost-signature", &good), ("x-bothost-signature", &good)],
    ] {
        assert_eq!(ask(&url, headers, body).await, (401, String::new()), "{headers:?}");
    }
    assert_eq!(ask(&url, &[("x-bothost-signature", &good)], "{\"text\": \"ho\"}").await.0, 401, "another body");
    assert_eq!(ask(&url, &[], "no JSON at all").await.0, 401, "it is not read before");
    assert_eq!(tell(&url, at - 61, body).await, 401, "too old");
    assert_eq!(tell(&url, at + 120, body).await, 401, "of the future");
    assert_eq!(tell(&url, at, "{").await, 400);
    assert_eq!(tell(&url, at, "{}").await, 400, "no text");
    assert_eq!(tell(&url, at, &"x".repeat(10_000_000)).await, 413);
    assert_eq!(tell(&format!("{url}s"), at, body).await, 404);
    let get = http::Request::get(&url).body(Default::default()).unwrap();
    assert_eq!(post(get).await.0, 405);
    let form = http::Request::post(&url)
        .header("content-type", "text/plain")
        .header("x-bothost-signature", &good)
        .body(body.to_owned().into())
        .unwrap();
    assert_eq!(post(form).await.0, 415);
    assert!(rig.arrivals.try_recv().is_err());
    let (status, message) = tokio::join!(tell(&url, at, body), rig.message());
    assert_eq!((status, message.text.as_str()), (200, "hi"));
    rig.stop().await;
}

#[tokio::test]
async fn f068_a_request_that_comes_again_is_the_same_event_and_is_answered_with_200() {
    let (mut rig, url) = listening("signature = \"none\"\ndedup_header = \"X-Id\"").await;
    let mut ids = Vec::new();
    for (id, body) in [("1", "{}"), ("1", "{\"retry\": true}"), ("2", "{}")] {
        let headers = [("x-id", id)];
        let ((status, _), event) = tokio::join!(ask(&url, &headers, body), rig.event());
        assert_eq!(status, 200);
        ids.push(event.platform_id.unwrap());
    }
    assert!(ids[0] == ids[1] && ids[1] != ids[2], "{ids:?}");
    rig.stop().await;
}

#[tokio::test]
async fn f071_a_request_is_answered_only_once_the_host_has_it_and_refused_while_it_stops() {
    let (mut rig, url) = listening("signature = \"none\"").await;
    let asked = tokio::spawn(async move { ask(&url, &[], "{}").await });
    let arrival = rig.arrival().await;
    assert!(!asked.is_finished());
    arrival.taken.send(()).unwrap();
    assert_eq!(asked.await.unwrap().0, 200);

    let (mut rig, url) = listening("signature = \"none\"").await;
    let ((status, _), ()) = tokio::join!(ask(&url, &[], "{}"), async { drop(rig.arrival().await) });
    assert_eq!(status, 503);
}

#[tokio::test]
async fn a_bearer_is_asked_for_besides_and_reaches_nobody() {
    let (mut rig, url) = listening("signature = \"none\"\nbearer = \"s3cret\"").await;
    for wrong in ["Bearer nope", "Basic s3cret", "s3cret", "Bearer"] {
        assert_eq!(ask(&url, &[("authorization", wrong)], "{}").await.0, 401, "{wrong}");
    }
    let headers = [("authorization", "bearer s3cret"), ("cookie", "s3cret")];
    let ((status, _), event) = tokio::join!(ask(&url, &headers, "{}"), rig.event());
    assert_eq!(status, 200);
    assert!(!format!("{event:?}").contains("s3cret"));
    rig.stop().await;
}

#[tokio::test]
async fn a_bot_that_knows_nothing_of_webhooks_answers_one() {
    let receiver = Receiver::start().await;
    let table = format!(
        "secret = \"{SECRET}\"\ntext = \"/text\"\nconversation = \"/room\"\nreply_url = \"{}\"",
        receiver.url("/answers?k=1")
    );
    let (mut rig, url) = listening(&table).await;
    let (status, message) = tokio::join!(tell(&url, now(), "{\"text\": \"!ping\", \"room\": \"r1\"}"), rig.message());
    assert_eq!((status, message.text.as_str(), message.conversation.id.as_str()), (200, "!ping", "r1"));
    let answer = Outgoing {
        reply_to: Some(message.id.clone()),
        buttons: vec![vec![Button { label: "A".to_owned(), data: "a".to_owned() }]],
        ..outgoing("pong")
    };
    let receipt = rig.deliver_keyed(0xabc, "r1", send(answer)).await.unwrap();
    let received = &receiver.wait(1, WITHIN).await[0];
    assert_eq!(received.target, "/answers?k=1");
    let header = |name: &str| received.headers[name].to_str().unwrap().to_owned();
    let (id, at) = (header("webhook-id"), header("webhook-timestamp"));
    assert_eq!((receipt.platform_id.as_deref(), header("idempotency-key")), (Some(id.as_str()), id.clone()));
    let expected = data_encoding::BASE64.encode(&mac(&format!("{id}.{at}.{}", received.body)));
    assert_eq!(header("webhook-signature"), format!("v1,{expected}"));
    let body: Value = serde_json::from_str(&received.body).unwrap();
    assert_eq!(
        body,
        json!({"type": "send", "conversation": "r1", "thread": null, "text": "pong", "format": "plain",
            "buttons": [[{"label": "A", "data": "a"}]], "reply_to": message.id, "files": []})
    );
    rig.stop().await;
}

#[tokio::test]
async fn f060_f062_what_is_posted_again_carries_the_same_id_and_pauses_are_kept_to() {
    let receiver = Receiver::start().await;
    let (rig, _) = listening(&format!("signature = \"none\"\nreply_url = \"{}\"", receiver.url("/"))).await;
    receiver.then([
        Answer::Reset,
        Answer::status(500, ""),
        Answer::too_many(7),
        Answer::too_many(90_000),
        Answer::status(408, ""),
    ]);
    for expected in [Err("retryable"), Err("retryable"), Err("7"), Err("3600"), Err("retryable"), Ok(())] {
        let outcome = rig.deliver_keyed(5, "r", say("x")).await.map(drop).map_err(|error| match error {
            DeliveryError::Retryable(_) => "retryable".to_owned(),
            DeliveryError::RateLimited(wait) => wait.as_secs().to_string(),
            other => format!("{other:?}"),
        });
        assert_eq!(outcome, expected.map_err(str::to_owned));
    }
    rig.deliver_keyed(6, "r", say("x")).await.unwrap();
    let ids: Vec<_> = receiver.received().iter().map(|received| received.headers["webhook-id"].clone()).collect();
    assert!(ids[..6].iter().all(|id| *id == ids[0]) && ids[6] != ids[0], "{ids:?}");
    assert!(!receiver.received()[0].headers.contains_key("webhook-signature"), "there is no secret to sign with");
    rig.stop().await;
}

#[tokio::test]
async fn f066_what_a_receiver_refuses_for_good_is_not_tried_again_and_a_redirect_is_not_followed() {
    let (receiver, elsewhere) = (Receiver::start().await, Receiver::start().await);
    let (rig, _) = listening(&format!("signature = \"none\"\nreply_url = \"{}\"", receiver.url("/"))).await;
    for status in [301, 307, 403, 404, 410] {
        receiver.then([Answer::status(status, "")]);
        let outcome = rig.deliver("r", Act::Delete { target: "m".to_owned() }).await;
        assert!(matches!(outcome, Err(DeliveryError::Permanent(_))), "{status}: {outcome:?}");
    }
    receiver.then([Answer::status(401, "")]);
    assert!(matches!(rig.deliver("r", say("x")).await, Err(DeliveryError::Unauthorized(_))));
    assert!(elsewhere.received().is_empty());
    assert_eq!(rig.status.borrow().link, Link::Connected);
    rig.stop().await;
}

#[tokio::test]
async fn f061_a_receiver_that_is_not_there_may_come_back() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (rig, _) = listening(&format!("signature = \"none\"\nreply_url = \"http://{free}/s3cret\"")).await;
    let error = rig.deliver("r", say("x")).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Retryable(_)) && !error.to_string().contains("s3cret"), "{error}");
    rig.stop().await;
    let (rig, _) = listening("signature = \"none\"").await;
    assert!(matches!(rig.deliver("r", say("x")).await, Err(DeliveryError::Unsupported(_))));
    rig.stop().await;
}

#[tokio::test]
async fn f070_an_address_that_somebody_has_is_waited_for() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let table = format!("listen = \"{address}\"\npath = \"/\"\nsignature = \"none\"\nreconnect_max = \"50ms\"");
    let mut rig = Rig::start("webhook", &table);
    let (error, _) = rig.backing_off().await;
    assert!(error.contains(&address.to_string()), "{error}");
    drop(taken);
    rig.connected().await;
    let url = format!("http://{address}/anything");
    let ((status, _), _) = tokio::join!(ask(&url, &[], "{}"), rig.event());
    assert_eq!(status, 200, "a path that ends with a slash has everything below it");
    rig.stop().await;
}
