//! Components for tests: those that `cargo xtask guests` and `cargo xtask bots` built, and those encoded here from text.

use std::path::{Path, PathBuf};

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn built(dir: &str, name: &str) -> Vec<u8> {
    let path: PathBuf = repository().join("target").join(dir).join(name).with_extension("wasm");
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{} is not there ({error}): run `cargo xtask {dir}`, or `cargo xtask test` for everything",
            path.display()
        )
    })
}

/// Returns a component of `tests/guests`.
pub fn guest(name: &str) -> Vec<u8> {
    built("guests", name)
}

/// Returns a component of `examples`.
pub fn example(name: &str) -> Vec<u8> {
    built("bots", name)
}

/// Returns the component made of a core module in `tests/guests/NAME.wat` that is written for the world `bot`.
pub fn guest_from_wat(name: &str) -> Vec<u8> {
    let path = repository().join("tests/guests").join(name).with_extension("wat");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    component(&text)
}

/// Returns the component made of a core module, given as text, that is written for the world `bot`.
pub fn component(wat: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(repository().join("wit/v0.1")).expect("the interface parses");
    encode(wat, &resolve, package, "bot")
}

/// Returns the component made of a core module, given as text, that is written for a world of the package in `wit`.
pub fn component_of(wat: &str, wit: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("other.wit", wit).expect("the package parses");
    encode(wat, &resolve, package, world)
}

fn encode(wat: &str, resolve: &Resolve, package: wit_parser::PackageId, world: &str) -> Vec<u8> {
    let mut module = wat::parse_str(wat).expect("the module parses");
    let world = resolve.select_world(&[package], Some(world)).expect("the world is there");
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8).expect("the world can be embedded");
    let encoder = ComponentEncoder::default().module(&module).expect("the module is one");
    encoder.validate(true).encode().expect("the module fits the world")
}

/// A core module for the world `bot` that does nothing, well: an empty manifest, `init` and `handle` answer `ok`.
pub const IDLE: &str = r#"
(module
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
  (func (export "bothost:bot/guest@0.1.0#describe") (result i32) (i32.const 1024))
  (func (export "bothost:bot/guest@0.1.0#init") (param i32) (result i32) (i32.const 2048))
  (func (export "bothost:bot/guest@0.1.0#handle") (param i32) (result i32) (i32.const 2048)))
"#;
