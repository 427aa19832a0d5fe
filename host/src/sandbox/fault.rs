//! What went wrong in a guest, by kind. Told from wasmtime's errors here and nowhere else.

use wasmtime::component::ResourceTableError;
use wasmtime::{Trap, WasmBacktrace};

use super::limiter::Refused;
use crate::units::ByteSize;

/// Most lines of a backtrace that are kept.
const BACKTRACE_LINES_MAX: usize = 20;

/// The kinds of fault. What a supervisor, a metric and a reader tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The guest returned a failure.
    Failed,
    /// The guest panicked, or threw what nobody caught.
    Panicked,
    /// The guest trapped for another reason.
    Trapped,
    /// Its fuel ran out.
    OutOfFuel,
    /// It took too long, host calls included.
    TimedOut,
    /// It asked for more memory than it may have, and trapped.
    OutOfMemory,
    /// It asked for more table elements than it may have, and trapped.
    OutOfTable,
    /// It recursed too deep.
    StackOverflow,
    /// It passed more bytes in one host call than it may.
    CopiedTooMuch,
    /// It held more resources or handles than it may.
    OutOfHandles,
    /// It called `exit` with failure.
    Exited,
    /// It called `exit` with success: it means to end.
    Quit,
    /// What it wrote could not be committed: a quota, or a value that is no number.
    Refused,
    /// The host failed it. Not the guest's fault.
    Host,
}

impl FaultKind {
    /// Returns the kind's name in metrics and listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Panicked => "panicked",
            Self::Trapped => "trapped",
            Self::OutOfFuel => "out-of-fuel",
            Self::TimedOut => "timed-out",
            Self::OutOfMemory => "out-of-memory",
            Self::OutOfTable => "out-of-table",
            Self::StackOverflow => "stack-overflow",
            Self::CopiedTooMuch => "copied-too-much",
            Self::OutOfHandles => "out-of-handles",
            Self::Exited => "exited",
            Self::Quit => "quit",
            Self::Refused => "refused",
            Self::Host => "host",
        }
    }
}

/// One fault of one guest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", .kind.as_str())]
pub struct Fault {
    /// What kind of fault.
    pub kind: FaultKind,
    /// What happened, for people: the panic's text, the limit that was reached and its configuration key.
    pub message: String,
    /// The guest's functions, innermost first, with file and line where the component has them.
    pub backtrace: Vec<String>,
}

/// What is known beside the error itself.
pub(super) struct Circumstances {
    pub(super) refused: Option<Refused>,
    /// The end of what the guest wrote to standard error.
    pub(super) stderr_tail: String,
    pub(super) fuel_limit: u64,
    pub(super) memory_limit: u64,
    pub(super) table_limit: u32,
    pub(super) copied_limit: usize,
}

impl Fault {
    /// Returns a fault without a backtrace.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), backtrace: Vec::new() }
    }

    /// Returns the fault behind an error of a call or an instantiation.
    pub(super) fn of(error: &wasmtime::Error, circumstances: &Circumstances) -> Self {
        let (kind, message) = classify(error, circumstances);
        Self { kind, message, backtrace: backtrace(error) }
    }
}

fn classify(error: &wasmtime::Error, known: &Circumstances) -> (FaultKind, String) {
    let trap = error.downcast_ref::<Trap>();
    if trap == Some(&Trap::OutOfFuel) {
        let message = format!("used up its fuel of {} (limits.fuel_per_event)", known.fuel_limit);
        return (FaultKind::OutOfFuel, message);
    }
    if trap == Some(&Trap::StackOverflow) {
        return (FaultKind::StackOverflow, "recursed too deep: the call stack is exhausted".to_owned());
    }
    // A refused growth is no fault by itself; a guest that then traps does so because of it.
    if let Some(refused) = known.refused {
        return refused_growth(refused, known);
    }
    if let Some(text) = panic_text(&known.stderr_tail).filter(|_| trap.is_some()) {
        return (FaultKind::Panicked, text.to_owned());
    }
    if let Some(trap) = trap {
        return (FaultKind::Trapped, trap.to_string());
    }
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        let kind = if exit.0 == 0 { FaultKind::Quit } else { FaultKind::Exited };
        return (kind, format!("called exit({}); a bot returns from `handle` instead", exit.0));
    }
    let text = format!("{:#}", error.root_cause());
    // wasmtime has no public types for these two.
    if text.contains("too much data is being copied") {
        let limit = ByteSize(known.copied_limit as u64);
        return (FaultKind::CopiedTooMuch, format!("passed more than {limit} in one host call"));
    }
    if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) || text.contains("handle limit exceeded") {
        return (FaultKind::OutOfHandles, format!("holds too many resources: {text}"));
    }
    (FaultKind::Trapped, text)
}

fn refused_growth(refused: Refused, known: &Circumstances) -> (FaultKind, String) {
    match refused {
        Refused::Memory { asked_bytes } => {
            let (asked, limit) = (ByteSize(asked_bytes), ByteSize(known.memory_limit));
            (FaultKind::OutOfMemory, format!("asked for {asked} of memory, limits.memory is {limit}"))
        }
        Refused::Table { asked_elements } => {
            let limit = known.table_limit;
            let message = format!("asked for {asked_elements} table elements, limits.table_elements is {limit}");
            (FaultKind::OutOfTable, message)
        }
    }
}

/// Returns the text of the last panic in what a guest wrote to standard error.
fn panic_text(stderr: &str) -> Option<&str> {
    let begin = stderr.rfind("panicked at")?;
    let text = &stderr[begin..];
    // Rust's hint about backtraces helps nobody here.
    let end = text.find("\nnote: run with").unwrap_or(text.len());
    Some(text[..end].trim_end())
}

fn backtrace(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let mut lines = Vec::new();
    for frame in backtrace.frames() {
        let function = frame.func_name().map_or_else(|| format!("function {}", frame.func_index()), str::to_owned);
        if frame.symbols().is_empty() {
            lines.push(function);
            continue;
        }
        for symbol in frame.symbols() {
            let name = symbol.name().unwrap_or(&function);
            match (symbol.file(), symbol.line()) {
                (Some(file), Some(line)) => lines.push(format!("{name} at {file}:{line}")),
                _ => lines.push(name.to_owned()),
            }
        }
    }
    lines.truncate(BACKTRACE_LINES_MAX);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_panic_is_found_without_the_hint() {
        let stderr =
            "warming up\n\nthread 'main' panicked at src/lib.rs:1:2:\nboom\nnote: run with `RUST_BACKTRACE=1`\n";
        assert_eq!(panic_text(stderr), Some("panicked at src/lib.rs:1:2:\nboom"));
        assert_eq!(panic_text("all is well"), None);
    }
}
