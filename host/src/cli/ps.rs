//! `host ps`: one line a bot, asked of the host that runs.

use bothost::admin::BotView;

use super::remote::{Remote, read};
use super::table::{Table, terminal_width, to_the_second};
use super::{Failure, tell};

/// Lists the bots of the running host: phase and until when, version, counts, and what is wrong
#[derive(Debug, clap::Args)]
pub(super) struct Ps {
    #[command(flatten)]
    remote: Remote,
}

impl Ps {
    pub(super) fn run(self) -> Result<(), Failure> {
        let answer = self.remote.find()?.get("/api/v1/bots")?;
        if self.remote.json {
            tell(answer);
            return Ok(());
        }
        let mut table = Table::new(["NAME", "PHASE", "UNTIL", "VERSION", "QUEUED", "HANDLED", "FAULTS", "RESTARTS", "DETAIL"]);
        for bot in read::<Vec<BotView>>(answer)? {
            table.push([
                &bot.name,
                &bot.phase,
                &bot.until.as_deref().map(to_the_second).unwrap_or_default(),
                bot.version.as_deref().unwrap_or(""),
                &bot.queued.to_string(),
                &bot.handled.to_string(),
                &bot.faults.to_string(),
                &bot.restarts.to_string(),
                bot.detail.as_deref().unwrap_or(""),
            ]);
        }
        tell(table.render(terminal_width()));
        Ok(())
    }
}
