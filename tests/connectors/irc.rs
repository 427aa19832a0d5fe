//! The IRC connector against ngircd; and against a scripted server where ngircd cannot be made to misbehave.

use std::time::Duration;

use bothost::action::Act;
use bothost::connector::{DeliveryError, Link};
use bothost::event::{ConversationKind, EventKind, Membership};
use harness::ngircd::Ngircd;
use harness::rig::{Rig, WITHIN, say};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Returns the table of a connector that is called `bot`, in a hurry.
fn table(address: &str, more: &str) -> String {
    format!("server = \"{address}\"\ntls = false\nnick = \"bot\"\nreconnect_max = \"200ms\"\npace = \"off\"\n{more}")
}

/// Waits until somebody came or went, and returns who, where and how.
async fn member(rig: &mut Rig, wanted: &str) -> (String, Membership) {
    loop {
        if let EventKind::Member { conversation, member, change } = rig.event().await.kind
            && member.id == wanted
        {
            return (conversation.id, change);
        }
    }
}

#[tokio::test]
async fn a_real_server_and_the_connector_tell_each_other_everything() {
    let test = "a_real_server_and_the_connector_tell_each_other_everything";
    let Some(mut server) = Ngircd::start(test, "").await else { return };
    let mut ann = server.user("Ann").await;
    ann.join("#tea").await;
    let channels = "channels = [\"#Tea\", \"#milk\"]\nuser = \"b\"";
    let mut rig = Rig::start("irc", &table(&server.address(), channels));
    rig.connected().await;
    ann.until("JOIN").await;

    ann.say("#tea", "one").await;
    ann.say("#tea", "\u{1}ACTION nods to bot\u{1}").await;
    ann.write("NOTICE #tea :a bot's answer").await;
    ann.say("bot", "psst").await;
    let said = loop {
        if let EventKind::Message(message) = rig.event().await.kind {
            break message;
        }
    };
    assert_eq!((said.text.as_str(), said.conversation.id.as_str(), said.addressed), ("one", "#tea", false));
    assert_eq!((said.sender.id.as_str(), said.sender.name.as_deref()), ("ann", Some("Ann")));
    let nod = rig.message().await;
    assert_eq!((nod.text.as_str(), nod.addressed), ("nods to bot", true));
    let direct = rig.message().await;
    assert_eq!(
        (direct.text.as_str(), direct.conversation.kind, direct.conversation.id.as_str()),
        ("psst", ConversationKind::Direct, "ann")
    );
    assert!(said.id != nod.id && nod.id != direct.id);

    // Nothing in a text is a command, and what is long arrives in pieces.
    let long = "ä".repeat(400);
    rig.deliver("#tea", say(&format!("first\r\nQUIT :gone\n{long}"))).await.unwrap();
    ann.until("PRIVMSG #tea :first").await;
    assert!(ann.until("PRIVMSG").await.ends_with("PRIVMSG #tea :QUIT :gone"));
    let mut arrived = String::new();
    while arrived.len() < long.len() {
        let line = ann.until("PRIVMSG #tea :").await;
        arrived.push_str(line.split_once(" :").unwrap().1);
    }
    assert_eq!(arrived, long);
    rig.deliver("ann", say("to you")).await.unwrap();
    assert!(ann.until("to you").await.to_ascii_lowercase().contains("privmsg ann"));
    ann.say("bot", "\u{1}VERSION\u{1}").await;
    assert!(ann.until("VERSION").await.contains("NOTICE Ann"));

    // The server does not confirm, but what it refuses is known.
    let error = rig.deliver("nobody", say("x")).await.unwrap_err();
    assert!(matches!(&error, DeliveryError::Permanent(text) if text.contains("401")), "{error:?}");
    let error = rig.deliver("#elsewhere", say("x")).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Permanent(_)), "{error:?}");
    let error = rig.deliver("#tea,#milk", say("x")).await.unwrap_err();
    assert!(matches!(error, DeliveryError::BadRequest(_)), "{error:?}");
    for act in [Act::Delete { target: "1".to_owned() }, Act::React { target: "1".to_owned(), emoji: "x".to_owned() }] {
        assert!(matches!(rig.deliver("#tea", act).await, Err(DeliveryError::Unsupported(_))));
    }

    // Who comes and goes; a departure in each channel where it is seen.
    ann.join("#milk").await;
    assert_eq!(member(&mut rig, "ann").await, ("#milk".to_owned(), Membership::Joined));
    ann.write("PART #milk").await;
    assert_eq!(member(&mut rig, "ann").await, ("#milk".to_owned(), Membership::Left));
    let mut bea = server.user("bea").await;
    bea.join("#tea").await;
    assert_eq!(member(&mut rig, "bea").await, ("#tea".to_owned(), Membership::Joined));
    bea.write("QUIT").await;
    assert_eq!(member(&mut rig, "bea").await, ("#tea".to_owned(), Membership::Left));

    // Thrown out we come back.
    ann.write("KICK #tea bot :out").await;
    assert_eq!(member(&mut rig, "bot").await, ("#tea".to_owned(), Membership::Removed));
    assert_eq!(member(&mut rig, "bot").await, ("#tea".to_owned(), Membership::Joined));

    // The server dies: what is to be sent waits, and then everything is as it was.
    server.kill().await;
    rig.backing_off().await;
    let error = rig.deliver("#tea", say("x")).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Retryable(_)), "{error:?}");
    server.start_again().await;
    rig.connected().await;
    assert_eq!(member(&mut rig, "bot").await, ("#tea".to_owned(), Membership::Joined));
    let mut ann = server.user("ann").await;
    ann.join("#tea").await;
    assert_eq!(member(&mut rig, "ann").await, ("#tea".to_owned(), Membership::Joined));
    rig.deliver("#tea", say("back")).await.unwrap();
    ann.until(":back").await;
    rig.stop().await;
    assert!(ann.until("QUIT").await.contains("bye"));
}

#[tokio::test]
async fn a_name_that_somebody_has_is_ours_again_when_they_leave() {
    let test = "a_name_that_somebody_has_is_ours_again_when_they_leave";
    let Some(server) = Ngircd::start(test, "").await else { return };
    let (mut holder, mut ann) = (server.user("bot").await, server.user("ann").await);
    for user in [&mut holder, &mut ann] {
        user.join("#tea").await;
    }
    let mut rig = Rig::start("irc", &table(&server.address(), "channels = [\"#tea\"]"));
    rig.connected().await;
    assert!(ann.until("JOIN").await.starts_with(":bot_!"));
    ann.say("bot_", "is it you?").await;
    let message = loop {
        if let EventKind::Message(message) = rig.event().await.kind {
            break message;
        }
    };
    assert!(message.addressed);
    holder.write("QUIT").await;
    assert_eq!(member(&mut rig, "bot").await, ("#tea".to_owned(), Membership::Left));
    assert!(ann.until("NICK").await.starts_with(":bot_!"));
    rig.deliver("#tea", say("it is me")).await.unwrap();
    assert!(ann.until("it is me").await.starts_with(":bot!"));
    rig.stop().await;
}

#[tokio::test]
async fn channels_that_let_nobody_in_and_a_wrong_password_are_said() {
    let test = "channels_that_let_nobody_in_and_a_wrong_password_are_said";
    let Some(server) = Ngircd::start(test, "Password = s3cret").await else { return };
    let mut ann = server.user_with("ann", "PASS s3cret\r\n").await;
    for channel in ["#closed", "#keyed"] {
        ann.join(channel).await;
    }
    ann.write("MODE #closed +i\r\nMODE #keyed +k tea\r\nPING done").await;
    ann.until("done").await;
    let with = |channels: &str| table(&server.address(), &format!("password = \"s3cret\"\nchannels = {channels}"));
    let mut rig = Rig::start("irc", &with("[\"#closed\", \"#keyed wrong\"]"));
    let link = rig.link(|link| matches!(link, Link::Degraded { .. })).await;
    assert!(matches!(&link, Link::Degraded { error } if error.contains("#closed")), "{link:?}");
    // Invited we come in after all.
    ann.write("INVITE bot #closed").await;
    rig.connected().await;
    rig.stop().await;
    let mut rig = Rig::start("irc", &with("[\"#closed\", \"#keyed tea\"]"));
    rig.connected().await;
    rig.stop().await;

    let mut rig = Rig::start("irc", &table(&server.address(), "password = \"wr0ng\""));
    let link = rig.link(|link| matches!(link, Link::AuthFailed { .. } | Link::BackingOff { .. })).await;
    assert!(matches!(&link, Link::AuthFailed { error } if !error.contains("wr0ng")), "{link:?}");
    rig.stop().await;
}

/// A server of which each line is in a test's hand.
struct Scripted {
    reader: BufReader<TcpStream>,
}

impl Scripted {
    async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = timeout(WITHIN, listener.accept()).await.expect("a client").expect("a client");
        Self { reader: BufReader::new(stream) }
    }

    async fn says(&mut self, lines: &str) {
        self.reader.get_mut().write_all(format!("{lines}\r\n").as_bytes()).await.expect("a client that reads");
    }

    async fn until(&mut self, words: &str) -> String {
        let found = timeout(WITHIN, async {
            loop {
                let mut line = String::new();
                let count = self.reader.read_line(&mut line).await.expect("a client that writes");
                assert!(count > 0, "the client closed before: {words}");
                if line.contains(words) {
                    return line.trim_end().to_owned();
                }
            }
        });
        found.await.unwrap_or_else(|_| panic!("not in time: {words}"))
    }

    /// Lets a client in that wants no capability.
    async fn welcome(&mut self) {
        self.until("USER").await;
        self.says(":s 001 bot :Welcome").await;
    }
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    (listener, address)
}

#[tokio::test]
async fn f063_sasl_signs_in_or_is_refused_for_good() {
    let (listener, address) = listener().await;
    let sasl = "sasl_user = \"bot\"\nsasl_password = \"s3cret\"";
    let mut rig = Rig::start("irc", &table(&address, sasl));
    let mut server = Scripted::accept(&listener).await;
    server.until("CAP LS 302").await;
    server.says(":s CAP * LS * :server-time echo-message\r\n:s CAP * LS :message-tags sasl=PLAIN").await;
    assert_eq!(server.until("CAP REQ").await, "CAP REQ :message-tags server-time echo-message sasl");
    server.says(":s CAP * ACK :message-tags server-time echo-message sasl").await;
    server.until("AUTHENTICATE PLAIN").await;
    server.says("AUTHENTICATE +").await;
    // NUL bot NUL s3cret.
    server.until("AUTHENTICATE AGJvdABzM2NyZXQ=").await;
    server.says(":s 903 * :good").await;
    server.until("CAP END").await;
    server.says(":s 001 bot :Welcome").await;
    rig.connected().await;

    // An echo gives the message its id; the same message again has the same.
    let answer = rig.begin("#tea", say("x")).await;
    let question = server.until("PING").await;
    let token = question.trim_start_matches("PING ").to_owned();
    server.says(&format!("@msgid=m7 :bot!b@h PRIVMSG #tea :x\r\n:s PONG s :{token}")).await;
    let receipt = timeout(WITHIN, answer).await.unwrap().unwrap().unwrap();
    assert_eq!(receipt.platform_id.as_deref(), Some("m7"));
    for _ in 0..2 {
        server.says("@msgid=m8 :ann!a@h PRIVMSG #tea :hi").await;
        assert_eq!(rig.event().await.platform_id.as_deref(), Some("m8"));
    }
    drop(server);

    let mut server = Scripted::accept(&listener).await;
    server.says(":s CAP * LS :sasl").await;
    server.until("CAP REQ").await;
    server.says(":s CAP * ACK :sasl\r\nAUTHENTICATE +\r\n:s 904 * :no").await;
    let link = rig.link(|link| matches!(link, Link::AuthFailed { .. })).await;
    assert!(!format!("{link:?}").contains("s3cret"));
    rig.stop().await;
}

#[tokio::test]
async fn f061_a_server_that_hangs_babbles_or_breaks_off_is_left_and_dialled_again() {
    let (listener, address) = listener().await;
    let mut rig = Rig::start("irc", &table(&address, "stall_timeout = \"600ms\""));
    // Silent: given up.
    let silent = Scripted::accept(&listener).await;
    let (error, _) = rig.backing_off().await;
    assert!(error.contains("nothing heard"), "{error}");
    drop(silent);
    // In haste.
    let mut server = Scripted::accept(&listener).await;
    server.until("USER").await;
    drop(server);
    // Babble is no line, and the server is asked for a sign of life.
    let mut server = Scripted::accept(&listener).await;
    server.welcome().await;
    server.says(&"x".repeat(20_000)).await;
    server.says("\0\0\0\r\n@;;; \r\n: \r\nPING :here?").await;
    server.until("PONG here?").await;
    server.until("PING alive").await;
    server.says(":s PONG s :alive\r\n:ann!a@h PRIVMSG bot :still there").await;
    assert_eq!(rig.message().await.text, "still there");
    // f062: a text that left before the connection broke is uncertain.
    let answer = rig.begin("ann", say("x")).await;
    server.until("PRIVMSG ann x").await;
    drop(server);
    let error = timeout(WITHIN, answer).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, DeliveryError::Uncertain(_)), "{error:?}");
    rig.stop().await;
}

#[tokio::test]
async fn a_flood_leaves_at_the_pace_that_servers_take() {
    let (listener, address) = listener().await;
    let text = format!("server = \"{address}\"\ntls = false\nnick = \"bot\"");
    let mut rig = Rig::start("irc", &text);
    let mut server = Scripted::accept(&listener).await;
    server.welcome().await;
    rig.connected().await;
    let answer = rig.begin("#tea", say("1\n2\n3\n4\n5")).await;
    for number in 1..=4 {
        server.until(&format!("PRIVMSG #tea {number}")).await;
    }
    // The fifth does not leave with the others: the server hears nothing for a while.
    let early = timeout(Duration::from_millis(500), server.until("PRIVMSG")).await;
    assert!(early.is_err(), "{early:?}");
    server.until("PRIVMSG #tea 5").await;
    let token = server.until("PING").await.trim_start_matches("PING ").to_owned();
    server.says(&format!(":s PONG s :{token}")).await;
    timeout(WITHIN, answer).await.unwrap().unwrap().unwrap();
    rig.stop().await;
}

#[tokio::test]
async fn f072_without_a_good_certificate_nothing_is_said() {
    let (listener, address) = listener().await;
    let text = format!("server = \"{address}\"\nnick = \"bot\"\npassword = \"s3cret\"\nreconnect_max = \"200ms\"");
    let mut rig = Rig::start("irc", &text);
    let mut server = Scripted::accept(&listener).await;
    server.says("no TLS here").await;
    let (error, _) = rig.backing_off().await;
    assert!(error.contains("TLS"), "{error}");
    let mut said = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut server.reader, &mut said).await.ok();
    assert!(!said.windows(4).any(|window| window == b"NICK" || window == b"PASS"));
    rig.stop().await;
}
