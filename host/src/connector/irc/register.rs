//! The beginning of a connection: who we are, what we can do, and a name that nobody else has.

use data_encoding::BASE64;
use tokio::time::{Duration, timeout};

use super::line::{Line, compose};
use super::serve::Session;
use crate::connector::link::{End, brief};

/// How long after a refusal that may pass.
const REFUSED_REST: Duration = Duration::from_secs(600);
/// How long the server may take over it all.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a server that complains of our haste is left alone.
const THROTTLED_REST: Duration = Duration::from_secs(60);
/// What we ask for where the server has it.
const WANTED: [&str; 4] = ["message-tags", "server-time", "echo-message", "multi-prefix"];
/// So often another name is tried.
const NICKS_MAX: usize = 8;
/// A longer answer of SASL is sent in parts.
const SASL_PART_BYTES: usize = 400;

/// What was agreed on so far.
#[derive(Debug, Default)]
struct Agreement {
    offered: Vec<String>,
    nicks: usize,
}

impl Session<'_> {
    /// Introduces us. Returns once the server has welcomed us.
    pub(super) async fn register(&mut self) -> Result<(), End> {
        let registered = timeout(REGISTER_TIMEOUT, self.introduce()).await;
        registered.unwrap_or_else(|_| Err(End::lost("the server does not let us in")))
    }

    async fn introduce(&mut self) -> Result<(), End> {
        let config = self.config();
        self.write(&compose("CAP", &["LS", "302"])).await?;
        if let Some(password) = &config.password {
            self.write(&compose("PASS", &[password.expose()])).await?;
        }
        self.write(&compose("NICK", &[&config.nick])).await?;
        self.write(&compose("USER", &[&config.user, "0", "*", &config.realname])).await?;
        let mut agreement = Agreement::default();
        loop {
            let line = self.next_line().await?;
            if line.numeric() == Some(1) {
                self.nick = line.param(0).to_owned();
                return Ok(());
            }
            self.negotiate(&mut agreement, &line).await?;
        }
    }

    async fn negotiate(&mut self, agreement: &mut Agreement, line: &Line) -> Result<(), End> {
        let said = |what: &str| format!("{what}: {}", brief(line.text()));
        let refused = |what: &str| End::refused(said(what));
        let config = self.config();
        match (line.command.as_str(), line.numeric()) {
            ("PING", _) => self.write(&compose("PONG", &[line.text()])).await,
            ("ERROR", _) => Err(ended(line)),
            ("CAP", _) => self.capabilities(agreement, line).await,
            ("AUTHENTICATE", _) => self.authenticate(line).await,
            (_, Some(903 | 907)) => self.write(&compose("CAP", &["END"])).await,
            (_, Some(902 | 904 | 905 | 906 | 908)) => Err(perhaps_later(said("the account is refused"))),
            (_, Some(464)) => Err(refused("the password is refused")),
            (_, Some(463 | 465)) => Err(perhaps_later(said("the server has banned us"))),
            (_, Some(432)) => Err(refused("the nick is refused")),
            (_, Some(433 | 436 | 437)) if agreement.nicks < NICKS_MAX => {
                agreement.nicks += 1;
                // Servers cut what is too long, and what is cut would be the same name again.
                let base: String = config.nick.chars().take(9 - agreement.nicks.min(8)).collect();
                let nick = if agreement.nicks == 1 {
                    format!("{}_", config.nick)
                } else {
                    base + &"_".repeat(agreement.nicks)
                };
                self.write(&compose("NICK", &[&nick])).await
            }
            (_, Some(433 | 436 | 437)) => Err(End::lost("every name that we tried is somebody else's")),
            _ => Ok(()),
        }
    }

    async fn capabilities(&mut self, agreement: &mut Agreement, line: &Line) -> Result<(), End> {
        let names = line.text().split(' ').map(|name| name.split_once('=').map_or(name, |(name, _)| name));
        match line.param(1).to_ascii_uppercase().as_str() {
            "LS" => {
                agreement.offered.extend(names.filter(|name| !name.is_empty()).map(str::to_owned).take(256));
                if line.param(2) == "*" {
                    return Ok(());
                }
                let has = |name: &str| agreement.offered.iter().any(|offered| offered == name);
                let with_sasl = self.config().sasl.is_some();
                if with_sasl && !has("sasl") {
                    return Err(perhaps_later("the server has no SASL, and `sasl_user` wants it".to_owned()));
                }
                let mut wanted: Vec<_> = WANTED.into_iter().filter(|name| has(name)).collect();
                if with_sasl {
                    wanted.push("sasl");
                }
                if wanted.is_empty() {
                    return self.write(&compose("CAP", &["END"])).await;
                }
                self.write(&format!("CAP REQ :{}\r\n", wanted.join(" "))).await
            }
            "ACK" if self.config().sasl.is_some() && line.text().contains("sasl") => {
                self.write(&compose("AUTHENTICATE", &["PLAIN"])).await
            }
            "NAK" if self.config().sasl.is_some() => Err(perhaps_later("the server does not want SASL".to_owned())),
            "ACK" | "NAK" => self.write(&compose("CAP", &["END"])).await,
            _ => Ok(()),
        }
    }

    async fn authenticate(&mut self, line: &Line) -> Result<(), End> {
        let Some((user, password)) = &self.config().sasl else { return Ok(()) };
        if line.text() != "+" {
            return Ok(());
        }
        let answer = BASE64.encode(format!("\0{user}\0{}", password.expose()).as_bytes());
        for part in answer.as_bytes().chunks(SASL_PART_BYTES) {
            let part = std::str::from_utf8(part).unwrap_or_default();
            self.write(&compose("AUTHENTICATE", &[part])).await?;
        }
        if answer.len().is_multiple_of(SASL_PART_BYTES) {
            self.write(&compose("AUTHENTICATE", &["+"])).await?;
        }
        Ok(())
    }
}

/// Returns what it means that the server ends the connection.
pub(super) fn ended(line: &Line) -> End {
    let text = brief(line.text());
    let lower = text.to_ascii_lowercase();
    if ["throttl", "too fast", "too many connections", "reconnect"].iter().any(|words| lower.contains(words)) {
        return End::Wait(THROTTLED_REST.mul_f64(1.0 + fastrand::f64()), text);
    }
    if ["k-line", "g-line", "z-line", "bad password", "password incorrect"].iter().any(|words| lower.contains(words)) {
        return perhaps_later(text);
    }
    End::Lost(text)
}

/// Returns the end by a refusal that may pass: services are away during a split, and bans have an end.
fn perhaps_later(error: String) -> End {
    End::Refused { error, retry: Some(REFUSED_REST) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_rushed_is_left_alone_and_one_that_bans_is_not_asked_again() {
        let end =
            |text: &str| ended(&Line { command: "ERROR".to_owned(), params: vec![text.to_owned()], ..Line::default() });
        for text in ["Closing link: Throttled", "Trying to reconnect too fast.", "Too many connections from your host"]
        {
            assert!(matches!(end(text), End::Wait(wait, _) if wait >= THROTTLED_REST), "{text}");
        }
        for text in ["Closing Link: you (K-Lined)", "Access denied: Bad password?"] {
            assert!(matches!(end(text), End::Refused { .. }), "{text}");
        }
        assert_eq!(end("Ping timeout"), End::Lost("Ping timeout".to_owned()));
    }
}
