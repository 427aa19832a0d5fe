//! What an operator can do with a host that runs, and see of it: by the API, and by the command line.

mod belonging;
mod buffers;
mod connectors;
mod following;
mod injection;
mod placing;
mod searching;

use std::process::Output;

use bothost::admin::client::{Client, ClientError};
use bothost::host::ADMIN_SOCKET;
use harness::guests;
use harness::host::{Home, PATIENCE, TestHost};
use http::StatusCode;
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_host");

/// A host that can be asked.
struct Operated {
    host: TestHost,
    client: Client,
}

impl Operated {
    /// Starts a host with these bots, each of which is the example `echo`; they serve when this returns.
    async fn start(config: &str, bots: &[&str]) -> Self {
        let home = Home::new(PROGRAM, config);
        let host = bots.iter().fold(home, |home, bot| home.with(&format!("{bot}.wasm"), &guests::example("echo")));
        let host = host.start().await;
        for bot in bots {
            host.serving(bot).await;
        }
        let client = Client::new(host.home().join("data").join(ADMIN_SOCKET));
        Self { host, client }
    }

    async fn get(&self, path: &str) -> Value {
        self.client.get(path).await.unwrap()
    }

    async fn post(&self, path: &str) -> Value {
        self.client.post(path).await.unwrap()
    }

    /// Posts what is refused, and returns the status and why.
    async fn refused(&self, path: &str, body: Option<&Value>) -> (StatusCode, String) {
        match self.client.edit(path, body).await {
            Err(ClientError::Refused { status, detail, .. }) => (status, detail),
            other => panic!("{path}: {other:?}"),
        }
    }

    /// Asks until what is answered is as wanted, and returns it.
    async fn asked_until(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answer = self.get(path).await;
            if is_so(&answer) {
                return answer;
            }
            assert!(tokio::time::Instant::now() < deadline, "{path}: {answer:#}");
            tokio::task::yield_now().await;
        }
    }

    /// Runs the command line in the host's directory.
    async fn run(&self, arguments: &[&str]) -> Output {
        let command = tokio::process::Command::new(PROGRAM).args(arguments).current_dir(self.host.home()).output();
        command.await.unwrap()
    }

    /// Runs it, which must succeed, and returns what it says.
    async fn told(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        let [said, complained] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert!(output.status.success(), "{arguments:?}: {said}{complained}");
        said
    }
}
