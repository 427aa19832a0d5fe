//! Loops for ever in `describe`.

use bothost_guest::{Bot, Command, Manifest, Result};

struct SpinDescribe;

bothost_guest::export!(SpinDescribe);

impl Bot for SpinDescribe {
    fn describe() -> Manifest {
        loop {
            std::hint::spin_loop();
        }
    }

    fn on_command(command: &Command) -> Result {
        guests::ping(command)
    }
}
