//! Fails on the first attempt of every message and of `!once`; later it answers which attempt it was.

use bothost_guest::{Bot, Event, EventKind, Manifest, Result};

struct FailThenOk;

bothost_guest::export!(FailThenOk);

impl Bot for FailThenOk {
    fn describe() -> Manifest {
        guests::manifest("fail_then_ok", &["once"])
    }

    fn handle(event: &Event) -> Result {
        let message = match &event.kind {
            EventKind::Command(command) if command.name == "ping" => return guests::ping(command),
            EventKind::Command(command) => &command.message,
            EventKind::Message(message) => message,
            _ => return Ok(()),
        };
        if event.attempt == 1 {
            return Err("the first attempt fails".into());
        }
        message.answer(format!("attempt {}", event.attempt)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bothost_guest::testing::Host;

    #[test]
    fn the_second_attempt_works() {
        let mut host = Host::<FailThenOk>::new();
        host.message("room", "alice", "hi").expect_err("the first attempt");
        host.retry().expect("the second attempt");
        host.message("room", "alice", "!ping").expect("ping always works");
        assert_eq!(host.sent_texts(), ["attempt 2", "pong"]);
    }
}
