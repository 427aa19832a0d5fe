//! What an operator can do with a host that runs, and see of it.

mod belonging;

const PROGRAM: &str = env!("CARGO_BIN_EXE_host");
