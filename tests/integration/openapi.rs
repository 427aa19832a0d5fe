//! The API answers as its description says: schemathesis, a program of others, makes requests of the description and judges every answer.

use std::process::{Output, Stdio};
use std::time::Duration;

use harness::guests;
use harness::host::Home;
use serde_json::json;
use tokio::process::Command;

use harness::peers::{peer, script};

const PROGRAM: &str = env!("CARGO_BIN_EXE_host");
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// How long requests are made, and how long until it is given up.
const SECONDS: &str = "60";
const WITHIN: Duration = Duration::from_secs(200);

const CONFIG: &str = r#"
[admin]
listen = "127.0.0.1:0"
token = "0123456789abcdef0123456789abcdef"
[connectors.absent]
type = "telegram"
token = "1:x"
api_url = "http://127.0.0.1:1"
[offers.echo]
title = "Echo"
component = "echo.wasm"
connector = { type = "telegram", api_url = "http://127.0.0.1:1" }
[bots.echo]
tenant = "acme"
"#;

/// All that it can judge, but for two. That bad requests are refused: an empty parameter counts as absent here, and is none. That nobody
/// gets in without a token: its wrong ones lock its address out, so that everything after is refused; who gets in is tested for every
/// endpoint beside the gate.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,unsupported_method,allow_header_conformance,positive_data_acceptance";

/// What has no end, or would take the configuration away by which it is let in.
const PATHS_LEFT_OUT: &str = "(/changes$|/logs$|/status$|/config/import$|/v1/config$)";

/// Guessed passwords lock its address out as well, and components are no data that it can make.
const LEFT_OUT: [&str; 2] = ["post-session", "put-components-file"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_what_the_document_says() {
    let Some(program) = peer("every_answer_is_what_the_document_says", "schemathesis/bin/schemathesis") else {
        return;
    };
    let host = Home::new(PROGRAM, CONFIG).with("echo.wasm", &guests::example("echo")).start().await;
    host.serving("echo").await;
    host.ask("1", "!echo hello").await;
    let client = bothost::admin::client::Client::new(host.home().join("data").join(bothost::host::ADMIN_SOCKET));
    let account = json!({ "name": "anna", "role": "viewer", "password": "correct horse battery" });
    client.edit("/api/v1/accounts", Some(&account)).await.unwrap();

    let address = host.host().admin_address().unwrap();
    let mut command = Command::new(program);
    command.arg("--config-file").arg(script("schemathesis.toml"));
    command.arg("run").arg(format!("http://{address}/api/openapi.json"));
    command.arg("-H").arg(format!("Authorization: Bearer {TOKEN}"));
    command.args(["--phases", "examples,coverage,fuzzing", "-n", "15", "--max-time", SECONDS, "--continue-on-failure"]);
    command.args(["--generation-database", "none", "--no-color", "--warnings", "off", "--checks", CHECKS]);
    command.args(["--exclude-path-regex", PATHS_LEFT_OUT]);
    for operation in LEFT_OUT {
        command.args(["--exclude-operation-id", operation]);
    }
    command.current_dir(host.home()).stdin(Stdio::null()).kill_on_drop(true);
    let Output { status, stdout, stderr } = tokio::time::timeout(WITHIN, command.output()).await.unwrap().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{said}");
    // What it stopped and removed on its way it was let; the host itself is well.
    client.get("/health/live").await.unwrap();
    client.get("/api/v1/bots").await.unwrap();
}
