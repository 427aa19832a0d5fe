//! The double keeps the promises of the interface: transactions, limits, timers, and what `describe` may not do.

use std::time::Duration;

use bothost_guest::alerts::Severity;
use bothost_guest::log::Level;
use bothost_guest::testing::{Host, Metric, Sent};
use bothost_guest::timers::Schedule;
use bothost_guest::{
    Bot, Command, Conversation, Event, EventKind, Failure, Manifest, MessageRef, Outgoing, Result, StartReason,
    TimerFired, alerts, log, messaging, metrics, settings, state, timers,
};

/// Does what a test tells it to, by name.
struct Puppet;

impl Bot for Puppet {
    fn describe() -> Manifest {
        log::info!("describing");
        let refused = state::get("key").expect_err("nothing is granted yet");
        assert!(matches!(refused, Failure::NotGranted(_)), "{refused}");
        assert!(settings::secrets().is_empty());
        let names = ["all", "add", "expiring", "keys", "quota", "limits", "timers", "nested", "edit", "setting", "raw"];
        names.into_iter().fold(Manifest::new("puppet", "0"), |manifest, name| manifest.command(name, "", ""))
    }

    fn init(reason: StartReason) -> Result {
        state::set("started", format!("{reason:?}"))
    }

    fn handle(event: &Event) -> Result {
        match &event.kind {
            EventKind::Command(command) => Self::on_command(command),
            EventKind::Timer(timer) => Self::on_timer(timer),
            EventKind::Message(message) if event.attempt < 3 => {
                message.answer("never seen")?;
                Err(format!("attempt {}", event.attempt).into())
            }
            EventKind::Message(message) => message.answer(format!("at attempt {}", event.attempt)).map(drop),
            _ => Ok(()),
        }
    }

    fn on_command(command: &Command) -> Result {
        match command.name.as_str() {
            "all" => everything(command),
            "add" => state::add("n", command.text().parse()?).map(drop),
            "expiring" => state::set_for("short", "lived", Duration::from_secs(10)),
            "keys" => keys(command),
            "quota" => state::set("big", vec![0; 200]),
            "limits" => limits(),
            "timers" => set_timers(&command.message.conversation),
            "nested" => Host::<Puppet>::new().message("room", "mallory", "hi"),
            "edit" => edit(command),
            "setting" => {
                let limit: Option<u32> = settings::get("limit")?;
                let all: serde_json::Value = settings::all()?;
                command.answer(format!("{limit:?} {all} {:?}", settings::secrets())).map(drop)
            }
            "raw" => command.answer(messaging::raw().unwrap_or_default()).map(drop),
            other => Err(format!("no {other}").into()),
        }
    }

    fn on_timer(timer: &TimerFired) -> Result {
        if timer.name == "broken" {
            return Err("broken".into());
        }
        let place: Conversation = timer.json()?;
        place.send(format!("tick {}", timer.name)).map(drop)
    }
}

fn everything(command: &Command) -> Result {
    state::set("key", "value")?;
    assert_eq!(state::get_string("key")?.as_deref(), Some("value"), "a handler sees its own writes");
    timers::every("beat", Duration::from_secs(1), "")?;
    alerts::raise("hot", Severity::Critical, "it is hot", &[("celsius", "90")]);
    metrics::count("seen", 1, &[("kind", "command")]);
    log::warn!("took {}", 3; room = command.message.conversation.id, ms = 12);
    messaging::typing(&command.message.conversation);
    command.reply("done")?;
    match command.text() {
        "" => Ok(()),
        why => Err(why.into()),
    }
}

fn keys(command: &Command) -> Result {
    for number in 0..1_200 {
        state::set(&format!("k/{number:04}"), "")?;
    }
    state::set("other", "")?;
    let keys = state::keys("k/")?;
    let page = state::keys_after("k/", Some("k/0005"), 2)?;
    command.answer(format!("{} {} {page:?}", keys.len(), keys[1_199])).map(drop)
}

fn limits() -> Result {
    let long = "k".repeat(513);
    let place = Conversation::new("test", "room", bothost_guest::ConversationKind::Group);
    let button = bothost_guest::Button::new("label", "d".repeat(65));
    let refused = [
        state::get("").map(drop),
        state::get(&long).map(drop),
        state::set("key", vec![0; 1024 * 1024 + 1]),
        state::keys_after("", None, 0).map(drop),
        state::keys_after("", None, 1_001).map(drop),
        timers::every("often", Duration::from_millis(999), ""),
        timers::after(&long, Duration::ZERO, ""),
        timers::after("t", Duration::ZERO, vec![0; 64 * 1024 + 1]),
        timers::cron("t", "* * *", "UTC", ""),
        timers::cron("t", "* * * * *", "", ""),
        messaging::send(&place, "").map(drop),
        messaging::send(&place, Outgoing::text("x").buttons([button])).map(drop),
    ];
    for (number, outcome) in refused.into_iter().enumerate() {
        assert!(matches!(outcome, Err(Failure::Invalid(_))), "{number}: {outcome:?}");
    }
    Ok(())
}

fn set_timers(place: &Conversation) -> Result {
    let place = serde_json::to_vec(place)?;
    timers::every("every", Duration::from_secs(60), &place)?;
    timers::after("once", Duration::from_secs(90), &place)?;
    timers::cron("cron", "0 9 * * 1-5", "Europe/Berlin", &place)?;
    timers::after("gone", Duration::from_secs(1), &place)?;
    assert!(timers::cancel("gone")?);
    assert!(!timers::cancel("gone")?);
    assert_eq!(timers::names()?, ["cron", "every", "once"]);
    Ok(())
}

fn edit(command: &Command) -> Result {
    let place = &command.message.conversation;
    let ticket = command.answer("draft")?;
    messaging::edit(place, ticket, "final")?;
    command.react("👍")?;
    messaging::delete(place, &command.message)
}

fn host() -> Host<Puppet> {
    Host::new()
}

#[test]
fn what_a_handler_did_takes_effect_together() {
    let mut host = host();
    host.message("room", "alice", "!all").expect("handled");
    assert_eq!(host.sent_texts(), ["done"]);
    assert_eq!(host.state()["key"], b"value");
    assert_eq!(host.timers()["beat"].schedule, Schedule::Every(Duration::from_secs(1)));
    assert_eq!(host.alerts()["hot"].severity, Severity::Critical);
    let Sent::Message { message, .. } = &host.sent()[0] else { panic!("{:?}", host.sent()) };
    assert_eq!(message.reply_to, Some(MessageRef::Platform("m1".into())));
}

#[test]
fn a_failed_handler_leaves_nothing_but_logs_and_metrics() {
    let mut host = host();
    let failure = host.message("room", "alice", "!all went wrong").expect_err("fails");
    assert_eq!(failure, Failure::Other("went wrong".into()));
    assert!(host.sent().is_empty() && host.state().is_empty());
    assert!(host.timers().is_empty() && host.alerts().is_empty());
    assert_eq!(host.metrics(), [Metric::Count("seen".into(), 1, vec![("kind".into(), "command".into())])]);
    assert_eq!(host.typing().len(), 1);
    let line = &host.logs()[1];
    assert_eq!((line.level, line.message.as_str()), (Level::Warn, "took 3"));
    assert_eq!(line.fields, [("room".into(), "room".into()), ("ms".into(), "12".into())]);
}

#[test]
fn describe_may_log_and_nothing_else() {
    assert_eq!(host().logs()[0].message, "describing");
}

#[test]
fn init_is_a_transaction_of_its_own() {
    let mut host = host();
    assert!(host.state().is_empty());
    host.start(StartReason::Reloaded).expect("started");
    assert_eq!(host.state()["started"], b"Reloaded");
}

#[test]
fn a_retry_is_the_same_event_with_the_next_attempt() {
    let mut host = host();
    assert_eq!(host.message("room", "alice", "hi"), Err("attempt 1".into()));
    assert_eq!(host.retry(), Err("attempt 2".into()));
    host.retry().expect("the third time works");
    assert_eq!(host.sent_texts(), ["at attempt 3"]);
}

#[test]
fn add_counts_from_nothing_and_refuses_what_is_no_number() {
    let mut host = host().stored("other", "text");
    host.message("room", "alice", "!add 5").expect("added");
    host.message("room", "alice", "!add -7").expect("added");
    assert_eq!(host.state()["n"], b"-2");
    let mut host = host.stored("n", "many");
    assert!(matches!(host.message("room", "alice", "!add 1"), Err(Failure::Invalid(_))));
    let mut host = host.stored("n", i64::MAX.to_string());
    assert!(matches!(host.message("room", "alice", "!add 1"), Err(Failure::Invalid(_))));
}

#[test]
fn a_value_is_gone_when_its_time_is_over() {
    let mut host = host();
    host.message("room", "alice", "!expiring").expect("handled");
    host.advance(Duration::from_millis(9_999)).expect("nothing fires");
    assert_eq!(host.state()["short"], b"lived");
    host.advance(Duration::from_millis(1)).expect("nothing fires");
    assert!(host.state().is_empty());
}

#[test]
fn keys_come_in_order_past_the_thousand_of_one_call() {
    let mut host = host();
    host.message("room", "alice", "!keys").expect("handled");
    assert_eq!(host.sent_texts(), [r#"1200 k/1199 ["k/0006", "k/0007"]"#]);
}

#[test]
fn the_limits_of_the_interface_hold() {
    host().message("room", "alice", "!limits").expect("every call was refused");
    let failure = host().state_bytes_max(202).message("room", "alice", "!quota").expect_err("203 bytes");
    assert_eq!(failure, Failure::QuotaExceeded("limits.state".into()));
    host().state_bytes_max(203).message("room", "alice", "!quota").expect("203 bytes fit");
}

#[test]
fn timers_fire_in_order_as_the_clock_moves() {
    let mut host = host();
    host.message("room", "alice", "!timers").expect("set");
    assert_eq!(host.advance(Duration::from_secs(59)), Ok(0));
    assert_eq!(host.advance(Duration::from_secs(61)), Ok(3));
    assert_eq!(host.sent_texts(), ["tick every", "tick once", "tick every"]);
    host.fire("cron").expect("fires when told to");
    assert_eq!(host.timers().keys().collect::<Vec<_>>(), ["cron", "every"]);
}

#[test]
fn a_timer_whose_handler_fails_stays_set() {
    let mut host = Host::<Broken>::new();
    host.start(StartReason::Started).expect("set");
    assert_eq!(host.advance(Duration::from_secs(5)), Err("still broken".into()));
    assert_eq!(host.timers().len(), 1);
}

struct Broken;

impl Bot for Broken {
    fn describe() -> Manifest {
        Manifest::new("broken", "0")
    }

    fn init(_reason: StartReason) -> Result {
        timers::after("broken", Duration::from_secs(1), "")
    }

    fn on_timer(_timer: &TimerFired) -> Result {
        Err("still broken".into())
    }
}

#[test]
fn edits_reactions_and_deletions_name_their_message() {
    let mut host = host();
    host.message("room", "alice", "!edit").expect("handled");
    let [
        Sent::Message { ticket, .. },
        Sent::Edit { target, message, .. },
        Sent::React { emoji, .. },
        Sent::Delete { .. },
    ] = host.sent()
    else {
        panic!("{:?}", host.sent())
    };
    assert_eq!(*target, MessageRef::Sent(*ticket));
    assert_eq!((message.text.as_str(), emoji.as_str()), ("final", "👍"));
}

#[test]
fn a_refused_send_reaches_the_bot_as_a_failure() {
    let mut host = host();
    host.refuse_sends(Some(Failure::Forbidden));
    assert_eq!(host.message("room", "alice", "!edit"), Err(Failure::Forbidden));
    host.refuse_sends(None);
    host.message("room", "alice", "!edit").expect("handled");
}

#[test]
fn settings_and_secret_names_reach_the_bot() {
    let mut host = host().setting("limit", 3).secret("API_KEY");
    host.message("room", "alice", "!setting").expect("handled");
    assert_eq!(host.sent_texts(), [r#"Some(3) {"limit":3} ["API_KEY"]"#]);
    let failure = self::host().setting("limit", "three").message("room", "alice", "!setting");
    assert!(matches!(failure, Err(Failure::Invalid(_))), "{failure:?}");
}

#[test]
#[should_panic(expected = "from within a handler")]
fn a_host_within_a_handler_is_refused() {
    let _never = host().message("room", "alice", "!nested");
}

#[test]
#[should_panic(expected = "only while a testing::Host runs a handler")]
fn there_is_no_host_to_call_outside_a_handler() {
    let _never = state::get("key");
}

#[cfg(feature = "http")]
mod http {
    use super::*;
    use bothost_guest::http::{Request, Response};

    struct Fetcher;

    impl Bot for Fetcher {
        fn describe() -> Manifest {
            Manifest::new("fetcher", "0")
        }

        fn on_message(message: &bothost_guest::Message) -> Result {
            let response = Request::get(message.text.as_str()).response_bytes_max(5).send()?;
            message.answer(format!("{} {}", response.status, response.text()?)).map(drop)
        }
    }

    #[test]
    fn a_request_meets_the_tests_answer_or_no_grant() {
        let mut host = Host::<Fetcher>::new();
        let failure = host.message("room", "alice", "https://example.com/x");
        assert_eq!(failure, Err(Failure::NotGranted("http = [\"example.com\"]".into())));
        host.answer_http(|request| {
            let body = request.url.rsplit('/').next().unwrap_or_default().into();
            Ok(Response { status: 200, headers: Vec::new(), body })
        });
        host.message("room", "alice", "https://example.com/hello").expect("answered");
        assert_eq!(host.sent_texts(), ["200 hello"]);
        assert_eq!(host.requests().len(), 2);
        host.message("room", "alice", "https://example.com/too-long").expect_err("more than 5 bytes");
    }
}
