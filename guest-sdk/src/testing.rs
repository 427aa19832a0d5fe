//! A double of the host, so that a bot's logic runs under plain `cargo test`. Native builds only.
//!
//! [`Host`] hands events to a bot as the real host does: each handler is a transaction that takes effect when it returns
//! `Ok` and leaves no trace but logs and metrics otherwise. Limits on keys, names and sizes hold; limits that the operator
//! sets, such as sends per minute, do not. Time stands still until [`Host::advance`].
//!
//! ```
//! use bothost_guest::{Bot, Command, Failure, Manifest, Result, state, testing::Host};
//!
//! struct Tally;
//!
//! impl Bot for Tally {
//!     fn describe() -> Manifest {
//!         Manifest::new("tally", "0.1.0").command("add", "adds to the tally", "NUMBER")
//!     }
//!
//!     fn on_command(command: &Command) -> Result {
//!         let sum = state::add("tally", 1)?;
//!         let number: i64 = command.text().parse()?;
//!         command.answer(format!("{}", sum - 1 + number))?;
//!         Ok(())
//!     }
//! }
//!
//! let mut host = Host::<Tally>::new();
//! let failure = host.message("lobby", "alice", "!add many").unwrap_err();
//! assert!(matches!(failure, Failure::Other(_)));
//! assert!(host.state().is_empty(), "a failed handler leaves no trace");
//!
//! host.message("lobby", "alice", "!add 4").unwrap();
//! assert_eq!(host.sent_texts(), ["4"]);
//! ```

mod command;
pub(crate) mod imports;
mod inspect;
mod run;
mod world;

pub use inspect::{Alert, LogLine, Metric, Sent, SetTimer};
pub use run::Host;
