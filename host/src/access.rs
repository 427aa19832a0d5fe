//! Who may do what at the admin side: accounts, tokens, sessions, and who has guessed too often. Knows no request; what is kept
//! lies in one file of the data directory.
//!
//! ```text
//! name and password ─► Lockout ─► Book ─► Session ─► Caller        an account, from the file
//! token ─────────────► Lockout ─► Book ────────────► Caller        from the file, or from the configuration
//! ```
//!
//! Nothing that lets in is kept: of a password its argon2id, of a token and a session's id their SHA-256. Sessions, and who is refused
//! for how long, are in memory only: a restart ends every session.

mod account;
mod admission;
mod book;
mod change;
mod key;
mod lockout;
mod password;
mod role;
mod session;
mod shelf;
mod token;

pub use self::account::{Account, Standing};
pub use self::admission::Admission;
pub use self::book::{Book, Opened, SignedIn};
pub use self::change::{AccountChange, NewAccount, NewToken};
pub use self::key::{Digest, Key};
pub use self::lockout::{Denied, Lockout, Source};
pub use self::password::PASSWORD_BYTES;
pub use self::role::{Caller, Power, PowerError, Role, RoleError, Scope, Way};
pub use self::shelf::{AccessError, FILE};
pub use self::token::Token;
