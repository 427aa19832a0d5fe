//! The wall between bots and everything else, and the only place that names wasmtime.
//!
//! Each step is a type, so that none can be skipped:
//!
//! ```text
//! bytes ──compile──► Component ──grants──► Guest ──one call──► Attempt
//!        (child       linked, checked       a bot's: limits,    effects or a fault, with fuel,
//!         process)    against the world     settings, grants    time and memory
//! ```
//!
//! A call has three guards: fuel, with a yield every 100,000 units so that a spinning guest shares its thread; a wall-clock
//! timeout over instantiation, the call, its host calls and its post-return; ceilings on memory, tables, instances, handles,
//! resources and copied bytes. There are no epochs: their deadline would run on while a host call is awaited. A store whose
//! call ended in an error is dropped and never entered again.

mod cache;
mod clocks;
mod compile;
mod component;
mod context;
mod effects;
mod engine;
mod fault;
mod imports;
mod instance;
mod limiter;
mod state;
mod stdio;
mod turns;
mod wit;

/// What runs the guests.
pub const ENGINE_LINE: &str = "wasmtime 48";

pub use cache::{CacheFound, examine_cache};
pub use compile::{CompileError, CompileLimits, compile_in_this_process};
pub use component::{Component, ComponentError, GuestManifest, Load, LoadSource, ManifestCommand};
pub use context::{GrantError, GuestContext, Services};
pub use engine::{Sandbox, SandboxConfig, SandboxError, open_page_map};
pub use fault::{Fault, FaultKind};
pub use instance::{Attempt, Guest, StartReason};
pub use wit::SERVED_VERSION;
