//! `host components`: what lies in the bots' directory, and what is sent there.

use std::path::PathBuf;

use bothost::admin::ComponentView;
use bothost::units::ByteSize;
use clap::Subcommand;

use super::config::Who;
use super::placing::{Content, put, remove};
use super::remote::{Remote, read};
use super::table::{Table, terminal_width};
use super::{Failure, tell};

/// Where they are.
const PATH: &str = "/api/v1/components";
/// What a listing shows of a hash.
const HASH_CHARS: usize = 12;

/// Components in the bots' directory: lists, sends or removes them
#[derive(Debug, clap::Args)]
pub(super) struct Components {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Lists them, with the bots and offers that use them
    List,
    /// Sends one, which the host puts there once it is known to be good
    Put {
        /// The component
        #[arg(value_name = "FILE.wasm")]
        file: PathBuf,
        /// What it is called there [default: as the file is]
        #[arg(long = "as", value_name = "NAME.wasm")]
        name: Option<String>,
        #[command(flatten)]
        who: Who,
    },
    /// Removes one that no bot and no offer needs
    Remove {
        /// What it is called there
        #[arg(value_name = "NAME.wasm")]
        name: String,
        #[command(flatten)]
        who: Who,
    },
}

impl Components {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (host, json) = (self.remote.find()?, self.remote.json);
        match self.act {
            Act::List => {
                let answer = host.get(PATH)?;
                if json { tell(answer) } else { list(&read::<Vec<ComponentView>>(answer)?) }
                Ok(())
            }
            Act::Put { file, name, who } => {
                let own = || file.file_name()?.to_str().map(str::to_owned);
                let name = name.or_else(own).unwrap_or_default();
                let path = path(&name, &who)?;
                put(&host, json, &path, Content::read(&file, "application/wasm")?)
            }
            Act::Remove { name, who } => remove(&host, json, &path(&name, &who)?),
        }
    }
}

/// Returns the address of one.
fn path(name: &str, who: &Who) -> Result<String, Failure> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
        return Err(Failure::Usage(format!("`{}` is no name of a component: say --as NAME.wasm", name.escape_debug())));
    }
    Ok(who.address(&format!("{PATH}/{name}")))
}

fn list(components: &[ComponentView]) {
    if components.is_empty() {
        return tell("there are no components");
    }
    let mut table = Table::new(["FILE", "SHA256", "SIZE", "BOTS", "OFFERS", "PROBLEM"]);
    for component in components {
        let hash: String = component.sha256.as_deref().unwrap_or("").chars().take(HASH_CHARS).collect();
        table.push([
            &component.file,
            &hash,
            &ByteSize(component.bytes).to_string(),
            &component.bots.join(", "),
            &component.offers.join(", "),
            component.problem.as_deref().unwrap_or(""),
        ]);
    }
    tell(table.render(terminal_width()));
}
