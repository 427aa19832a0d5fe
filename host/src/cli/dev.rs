//! `host dev FILE.wasm --sim PLATFORM`: a bot on a platform that is simulated in this process, to talk to in the terminal. The file is
//! watched: a new version takes over as in production.

use std::fs::DirBuilder;
use std::io::BufRead;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use bothost::bot::phase::Phase;
use bothost::config::Config;
use bothost::host::{self, Host, HostOptions, Instruments};
use bothost::id::BotName;
use bothost::logs::{self, escape};
use simulators::chat::{Chat, Heard, Kind};
use tokio::sync::mpsc;
use tokio::time::interval;

use super::{Failure, complain, tell};

/// How often is looked for what the bot said.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Talks with a bot in the terminal, on a simulated platform, with nothing else installed; a changed file takes over at once
#[derive(Debug, clap::Args)]
pub(super) struct Dev {
    /// The component
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
    /// The platform that is simulated
    #[arg(long, value_name = "PLATFORM", value_enum)]
    sim: Simulated,
    /// The bot's entry, as it stands beside a component in the bots' directory: settings, secrets, grants
    #[arg(long, value_name = "ENTRY.toml")]
    entry: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Simulated {
    Discord,
    Onebot,
    Qq,
    Slack,
    Telegram,
}

impl Simulated {
    fn kind(self) -> Kind {
        match self {
            Self::Discord => Kind::Discord,
            Self::Onebot => Kind::OneBot,
            Self::Qq => Kind::Qq,
            Self::Slack => Kind::Slack,
            Self::Telegram => Kind::Telegram,
        }
    }
}

impl Dev {
    pub(super) fn run(self) -> Result<(), Failure> {
        let file = self.file.canonicalize().with_context(|| format!("cannot find {}", self.file.display()))?;
        if !file.is_file() {
            return Err(Failure::Usage(format!(
                "{} is no file: name the component, such as target/bots/echo.wasm",
                self.file.display()
            )));
        }
        let name = bot_name(&file)?;
        let home = Home::make()?;
        let runtime = host::runtime().context("cannot start the runtime")?;
        let outcome = runtime.block_on(self.talk(&home, &name, &file));
        runtime.shutdown_background();
        outcome
    }

    async fn talk(&self, home: &Home, name: &BotName, file: &Path) -> Result<(), Failure> {
        let chat = Chat::start(self.sim.kind()).await;
        let bots = home.0.join("bots");
        symlink(file, bots.join(format!("{name}.wasm"))).context("cannot put the component into place")?;
        if let Some(entry) = &self.entry {
            let entry = entry.canonicalize().with_context(|| format!("cannot find {}", entry.display()))?;
            symlink(entry, bots.join(format!("{name}.toml"))).context("cannot put the entry into place")?;
        }
        let config = home.0.join("config.toml");
        let text = format!(
            "[host]\ndata_dir = \"data\"\nbots_dir = \"bots\"\nwatch_settle = \"100ms\"\nwatch_rescan = \"500ms\"\n[logs]\nfiles = false\n\
             level = \"warn\"\n[connectors.{}]\n{}",
            self.sim.kind().as_str(),
            chat.table()
        );
        std::fs::write(&config, text).context("cannot write the configuration")?;
        let config = Config::load(&config)?;
        let instruments = Instruments::default();
        let layer = instruments.errors.layer();
        let log = logs::init(config.logs.level.as_str(), config.logs.stderr.into(), None, layer).context("cannot set up the log")?;
        let host = Host::bind(config, HostOptions { instruments, ..HostOptions::default() }).await.map_err(anyhow::Error::from)?;
        serving(&host, name).await?;
        tell(format_args!(
            "{name} is on {}, simulated. What you type it is told; /1 presses the first button; the end of the input ends it.",
            self.sim.kind().as_str()
        ));
        converse(&chat).await;
        host.shutdown().await;
        drop(log);
        Ok(())
    }
}

/// Returns the name of the bot that a file is: what is before `.wasm`.
fn bot_name(file: &Path) -> Result<BotName, Failure> {
    let stem = file.file_name().and_then(|name| name.to_str()?.strip_suffix(".wasm"));
    let name = stem.and_then(|stem| stem.parse().ok());
    name.ok_or_else(|| {
        Failure::Usage(format!("{} is no name of a component, such as echo.wasm", escape(&file.to_string_lossy())))
    })
}

/// Waits until the bot serves; an error where it will not.
async fn serving(host: &Host, name: &BotName) -> Result<(), Failure> {
    let board = host.bots();
    let mut look = interval(LOOK_EVERY);
    loop {
        look.tick().await;
        let Some(status) = board.get(name) else { continue };
        match (&status.phase, &status.refused) {
            (_, Some(why)) | (Phase::Rejected { reason: why }, _) => {
                return Err(anyhow!("{name} does not start: {why}").into());
            }
            (Phase::Running | Phase::Probation { .. }, None) => return Ok(()),
            _ => {}
        }
    }
}

/// Passes what is typed to the bot and shows what it says, until the input ends or SIGINT comes.
async fn converse(chat: &Chat) {
    let mut lines = typed();
    let mut look = interval(LOOK_EVERY);
    let mut heard: Vec<Heard> = Vec::new();
    loop {
        // Cancel safe: a channel's `recv`, a tick, and a signal that is waited for once.
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) => said(chat, &heard, line.trim()),
                None => break,
            },
            _ = look.tick() => show(chat, &mut heard),
            _ = tokio::signal::ctrl_c() => return,
        }
    }
    // What was asked last is answered a moment later.
    let mut quiet = 0;
    while quiet < 20 {
        look.tick().await;
        let before = heard.len();
        show(chat, &mut heard);
        quiet = if heard.len() > before { 0 } else { quiet + 1 };
    }
}

/// Returns the lines of the input, read by a thread of its own: a read of a terminal cannot be broken off.
fn typed() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    let read = move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("stdin".to_owned()).spawn(read) {
        complain(format_args!("cannot read the terminal: {error}"));
    }
    receiver
}

/// Tells the bot what was typed, or presses the button that a number names.
fn said(chat: &Chat, heard: &[Heard], line: &str) {
    let number = line.strip_prefix('/').and_then(|rest| rest.parse::<usize>().ok());
    let last = heard.iter().rev().find(|message| !message.buttons.is_empty());
    match (number, last) {
        (Some(number), Some(message)) => match message.buttons.get(number.wrapping_sub(1)) {
            Some((_, data)) => chat.press(message, data),
            None => complain(format_args!("there are buttons 1 to {}", message.buttons.len())),
        },
        (Some(_), None) => complain("there is no button yet"),
        (None, _) if line.is_empty() => {}
        (None, _) => chat.say(line),
    }
}

fn show(chat: &Chat, heard: &mut Vec<Heard>) {
    let all = chat.heard();
    for message in all.iter().skip(heard.len()) {
        tell(format_args!("< {}", escape_lines(&message.text)));
        for (index, (label, _)) in message.buttons.iter().enumerate() {
            tell(format_args!("  /{} [{}]", index + 1, escape(label)));
        }
    }
    *heard = all;
}

/// Returns a text without what a terminal would obey, line by line.
fn escape_lines(text: &str) -> String {
    text.lines().map(|line| escape(line).into_owned()).collect::<Vec<_>>().join("\n  ")
}

/// A directory for one talk. Removed when dropped.
struct Home(PathBuf);

impl Home {
    fn make() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("bothost-dev-{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let home = Self(path);
        DirBuilder::new().mode(0o700).create(home.0.join("bots")).context("cannot make the bots' directory")?;
        Ok(home)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            complain(format_args!("{} is left: {error}", self.0.display()));
        }
    }
}
