//! Makes pollables and never drops them: N on `!leak N`, without end on `!leak`.

use bothost_guest::{Bot, Command, Manifest, Result};

struct ResourceLeak;

bothost_guest::export!(ResourceLeak);

impl Bot for ResourceLeak {
    fn describe() -> Manifest {
        guests::manifest("resource_leak", &["leak"])
    }

    fn on_command(command: &Command) -> Result {
        match command.name.as_str() {
            "leak" => {
                let resources = guests::number(command, u64::MAX)?;
                for _ in 0..resources {
                    leak();
                }
                command.answer(format!("leaked {resources}")).map(drop)
            }
            _ => guests::ping(command),
        }
    }
}

#[cfg(target_arch = "wasm32")]
mod clocks {
    wit_bindgen::generate!({
        inline: "
            package guests:resource-leak;
            world leak { import wasi:clocks/monotonic-clock@0.2.12; }
        ",
        path: ["../../wit/v0.1"],
        world: "guests:resource-leak/leak",
        generate_all,
    });
}

#[cfg(target_arch = "wasm32")]
fn leak() {
    std::mem::forget(clocks::wasi::clocks::monotonic_clock::subscribe_duration(u64::MAX));
}

#[cfg(not(target_arch = "wasm32"))]
fn leak() {
    panic!("a native build has no pollables")
}
