//! A component that can serve as a bot: compiled, linked, checked against the world. It belongs to no bot yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use wasmtime::component::{HasSelf, Linker};

use super::compile::CompileError;
use super::context::GuestContext;
use super::engine::Sandbox;
use super::fault::Fault;
use super::instance;
use super::state::GuestState;
use super::wit::v0_1::{Bot, BotPre};
use super::wit::{GUEST_INTERFACE, SERVED_VERSION, Served, classify};
use crate::event::EventClass;
use crate::id::ContentHash;

/// The first bytes of every WebAssembly file.
const MAGIC: [u8; 4] = *b"\0asm";
/// What follows in a component, and in a core module.
const COMPONENT_LAYER: [u8; 4] = [0x0d, 0, 1, 0];
const CORE_LAYER: [u8; 4] = [1, 0, 0, 0];
/// Most commands of one bot.
const COMMANDS_MAX: usize = 256;
/// Longest name of a command, in bytes.
const COMMAND_NAME_BYTES_MAX: usize = 32;

/// Why a file cannot serve as a bot. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// Its content changed after it was listed.
    #[error("the file changed while it was read; it will be looked at again")]
    Changed,
    /// It could not be read.
    #[error("{0}")]
    Unreadable(String),
    /// It is larger than it may be.
    #[error("it has {len} bytes, limits.component_size is {max}", max = crate::units::ByteSize(*max))]
    TooLarge {
        /// Its size.
        len: u64,
        /// What it may have.
        max: u64,
    },
    /// Not WebAssembly at all.
    #[error("it is not WebAssembly: {0}")]
    NotWasm(&'static str),
    /// A module, not a component.
    #[error(
        "it is a core module, not a component: build it with `cargo build --target wasm32-wasip2`, or wrap it with \
         `wasm-tools component new`"
    )]
    CoreModule,
    /// Truncated or otherwise invalid; or too costly to compile.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// A component for something else.
    #[error("it does not export {GUEST_INTERFACE}, so it is no bot; it exports {exports}: {hint}")]
    WrongWorld {
        /// What it exports instead.
        exports: String,
        /// What to do.
        hint: &'static str,
    },
    /// It was built for a version of the interface that this host does not have.
    #[error(
        "it uses version {found} of bothost:bot, this host serves {SERVED_VERSION}: update the host, or build it against \
         {SERVED_VERSION}"
    )]
    OtherVersion {
        /// The version it names.
        found: String,
    },
    /// It imports what no host of this version has.
    #[error("it imports {import}, which this host does not have; it has bothost:bot@0.1 and wasi@0.2")]
    UnknownImport {
        /// The first such import.
        import: String,
    },
    /// It exports or imports the right names with other types.
    #[error("its types do not fit bothost:bot@{SERVED_VERSION}: {0}; build it against that version's WIT")]
    WrongTypes(String),
    /// `describe` failed.
    #[error("its `describe` failed: {0}")]
    Describe(#[from] Fault),
    /// `describe` answered something that cannot be.
    #[error("its manifest is not valid: {0}")]
    Manifest(String),
}

/// What a component says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestManifest {
    /// Its own name; not the bot's.
    pub name: String,
    /// Its version.
    pub version: String,
    /// One line for people.
    pub summary: String,
    /// What it answers to by name.
    pub commands: Vec<ManifestCommand>,
    /// Which events it wants; empty: all.
    pub wants: Vec<EventClass>,
    /// JSON Schema of its settings.
    pub settings_schema: Option<String>,
}

/// One command of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestCommand {
    /// Without a prefix, lower case.
    pub name: String,
    /// One line for people.
    pub summary: String,
    /// Its arguments.
    pub usage: String,
}

/// All host functions, ready to be linked to a component.
pub(super) struct GuestLinker(Linker<GuestState>);

impl GuestLinker {
    pub(super) fn new(engine: &wasmtime::Engine) -> wasmtime::Result<Self> {
        let mut linker = Linker::new(engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
        Bot::add_to_linker::<GuestState, HasSelf<GuestState>>(&mut linker, |state| state)?;
        Ok(Self(linker))
    }
}

/// A compiled and linked component.
pub struct Component {
    pub(super) sandbox: Sandbox,
    pub(super) pre: BotPre<GuestState>,
    hash: ContentHash,
    imports: Vec<String>,
    exports: Vec<String>,
}

/// How a component was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Where from.
    pub source: LoadSource,
    /// How long it took.
    pub elapsed: Duration,
}

/// Where a component was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadSource {
    /// Another bot had it loaded.
    Shared,
    /// Its code was on disk.
    Cache,
    /// It was compiled.
    Compiled,
}

impl LoadSource {
    /// Returns the source's name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Cache => "cache",
            Self::Compiled => "compiled",
        }
    }
}

/// The components that somebody has at the moment. Bots of one file share its code: loaded for each of them, it would take
/// 0.5 MB a bot, and no slot of the pool that one of them has used would suit another.
#[derive(Default)]
pub(super) struct SharedComponents(Mutex<HashMap<ContentHash, Weak<Component>>>);

impl SharedComponents {
    fn get(&self, hash: ContentHash) -> Option<Arc<Component>> {
        self.lock().get(&hash)?.upgrade()
    }

    /// Adds a component. Returns the one to use: another load may have been faster.
    fn add(&self, component: Arc<Component>) -> Arc<Component> {
        let mut components = self.lock();
        if let Some(faster) = components.get(&component.hash).and_then(Weak::upgrade) {
            return faster;
        }
        components.retain(|_, held| held.strong_count() > 0);
        components.insert(component.hash, Arc::downgrade(&component));
        component
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ContentHash, Weak<Component>>> {
        // Nothing panics half-way in here.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Component").field("hash", &self.hash).finish_non_exhaustive()
    }
}

impl Component {
    /// Loads the component with this hash: the one that somebody has, its code from the cache, or compiled from the bytes
    /// that `read` returns. `read` may block and is called at most once. Cancelled, a compilation under way is killed.
    ///
    /// # Errors
    ///
    /// [`ComponentError`].
    pub async fn load(
        sandbox: &Sandbox,
        hash: ContentHash,
        read: impl FnOnce() -> Result<Vec<u8>, ComponentError> + Send + 'static,
    ) -> Result<(Arc<Self>, Load), ComponentError> {
        let started = Instant::now();
        let load = |source| Load { source, elapsed: started.elapsed() };
        if let Some(component) = sandbox.components.get(hash) {
            return Ok((component, load(LoadSource::Shared)));
        }
        let checked = move || {
            let bytes = read()?;
            check_header(&bytes)?;
            if ContentHash::of(&bytes) != hash {
                return Err(ComponentError::Changed);
            }
            Ok(bytes)
        };
        let (component, from_cache) = sandbox.compiler.code(hash, checked).await?;
        let (imports, exports) = names(sandbox, &component);
        check_names(&imports, &exports)?;
        let wrong_types = |error: wasmtime::Error| ComponentError::WrongTypes(format!("{error:#}"));
        let linked = sandbox.linker.0.instantiate_pre(&component).map_err(wrong_types)?;
        let pre = BotPre::new(linked).map_err(wrong_types)?;
        let component = Arc::new(Self { sandbox: sandbox.clone(), pre, hash, imports, exports });
        let source = if from_cache { LoadSource::Cache } else { LoadSource::Compiled };
        Ok((sandbox.components.add(component), load(source)))
    }

    /// Asks the component what it is. It runs with little fuel and without grants: give a context that has none.
    ///
    /// # Errors
    ///
    /// [`ComponentError::Describe`] where it faults, [`ComponentError::Manifest`] where what it says cannot be.
    pub async fn describe(self: &Arc<Self>, context: GuestContext) -> Result<GuestManifest, ComponentError> {
        let manifest = instance::describe(self, context).await?;
        check_manifest(manifest)
    }

    /// Returns the hash of the component's bytes.
    pub fn hash(&self) -> ContentHash {
        self.hash
    }

    /// Returns the names of what it imports.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// Returns the names of what it exports.
    pub fn exports(&self) -> &[String] {
        &self.exports
    }

    /// Returns its import of outgoing HTTP, if it has one.
    pub fn http_import(&self) -> Option<&str> {
        self.imports.iter().find(|import| import.starts_with("wasi:http/outgoing-handler@")).map(String::as_str)
    }
}

fn check_header(bytes: &[u8]) -> Result<(), ComponentError> {
    if bytes.is_empty() {
        return Err(ComponentError::NotWasm("the file is empty"));
    }
    if bytes.starts_with(b"\x7fELF") {
        return Err(ComponentError::NotWasm(
            "it is native code; compiled components are never loaded from users, drop the .wasm",
        ));
    }
    if !bytes.starts_with(&MAGIC[..bytes.len().min(4)]) {
        return Err(ComponentError::NotWasm("it does not begin with \\0asm"));
    }
    match bytes.get(4..8) {
        None => Err(ComponentError::NotWasm("it ends within its first 8 bytes; was it copied whole?")),
        Some(layer) if layer == COMPONENT_LAYER => Ok(()),
        Some(layer) if layer == CORE_LAYER => Err(ComponentError::CoreModule),
        Some(_) => Err(ComponentError::NotWasm("its version is neither a component's nor a core module's")),
    }
}

fn names(sandbox: &Sandbox, component: &wasmtime::component::Component) -> (Vec<String>, Vec<String>) {
    let component_type = component.component_type();
    let imports = component_type.imports(&sandbox.engine).map(|(name, _)| name.to_owned()).collect();
    let exports = component_type.exports(&sandbox.engine).map(|(name, _)| name.to_owned()).collect();
    (imports, exports)
}

fn check_names(imports: &[String], exports: &[String]) -> Result<(), ComponentError> {
    let other = |names: &[String]| {
        names.iter().find_map(|name| match classify(name) {
            Served::OtherVersion(found) => Some(found),
            _ => None,
        })
    };
    // A component of another version exports another version's guest, which is the better thing to say.
    if let Some(found) = other(exports).or_else(|| other(imports)) {
        return Err(ComponentError::OtherVersion { found });
    }
    if !exports.iter().any(|export| export == GUEST_INTERFACE) {
        let hint = if exports.iter().any(|export| export.starts_with("wasi:cli/run@")) {
            "it is a command; make the crate a `cdylib` and export a bot"
        } else if exports.iter().any(|export| export.starts_with("wasi:http/incoming-handler@")) {
            "it is an HTTP handler; build it for the world `bothost:bot/bot`"
        } else {
            "build it for the world `bothost:bot/bot` (in Rust: `bothost_guest::export!(MyBot);`)"
        };
        let exports = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
        return Err(ComponentError::WrongWorld { exports, hint });
    }
    match imports.iter().find(|import| classify(import) == Served::No) {
        Some(import) => Err(ComponentError::UnknownImport { import: import.clone() }),
        None => Ok(()),
    }
}

fn check_manifest(manifest: GuestManifest) -> Result<GuestManifest, ComponentError> {
    if manifest.commands.len() > COMMANDS_MAX {
        return Err(ComponentError::Manifest(format!("it has more than {COMMANDS_MAX} commands")));
    }
    for command in &manifest.commands {
        let name = &command.name;
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if name.is_empty() || name.len() > COMMAND_NAME_BYTES_MAX || !name.bytes().all(allowed) {
            let shown = name.escape_debug();
            return Err(ComponentError::Manifest(format!(
                "`{shown}` is no name of a command: 1 to 32 of a-z, 0-9, `_`"
            )));
        }
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn what_is_no_component_is_told_apart_by_its_first_bytes() {
        let message = |bytes: &[u8]| check_header(bytes).unwrap_err().to_string();
        assert!(message(b"").contains("empty"));
        assert!(message(b"#!/bin/sh").contains("does not begin with"));
        assert!(message(b"\0as").contains("copied whole"));
        assert!(message(b"\0asm\x01\0\0\0").contains("wasm-tools component new"));
        assert!(message(b"\x7fELF\x02").contains("native code"));
        assert!(message(b"\0asm\xff\0\0\0").contains("version"));
        assert!(check_header(b"\0asm\x0d\0\x01\0").is_ok());
    }

    #[test]
    fn another_world_another_version_and_an_unknown_import_each_say_what_to_do() {
        let command = check_names(&[], &owned(&["wasi:cli/run@0.2.6"])).unwrap_err().to_string();
        assert!(command.contains("cdylib"), "{command}");
        let newer = check_names(&[], &owned(&["bothost:bot/guest@0.2.0"])).unwrap_err().to_string();
        assert!(newer.contains("version 0.2.0") && newer.contains("update the host"), "{newer}");
        let unknown =
            check_names(&owned(&["wasi:nn/tensor@0.2.0"]), &owned(&[GUEST_INTERFACE])).unwrap_err().to_string();
        assert!(unknown.contains("wasi:nn/tensor"), "{unknown}");
        assert!(check_names(&owned(&["wasi:io/poll@0.2.6"]), &owned(&[GUEST_INTERFACE])).is_ok());
    }
}
