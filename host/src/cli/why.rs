//! `host why EVENT`: what became of one event, from its reception to the platform's id of the answer.

use bothost::id::EventId;

use super::remote::{Remote, read};
use super::{Failure, tell, timeline};

/// Tells what became of an event: who handled it, how each attempt went, and where the answers are
#[derive(Debug, clap::Args)]
pub(super) struct Why {
    #[command(flatten)]
    remote: Remote,
    /// The event's id, all 32 digits; log lines, `dlq list` and `outbox list` show it
    #[arg(value_name = "EVENT")]
    event: EventId,
}

impl Why {
    pub(super) fn run(self) -> Result<(), Failure> {
        let answer = self.remote.find()?.get(&format!("/api/v1/events/{}", self.event))?;
        if self.remote.json {
            tell(answer);
        } else {
            tell(timeline::of(&read(answer)?));
        }
        Ok(())
    }
}
