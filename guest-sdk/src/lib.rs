//! What a bot author imports: one trait, one macro, and functions to act through.
//!
//! A bot is a type that implements [`Bot`], handed to [`export!`]. Built for `wasm32-wasip2` it is a component that
//! bothost runs; built natively it is a plain library, whose logic [`testing`] drives under `cargo test`.
//!
//! ```
//! use bothost_guest::{Bot, Command, Manifest, Result};
//!
//! struct Greeter;
//!
//! impl Bot for Greeter {
//!     fn describe() -> Manifest {
//!         Manifest::new("greeter", env!("CARGO_PKG_VERSION"))
//!             .summary("greets by name")
//!             .command("hello", "greets somebody", "NAME")
//!     }
//!
//!     fn on_command(command: &Command) -> Result {
//!         command.answer(format!("Hello, {}!", command.text()))?;
//!         Ok(())
//!     }
//! }
//!
//! bothost_guest::export!(Greeter);
//!
//! # #[cfg(not(target_arch = "wasm32"))] {
//! let mut host = bothost_guest::testing::Host::<Greeter>::new();
//! host.message("lobby", "alice", "!hello Bob").expect("handled");
//! assert_eq!(host.sent_texts(), ["Hello, Bob!"]);
//! # }
//! ```
//!
//! # A handler is a transaction
//!
//! What a handler sends, writes to [`state`], sets in [`timers`] and raises in [`alerts`] is gathered, and takes effect
//! together when it returns `Ok`. A failure, a panic or an exceeded limit discards all of it and the event comes again, with
//! a higher [`Event::attempt`]. [`log`] and [`metrics`] take effect at once and stay.
//!
//! # No memory between events
//!
//! Each event meets a fresh instance, so the handlers of [`Bot`] have no `self`. What must last goes into [`state`].
//!
//! # Features
//!
//! `http` adds the module `http`: requests to hosts that the operator grants.

#![deny(missing_docs)]

pub mod alerts;
mod bot;
mod event;
mod failure;
mod host;
#[cfg(feature = "http")]
pub mod http;
pub mod log;
mod manifest;
mod message;
pub mod messaging;
pub mod metrics;
pub mod settings;
pub mod state;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod timers;

pub use bot::Bot;
pub use event::{
    ButtonPress, CustomEvent, Event, EventKind, MemberChange, Membership, Reaction, StartReason, TimerFired,
    WebhookRequest,
};
pub use failure::{Failure, Result};
pub use manifest::{CommandInfo, EventClass, Manifest};
pub use message::{Attachment, AttachmentKind, Command, Conversation, ConversationKind, Message, User};
pub use messaging::{Button, MessageRef, Outgoing, Priority, TextFormat, Ticket, Upload};

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use host::bindings;

/// Makes a type that implements [`Bot`] the bot of this component. Once per crate.
///
/// Built natively it checks that the type is a [`Bot`] and emits nothing, so that `cargo test` links.
///
/// ```
/// struct Silent;
/// impl bothost_guest::Bot for Silent {
///     fn describe() -> bothost_guest::Manifest {
///         bothost_guest::Manifest::new("silent", "0.1.0")
///     }
/// }
/// bothost_guest::export!(Silent);
/// ```
#[macro_export]
macro_rules! export {
    ($bot:ty) => {
        const _: fn() -> $crate::Manifest = <$bot as $crate::Bot>::describe;

        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code)]
        const _: () = {
            type Exported = $bot;
    $crate::bindings::__export_guest!(Exported with_types_in $crate::bindings);
        };
    };
}
