//! Makes the host calls that it is told to, and ends in the middle of them as it is told to.
//!
//! `!do all ROW` makes the calls that the letters of ROW stand for; `!do trap|spin|fail K ROW` makes the first K of them and then
//! executes `unreachable`, loops for ever, or returns a failure. `!seed` brings about what the calls change, and takes
//! back what they made; `!show` answers with state and timers.
//!
//! Letters: `s` sets a key, `o` overwrites one, `a` adds to one, `d` deletes one, `g` reads one · `t` sets a timer, `c` cancels
//! one · `r` raises an alert, `x` resolves one · `m` sends a message, `e` edits the last one sent (before there is one: the
//! message that told it) · `n` counts a metric, `l` logs, neither of which waits for the commit.

use std::time::Duration;

use bothost_guest::alerts::Severity;
use bothost_guest::{
    Bot, Command, EventClass, Manifest, MessageRef, Result, alerts, log, messaging, metrics, state, timers,
};

const LATER: Duration = Duration::from_secs(3600);

struct Steps;

bothost_guest::export!(Steps);

impl Bot for Steps {
    fn describe() -> Manifest {
        // Timers come anyway: it gets its commands and nothing else that people say.
        guests::manifest("steps", &["do", "seed", "show"]).wants([EventClass::Timer])
    }

    fn on_command(command: &Command) -> Result {
        match command.name.as_str() {
            "do" => act(command),
            "seed" => seed(command),
            "show" => command.answer(shown()?).map(drop),
            _ => guests::ping(command),
        }
    }
}

fn act(command: &Command) -> Result {
    let words: Vec<&str> = command.args.iter().map(String::as_str).collect();
    match words[..] {
        ["all", row] => make_calls(command, row),
        [ending, count, row] => {
            let calls = row.get(..count.parse()?).ok_or("there are fewer calls than that")?;
            make_calls(command, calls)?;
            end(ending)
        }
        _ => Err("usage: !do all ROW, !do trap|spin|fail K ROW".into()),
    }
}

/// Makes one host call for each letter.
fn make_calls(command: &Command, row: &str) -> Result {
    let at = &command.message.conversation;
    let mut last = MessageRef::from(&command.message);
    for letter in row.chars() {
        match letter {
            's' => state::set("new", "made")?,
            'o' => state::set("old", "overwritten")?,
            'a' => drop(state::add("sum", 1)?),
            'd' => state::delete("gone")?,
            'g' => drop(state::get("old")?),
            't' => timers::after("new", LATER, "")?,
            'c' => drop(timers::cancel("old")?),
            'r' => alerts::raise("new", Severity::Warning, "raised by a step", &[]),
            'x' => alerts::resolve("old"),
            'm' => last = messaging::send(at, "sent")?.into(),
            'e' => messaging::edit(at, last.clone(), "edited")?,
            'n' => metrics::count("steps_counted", 1, &[]),
            'l' => log::write(log::Level::Debug, "a step", &[]),
            other => return Err(format!("no call is called {other}").into()),
        }
    }
    Ok(())
}

fn end(ending: &str) -> Result {
    match ending {
        "trap" => unreachable_instruction(),
        "spin" => loop {
            std::hint::spin_loop();
        },
        _ => Err("told to fail".into()),
    }
}

fn seed(command: &Command) -> Result {
    state::delete("new")?;
    state::set("old", "seeded")?;
    state::set("gone", "seeded")?;
    state::delete("sum")?;
    state::add("sum", 5)?;
    timers::cancel("new")?;
    timers::after("old", LATER, "")?;
    alerts::resolve("new");
    alerts::raise("old", Severity::Info, "seeded", &[]);
    command.answer("seeded").map(drop)
}

fn shown() -> Result<String> {
    let mut shown = String::from("state:");
    for key in state::keys("")? {
        let value = state::get_string(&key)?.unwrap_or_default();
        shown.push_str(&format!(" {key}={value}"));
    }
    Ok(format!("{shown}; timers: {}", timers::names()?.join(" ")))
}

#[cfg(target_arch = "wasm32")]
fn unreachable_instruction() -> ! {
    core::arch::wasm32::unreachable()
}

#[cfg(not(target_arch = "wasm32"))]
fn unreachable_instruction() -> ! {
    panic!("a native build has no such instruction")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bothost_guest::testing::Host;

    #[test]
    fn every_letter_is_a_call_and_a_failure_leaves_nothing_of_them() {
        let mut host = Host::<Steps>::new();
        host.message("room", "alice", "!seed").expect("handled");
        let before = "state: gone=seeded old=seeded sum=5; timers: old";
        host.message("room", "alice", "!do fail 13 soadgtcrxmenl").expect_err("it fails");
        host.message("room", "alice", "!show").expect("handled");
        assert_eq!(host.sent_texts(), ["seeded", before]);
        host.message("room", "alice", "!do all soadgtcrxmenl").expect("handled");
        host.message("room", "alice", "!show").expect("handled");
        let after = "state: new=made old=overwritten sum=6; timers: new";
        assert_eq!(host.sent_texts().last(), Some(&after));
    }
}
