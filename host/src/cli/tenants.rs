//! `host tenants`: who has bots or accounts here.

use bothost::admin::TenantView;

use super::remote::{Remote, read};
use super::table::{Table, terminal_width};
use super::{Failure, tell};

/// Lists who has bots or accounts here, and how the bots are
#[derive(Debug, clap::Args)]
pub(super) struct Tenants {
    #[command(flatten)]
    remote: Remote,
}

impl Tenants {
    pub(super) fn run(self) -> Result<(), Failure> {
        let answer = self.remote.find()?.get("/api/v1/tenants")?;
        if self.remote.json {
            tell(answer);
            return Ok(());
        }
        let tenants: Vec<TenantView> = read(answer)?;
        if tenants.is_empty() {
            tell("there are no tenants");
            return Ok(());
        }
        let mut table = Table::new(["TENANT", "ACCOUNTS", "ILL", "QUEUED", "BOTS"]);
        for tenant in &tenants {
            let bots: Vec<_> = tenant.bots.iter().map(|(bot, phase)| format!("{bot} {phase}")).collect();
            let [accounts, ill, queued] = [tenant.accounts, tenant.ill, tenant.queued].map(|count| count.to_string());
            table.push([&tenant.name, &accounts, &ill, &queued, &bots.join(", ")]);
        }
        tell(table.render(terminal_width()));
        Ok(())
    }
}
