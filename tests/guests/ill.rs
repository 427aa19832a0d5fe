//! Is ill for as long as a file of its directory `/ward` is there: `init` fails while there is `init`, every message panics while
//! there is `trap`. Well, it answers a message with its own words.

use std::path::Path;

use bothost_guest::{Bot, Command, EventClass, Manifest, Message, Result, StartReason};

struct Ill;

bothost_guest::export!(Ill);

impl Bot for Ill {
    fn describe() -> Manifest {
        guests::manifest("ill", &[]).wants([EventClass::Message])
    }

    fn init(_: StartReason) -> Result {
        if Path::new("/ward/init").exists() { Err("there is /ward/init".into()) } else { Ok(()) }
    }

    fn on_message(message: &Message) -> Result {
        assert!(!Path::new("/ward/trap").exists(), "there is /ward/trap");
        message.answer(message.text.as_str()).map(drop)
    }

    fn on_command(command: &Command) -> Result {
        guests::ping(command)
    }
}
