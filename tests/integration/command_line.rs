//! The command line as a whole: what it says of itself, a host that is asked at an address, what is examined, and colours. With the
//! program itself.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use harness::eventually;
use harness::guests::example;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

/// Longer than any step takes; reached only by a failing test.
const WITHIN: Duration = Duration::from_secs(60);
const TOKEN: &str = "0123456789-token-of-a-test";

/// A directory with a configuration and the bot `echo`.
struct Home {
    dir: TempDir,
    address: SocketAddr,
}

impl Home {
    fn new() -> Self {
        let dir = TempDir::new().expect("a directory");
        let bots = dir.path().join("bots");
        fs::create_dir(&bots).expect("a directory");
        fs::set_permissions(&bots, fs::Permissions::from_mode(0o755)).expect("a mode");
        fs::write(bots.join("echo.wasm"), example("echo")).expect("a file");
        let address = free_address();
        let config = format!(
            "[host]\ndrain_timeout = \"1s\"\ninstances = 4\nwatch_settle = \"10ms\"\n\
             [admin]\nlisten = \"{address}\"\ntoken = \"${{BOTHOST_TEST_TOKEN}}\"\n"
        );
        fs::write(dir.path().join("config.toml"), config).expect("a file");
        Self { dir, address }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
        command.args(arguments).current_dir(self.dir.path()).env("BOTHOST_TEST_TOKEN", TOKEN).stdin(Stdio::null());
        for variable in ["BOTHOST_URL", "BOTHOST_TOKEN", "NO_COLOR", "NOTIFY_SOCKET", "CRASH_AT"] {
            command.env_remove(variable);
        }
        command
    }

    /// Runs a verb to its end.
    fn host(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
        Said::of(self.command(arguments).envs(variables.iter().copied()).output().expect("the program runs"))
    }

    /// Starts the host, and returns once its bot serves.
    async fn run(&self) -> Running {
        let child = self.command(&["run", "config.toml"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let running = Running(child.expect("the program starts"));
        eventually(WITHIN, "the bot serves", || {
            let said = self.host(&["ps", "--json"], &[]);
            let bots: Value = serde_json::from_str(&said.stdout).ok()?;
            (bots[0]["phase"] == "running").then_some(())
        })
        .await;
        running
    }

    fn doctor(&self) -> (i32, Vec<Value>) {
        let said = self.host(&["doctor", "config.toml", "--json"], &[]);
        let findings = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"));
        (said.code, findings)
    }

    /// What is wrong, by the doctor: subjects and texts.
    fn problems(&self) -> Vec<(String, String)> {
        let (code, findings) = self.doctor();
        let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        let problems = findings.iter().filter(|finding| finding["verdict"] == "problem");
        let problems: Vec<_> = problems.map(|finding| (text(finding, "subject"), text(finding, "what"))).collect();
        assert_eq!(code, i32::from(!problems.is_empty()), "{findings:?}");
        assert!(findings.iter().all(|finding| finding["verdict"] == "ok" || finding["remedy"].is_string()));
        problems
    }
}

/// What a verb has said.
#[derive(Debug)]
struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Said {
    fn of(Output { status, stdout, stderr }: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: status.code().expect("an exit code"), stdout: text(&stdout), stderr: text(&stderr) }
    }
}

/// A host that does not outlive its test.
struct Running(Child);

impl Running {
    /// Has it stop in good order.
    fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        assert!(self.0.wait().expect("it ends").success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

#[test]
fn shells_complete_every_verb_and_the_manual_tells_of_each() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let said = home.host(&["completions", shell], &[]);
        assert!(said.code == 0 && said.stdout.contains("doctor") && said.stderr.is_empty(), "{shell}: {said:?}");
        assert!(!said.stdout.contains("cpu-seconds"), "{shell} tells of what is not for people");
    }
    assert_eq!(home.host(&["completions", "csh"], &[]).code, 2);
    let page = home.host(&["man"], &[]).stdout;
    assert!(page.starts_with(".ie") && page.contains("host\\-doctor(1)"), "{page}");
    assert_eq!(home.host(&["man", "--dir", "man"], &[]).code, 0);
    let pages: Vec<_> = fs::read_dir(home.path("man")).unwrap().map(|page| page.unwrap().file_name()).collect();
    for page in ["host.1", "host-doctor.1", "host-top.1", "host-config-rollback.1"] {
        assert!(pages.iter().any(|found| found == page), "{page}: {pages:?}");
    }
    assert!(!pages.iter().any(|found| found == "host-compile.1"));
}

#[tokio::test]
async fn a_host_is_asked_at_its_address_by_those_who_have_the_token() {
    let home = Home::new();
    let (url, with_token) = (home.url(), [("BOTHOST_TOKEN", TOKEN)]);
    let nobody = home.host(&["ps", "--url", &url], &with_token);
    assert_eq!(nobody.code, 69, "{nobody:?}");
    let _running = home.run().await;
    let by_socket = home.host(&["ps"], &[]);
    fs::write(home.path("token"), format!("{TOKEN}\n")).unwrap();
    let elsewhere = TempDir::new().unwrap();
    for (arguments, variables) in [
        (&["ps", "--url", &url][..], &with_token[..]),
        (&["ps"], &[("BOTHOST_URL", url.as_str()), with_token[0]]),
        (&["ps", "--url", &url, "--token-file", home.path("token").to_str().unwrap()], &[]),
        (&["ps", "--url", &url, "--token", TOKEN], &[("BOTHOST_TOKEN", "another")]),
    ] {
        // There is no configuration here, so it is the address that counts.
        let said = home.command(arguments).current_dir(elsewhere.path()).envs(variables.iter().copied()).output();
        let said = Said::of(said.expect("the program runs"));
        assert_eq!((said.code, &said.stdout), (0, &by_socket.stdout), "{arguments:?}: {said:?}");
    }
    for variables in [&[][..], &[("BOTHOST_TOKEN", "wrong-token")]] {
        let said = home.host(&["ps", "--url", &url], variables);
        assert_eq!(said.code, 77, "{said:?}");
        assert!(!said.stderr.contains("wrong-token"));
    }
    let asked_both = home.host(&["ps", "--url", &url, "--config", "config.toml"], &with_token);
    assert_eq!(asked_both.code, 2, "{asked_both:?}");
    let absent = home.host(&["describe", "nobody", "--url", &url], &with_token);
    assert_eq!(absent.code, 1, "{absent:?}");
    // It changes something, and what it says is what the socket's answer is.
    let restarted = home.host(&["restart", "echo", "--url", &url], &with_token);
    assert!(restarted.code == 0 && restarted.stdout.starts_with("bot echo: restart"), "{restarted:?}");
}

#[test]
fn a_token_does_not_travel_in_the_clear_by_accident() {
    let home = Home::new();
    let said = home.host(&["ps", "--url", "http://192.0.2.1:8080"], &[("BOTHOST_TOKEN", TOKEN)]);
    assert!(said.code == 2 && said.stderr.contains("https://") && !said.stderr.contains(TOKEN), "{said:?}");
    let in_address = home.host(&["ps", "--url", "https://me:secret-in-url@localhost"], &[]);
    assert!(in_address.code == 2 && in_address.stderr.contains("BOTHOST_TOKEN"), "{in_address:?}");
    let by_socket = home.host(&["ps", "--token", TOKEN], &[]);
    assert!(by_socket.code == 2 && by_socket.stderr.contains("--url") && !by_socket.stderr.contains(TOKEN));
}

/// Ends TLS before the host, as a proxy does, with a certificate for `localhost` by an authority of its own. Returns the port and
/// the authority's certificate as PEM.
async fn tls_before(host: SocketAddr) -> (u16, String) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut outside) = acceptor.accept(tcp).await else { return };
                let mut inside = tokio::net::TcpStream::connect(host).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            });
        }
    });
    (port, authority_certificate.pem())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_behind_tls_is_believed_only_by_a_certificate_that_is_trusted() {
    let home = Home::new();
    let _running = home.run().await;
    let (port, authority) = tls_before(home.address).await;
    fs::write(home.path("ca.pem"), authority).unwrap();
    let url = format!("https://localhost:{port}");
    let ask = |arguments: Vec<String>| {
        let mut command = home.command(&["ps", "--url", &url]);
        command.args(arguments).env("BOTHOST_TOKEN", TOKEN);
        tokio::task::spawn_blocking(move || Said::of(command.output().expect("the program runs")))
    };
    let trusted = ask(vec!["--ca-file".into(), "ca.pem".into()]).await.unwrap();
    assert!(trusted.code == 0 && trusted.stdout.contains("echo"), "{trusted:?}");
    let stranger = ask(Vec::new()).await.unwrap();
    assert!(stranger.code == 1 && stranger.stderr.contains("--ca-file"), "{stranger:?}");
    let no_file = ask(vec!["--ca-file".into(), "config.toml".into()]).await.unwrap();
    assert!(no_file.code == 2 && no_file.stderr.contains("config.toml"), "{no_file:?}");
}

#[tokio::test]
async fn the_log_of_a_host_at_an_address_is_read_and_followed() {
    let home = Home::new();
    let _running = home.run().await;
    let (url, token) = (home.url(), ("BOTHOST_TOKEN", TOKEN));
    let read = home.host(&["logs", "--url", &url], &[token]);
    assert!(read.code == 0 && read.stdout.contains("this is in force now"), "{read:?}");
    let mut follower = Running(
        home.command(&["logs", "--url", &url, "-f", "--json", "--lines", "0"])
            .envs([token])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts"),
    );
    let mut lines = BufReader::new(follower.0.stdout.take().expect("it is piped")).lines();
    // One that is said before somebody follows is not heard, so that it is said until it is.
    let (stop, stopped) = std::sync::mpsc::sync_channel::<()>(1);
    let home = &home;
    let first = std::thread::scope(|scope| {
        scope.spawn(move || {
            while stopped.recv_timeout(Duration::from_millis(200)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                home.host(&["restart", "echo"], &[]);
            }
        });
        let first = lines.next();
        drop(stop);
        first
    });
    let line: Value = serde_json::from_str(&first.expect("a line").expect("text")).expect("JSON");
    assert!(line["message"].is_string() && line["time"].is_string(), "{line}");
}

#[tokio::test]
async fn what_is_shown_has_colours_only_where_somebody_sees_them() {
    let home = Home::new();
    let _running = home.run().await;
    let colour = "\u{1b}[32mrunning\u{1b}[0m";
    let plain = home.host(&["ps"], &[]);
    assert!(plain.stdout.contains("running") && !plain.stdout.contains('\u{1b}'), "{plain:?}");
    assert!(home.host(&["ps", "--color", "always"], &[]).stdout.contains(colour));
    for variables in [&[("NO_COLOR", "1")][..], &[("TERM", "dumb")]] {
        assert!(!home.host(&["ps"], variables).stdout.contains('\u{1b}'));
    }
    assert!(!home.host(&["ps", "--color", "always", "--json"], &[]).stdout.contains('\u{1b}'));
    let top = home.host(&["top", "--once", "--interval", "200ms"], &[]);
    assert!(top.code == 0 && top.stdout.starts_with("host ok  up ") && !top.stdout.contains('\u{1b}'), "{top:?}");
    assert!(top.stdout.contains("\nBOT ") && top.stdout.contains("\necho "), "{top:?}");
    let top: Value = serde_json::from_str(&home.host(&["top", "--interval", "200ms", "--json"], &[]).stdout).unwrap();
    assert_eq!((&top["bots"][0]["bot"]["name"], &top["status"]), (&"echo".into(), &"ok".into()));
}

#[tokio::test]
async fn the_doctor_finds_nothing_wrong_with_a_healthy_host_and_changes_nothing() {
    let home = Home::new();
    assert_eq!(home.problems(), [], "before the first start");
    let running = home.run().await;
    assert_eq!(home.problems(), [], "while it runs");
    running.stop();
    let before = tree(&home.path("data"));
    assert_eq!(home.problems(), [], "after it");
    assert_eq!(tree(&home.path("data")), before);
    let text = home.host(&["doctor", "config.toml"], &[]);
    assert!(text.code == 0 && text.stdout.contains("\nok       database "), "{text:?}");
    let none = home.host(&["doctor", "no-such.toml"], &[]);
    assert_eq!(none.code, 64, "{none:?}");
}

/// Every file below a directory with its length.
fn tree(directory: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
        } else {
            found.push((path.clone(), path.metadata().unwrap().len()));
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn the_doctor_finds_what_is_damaged_open_or_taken() {
    let home = Home::new();
    home.run().await.stop();
    let data = home.path("data");
    assert_eq!(home.problems(), []);

    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(home.path("bots"), fs::Permissions::from_mode(0o777)).unwrap();
    let open: Vec<_> = home.problems();
    assert!(open.iter().all(|(subject, _)| subject == "permissions") && open.len() == 2, "{open:?}");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(home.path("bots"), fs::Permissions::from_mode(0o755)).unwrap();

    // A page in the middle of the database.
    let database = data.join("bothost.db");
    let good = fs::read(&database).unwrap();
    let mut bad = good.clone();
    let page = bad.len() / 2 / 4096 * 4096;
    bad[page..page + 4096].iter_mut().for_each(|byte| *byte ^= 0x5a);
    fs::write(&database, &bad).unwrap();
    let damaged = home.problems();
    assert!(damaged.iter().any(|(subject, _)| subject == "database"), "{damaged:?}");
    fs::write(&database, good).unwrap();

    // The component that the generation names is changed, then gone.
    let blobs = tree(&data.join("blobs/sha256"));
    let (blob, _) = blobs.first().expect("the component is kept");
    let content = fs::read(blob).unwrap();
    fs::write(blob, [&content[1..], b"x"].concat()).unwrap();
    assert_eq!(home.problems()[0].0, "contents");
    fs::remove_file(blob).unwrap();
    let missing = home.problems();
    assert!(missing.len() == 1 && missing[0].0 == "generations", "{missing:?}");
    fs::write(blob, content).unwrap();

    let generation = data.join("generations/1.json");
    let text = fs::read_to_string(&generation).unwrap();
    fs::write(&generation, text.replacen("start", "stalk", 1)).unwrap();
    let damaged = home.problems();
    assert!(damaged.len() == 1 && damaged[0].0 == "generations", "{damaged:?}");
    assert!(generation.exists(), "it is left where it is");
    fs::write(&generation, text).unwrap();

    let _taken = TcpListener::bind(home.address).unwrap();
    let taken = home.problems();
    assert!(taken.len() == 1 && taken[0].0 == "admin address", "{taken:?}");
}
