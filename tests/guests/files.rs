//! Reads and writes files, granted or not: `!read PATH`, `!write PATH TEXT`. Answers the content or the error.

use bothost_guest::{Bot, Command, Manifest, Result};

struct Files;

bothost_guest::export!(Files);

impl Bot for Files {
    fn describe() -> Manifest {
        guests::manifest("files", &["read", "write"])
    }

    fn on_command(command: &Command) -> Result {
        let outcome = match command.name.as_str() {
            "read" => std::fs::read_to_string(command.text()).map(|content| format!("read {content}")),
            "write" => {
                let (path, text) = command.text().split_once(' ').unwrap_or((command.text(), ""));
                std::fs::write(path, text).map(|()| format!("wrote {} bytes", text.len()))
            }
            _ => return guests::ping(command),
        };
        command.answer(outcome.unwrap_or_else(|error| format!("error: {error}"))).map(drop)
    }
}
