//! `host tokens`: what lets programs in at the admin side.

use bothost::access::Role;
use bothost::admin::{NewTokenView, TokenView};
use bothost::clock::Timestamp;
use bothost::id::{TenantName, TokenName};
use bothost::units::Span;
use clap::Subcommand;
use serde_json::json;

use super::remote::{Remote, Session, read};
use super::table::{Table, terminal_width, to_the_second};
use super::{Failure, complain, tell};

/// Where they are.
const PATH: &str = "/api/v1/tokens";

/// Tokens of the admin side: lists, creates and revokes them
#[derive(Debug, clap::Args)]
pub(super) struct Tokens {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Lists them, without what lets in
    List,
    /// Makes one and shows it, this once
    Create {
        /// Its name
        name: TokenName,
        /// What it may do: viewer, operator or admin
        #[arg(long)]
        role: Role,
        /// Whose bots it sees, and nothing else
        #[arg(long)]
        tenant: Option<TenantName>,
        /// How long it lets in, such as 720h; without, until it is revoked
        #[arg(long)]
        expires_in: Option<Span>,
    },
    /// Revokes one, and ends what was begun with it
    Revoke {
        /// Its name
        name: TokenName,
    },
}

impl Tokens {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (host, as_json) = (self.remote.find()?, self.remote.json);
        match self.act {
            Act::List => list(&host, as_json)?,
            Act::Create { name, role, tenant, expires_in } => {
                let expires_at = expires_in.map(|Span(span)| Timestamp::now().saturating_add(span).to_string());
                let body = json!({ "name": name, "role": role, "tenant": tenant, "expires_at": expires_at });
                let answer = host.edit(PATH, Some(&body))?;
                if as_json {
                    tell(answer);
                } else {
                    // Alone on its stream, so that it can be caught as it is.
                    complain("this is the token, which is not shown again:");
                    tell(read::<NewTokenView>(answer)?.token);
                }
            }
            Act::Revoke { name } => {
                let answer = host.delete(&format!("{PATH}/{name}"))?;
                tell(if as_json { answer.to_string() } else { format!("token {name} is revoked") });
            }
        }
        Ok(())
    }
}

fn list(host: &Session, as_json: bool) -> Result<(), Failure> {
    let answer = host.get(PATH)?;
    if as_json {
        tell(answer);
        return Ok(());
    }
    let mut table = Table::new(["NAME", "ROLE", "TENANT", "MADE", "EXPIRES", "LAST USED"]);
    for token in read::<Vec<TokenView>>(answer)? {
        let moment = |moment: &Option<String>| moment.as_deref().map(to_the_second).unwrap_or_default();
        table.push([
            &token.name,
            token.role.as_str(),
            token.tenant.as_deref().unwrap_or(""),
            &to_the_second(&token.created_at),
            &moment(&token.expires_at),
            &moment(&token.last_used_at),
        ]);
    }
    tell(table.render(terminal_width()));
    Ok(())
}
