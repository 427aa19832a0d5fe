//! Loops for ever in `init`.

use bothost_guest::{Bot, Command, Manifest, Result, StartReason};

struct SpinInit;

bothost_guest::export!(SpinInit);

impl Bot for SpinInit {
    fn describe() -> Manifest {
        guests::manifest("spin_init", &[])
    }

    fn init(_reason: StartReason) -> Result {
        loop {
            std::hint::spin_loop();
        }
    }

    fn on_command(command: &Command) -> Result {
        guests::ping(command)
    }
}
