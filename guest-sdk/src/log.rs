//! The bot's log. Standard output and standard error go there too.
//!
//! A line is written at once and stays even where the handler fails. Control characters are escaped; lines past
//! `limits.log_rate` are dropped and counted by the host. The macros format like `println!`, and take fields after a `;`:
//!
//! ```no_run
//! use bothost_guest::log;
//! let (room, took) = ("lobby", 12);
//! log::info!("handled {room}");
//! log::warn!("slow"; room = room, took_ms = took);
//! ```

use crate::host;

#[doc(inline)]
pub use crate::{
    __log_debug as debug, __log_error as error, __log_info as info, __log_trace as trace, __log_warn as warn,
};

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Every step.
    Trace,
    /// For whoever looks for a mistake.
    Debug,
    /// What a reader of the log wants to know.
    Info,
    /// Something is odd.
    Warn,
    /// Something has failed.
    Error,
}

/// Writes one line with fields, which are pairs of name and value. The macros of this module are short for it.
pub fn write(level: Level, message: &str, fields: &[(&str, &str)]) {
    host::log::write(level, message, fields);
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident, $format:literal $(, $argument:expr)* $(,)? $(; $($name:ident = $value:expr),+ $(,)?)?) => {
        $crate::log::write(
            $crate::log::Level::$level,
            &::std::format!($format $(, $argument)*),
            &[$($((::std::stringify!($name), ::std::string::ToString::to_string(&$value).as_str())),+)?],
        )
    };
}

/// Writes a line of level `trace`.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_trace {
    ($($arguments:tt)+) => { $crate::__log!(Trace, $($arguments)+) };
}

/// Writes a line of level `debug`.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug {
    ($($arguments:tt)+) => { $crate::__log!(Debug, $($arguments)+) };
}

/// Writes a line of level `info`.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_info {
    ($($arguments:tt)+) => { $crate::__log!(Info, $($arguments)+) };
}

/// Writes a line of level `warn`.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn {
    ($($arguments:tt)+) => { $crate::__log!(Warn, $($arguments)+) };
}

/// Writes a line of level `error`.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_error {
    ($($arguments:tt)+) => { $crate::__log!(Error, $($arguments)+) };
}
