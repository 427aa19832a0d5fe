//! What is no bot: each kind is told apart, says what to do, and harms nobody. In the log and the listing of a host, in
//! `host inspect` and in `host check` alike.

use std::os::unix::fs::symlink;
use std::process::Command;

use harness::guests;
use harness::host::Home;

const COMPILER: &str = env!("CARGO_BIN_EXE_host");

fn inspect(bytes: &[u8]) -> (i32, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("it.wasm");
    std::fs::write(&path, bytes).unwrap();
    run(&["inspect", path.to_str().unwrap()])
}

fn run(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(COMPILER).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

/// A component of another version of the interface.
fn newer() -> Vec<u8> {
    let wit = "package bothost:bot@0.2.0; interface guest { handle: func(); } world bot { export guest; }";
    let wat = r#"(module (memory (export "memory") 1) (func (export "bothost:bot/guest@0.2.0#handle")))"#;
    guests::component_of(wat, wit, "bot")
}

/// A component of this version's names with other types.
fn wrong_types() -> Vec<u8> {
    let wit = "package bothost:bot@0.1.0; interface guest { describe: func() -> u32; } world bot { export guest; }";
    let wat = r#"(module (memory (export "memory") 1) (func (export "bothost:bot/guest@0.1.0#describe") (result i32) (i32.const 1)))"#;
    guests::component_of(wat, wit, "bot")
}

/// A component for another host altogether.
fn other_host() -> Vec<u8> {
    let wit =
        "package other:things@1.0.0; interface minds { read: func(); } world bot { import minds; export f: func(); }";
    let wat = r#"(module
        (import "other:things/minds@1.0.0" "read" (func $read))
        (memory (export "memory") 1)
        (func (export "f") (call $read)))"#;
    guests::component_of(wat, wit, "bot")
}

/// Every kind of bad file, and what is said of it.
fn bad_files() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let echo = guests::example("echo");
    let core = wat::parse_str("(module)").unwrap();
    vec![
        ("empty", Vec::new(), "empty"),
        ("text", b"#!/bin/sh\n".to_vec(), "not WebAssembly"),
        ("native", b"\x7fELF\x02\x01\x01".to_vec(), "native code"),
        ("core-module", core, "wasm-tools component new"),
        ("other-world", wat::parse_str("(component)").unwrap(), "it exports nothing"),
        ("newer", newer(), "version 0.2.0"),
        ("wrong-types", wrong_types(), "do not fit bothost:bot@0.1.0"),
        ("other-host", other_host(), "it exports f"),
        ("truncated", echo[..echo.len() * 2 / 3].to_vec(), "out of bounds"),
        ("header-only", echo[..6].to_vec(), "copied whole"),
    ]
}

#[test]
fn inspect_says_of_each_bad_file_what_it_is() {
    for (name, bytes, expected) in bad_files() {
        let (code, text) = inspect(&bytes);
        assert_eq!(code, 1, "{name}: {text}");
        assert!(text.contains(expected), "{name}: {text}");
    }
}

#[test]
fn inspect_shows_what_a_bot_is() {
    let (code, text) = inspect(&guests::example("echo"));
    assert_eq!(code, 0, "{text}");
    for expected in ["echo 0.1.0", "!ping", "bothost:bot@0.1.0", "none needed", "bothost:bot/state@0.1.0"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let (_, text) = inspect(&guests::guest("fetch"));
    assert!(text.contains("http = [\"api.example.com\"]"), "{text}");
}

#[test]
fn f033_a_component_truncated_anywhere_is_refused_and_nothing_panics() {
    let echo = guests::example("echo");
    // The child compiles whatever gets that far, so each costs a process; a few dozen cover every section.
    for len in (0..echo.len()).step_by(echo.len() / 40) {
        let (code, text) = inspect(&echo[..len]);
        assert_eq!(code, 1, "{len}: {text}");
        assert!(!text.contains("panicked"), "{len}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_file_is_a_rejected_bot_and_the_good_one_runs() {
    let mut home = Home::new(COMPILER, "").with("echo.wasm", &guests::example("echo"));
    for (name, bytes, _) in bad_files() {
        home = home.with(&format!("{name}.wasm"), &bytes);
    }
    rustix::fs::mknodat(
        rustix::fs::CWD,
        home.bots().join("fifo.wasm"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    symlink("/dev/zero", home.bots().join("device.wasm")).unwrap();
    std::fs::create_dir(home.bots().join("directory.wasm")).unwrap();
    let host = home.start().await;
    host.serving("echo").await;
    for (name, _, expected) in bad_files() {
        let reason = host.rejected(name).await;
        assert!(reason.contains(expected), "{name}: {reason}");
    }
    for (name, expected) in [("fifo", "a named pipe"), ("device", "a device"), ("directory", "a directory")] {
        let reason = host.rejected(name).await;
        assert!(reason.contains(expected), "{name}: {reason}");
    }
    assert_eq!(host.ask("lobby", "!echo fine").await, "fine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_granted_is_refused_with_the_line_that_grants_it() {
    let host = Home::new(COMPILER, "").with("fetch.wasm", &guests::guest("fetch")).start().await;
    let reason = host.rejected("fetch").await;
    assert!(reason.contains("http = [\"api.example.com\"]") && reason.contains("[bots.fetch.grants]"), "{reason}");
    host.put("fetch.toml", b"grants = { http = [] }");
    host.serving("fetch").await;
}

#[test]
fn check_tells_the_bad_from_the_good() {
    let dir = tempfile::tempdir().unwrap();
    let bots = dir.path().join("bots");
    std::fs::create_dir(&bots).unwrap();
    std::fs::write(bots.join("echo.wasm"), guests::example("echo")).unwrap();
    let config = dir.path().join("config.toml");
    std::fs::write(&config, "").unwrap();
    let (code, text) = run(&["check", config.to_str().unwrap()]);
    assert_eq!((code, text.contains("is good: 1 bot, 0 connectors")), (0, true), "{text}");
    std::fs::write(bots.join("core.wasm"), wat::parse_str("(module)").unwrap()).unwrap();
    let (code, text) = run(&["check", config.to_str().unwrap()]);
    assert_eq!((code, text.contains("bot core: ")), (1, true), "{text}");
    std::fs::write(bots.join("core.toml"), "conectors = []").unwrap();
    let (code, text) = run(&["check", config.to_str().unwrap()]);
    assert_eq!(code, 64, "{text}");
    assert!(text.contains("core.toml:1:1:") && text.contains("connectors"), "{text}");
}
