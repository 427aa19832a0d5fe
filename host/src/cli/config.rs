//! `host config`: the configuration of the running host, its generations, and edits of it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;
use bothost::admin::{EditView, VersionView};
use bothost::generation::{Difference, Export};
use bothost::logs::escape;
use clap::Subcommand;
use serde_json::{Value, json};

use super::progress::Progress;
use super::remote::{Remote, Session, address, read};
use super::table::{Table, terminal_width, to_the_second};
use super::{Failure, complain, tell};

/// Where it is.
const PATH: &str = "/api/v1/config";
/// The most that is read of a file that is imported, or of a value from standard input.
const INPUT_BYTES_MAX: u64 = 4 << 20;

/// The configuration in force and before: history, differences, ways back; one key at a time or as a whole
#[derive(Debug, clap::Args)]
pub(super) struct Config {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    who: Who,
    #[command(subcommand)]
    act: Act,
}

/// What every verb takes that edits the configuration.
#[derive(Debug, clap::Args)]
pub(super) struct Who {
    /// Who edits. Default: you
    #[arg(long, global = true)]
    author: Option<String>,
    /// Why, for those who read the history
    #[arg(long, global = true)]
    reason: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Lists the generations, the newest first
    History,
    /// Shows what is in force, or was: texts without their secrets, components, grants
    Show {
        /// The generation. Default: the latest
        #[arg(value_name = "N")]
        number: Option<u64>,
    },
    /// Shows what differs between two generations
    Diff {
        /// The one
        #[arg(value_name = "N")]
        from: u64,
        /// The other. Default: the latest
        #[arg(value_name = "M")]
        to: Option<u64>,
    },
    /// Brings the files of a generation back: configuration, the bots' own files, components
    Rollback {
        /// The generation
        #[arg(value_name = "N")]
        number: u64,
    },
    /// Prints a generation as JSON, without its secrets, to be imported
    Export {
        /// The generation. Default: the latest
        #[arg(value_name = "N")]
        number: Option<u64>,
    },
    /// Brings what was exported into force. Secrets stay as they are
    Import {
        /// The file; `-` for standard input
        file: PathBuf,
    },
    /// Shows what is said of a key, such as limits.memory
    Get {
        /// The key, with dots
        key: String,
    },
    /// Sets a key, such as bots.echo.priority, in the file that has it
    Set {
        /// The key, with dots
        key: String,
        /// The value: TOML, or a text. `-` for a line of standard input, which no list of processes shows
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Removes a key, so that its default holds
    Unset {
        /// The key, with dots
        key: String,
    },
}

impl Config {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (host, json, who) = (self.remote.find()?, self.remote.json, self.who);
        match self.act {
            Act::History => history(&host, json),
            Act::Show { number } => show(&host, json, number),
            Act::Diff { from, to } => diff(&host, json, from, to),
            Act::Export { number } => {
                tell(format_args!("{:#}", host.get(&version(number))?));
                Ok(())
            }
            Act::Get { key } => get(&host, json, &key),
            Act::Rollback { number } => edit(&host, json, &who.address(&format!("{PATH}/versions/{number}/rollback")), None),
            Act::Import { file } => {
                let text = input(&file).with_context(|| format!("cannot read {}", file.display()))?;
                let export: Value = serde_json::from_str(&text)
                    .with_context(|| format!("{} is no export of a configuration", file.display()))?;
                edit(&host, json, &who.address(&format!("{PATH}/import")), Some(&export))
            }
            Act::Set { key, value } => {
                let value = if value == "-" { line().context("cannot read the value")? } else { value };
                // In a body, which no log has.
                edit(&host, json, &who.address(&format!("{PATH}/set")), Some(&json!({ "key": key, "value": value })))
            }
            Act::Unset { key } => edit(&host, json, &who.with("key", key, &format!("{PATH}/unset")), None),
        }
    }
}

impl Who {
    /// Returns the address of an edit.
    pub(super) fn address(&self, path: &str) -> String {
        address(path, [("author", Some(self.author())), ("reason", self.reason.clone())])
    }

    fn with(&self, name: &str, value: String, path: &str) -> String {
        address(path, [(name, Some(value)), ("author", Some(self.author())), ("reason", self.reason.clone())])
    }

    fn author(&self) -> String {
        let given = self.author.clone().or_else(|| std::env::var("USER").ok());
        given.or_else(|| std::env::var("LOGNAME").ok()).unwrap_or_else(user)
    }
}

/// Returns the user where the environment has no name.
fn user() -> String {
    format!("user {}", rustix::process::getuid().as_raw())
}

/// Has the host carry an edit out, and tells what came of it.
pub(super) fn edit(host: &Session, json: bool, path: &str, body: Option<&Value>) -> Result<(), Failure> {
    let progress = Progress::begin("the host brings it into force", json);
    let answer = host.edit(path, body)?;
    drop(progress);
    tell_edited(answer, json)
}

/// Tells what came of an edit.
pub(super) fn tell_edited(answer: Value, json: bool) -> Result<(), Failure> {
    if json {
        tell(answer);
        return Ok(());
    }
    let EditView { generation, steps, needs_restart } = read(answer)?;
    steps.iter().for_each(|step| tell(escape(step)));
    tell(format_args!("generation {generation} is in force"));
    for change in needs_restart {
        complain(format_args!("{} takes effect at the next start", escape(&change)));
    }
    Ok(())
}

fn version(number: Option<u64>) -> String {
    match number {
        Some(number) => format!("{PATH}/versions/{number}"),
        None => format!("{PATH}/versions/latest"),
    }
}

fn history(host: &Session, json: bool) -> Result<(), Failure> {
    let answer = host.get(&format!("{PATH}/versions"))?;
    if json {
        tell(answer);
        return Ok(());
    }
    let versions: Vec<VersionView> = read(answer)?;
    if versions.is_empty() {
        tell("no generation was recorded yet");
        return Ok(());
    }
    let mut table = Table::new(["GENERATION", "SINCE", "AUTHOR", "REASON"]);
    for version in &versions {
        let VersionView { generation, at, author, reason } = version;
        table.push([&generation.to_string(), &to_the_second(at), author, reason]);
    }
    tell(table.render(terminal_width()));
    Ok(())
}

fn show(host: &Session, json: bool, number: Option<u64>) -> Result<(), Failure> {
    let answer = host.get(&version(number))?;
    if json {
        tell(answer);
        return Ok(());
    }
    let Export { generation, at, author, reason, config, entries, components } = read(answer)?;
    tell(format_args!("# generation {generation}, since {}, by {}: {}", to_the_second(&at), escape(&author), escape(&reason)));
    tell_lines(&config);
    for (name, text) in &entries {
        tell(format_args!("\n# {name}.toml"));
        tell_lines(text);
    }
    for (name, component) in &components {
        tell(format_args!("\n# bot {name}: {} {}, {} bytes", component.file, component.sha256, component.len));
        component.grants.iter().for_each(|grant| tell(format_args!("#   {}", escape(grant))));
    }
    Ok(())
}

fn diff(host: &Session, json: bool, from: u64, to: Option<u64>) -> Result<(), Failure> {
    let to = to.map_or("latest".to_owned(), |to| to.to_string());
    let answer = host.get(&format!("{PATH}/versions/{from}/diff/{to}"))?;
    if json {
        tell(answer);
        return Ok(());
    }
    let difference: Difference = read(answer)?;
    if difference.is_empty() {
        tell(format_args!("generations {} and {} are the same", difference.from, difference.to));
    }
    tell_lines(&difference.texts);
    difference.changes.iter().for_each(|change| tell(escape(change)));
    Ok(())
}

fn get(host: &Session, json: bool, key: &str) -> Result<(), Failure> {
    let export: Export = read(host.get(&version(None))?)?;
    let said = export.get(key).map_err(anyhow::Error::new)?;
    if json {
        tell(json!({ "key": key, "value": said, "generation": export.generation }));
    } else {
        tell_lines(&said);
    }
    Ok(())
}

/// Writes a text of several lines, without what would move the terminal's cursor.
fn tell_lines(text: &str) {
    // Tables are indented by tabs as well.
    text.lines().for_each(|line| tell(line.split('\t').map(escape).collect::<Vec<_>>().join("\t")));
}

fn input(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    if file == Path::new("-") {
        io::stdin().lock().take(INPUT_BYTES_MAX).read_to_string(&mut text)?;
    } else {
        File::open(file)?.take(INPUT_BYTES_MAX).read_to_string(&mut text)?;
    }
    Ok(text)
}

fn line() -> io::Result<String> {
    let text = input(Path::new("-"))?;
    Ok(text.lines().next().unwrap_or("").to_owned())
}
