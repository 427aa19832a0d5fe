//! Telegram posts updates to the connector.

use std::net::Ipv4Addr;

use harness::peers::free_port;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const SECRET: &str = "hook-s3cret";

/// Starts a connector with a webhook, which Telegram reaches at `public_port`.
fn start_at(fake: &Telegram, listen_port: u16, public_port: u16, keys: &str) -> Rig {
    let table = format!(
        "token = \"{TOKEN}\"\napi_url = \"{}\"\nmode = \"webhook\"\nlisten = \"127.0.0.1:{listen_port}\"\n\
         public_url = \"http://127.0.0.1:{public_port}/telegram\"\nstall_timeout = \"50ms\"\nreconnect_max = \"50ms\"\n{keys}",
        fake.url()
    );
    Rig::start("telegram", &table)
}

fn start_hook(fake: &Telegram, keys: &str) -> (Rig, u16) {
    let port = free_port();
    (start_at(fake, port, port, keys), port)
}

/// Sends bytes and returns the status of the answer. Who refuses early may not read to the end.
async fn knock(port: u16, request: &[u8]) -> u16 {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let write = async { writer.write_all(request).await.ok() };
    let read = async {
        let mut head = [0; 12];
        reader.read_exact(&mut head).await.unwrap();
        std::str::from_utf8(&head[9..]).unwrap().parse().unwrap()
    };
    let (_, status) = tokio::join!(write, read);
    status
}

fn post(path: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

fn with_secret(secret: &str) -> String {
    format!("X-Telegram-Bot-Api-Secret-Token: {secret}\r\n")
}

#[tokio::test]
async fn telegram_is_told_where_to_post_and_hears_200_only_once_the_host_has_the_update() {
    let fake = Telegram::start(TOKEN).await;
    let (mut rig, port) = start_hook(&fake, "");
    rig.connected().await;
    let set = fake.calls_of("setWebhook")[0].parameters.clone();
    assert_eq!(set["url"], format!("http://127.0.0.1:{port}/telegram"));
    assert_eq!((&set["max_connections"], &set["drop_pending_updates"]), (&json!(1), &json!(false)));
    assert!(set["allowed_updates"].as_array().unwrap().contains(&json!("message_reaction")));
    assert_eq!(set["secret_token"].as_str().unwrap().len(), 64, "a random one");
    let id = fake.push_message(5, "hi");
    let arrival = rig.arrival().await;
    // A delivery goes through meanwhile, so the connector was not merely slow to answer.
    rig.deliver("5", say("x")).await.unwrap();
    assert_eq!((fake.unconfirmed(), fake.posted()), (vec![id], Vec::new()));
    arrival.taken.send(()).unwrap();
    confirmed(&fake, &[]).await;
    assert_eq!(fake.posted(), [200]);
    assert!(fake.calls_of("getUpdates").is_empty());
    assert_eq!(rig.status.borrow().listening.unwrap().port(), port);
    rig.stop().await;
}

#[tokio::test]
async fn updates_come_in_order_and_what_the_host_did_not_take_comes_again_with_the_same_id() {
    let fake = Telegram::start(TOKEN).await;
    let (mut rig, _) = start_hook(&fake, "");
    for index in 0..20 {
        fake.push_message(5, &index.to_string());
    }
    for index in 0..19 {
        assert_eq!(rig.message().await.text, index.to_string());
    }
    let arrival = rig.arrival().await;
    drop(arrival.taken);
    rig.link(|link| *link == Link::Stopped).await;
    eventually(WITHIN, "a refusal", || fake.posted().last().is_some_and(|status| *status != 200).then_some(())).await;
    rig.stop().await;
    let (mut again, _) = start_hook(&fake, "");
    assert_eq!(again.event().await.platform_id, arrival.event.platform_id);
    confirmed(&fake, &[]).await;
    again.stop().await;
}

#[tokio::test]
async fn a_button_pressed_by_webhook_has_its_spinner_stopped() {
    let fake = Telegram::start(TOKEN).await;
    let (mut rig, _) = start_hook(&fake, "");
    let button = Button { label: "Yes".to_owned(), data: "yes".to_owned() };
    let message = Outgoing { buttons: vec![vec![button]], ..outgoing("Sure?") };
    let target = rig.deliver("5", send(message)).await.unwrap().platform_id.unwrap();
    fake.press(5, target.parse().unwrap(), "yes");
    assert!(matches!(rig.event().await.kind, EventKind::Button { .. }));
    call(&fake, "answerCallbackQuery", |call| call.status == Some(200)).await;
    rig.stop().await;
}

#[tokio::test]
async fn f071_who_is_not_telegram_is_refused_before_anything_is_read_and_a_replay_is_known_again() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let fake = Telegram::start(TOKEN).await;
    let (mut rig, port) = start_hook(&fake, &format!("secret_token = \"{SECRET}\""));
    rig.connected().await;
    let update = json!({"update_id": 7, "message": {"message_id": 1, "date": 1, "text": "forged-body",
        "chat": {"id": 5, "type": "private"}, "from": {"id": 7, "first_name": "Ann"}}})
    .to_string();
    let good = with_secret(SECRET);
    let twice = format!("{good}{good}");
    let huge = "x".repeat(10 << 20);
    let smuggled = format!("{good}Transfer-Encoding: chunked\r\n");
    for (what, request, status) in [
        ("no secret", post("/telegram", "", &update), 401),
        ("a wrong secret", post("/telegram", &with_secret("hook-s3creT"), &update), 401),
        ("the beginning of the secret", post("/telegram", &with_secret("hook"), &update), 401),
        ("two secrets", post("/telegram", &twice, &update), 401),
        ("nonsense without the secret", post("/telegram", "", "{"), 401),
        ("nonsense with the secret", post("/telegram", &good, "{"), 400),
        ("no update", post("/telegram", &good, "{\"message\": {}}"), 400),
        ("another path", post("/telegram/x", &good, &update), 404),
        ("10 MB", post("/telegram", &good, &huge), 413),
        ("two lengths", post("/telegram", &smuggled, &update), 400),
        ("a GET", format!("GET /telegram HTTP/1.1\r\nHost: a\r\n{good}\r\n").into_bytes(), 405),
    ] {
        assert_eq!(knock(port, &request).await, status, "{what}");
    }
    assert!(rig.arrivals.try_recv().is_err(), "none of them came through");
    let request = post("/telegram", &good, &update);
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (status, event) = tokio::join!(knock(port, &request), rig.event());
        assert_eq!(status, 200);
        ids.push(event.platform_id);
    }
    assert_eq!(ids, [Some("123456:7".to_owned()), Some("123456:7".to_owned())], "the host knows the second one again");
    rig.stop().await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("a request to the webhook was refused"), "{log}");
    assert!(!log.contains("forged-body") && !log.contains("s3cret"), "{log}");
}

#[tokio::test]
async fn a_webhook_that_telegram_cannot_reach_is_degraded_until_it_can() {
    let fake = Telegram::start(TOKEN).await;
    let public_port = free_port();
    let mut rig = start_at(&fake, 0, public_port, "");
    rig.connected().await;
    call(&fake, "getWebhookInfo", |call| call.status.is_some()).await;
    fake.push_message(5, "hi");
    let degraded = rig.link(|link| matches!(link, Link::Degraded { .. })).await;
    assert_eq!(degraded.trouble(), Some("Telegram cannot post to us, 1 updates wait: Connection refused"));
    let proxy = TcpListener::bind((Ipv4Addr::LOCALHOST, public_port)).await.unwrap();
    let (mut stream, _) = proxy.accept().await.unwrap();
    let mut head = [0; 5];
    stream.read_exact(&mut head).await.unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    rig.connected().await;
    rig.stop().await;
}

#[tokio::test]
async fn f064_somebody_who_takes_the_webhook_away_is_noticed_and_it_is_set_again() {
    let fake = Telegram::start(TOKEN).await;
    let (mut rig, _) = start_hook(&fake, "");
    rig.connected().await;
    fake.set_webhook();
    let contested = rig.link(|link| matches!(link, Link::Contested { .. })).await;
    assert_eq!(contested.trouble(), Some("another process sets or removes the webhook of this token"));
    rig.connected().await;
    fake.push_message(5, "hi");
    assert_eq!(rig.message().await.text, "hi");
    rig.stop().await;
}

#[tokio::test]
async fn a_webhook_that_cannot_be_set_says_why_and_comes_about_once_it_can() {
    let fake = Telegram::start(TOKEN).await;
    let refusal = "Bad Request: bad webhook: Failed to resolve host: Name or service not known";
    fake.fail_next("setWebhook", Fault::refuse(400, refusal));
    fake.fail_next("setWebhook", Fault::RateLimited(json!(1)));
    fake.fail_next("setWebhook", Fault::Html(502));
    let (mut rig, _) = start_hook(&fake, "");
    let refused = rig.link(|link| matches!(link, Link::AuthFailed { .. })).await;
    assert!(refused.trouble().unwrap().contains("Failed to resolve host"), "{refused:?}");
    assert_eq!(rig.backing_off().await.1, Duration::from_secs(1));
    rig.connected().await;
    rig.stop().await;
}

#[tokio::test]
async fn f063_a_token_that_is_revoked_ends_the_webhook() {
    let fake = Telegram::start(TOKEN).await;
    let (mut rig, _) = start_hook(&fake, "");
    rig.connected().await;
    fake.revoke_token();
    rig.link(|link| matches!(link, Link::AuthFailed { .. })).await;
    let calls = fake.calls_len();
    assert!(matches!(rig.deliver("5", say("x")).await, Err(DeliveryError::Unauthorized(_))));
    assert_eq!(fake.calls_len(), calls + 1, "nothing but the delivery");
    rig.stop().await;
}
