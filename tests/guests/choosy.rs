//! Has settings of every kind that a form can ask for, and a voice with the operator: `!greet` answers as its settings say, `!alert
//! SUMMARY` raises a warning, `!fail TEXT` fails politely.

use bothost_guest::alerts::{self, Severity};
use bothost_guest::{Bot, Command, Manifest, Result, settings};

const SCHEMA: &str = r#"{"type":"object","required":["greeting"],"properties":{
    "greeting":{"type":"string","title":"Greeting","description":"What it says to everybody.","default":"hello"},
    "limit":{"type":"integer","title":"Limit","minimum":1,"maximum":9,"default":3},
    "loud":{"type":"boolean","title":"Loud","default":false},
    "mood":{"type":"string","title":"Mood","enum":["calm","merry"],"default":"calm"},
    "words":{"type":"array","title":"Words","items":{"type":"string"}},
    "key":{"type":"string","title":"Key","description":"Of a service that it asks.","format":"password"}}}"#;

struct Choosy;

bothost_guest::export!(Choosy);

impl Bot for Choosy {
    fn describe() -> Manifest {
        guests::manifest("choosy", &["greet", "alert", "fail"]).settings_schema(SCHEMA)
    }

    fn on_command(command: &Command) -> Result {
        match command.name.as_str() {
            "greet" => command.answer(settings::get::<String>("greeting")?.unwrap_or_default()).map(drop),
            "alert" => {
                alerts::raise("told", Severity::Warning, command.text(), &[("sender", &command.message.sender.id)]);
                command.answer("raised").map(drop)
            }
            "fail" => Err(command.text().into()),
            _ => guests::ping(command),
        }
    }
}
