//! The Matrix connector against Synapse; and against a fake where Synapse cannot be made to misbehave.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bothost::action::{Act, TextFormat, Upload};
use bothost::connector::{DeliveryError, Link};
use bothost::egress::{AddressGuard, HttpClient, HttpUrl};
use bothost::event::{AttachmentKind, ConversationKind, Event, EventKind, Membership, Message};
use harness::peers::free_port;
use harness::rig::{Rig, outgoing, say, send};
use harness::synapse::{MatrixUser, Synapse};
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use simulators::wire::{Book, Fault, Platform, Reply, Request, Server};

/// Returns the table of a connector that signs in as `bot`.
fn table(synapse: &Synapse, more: &str) -> String {
    let url = synapse.url();
    format!("homeserver = \"{url}\"\nuser = \"bot\"\npassword = \"pw\"\nreconnect_max = \"1s\"\n{more}")
}

/// Takes events over until one is as wanted, and returns it.
async fn until<T>(rig: &mut Rig, wanted: impl Fn(EventKind) -> Option<T>) -> T {
    loop {
        if let Some(found) = wanted(rig.event().await.kind) {
            return found;
        }
    }
}

async fn message(rig: &mut Rig) -> Message {
    until(rig, |kind| if let EventKind::Message(message) = kind { Some(message) } else { None }).await
}

/// Has the bot in a room of this user's, by an invite.
async fn together(rig: &mut Rig, user: &MatrixUser, is_direct: bool) -> String {
    let room = json!({"invite": ["@bot:localhost"], "is_direct": is_direct, "name": "Tea", "preset": "private_chat"});
    let room = user.room(&room).await;
    let joined = |kind| match kind {
        EventKind::Member { member, change: Membership::Joined, conversation } => {
            (member.id == "@bot:localhost" && conversation.id == room).then_some(())
        }
        _ => None,
    };
    until(rig, joined).await;
    room
}

#[tokio::test]
async fn a_real_synapse_and_the_connector_tell_each_other_everything() {
    let test = "a_real_synapse_and_the_connector_tell_each_other_everything";
    let Some(synapse) = Synapse::start(test, &json!({})).await else { return };
    let (ann, _bot) = (synapse.register("ann").await, synapse.register("bot").await);
    let old = ann.room(&json!({"preset": "public_chat", "name": "Square"})).await;
    ann.say(&old, "before").await;
    let more = format!("invites = [\"localhost\"]\nrooms = [\"{old}\"]");
    let mut rig = Rig::start("matrix", &table(&synapse, &more));
    rig.connected().await;

    // What was said before we came is not told, our coming is.
    let event = rig.event().await;
    let EventKind::Member { member, change, conversation } = event.kind else { panic!("{event:?}") };
    assert_eq!(
        (member.id.as_str(), change, conversation.kind),
        ("@bot:localhost", Membership::Joined, ConversationKind::Channel)
    );
    assert_eq!(conversation.title.as_deref(), Some("Square"));
    ann.say(&old, "hello @bot:localhost").await;
    let said = message(&mut rig).await;
    assert_eq!((said.text.as_str(), said.addressed), ("hello @bot:localhost", true));

    words_come_in(&mut rig, &ann, &old).await;
    words_go_out(&rig, &ann, &old).await;

    // A talk between two is one, also for the next message.
    let direct = together(&mut rig, &ann, true).await;
    ann.say(&direct, "psst").await;
    let said = message(&mut rig).await;
    assert_eq!(
        (said.conversation.kind, said.addressed, said.conversation.id.as_str()),
        (ConversationKind::Direct, true, direct.as_str())
    );

    // What is encrypted is noticed once.
    for body in ["AA", "BB"] {
        let content = json!({"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": body});
        ann.send(&direct, "m.room.encrypted", &content).await;
    }
    ann.say(&direct, "plain").await;
    let event = rig.event().await;
    assert_eq!(event.kind, EventKind::Custom { name: "m.room.encrypted".to_owned() });
    assert_eq!(message(&mut rig).await.text, "plain");

    // Whoever throws us out is told of, and sending there is refused for good.
    ann.post(&format!("/rooms/{old}/kick"), &json!({"user_id": "@bot:localhost"})).await;
    let removed = |kind| matches!(kind, EventKind::Member { change: Membership::Removed, .. }).then_some(());
    until(&mut rig, removed).await;
    let refused = rig.deliver(&old, say("still there?")).await.unwrap_err();
    assert!(matches!(refused, DeliveryError::Permanent(_)), "{refused:?}");
    let unknown = rig.deliver("!nowhere:localhost", say("x")).await.unwrap_err();
    assert!(matches!(unknown, DeliveryError::Permanent(_) | DeliveryError::BadRequest(_)), "{unknown:?}");
    rig.stop().await;
}

/// Everything that a user can say, one after another.
async fn words_come_in(rig: &mut Rig, ann: &MatrixUser, room: &str) {
    let notice = json!({"msgtype": "m.notice", "body": "a bot's answer"});
    ann.send(room, "m.room.message", &notice).await;
    let first = ann.say(room, "first\nwith two lines").await;
    let said = message(rig).await;
    assert_eq!(
        (said.id.as_str(), said.text.as_str(), said.addressed),
        (first.as_str(), "first\nwith two lines", false)
    );
    assert_eq!((said.sender.id.as_str(), said.sender.name.as_deref()), ("@ann:localhost", Some("ann")));

    let relation = json!({"m.in_reply_to": {"event_id": first}});
    ann.send(room, "m.room.message", &json!({"msgtype": "m.text", "body": "answer", "m.relates_to": relation})).await;
    assert_eq!(message(rig).await.reply_to.as_deref(), Some(first.as_str()));

    let relation = json!({"rel_type": "m.thread", "event_id": first, "is_falling_back": true, "m.in_reply_to": {"event_id": first}});
    ann.send(room, "m.room.message", &json!({"msgtype": "m.text", "body": "in thread", "m.relates_to": relation}))
        .await;
    let said = message(rig).await;
    assert_eq!((said.conversation.thread.as_deref(), said.reply_to), (Some(first.as_str()), None));

    let edit = json!({"msgtype": "m.text", "body": "* better", "m.new_content": {"msgtype": "m.text", "body": "better"},
        "m.relates_to": {"rel_type": "m.replace", "event_id": first}});
    ann.send(room, "m.room.message", &edit).await;
    let edited = rig.event().await;
    let EventKind::Edited(said) = edited.kind else { panic!("{edited:?}") };
    assert_eq!((said.id.as_str(), said.text.as_str()), (first.as_str(), "better"));

    let relation = json!({"rel_type": "m.annotation", "event_id": first, "key": "👍"});
    let reaction = ann.send(room, "m.reaction", &json!({"m.relates_to": relation})).await;
    ann.put(&format!("/rooms/{room}/redact/{reaction}/1"), &json!({})).await;
    for expected in [true, false] {
        let event = rig.event().await;
        let EventKind::Reaction { message_id, emoji, added, .. } = event.kind else { panic!("{event:?}") };
        assert_eq!((message_id.as_str(), emoji.as_str(), added), (first.as_str(), "👍", expected));
    }
    ann.put(&format!("/rooms/{room}/redact/{first}/2"), &json!({})).await;
    let event = rig.event().await;
    assert_eq!(event.kind, EventKind::Custom { name: "m.room.redaction".to_owned() });
    assert!(event.raw.unwrap().contains(&first));

    let image = json!({"msgtype": "m.image", "body": "look", "filename": "cat.png", "url": "mxc://localhost/x",
        "info": {"mimetype": "image/png", "size": 5}});
    ann.send(room, "m.room.message", &image).await;
    let said = message(rig).await;
    let file = &said.attachments[0];
    assert_eq!((said.text.as_str(), file.kind, file.name.as_deref()), ("look", AttachmentKind::Image, Some("cat.png")));
    assert_eq!((file.size, &file.url), (Some(5), &None));
}

/// Everything that a bot can do, as another client sees it.
async fn words_go_out(rig: &Rig, ann: &MatrixUser, room: &str) {
    let own = ann.say(room, "to be answered").await;
    let mut answer = outgoing("**bold** <3");
    (answer.format, answer.reply_to) = (TextFormat::Markdown, Some(own.clone()));
    let sent = rig.deliver_keyed(20, room, send(answer)).await.unwrap().platform_id.unwrap();
    let event = ann.get(&format!("/rooms/{room}/event/{sent}")).await;
    let content = &event["content"];
    assert_eq!((&content["msgtype"], &content["body"]), (&json!("m.notice"), &json!("**bold** <3")));
    assert_eq!(content["formatted_body"], "<strong>bold</strong> &lt;3");
    assert_eq!(content["m.relates_to"]["m.in_reply_to"]["event_id"], own.as_str());

    let edit = Act::Edit { target: sent.clone(), message: outgoing("better") };
    rig.deliver_keyed(21, room, edit).await.unwrap();
    let edits = ann.get(&format!("/v1/rooms/{room}/relations/{sent}/m.replace")).await;
    assert_eq!(edits["chunk"][0]["content"]["m.new_content"]["body"], "better");

    for key in [22, 23] {
        // A second time it is there already.
        let react = Act::React { target: own.clone(), emoji: "🎉".to_owned() };
        rig.deliver_keyed(key, room, react).await.unwrap();
    }
    let reactions = ann.get(&format!("/v1/rooms/{room}/relations/{own}/m.annotation")).await;
    assert_eq!(reactions["chunk"].as_array().map(Vec::len), Some(1));

    let mut file = outgoing("");
    file.uploads.push(Upload {
        name: "ä b.txt".to_owned(),
        media_type: "text/plain".to_owned(),
        content: b"tea".to_vec(),
    });
    let sent_file = rig.deliver_keyed(24, &format!("{room}#{own}"), send(file)).await.unwrap().platform_id.unwrap();
    let event = ann.get(&format!("/rooms/{room}/event/{sent_file}")).await;
    let content = &event["content"];
    assert_eq!(
        (&content["msgtype"], &content["filename"], &content["info"]["size"]),
        (&json!("m.file"), &json!("ä b.txt"), &json!(3))
    );
    assert_eq!(
        (&content["m.relates_to"]["rel_type"], &content["m.relates_to"]["event_id"]),
        (&json!("m.thread"), &json!(own))
    );
    let mxc = content["url"].as_str().unwrap().strip_prefix("mxc://").unwrap();
    assert_eq!(ann.call(Method::GET, &format!("/v1/media/download/{mxc}"), &json!({})).await.0, 200);

    // As long as a message gets, and in order where it is longer.
    let long = "äöü\n".repeat(20_000);
    rig.deliver_keyed(25, room, say(&long)).await.unwrap();
    let said = ann.events(room, "m.room.message").await;
    let pieces: Vec<_> =
        said.iter().rev().take(3).rev().map(|event| event["content"]["body"].as_str().unwrap()).collect();
    assert_eq!(pieces.concat(), long);

    rig.deliver_keyed(26, room, Act::Delete { target: sent.clone() }).await.unwrap();
    let event = ann.get(&format!("/rooms/{room}/event/{sent}")).await;
    assert_eq!(event["content"], json!({}));
}

/// Expects messages with these numbers, in their order. `seen` are the ids of what came before: what comes twice has the same id, and
/// a host takes it once.
async fn numbers(rig: &mut Rig, seen: &mut HashSet<Option<String>>, numbers: RangeInclusive<u32>) {
    for number in numbers {
        let said = loop {
            let event: Event = rig.event().await;
            if let EventKind::Message(message) = event.kind
                && seen.insert(event.platform_id)
            {
                break message;
            }
        };
        assert_eq!(said.text, number.to_string());
    }
}

#[tokio::test]
async fn f062_nothing_is_lost_or_doubled_when_synapse_is_killed_and_the_connector_restarted() {
    let test = "f062_nothing_is_lost_or_doubled_when_synapse_is_killed_and_the_connector_restarted";
    let Some(mut synapse) = Synapse::start(test, &json!({})).await else { return };
    let (ann, mut bot) = (synapse.register("ann").await, synapse.register("bot").await);
    let mut rig = Rig::start("matrix", &table(&synapse, "invites = \"all\""));
    rig.connected().await;
    let room = together(&mut rig, &ann, false).await;
    ann.say(&room, "1").await;
    let mut seen = HashSet::new();
    numbers(&mut rig, &mut seen, 1..=1).await;
    let first = rig.deliver_keyed(77, &room, say("once")).await.unwrap();

    synapse.kill().await;
    rig.backing_off().await;
    let error = rig.deliver_keyed(78, &room, say("while it is away")).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Retryable(_)), "{error:?}");
    synapse.start_again().await;
    rig.connected().await;
    // The same transaction, also across the death of the homeserver: the same message.
    assert_eq!(rig.deliver_keyed(77, &room, say("once")).await.unwrap(), first);
    rig.deliver_keyed(78, &room, say("while it is away")).await.unwrap();
    ann.say(&room, "2").await;
    numbers(&mut rig, &mut seen, 2..=2).await;

    // While the connector is away more is said than one answer brings, and Synapse dies again.
    let kept = rig.kept();
    rig.stop().await;
    for number in 3..=130 {
        ann.say(&room, &number.to_string()).await;
    }
    synapse.kill().await;
    synapse.start_again().await;
    let mut rig = Rig::start_again(kept.clone(), "matrix", &table(&synapse, "invites = \"all\""));
    numbers(&mut rig, &mut seen, 3..=130).await;
    // It is still the device that it was: the transaction is known.
    assert_eq!(rig.deliver_keyed(77, &room, say("once")).await.unwrap(), first);
    assert_eq!(bot.get("/devices").await["devices"].as_array().map(Vec::len), Some(2));
    let said: Vec<_> = ann.events(&room, "m.room.message").await;
    let texts: Vec<_> = said
        .iter()
        .filter(|event| event["sender"] == "@bot:localhost")
        .map(|event| &event["content"]["body"])
        .collect();
    assert_eq!(texts, ["once", "while it is away"]);

    // f063: signed out by somebody else it signs in again, as the same device.
    bot.post("/logout/all", &json!({})).await;
    ann.say(&room, "131").await;
    numbers(&mut rig, &mut seen, 131..=131).await;
    rig.link(|link| *link == Link::Connected).await;
    let sent = rig.deliver_keyed(79, &room, say("back")).await;
    assert!(sent.is_ok(), "{sent:?}");
    rig.stop().await;

    // Somebody came to a room while we were away, and we with them: only what was said since is told.
    let mut rig = Rig::start_again(kept, "matrix", &table(&synapse, "invites = \"all\""));
    rig.connected().await;
    let other = ann.room(&json!({"preset": "public_chat"})).await;
    for _ in 0..60 {
        ann.say(&other, "not for the bot").await;
    }
    let kept = rig.kept();
    rig.stop().await;
    bot.log_in().await;
    bot.post(&format!("/join/{other}"), &json!({})).await;
    for number in 1..=70 {
        ann.say(&other, &number.to_string()).await;
    }
    let mut rig = Rig::start_again(kept, "matrix", &table(&synapse, "invites = \"all\""));
    numbers(&mut rig, &mut seen, 1..=70).await;
    rig.stop().await;
}

#[tokio::test]
async fn f060_f063_a_pause_is_kept_exactly_an_invite_is_judged_and_a_revoked_token_is_said() {
    let test = "f060_f063_a_pause_is_kept_exactly_an_invite_is_judged_and_a_revoked_token_is_said";
    let slow = json!({"rc_message": {"per_second": 0.5, "burst_count": 2}});
    let Some(synapse) = Synapse::start(test, &slow).await else { return };
    let (ann, mut bot) = (synapse.register("ann").await, synapse.register("bot").await);
    let table = |invites: &str| {
        let (url, token) = (synapse.url(), &bot.token);
        format!("homeserver = \"{url}\"\naccess_token = \"{token}\"\ninvites = {invites}\nsync_timeout = \"2s\"")
    };
    let mut rig = Rig::start("matrix", &table("[\"@bea:localhost\", \"elsewhere\"]"));
    rig.connected().await;
    let room = ann.room(&json!({"invite": ["@bot:localhost"], "preset": "private_chat"})).await;
    let invited = |kind| matches!(kind, EventKind::Member { change: Membership::Invited, .. }).then_some(());
    until(&mut rig, invited).await;
    let kept = rig.kept();
    rig.stop().await;
    let members = ann.get(&format!("/rooms/{room}/joined_members")).await;
    assert_eq!(members["joined"].as_object().map(serde_json::Map::len), Some(1), "{members}");

    let mut rig = Rig::start_again(kept, "matrix", &table("[\"localhost\"]"));
    let room = together(&mut rig, &ann, false).await;
    let mut wait = None;
    for key in 0..6 {
        match rig.deliver_keyed(key, &room, say("x")).await {
            Ok(_) => {}
            Err(DeliveryError::RateLimited(pause)) => {
                wait = Some((key, pause));
                break;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    let (key, pause) = wait.expect("a homeserver that has enough");
    assert!(pause > Duration::ZERO && pause <= Duration::from_secs(4), "{pause:?}");
    // After the pause that it named, and not a moment longer, it takes the message.
    tokio::time::sleep(pause).await;
    rig.deliver_keyed(key, &room, say("x")).await.unwrap();

    bot.post("/logout", &json!({})).await;
    bot.token.clear();
    let link = rig.link(|link| matches!(link, Link::AuthFailed { .. })).await;
    assert!(matches!(&link, Link::AuthFailed { error } if error.contains("M_UNKNOWN_TOKEN")), "{link:?}");
    let error = rig.deliver_keyed(9, &room, say("x")).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Unauthorized(_)), "{error:?}");
    rig.stop().await;
}

#[tokio::test]
async fn a_real_synapse_pushes_to_the_application_service_until_everything_is_taken_over() {
    let test = "a_real_synapse_pushes_to_the_application_service_until_everything_is_taken_over";
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let service = json!({"id": "bothost", "url": url, "as_token": "as-s3cret", "hs_token": "hs-s3cret",
        "sender_localpart": "bot", "rate_limited": false, "namespaces": {"users": [], "aliases": [], "rooms": []}});
    let Some(synapse) = Synapse::start(test, &json!({"app_service": service})).await else { return };
    let ann = synapse.register("ann").await;
    let table = format!(
        "mode = \"appservice\"\nhomeserver = \"{}\"\nas_token = \"as-s3cret\"\nhs_token = \"hs-s3cret\"\n\
         listen = \"127.0.0.1:{port}\"\ninvites = \"all\"",
        synapse.url()
    );
    let mut rig = Rig::start("matrix", &table);
    rig.connected().await;
    let room = together(&mut rig, &ann, true).await;
    let mut seen = HashSet::new();
    ann.say(&room, "1").await;
    numbers(&mut rig, &mut seen, 1..=1).await;
    let sent = rig.deliver_keyed(5, &room, say("pushed back")).await.unwrap();
    assert_eq!(rig.deliver_keyed(5, &room, say("pushed back")).await.unwrap(), sent);
    assert_eq!(ann.events(&room, "m.room.message").await.len(), 2);

    // While nobody is there Synapse keeps what it has to say.
    let kept = rig.kept();
    rig.stop().await;
    for number in 2..=5 {
        ann.say(&room, &number.to_string()).await;
    }
    let mut rig = Rig::start_again(kept, "matrix", &table);
    numbers(&mut rig, &mut seen, 2..=5).await;

    // A transaction is taken once, and from nobody else.
    let HttpUrl(endpoint) = url.parse().unwrap();
    let client = HttpClient::new(endpoint, AddressGuard::any());
    let call = async |method: Method, path: &str, token: &str, body: Value| {
        let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap())]);
        let path = format!("/_matrix/app/v1/{path}");
        let answer = client.call(method, &path, headers, body.to_string(), Duration::from_secs(20)).await.unwrap();
        (answer.status.as_u16(), serde_json::from_slice::<Value>(&answer.body).unwrap_or_default())
    };
    let event = json!({"type": "m.room.message", "event_id": "$mine", "room_id": room, "sender": "@ann:localhost",
        "origin_server_ts": 1, "content": {"msgtype": "m.text", "body": "by hand"}});
    let events = json!({"events": [event]});
    let (answer, said) =
        tokio::join!(call(Method::PUT, "transactions/t1", "hs-s3cret", events.clone()), message(&mut rig));
    assert_eq!((answer, said.text.as_str()), ((200, json!({})), "by hand"));
    assert_eq!(call(Method::PUT, "transactions/t1", "hs-s3cret", events.clone()).await, (200, json!({})));
    assert_eq!(call(Method::PUT, "transactions/t2", "wrong", events.clone()).await.0, 403);
    assert_eq!(call(Method::PUT, "transactions/t2", "hs-s3cret", json!([])).await.0, 400);
    assert_eq!(call(Method::GET, "users/%40bot%3Alocalhost", "hs-s3cret", json!({})).await.0, 200);
    assert_eq!(call(Method::GET, "users/%40else%3Alocalhost", "hs-s3cret", json!({})).await.0, 404);
    assert_eq!(call(Method::GET, "rooms/%23x", "hs-s3cret", json!({})).await.0, 404);
    assert_eq!(call(Method::POST, "ping", "hs-s3cret", json!({})).await.0, 200);
    ann.say(&room, "6").await;
    numbers(&mut rig, &mut seen, 6..=6).await;
    rig.stop().await;
}

/// A homeserver with one room, for what Synapse does not do on demand.
#[derive(Default)]
struct Fake {
    book: Book,
    /// What was said: the place in the stream is how much of it was told.
    said: Mutex<Vec<Value>>,
}

impl Fake {
    async fn start() -> (Arc<Self>, Server, Rig) {
        let fake = Arc::new(Self::default());
        let server = Server::start(Arc::clone(&fake)).await;
        let url = server.url();
        let table = format!(
            "homeserver = \"{url}\"\naccess_token = \"tok\"\nreconnect_max = \"100ms\"\nsync_timeout = \"100ms\"\n\
             stall_timeout = \"1s\""
        );
        let mut rig = Rig::start("matrix", &table);
        rig.connected().await;
        (fake, server, rig)
    }

    fn say(&self, text: &str) {
        let mut said = self.said.lock().unwrap();
        let content = json!({"msgtype": "m.text", "body": text});
        let id = format!("${}", said.len());
        said.push(json!({"type": "m.room.message", "event_id": id, "sender": "@ann:x", "content": content}));
    }
}

impl Platform for Fake {
    fn book(&self) -> &Book {
        &self.book
    }

    fn operation(&self, request: &Request) -> String {
        request.path.rsplit('/').next().unwrap_or_default().to_owned()
    }

    async fn answer(&self, request: Request) -> Reply {
        let refused = |status, code: &str| Reply::json(status, &json!({"errcode": code, "error": "no"}));
        match self.operation(&request).as_str() {
            "versions" => Reply::json(200, &json!({"versions": ["v1.11"]})),
            _ if request.header("authorization") != "Bearer tok" => refused(401, "M_UNKNOWN_TOKEN"),
            "whoami" => Reply::json(200, &json!({"user_id": "@bot:x", "device_id": "D"})),
            "sync" => {
                let since = request.query.split('&').find_map(|pair| pair.strip_prefix("since=s"));
                let from = since.and_then(|since| since.parse().ok());
                if request.query.contains("timeout=100") {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                let said = self.said.lock().unwrap();
                let events = said.get(from.unwrap_or(said.len())..).unwrap_or_default();
                let room = json!({"timeline": {"events": events, "limited": false}, "state": {"events": []}});
                Reply::json(200, &json!({"next_batch": format!("s{}", said.len()), "rooms": {"join": {"!r": room}}}))
            }
            _ if request.method == Method::PUT => Reply::json(200, &json!({"event_id": "$sent"})),
            _ => refused(404, "M_NOT_FOUND"),
        }
    }
}

#[tokio::test]
async fn f061_f068_a_sync_that_breaks_hangs_or_is_none_loses_nothing() {
    let (fake, _server, mut rig) = Fake::start().await;
    let faults = [
        Fault::Reset,
        Fault::CutAnswer,
        Fault::Hang,
        Fault::Trickle(Duration::from_millis(500)),
        Fault::Answer(Reply::html(502)),
        Fault::Answer(Reply::json(500, &json!({"errcode": "M_UNKNOWN"}))),
        Fault::Answer(Reply { body: "{".to_owned(), ..Reply::default() }),
        Fault::Answer(Reply::json(200, &json!({}))),
    ];
    let mut seen = HashSet::new();
    for (number, fault) in (1..).zip(faults) {
        fake.book.fail_next("sync", fault);
        fake.say(&number.to_string());
        numbers(&mut rig, &mut seen, number..=number).await;
    }
    rig.connected().await;
    rig.stop().await;
}

#[tokio::test]
async fn f060_f070_a_sync_that_must_wait_waits_and_one_that_is_too_old_begins_anew() {
    let (fake, _server, mut rig) = Fake::start().await;
    let limited = json!({"errcode": "M_LIMIT_EXCEEDED", "error": "slow", "retry_after_ms": 345});
    fake.book.fail_next("sync", Fault::Answer(Reply::json(429, &limited)));
    let (_, wait) = rig.backing_off().await;
    assert_eq!(wait, Duration::from_millis(345));
    rig.connected().await;

    let unknown = json!({"errcode": "M_UNKNOWN_POS", "error": "too old"});
    fake.book.fail_next("sync", Fault::Answer(Reply::json(400, &unknown)));
    let event = rig.event().await;
    assert_eq!(event.kind, EventKind::Custom { name: "matrix.gap".to_owned() });
    rig.backing_off().await;
    rig.connected().await;
    fake.say("after");
    assert_eq!(rig.message().await.text, "after");
    rig.stop().await;
}

#[tokio::test]
async fn f062_f066_what_may_have_been_done_is_done_again_under_the_same_id() {
    let (fake, _server, mut rig) = Fake::start().await;
    let operation = "bothost-2a-0";
    for fault in [Fault::Reset, Fault::CutAnswer, Fault::Answer(Reply::html(503))] {
        fake.book.fail_next(operation, fault);
        let error = rig.deliver_keyed(42, "!r", say("x")).await.unwrap_err();
        assert!(matches!(error, DeliveryError::Retryable(_)), "{error:?}");
    }
    let receipt = rig.deliver_keyed(42, "!r", say("x")).await.unwrap();
    assert_eq!(receipt.platform_id.as_deref(), Some("$sent"));
    assert_eq!(fake.book.calls_of(operation).len(), 4);
    let forbidden = json!({"errcode": "M_FORBIDDEN", "error": "not in the room"});
    fake.book.fail_next("bothost-2b-0", Fault::Answer(Reply::json(403, &forbidden)));
    let error = rig.deliver_keyed(43, "!r", say("x")).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Permanent(_)), "{error:?}");
    rig.connected().await;
    rig.stop().await;
}
