//! Does what it is told with timers, alerts, metrics and settings, and answers `tick NAME` when a timer fires. A timer that is
//! refused is answered with why.
//!
//! `!after NAME MS` · `!at NAME MS_SINCE_EPOCH` · `!every NAME MS` · `!cron NAME ZONE EXPRESSION` · `!cancel NAME` · `!names` ·
//! `!alert KEY info|warning|critical SUMMARY` · `!resolve KEY` · `!count NAME N` · `!gauge NAME X` · `!observe NAME X` ·
//! `!setting NAME` · `!settings` · `!secrets`

use std::time::{Duration, SystemTime};

use bothost_guest::alerts::Severity;
use bothost_guest::{Bot, Command, Conversation, Manifest, Result, TimerFired, alerts, metrics, settings, timers};

const COMMANDS: [&str; 14] = [
    "after", "at", "every", "cron", "cancel", "names", "alert", "resolve", "count", "gauge", "observe", "setting",
    "settings", "secrets",
];

struct Tick;

bothost_guest::export!(Tick);

impl Bot for Tick {
    fn describe() -> Manifest {
        guests::manifest("tick", &COMMANDS).settings_schema(r#"{"type":"object"}"#)
    }

    fn on_command(command: &Command) -> Result {
        let answer = match command.name.as_str() {
            "after" | "at" | "every" | "cron" => set_timer(command).unwrap_or_else(|failure| failure.to_string()),
            "cancel" => timers::cancel(argument(command, 0)?)?.to_string(),
            "names" => timers::names()?.join(" "),
            "alert" | "resolve" => tell_operator(command)?,
            "count" | "gauge" | "observe" => measure(command)?,
            "setting" => format!("{:?}", settings::get::<serde_json::Value>(argument(command, 0)?)?),
            "settings" => settings::all::<serde_json::Value>()?.to_string(),
            "secrets" => settings::secrets().join(" "),
            _ => return guests::ping(command),
        };
        // No timers and no secrets make an empty list, and an empty message is refused.
        command.answer(if answer.is_empty() { "none".to_owned() } else { answer }).map(drop)
    }

    fn on_timer(timer: &TimerFired) -> Result {
        timer.json::<Conversation>()?.send(format!("tick {}", timer.name)).map(drop)
    }
}

fn argument(command: &Command, index: usize) -> Result<&str> {
    let missing = || format!("!{} needs argument {}", command.name, index + 1);
    Ok(command.args.get(index).ok_or_else(missing)?)
}

fn set_timer(command: &Command) -> Result<String> {
    let name = argument(command, 0)?;
    let place = serde_json::to_vec(&command.message.conversation)?;
    let duration = || -> Result<Duration> { Ok(Duration::from_millis(argument(command, 1)?.parse()?)) };
    match command.name.as_str() {
        "after" => timers::after(name, duration()?, place)?,
        "at" => timers::at(name, SystemTime::UNIX_EPOCH + duration()?, place)?,
        "every" => timers::every(name, duration()?, place)?,
        _ => timers::cron(name, &command.args[2.min(command.args.len())..].join(" "), argument(command, 1)?, place)?,
    }
    Ok(format!("set {name}"))
}

fn tell_operator(command: &Command) -> Result<String> {
    let key = argument(command, 0)?;
    if command.name == "resolve" {
        alerts::resolve(key);
        return Ok(format!("resolved {key}"));
    }
    let severity = match argument(command, 1)? {
        "info" => Severity::Info,
        "warning" => Severity::Warning,
        "critical" => Severity::Critical,
        other => return Err(format!("no severity {other}").into()),
    };
    alerts::raise(key, severity, &command.args[2..].join(" "), &[("sender", &command.message.sender.id)]);
    Ok(format!("raised {key}"))
}

fn measure(command: &Command) -> Result<String> {
    let name = argument(command, 0)?;
    let labels = [("command", command.name.as_str())];
    match command.name.as_str() {
        "count" => metrics::count(name, argument(command, 1)?.parse()?, &labels),
        "gauge" => metrics::gauge(name, argument(command, 1)?.parse()?, &labels),
        _ => metrics::observe(name, argument(command, 1)?.parse()?, &labels),
    }
    Ok(format!("measured {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bothost_guest::testing::Host;

    #[test]
    fn every_command_is_handled() {
        let mut host = Host::<Tick>::new().setting("limit", 3).secret("KEY");
        let commands = [
            ("!after a 10", "set a"),
            ("!at b 1767225601000", "set b"),
            ("!every c 1000", "set c"),
            ("!cron d Europe/Berlin */5 * * * *", "set d"),
            ("!names", "a b c d"),
            ("!cancel c", "true"),
            ("!alert hot warning it is hot", "raised hot"),
            ("!resolve hot", "resolved hot"),
            ("!count n 1", "measured n"),
            ("!gauge g 1.5", "measured g"),
            ("!observe o 0.1", "measured o"),
            ("!setting limit", "Some(Number(3))"),
            ("!settings", r#"{"limit":3}"#),
            ("!secrets", "KEY"),
            ("!ping", "pong"),
        ];
        for (text, answer) in commands {
            host.message("room", "alice", text).expect(text);
            assert_eq!(host.sent_texts().last(), Some(&answer), "{text}");
        }
        assert_eq!(host.advance(Duration::from_secs(1)), Ok(2));
        assert_eq!(host.sent_texts()[commands.len()..], ["tick a", "tick b"]);
    }
}
