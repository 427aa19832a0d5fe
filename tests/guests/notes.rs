//! Keeps what it is told, under any key: `!set KEY TEXT` · `!get KEY` · `!delete KEY` · `!keys [PREFIX]` · `!fill N` writes N keys
//! of 100 bytes each in one event.

use bothost_guest::{Bot, Command, Manifest, Result, state};

const VALUE_BYTES: usize = 100;

struct Notes;

bothost_guest::export!(Notes);

impl Bot for Notes {
    fn describe() -> Manifest {
        guests::manifest("notes", &["set", "get", "delete", "keys", "fill"])
    }

    fn on_command(command: &Command) -> Result {
        let (key, text) = command.text().split_once(' ').unwrap_or((command.text(), ""));
        let answer = match command.name.as_str() {
            "set" => {
                state::set(key, text)?;
                format!("set {key}")
            }
            "get" => state::get_string(key)?.unwrap_or_else(|| "nothing".to_owned()),
            "delete" => {
                state::delete(key)?;
                format!("deleted {key}")
            }
            "keys" => format!("keys: {}", state::keys(key)?.join(" ")),
            "fill" => fill(guests::number(command, 1)?)?,
            _ => return guests::ping(command),
        };
        command.answer(answer).map(drop)
    }
}

fn fill(count: u64) -> Result<String> {
    for number in 0..count {
        state::set(&format!("fill-{number:06}"), [b'x'; VALUE_BYTES])?;
    }
    Ok(format!("filled {count}"))
}
