//! The host as the rest of this crate calls it: the interface's functions over this crate's own types.
//!
//! The only place that knows of two sides. Built for wasm the functions call the bindings; built natively they call the
//! double in `testing`. Both sides offer the same modules and signatures, so a difference does not compile.

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings;
#[cfg(target_arch = "wasm32")]
mod convert;
#[cfg(all(target_arch = "wasm32", feature = "http"))]
pub(crate) mod fetch;
#[cfg(target_arch = "wasm32")]
mod imports;

#[cfg(target_arch = "wasm32")]
pub(crate) use imports::*;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::testing::imports::*;
