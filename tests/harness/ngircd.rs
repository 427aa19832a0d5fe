//! ngircd, a real IRC server, on 127.0.0.1: started, killed and started again. And somebody who is there.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::peers::{free_port, installed};

const PROGRAM: &str = "/usr/sbin/ngircd";
const WITHIN: Duration = Duration::from_secs(20);

/// A server. Killed when dropped.
#[derive(Debug)]
pub struct Ngircd {
    dir: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Ngircd {
    /// Starts one with these lines in its section `[Global]`; none where it is not installed.
    pub async fn start(test: &str, global: &str) -> Option<Self> {
        installed(test, Path::new(PROGRAM))?;
        let (dir, port) = (tempfile::tempdir().expect("a temporary directory"), free_port());
        let config = format!(
            "[Global]\nName = irc.test\nInfo = test\nListen = 127.0.0.1\nPorts = {port}\nMotdPhrase = hello\n{global}\n\
             [Limits]\nMaxConnectionsIP = 0\nMaxNickLength = 20\n[Options]\nDNS = no\nIdent = no\nPAM = no\n"
        );
        fs::write(dir.path().join("ngircd.conf"), config).expect("the configuration");
        let child = spawn(&dir);
        let server = Self { dir, port, child };
        server.ready().await;
        Some(server)
    }

    /// Returns where it listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it as a power failure would.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("a process to kill");
    }

    /// Starts it again after [`Ngircd::kill`].
    pub async fn start_again(&mut self) {
        self.child = spawn(&self.dir);
        self.ready().await;
    }

    async fn ready(&self) {
        let listens = async {
            while TcpStream::connect(self.address()).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(WITHIN, listens).await.expect("a server that listens");
    }

    /// Returns somebody of this name.
    pub async fn user(&self, nick: &str) -> IrcUser {
        self.user_with(nick, "").await
    }

    /// Returns somebody of this name, who says these lines first.
    pub async fn user_with(&self, nick: &str, first: &str) -> IrcUser {
        let stream = TcpStream::connect(self.address()).await.expect("a server");
        let (reader, writer) = stream.into_split();
        let mut user = IrcUser { reader: BufReader::new(reader), writer };
        user.write(&format!("{first}NICK {nick}\r\nUSER {nick} 0 * :{nick}")).await;
        user.until(" 376 ").await;
        user
    }
}

fn spawn(dir: &tempfile::TempDir) -> Child {
    Command::new(PROGRAM)
        .args(["-n", "-f", "ngircd.conf"])
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("ngircd starts")
}

/// Somebody who is connected.
#[derive(Debug)]
pub struct IrcUser {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl IrcUser {
    /// Writes a line.
    pub async fn write(&mut self, line: &str) {
        self.writer.write_all(format!("{line}\r\n").as_bytes()).await.expect("a server that reads");
    }

    /// Reads until a line has this in it, and returns that line. Answers pings.
    pub async fn until(&mut self, words: &str) -> String {
        let mut others = Vec::new();
        let found = timeout(WITHIN, async {
            loop {
                let mut bytes = Vec::new();
                let count = self.reader.read_until(b'\n', &mut bytes).await.expect("a server that writes");
                assert!(count > 0, "the server closed before: {words}");
                let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
                if let Some(token) = line.strip_prefix("PING ") {
                    self.write(&format!("PONG {token}")).await;
                }
                if line.contains(words) {
                    return line;
                }
                others.push(line);
            }
        })
        .await;
        found.unwrap_or_else(|_| panic!("not in time: {words}, but {others:?}"))
    }

    /// Comes into a channel.
    pub async fn join(&mut self, channel: &str) {
        self.write(&format!("JOIN {channel}")).await;
        self.until(" 366 ").await;
    }

    /// Says something.
    pub async fn say(&mut self, target: &str, text: &str) {
        self.write(&format!("PRIVMSG {target} :{text}")).await;
    }
}
