//! `host audit`: who changed what, and whether the log of it is what was written.

use bothost::admin::AuditView;
use bothost::audit::verify;
use serde_json::json;

use super::remote::{Remote, address, read};
use super::table::{Table, terminal_width, to_the_second};
use super::{Failure, tell};

/// Tells who changed what by the admin side, the newest first; or checks that the log of it was not tampered with
#[derive(Debug, clap::Args)]
pub(super) struct Audit {
    #[command(flatten)]
    remote: Remote,
    /// Only what this one did
    #[arg(long)]
    who: Option<String>,
    /// Not before this moment, or not longer ago, such as 24h
    #[arg(long)]
    since: Option<String>,
    /// Only records with smaller numbers
    #[arg(long)]
    before: Option<u64>,
    /// At most so many, 1000 at most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Looks through the whole log in the data directory, whether a host runs or not
    #[arg(long, conflicts_with_all = ["who", "since", "before", "limit"])]
    verify: bool,
}

impl Audit {
    pub(super) fn run(self) -> Result<(), Failure> {
        if self.verify {
            return self.verify();
        }
        let parameters = [
            ("who", self.who),
            ("since", self.since),
            ("before", self.before.map(|before| before.to_string())),
            ("limit", Some(self.limit.to_string())),
        ];
        let answer = self.remote.find()?.get(&address("/api/v1/audit", parameters))?;
        if self.remote.json {
            tell(answer);
            return Ok(());
        }
        let mut table = Table::new(["RECORD", "AT", "WHO", "FROM", "VERB", "OUTCOME", "SUBJECT", "DETAIL"]);
        for record in read::<Vec<AuditView>>(answer)? {
            let outcome = json!(record.outcome);
            table.push([
                &record.seq.to_string(),
                &to_the_second(&record.at),
                &record.who,
                record.address.as_deref().unwrap_or(&record.way),
                &record.verb,
                outcome.as_str().unwrap_or(""),
                &record.subject,
                record.detail.as_deref().unwrap_or(""),
            ]);
        }
        tell(table.render(terminal_width()));
        Ok(())
    }

    fn verify(&self) -> Result<(), Failure> {
        let verified = verify(&self.remote.data_dir()?).map_err(anyhow::Error::new)?;
        let (records, last, hash) = (verified.records, verified.last, verified.hash.to_string());
        tell(if self.remote.json {
            json!({ "records": records, "last": last, "hash": hash, "files": verified.files }).to_string()
        } else {
            format!("the audit log is what was written: {records} records, the last is {last} with hash {hash}")
        });
        Ok(())
    }
}
