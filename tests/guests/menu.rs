//! Asks with buttons and says what was pressed: `!menu` offers three, `!code` answers with a long block of code.

use bothost_guest::messaging::{self, Button, Outgoing};
use bothost_guest::{Bot, ButtonPress, Command, Manifest, Result};

struct Menu;

bothost_guest::export!(Menu);

impl Bot for Menu {
    fn describe() -> Manifest {
        guests::manifest("menu", &["menu", "code"])
    }

    fn on_command(command: &Command) -> Result {
        match command.name.as_str() {
            "menu" => {
                let rows = [Button::new("Tea", "tea"), Button::new("Coffee", "coffee"), Button::new("Water", "water")];
                command.answer(Outgoing::from("What will it be?").buttons(rows)).map(drop)
            }
            "code" => {
                let lines = "let answer = 42;\n".repeat(400);
                command.answer(format!("Here it is:\n```rust\n{lines}```\nThat is all.")).map(drop)
            }
            _ => guests::ping(command),
        }
    }

    fn on_button(press: &ButtonPress) -> Result {
        messaging::send(&press.conversation, format!("one {}", press.data)).map(drop)
    }
}
