//! One life of the connection: dial, register, join, and then whatever comes and goes until it ends.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until, timeout};

use super::line::{Line, Lines, compose};
use super::register::ended;
use super::roster::{Roster, folded};
use super::wire::{Ask, LINES_MAX, Outbox, Way};
use super::words::{self, Said};
use super::{FLOOD, IrcConfig};
use crate::clock::Timestamp;
use crate::connector::link::{End, Life, brief};
use crate::connector::{DeliveryError, Inbox, PaceChoice};
use crate::egress::{AddressGuard, DialTimeouts, Security, Stream, dial};
use crate::event::{Event, EventKind, Membership};
use crate::id::ConnectorName;
use crate::rate::Rate;
use crate::secret::Secret;

/// How long the server may not read what is written.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long after we were thrown out we come back.
const REJOIN_AFTER: Duration = Duration::from_secs(5);
/// How often the name is asked for that somebody else has.
const REGAIN_EVERY: Duration = Duration::from_secs(60);

/// A network and the host's ends of our lines.
#[derive(Debug)]
pub(super) struct Network<'a> {
    pub(super) config: &'a IrcConfig,
    pub(super) name: &'a ConnectorName,
    pub(super) inbox: &'a Inbox,
    pub(super) guard: AddressGuard,
    pub(super) way: &'a Way,
    /// Tells the ids that this process gives from those of another.
    pub(super) epoch: u64,
}

/// Returns an epoch that no earlier process had.
pub(super) fn epoch() -> u64 {
    Timestamp::now().as_millis()
}

/// One connection.
pub(super) struct Session<'a> {
    network: &'a Network<'a>,
    life: Life<'a>,
    stream: Stream,
    lines: Lines,
    ready: VecDeque<Line>,
    outbox: Outbox,
    /// What we are called at the moment.
    pub(super) nick: String,
    /// How others see us; none as long as the server has not shown it.
    mask: Option<String>,
    roster: Roster,
    /// Channels that did not let us in, and why.
    refused: BTreeMap<String, String>,
    rejoin: Vec<(Instant, String)>,
    regain_at: Instant,
    ask_at: Instant,
    count: u64,
}

impl Network<'_> {
    /// One life of the connection.
    pub(super) async fn live(&self, life: Life<'_>) -> End {
        let IrcConfig { host, port, tls, .. } = self.config;
        let security = if *tls { Security::Tls } else { Security::Plain };
        let stream = match dial(host, *port, security, self.guard.clone(), DialTimeouts::default()).await {
            Ok(stream) => stream,
            Err(error) => return End::lost(error),
        };
        life.authenticating();
        let now = Instant::now();
        let mut session = Session {
            network: self,
            life,
            stream,
            lines: Lines::default(),
            ready: VecDeque::new(),
            outbox: Outbox::new((self.config.pace == PaceChoice::Platform).then(|| Rate::within(FLOOD))),
            nick: self.config.nick.clone(),
            mask: None,
            roster: Roster::default(),
            refused: BTreeMap::new(),
            rejoin: Vec::new(),
            regain_at: now + REGAIN_EVERY,
            ask_at: now + self.config.stall_timeout / 2,
            count: 0,
        };
        match session.serve().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }
}

impl<'a> Session<'a> {
    pub(super) fn config(&self) -> &'a IrcConfig {
        self.network.config
    }

    /// Writes a line at once.
    pub(super) async fn write(&mut self, line: &str) -> Result<(), End> {
        let written = timeout(WRITE_TIMEOUT, async {
            self.stream.write_all(line.as_bytes()).await?;
            self.stream.flush().await
        });
        match written.await {
            Ok(written) => written.map_err(End::lost),
            Err(_) => Err(End::lost("the server does not read")),
        }
    }

    /// Returns the next line. Cancel-safe.
    pub(super) async fn next_line(&mut self) -> Result<Line, End> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(line);
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes).await {
                Ok(0) => return Err(End::lost("closed by the server")),
                Ok(count) => self.ready.extend(self.lines.feed(&bytes[..count])),
                Err(error) => return Err(End::lost(error)),
            }
            self.life.heard();
            self.ask_at = Instant::now() + self.config().stall_timeout / 2;
        }
    }

    async fn serve(&mut self) -> Result<Infallible, End> {
        self.register().await?;
        for (channel, key) in &self.config().channels {
            self.join(channel, key.as_ref());
        }
        self.judge();
        let way = self.network.way;
        let mut asks = way.open();
        loop {
            while let Some(line) = self.outbox.next(Instant::now().into_std()) {
                self.write(&line).await?;
            }
            let (wake_at, is_free) = (self.wake_at(), self.outbox.is_free());
            tokio::select! {
                line = self.next_line() => {
                    let line = line?;
                    self.take(&line).await?;
                }
                Some(ask) = asks.receiver.recv(), if is_free => self.asked(ask).await?,
                () = sleep_until(wake_at) => self.wake().await?,
            }
        }
    }

    fn join(&mut self, channel: &str, key: Option<&Secret>) {
        let line = key.map_or_else(|| compose("JOIN", &[channel]), |key| compose("JOIN", &[channel, key.expose()]));
        if !self.outbox.control(line) {
            self.refused.insert(folded(channel), "too many channels".to_owned());
        }
    }

    /// Publishes whether we are of use: in a channel at least, if there is to be one.
    fn judge(&self) {
        if self.roster.len() > 0 || self.config().channels.is_empty() {
            self.life.connected();
            self.life.of_use();
        } else if let Some(why) = self.refused.values().next()
            && self.refused.len() >= self.config().channels.len()
        {
            self.life.degraded(why);
        }
    }

    /// Returns when something is to be done by itself.
    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let line = self.outbox.wait(now.into_std()).map(|wait| now + wait);
        let regain = (folded(&self.nick) != folded(&self.config().nick)).then_some(self.regain_at);
        let rejoin = self.rejoin.iter().map(|(at, _)| *at).min();
        [line, regain, rejoin].into_iter().flatten().fold(self.ask_at, Instant::min)
    }

    async fn wake(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if self.ask_at <= now {
            self.ask_at = now + self.config().stall_timeout;
            self.write(&compose("PING", &["alive"])).await?;
        }
        if self.regain_at <= now {
            self.regain();
        }
        let due: Vec<_> = self.rejoin.extract_if(.., |(at, _)| *at <= now).map(|(_, channel)| channel).collect();
        for channel in due {
            let known = self.config().channels.iter().find(|(name, _)| folded(name) == channel);
            if let Some((name, key)) = known {
                self.join(name, key.as_ref());
            }
        }
        Ok(())
    }

    /// Asks for our name, should somebody else have had it.
    fn regain(&mut self) {
        self.regain_at = Instant::now() + REGAIN_EVERY;
        let nick = &self.config().nick;
        if folded(&self.nick) != folded(nick) {
            self.outbox.control(compose("NICK", &[nick]));
        }
    }

    async fn asked(&mut self, ask: Ask) -> Result<(), End> {
        match ask {
            Ask::Quit(done) => {
                self.write(&compose("QUIT", &["bye"])).await?;
                let _ = done.send(());
                Err(End::Stopped)
            }
            // Nobody waits for it any more: it was given up, or is tried again.
            Ask::Say { outcome, .. } if outcome.is_closed() => Ok(()),
            Ask::Say { target, text, outcome } => {
                let command = if self.config().notice { "NOTICE" } else { "PRIVMSG" };
                let longest = words::longest_mask(&self.nick);
                let mask = self.mask.as_deref().unwrap_or(&longest);
                let pieces = words::pieces(&text, command, &target, mask);
                let refused = match pieces.len() {
                    0 => Some("a message without text".to_owned()),
                    count if count > LINES_MAX => Some(format!("a text of more than {LINES_MAX} lines")),
                    _ => None,
                };
                match refused {
                    // Whoever asked may have given up.
                    Some(why) => drop(outcome.send(Err(DeliveryError::BadRequest(why)))),
                    None => self.outbox.say(command, &target, &pieces, outcome),
                }
                Ok(())
            }
        }
    }

    /// Does what a line asks for.
    async fn take(&mut self, line: &Line) -> Result<(), End> {
        let is_ours = folded(line.nick()) == folded(&self.nick);
        match line.command.as_str() {
            "PING" => self.write(&compose("PONG", &[line.text()])).await?,
            "PONG" => self.outbox.answered(line.text()),
            "ERROR" => return Err(ended(line)),
            "PRIVMSG" | "NOTICE" if is_ours => self.outbox.echoed(line.param(0), line.tag("msgid")),
            "PRIVMSG" => self.heard(line).await?,
            "NICK" => {
                self.roster.rename(line.nick(), line.text());
                if is_ours {
                    self.nick = line.text().to_owned();
                    self.mask = None;
                } else if folded(line.nick()) == folded(&self.config().nick) {
                    self.regain();
                }
            }
            "INVITE" => {
                let known = self.config().channels.iter().find(|(name, _)| folded(name) == folded(line.text()));
                if let Some((name, key)) = known {
                    self.join(name, key.as_ref());
                }
            }
            "JOIN" | "PART" | "KICK" | "QUIT" => self.moved(line, is_ours).await?,
            _ => self.told(line),
        }
        Ok(())
    }

    /// Takes note of a numbered reply.
    fn told(&mut self, line: &Line) {
        match line.numeric() {
            Some(353) => {
                for nick in line.text().split(' ').filter(|nick| !nick.is_empty()) {
                    let nick = nick.trim_start_matches(['~', '&', '@', '%', '+']);
                    self.roster.add(line.param(2), nick.split_once('!').map_or(nick, |(nick, _)| nick));
                }
            }
            Some(403 | 405 | 437 | 471 | 473..=477 | 489) if self.is_to_be_joined(line.param(1)) => {
                let (channel, error) = (line.param(1), brief(line.text()));
                tracing::warn!(connector = %self.network.name, channel, error, "the channel does not let us in");
                self.refused.insert(folded(channel), format!("{}: {error}", brief(channel)));
                self.judge();
            }
            _ => self.outbox.refused(line),
        }
    }

    fn is_to_be_joined(&self, channel: &str) -> bool {
        let channel = folded(channel);
        self.config().channels.iter().any(|(name, _)| folded(name) == channel) && !self.roster.has(&channel)
    }

    /// Hands a message over, or answers it where a program is asked.
    async fn heard(&mut self, line: &Line) -> Result<(), End> {
        match words::said(line.text()) {
            Said::Text(text) => {
                let (me, connector) = (self.nick.clone(), self.network.name);
                let id = self.id();
                let kind = words::message(connector, &me, line, text, id);
                self.hand_over(kind, line, "").await
            }
            // What anybody can ask for as often as he likes is answered while there is nothing better to do.
            Said::Version if !self.outbox.is_idle() => Ok(()),
            Said::Version => {
                self.outbox.control(compose("NOTICE", &[line.nick(), "\u{1}VERSION bothost\u{1}"]));
                Ok(())
            }
            Said::Other => Ok(()),
        }
    }

    /// Somebody came or went.
    async fn moved(&mut self, line: &Line, is_ours: bool) -> Result<(), End> {
        let channel = line.param(0);
        let (channels, who, change) = match line.command.as_str() {
            "JOIN" => {
                if is_ours {
                    self.mask = line.source.clone();
                    self.refused.remove(&folded(channel));
                    self.roster.enter(channel);
                    self.judge();
                }
                self.roster.add(channel, line.nick());
                (vec![channel.to_owned()], line.nick(), Membership::Joined)
            }
            "QUIT" => (self.roster.quit(line.nick()), line.nick(), Membership::Left),
            command => {
                let (who, change) = match command {
                    "KICK" => (line.param(1), Membership::Removed),
                    _ => (line.nick(), Membership::Left),
                };
                self.roster.remove(channel, who);
                if folded(who) == folded(&self.nick) && self.roster.leave(channel) {
                    self.refused.insert(folded(channel), format!("{}: no longer there", brief(channel)));
                    self.rejoin.push((Instant::now() + REJOIN_AFTER, folded(channel)));
                    self.judge();
                }
                (vec![channel.to_owned()], who, change)
            }
        };
        for channel in channels {
            let conversation = words::channel(self.network.name, &channel);
            let kind = EventKind::Member { conversation, member: words::user(who), change };
            self.hand_over(kind, line, &channel).await?;
        }
        if line.command == "QUIT" && folded(who) == folded(&self.config().nick) {
            self.regain();
        }
        Ok(())
    }

    /// Returns an id that no other message of this network has here.
    fn id(&mut self) -> String {
        self.count += 1;
        format!("{:x}-{}-{}", self.network.epoch, self.life.generation(), self.count)
    }

    /// Hands an event over. `part` tells the events of one line from each other.
    async fn hand_over(&self, kind: EventKind, line: &Line, part: &str) -> Result<(), End> {
        let event = Event {
            // Where the network gives no ids it never says anything twice either.
            platform_id: line.tag("msgid").map(|id| format!("{id}{part}")),
            raw: Some(words::raw(line)),
            ..Event::now(Some(self.network.name.clone()), kind)
        };
        self.life.while_deaf(self.network.inbox.take_over(event)).await.map_err(|_| End::Stopped)
    }
}
