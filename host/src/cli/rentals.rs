//! `host rentals`: the bots that tenants rented.

use bothost::admin::RentalView;

use super::remote::{Remote, read};
use super::table::{Table, terminal_width, to_the_second};
use super::{Failure, tell};

/// Lists the bots that were rented, by whom and by which offer
#[derive(Debug, clap::Args)]
pub(super) struct Rentals {
    #[command(flatten)]
    remote: Remote,
}

impl Rentals {
    pub(super) fn run(self) -> Result<(), Failure> {
        let answer = self.remote.find()?.get("/api/v1/rentals")?;
        if self.remote.json {
            tell(answer);
            return Ok(());
        }
        let rentals: Vec<RentalView> = read(answer)?;
        if rentals.is_empty() {
            tell("nothing was rented");
            return Ok(());
        }
        let mut table = Table::new(["BOT", "TENANT", "OFFER", "PHASE", "SINCE", "DETAIL"]);
        for RentalView { bot, tenant, offer } in &rentals {
            let since = to_the_second(&bot.since);
            table.push([&bot.name, tenant, offer, &bot.phase, &since, bot.detail.as_deref().unwrap_or("")]);
        }
        tell(table.render(terminal_width()));
        Ok(())
    }
}
