//! `host accounts`: whom a password lets in at the admin side.

use bothost::access::Role;
use bothost::admin::AccountView;
use bothost::id::{AccountName, TenantName};
use clap::Subcommand;
use serde_json::json;

use super::password::PasswordSource;
use super::remote::{Remote, Session, read};
use super::table::{Table, terminal_width, to_the_second};
use super::{Failure, tell};

/// Where they are.
const PATH: &str = "/api/v1/accounts";

/// Accounts of the admin side: lists, adds and removes them, gives them passwords, lets them in or not
#[derive(Debug, clap::Args)]
pub(super) struct Accounts {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Lists them
    List,
    /// Makes one; asks for its password
    Add {
        /// Its name
        name: AccountName,
        /// What it may do: viewer, operator or admin
        #[arg(long)]
        role: Role,
        /// Whose bots it sees, and nothing else
        #[arg(long)]
        tenant: Option<TenantName>,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Gives one another password, and ends its sessions; asks for it
    Password {
        /// Its name
        name: AccountName,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Removes one, and ends its sessions
    Remove {
        /// Its name
        name: AccountName,
    },
    /// Lets one in again
    Enable {
        /// Its name
        name: AccountName,
    },
    /// Lets one in no longer, and ends its sessions
    Disable {
        /// Its name
        name: AccountName,
    },
}

impl Accounts {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (host, as_json) = (self.remote.find()?, self.remote.json);
        let stand = |name: &AccountName, standing: &str| host.patch(&one(name), &json!({ "standing": standing }));
        let (answer, done) = match self.act {
            Act::List => return list(&host, as_json),
            Act::Add { name, role, tenant, password } => {
                let password = password.read()?;
                let body = json!({ "name": name, "role": role, "tenant": tenant, "password": password.expose() });
                (host.edit(PATH, Some(&body))?, format!("account {name} is made"))
            }
            Act::Password { name, password } => {
                let body = json!({ "password": password.read()?.expose() });
                let path = format!("{}/password", one(&name));
                (host.edit(&path, Some(&body))?, format!("account {name} has another password"))
            }
            Act::Remove { name } => (host.delete(&one(&name))?, format!("account {name} is removed")),
            Act::Enable { name } => (stand(&name, "enabled")?, format!("account {name} is let in")),
            Act::Disable { name } => (stand(&name, "disabled")?, format!("account {name} is not let in any more")),
        };
        tell(if as_json { answer.to_string() } else { done });
        Ok(())
    }
}

fn one(name: &AccountName) -> String {
    format!("{PATH}/{name}")
}

fn list(host: &Session, as_json: bool) -> Result<(), Failure> {
    let answer = host.get(PATH)?;
    if as_json {
        tell(answer);
        return Ok(());
    }
    let mut table = Table::new(["NAME", "ROLE", "TENANT", "MADE", "IS"]);
    for account in read::<Vec<AccountView>>(answer)? {
        let standing = json!(account.standing);
        let made = to_the_second(&account.created_at);
        let tenant = account.tenant.as_deref().unwrap_or("");
        table.push([&account.name, account.role.as_str(), tenant, &made, standing.as_str().unwrap_or("")]);
    }
    tell(table.render(terminal_width()));
    Ok(())
}
