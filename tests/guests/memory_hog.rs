//! Takes memory until it is refused on `!hog`, and answers how many MiB it got; on `!hog trap` it traps instead, as most
//! programs do.

use bothost_guest::{Bot, Command, Manifest, Result};

const MIB: usize = 1024 * 1024;

struct MemoryHog;

bothost_guest::export!(MemoryHog);

impl Bot for MemoryHog {
    fn describe() -> Manifest {
        guests::manifest("memory_hog", &["hog"])
    }

    fn on_command(command: &Command) -> Result {
        match (command.name.as_str(), command.text()) {
            ("hog", "trap") => hog_until_it_traps(),
            ("hog", _) => {
                let mib = hog();
                command.answer(format!("refused after {mib} MiB")).map(drop)
            }
            _ => guests::ping(command),
        }
    }
}

/// Returns how many MiB it held when the next one was refused. It writes to each, so that the pages are real.
fn hog() -> usize {
    // The list must not grow on the way: its own allocation cannot be refused gently.
    let mut blocks: Vec<Vec<u8>> = Vec::with_capacity(8 * 1024);
    while blocks.len() < blocks.capacity() {
        let mut block = Vec::new();
        if block.try_reserve_exact(MIB).is_err() {
            break;
        }
        block.resize(MIB, 0xa5);
        blocks.push(std::hint::black_box(block));
    }
    blocks.len()
}

fn hog_until_it_traps() -> ! {
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    loop {
        blocks.push(std::hint::black_box(vec![0xa5; MIB]));
    }
}
