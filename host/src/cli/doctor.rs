//! `host doctor CONFIG.toml`: shows what the library's `doctor` finds.

use std::path::PathBuf;

use bothost::doctor::{Finding, Verdict, examine};
use bothost::logs::escape;
use serde_json::json;

use super::colour::{self, Paint};
use super::progress::Progress;
use super::remote::CONFIG_DEFAULT;
use super::{FAILED, Failure, tell};

/// Examines the host of CONFIG.toml, running or not: files, permissions, limits of the machine, versions. Changes nothing
#[derive(Debug, clap::Args)]
pub(super) struct Doctor {
    /// The configuration file
    #[arg(value_name = "CONFIG.toml", default_value = CONFIG_DEFAULT)]
    config: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) fn run(self) -> Result<(), Failure> {
        let progress = Progress::begin("examining", self.json);
        let findings = examine(&self.config, |step| progress.at(step));
        drop(progress);
        let findings = findings?;
        if self.json {
            tell(json!(findings));
        } else {
            findings.iter().for_each(|finding| tell(line(finding, colour::is_on())));
            tell(summary(&findings));
        }
        let is_ill = findings.iter().any(|finding| finding.verdict == Verdict::Problem);
        if is_ill { Err(Failure::Told(FAILED)) } else { Ok(()) }
    }
}

fn line(finding: &Finding, is_coloured: bool) -> String {
    let Finding { subject, verdict, what, remedy } = finding;
    let word = format!("{:<7}", verdict.as_str());
    let word = match Paint::of(verdict.as_str()) {
        Some(paint) if is_coloured => paint.apply(&word),
        _ => word,
    };
    let line = format!("{word}  {subject:<13}  {}", escape(what));
    match remedy {
        Some(remedy) => format!("{line}\n{:>24}  {}", "->", escape(remedy)),
        None => line,
    }
}

fn summary(findings: &[Finding]) -> String {
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let shown = |count, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    match (count(Verdict::Problem), count(Verdict::Warning)) {
        (0, 0) => "all is well".to_owned(),
        (problems, warnings) => {
            format!("{}, {}", shown(problems, "problem", "problems"), shown(warnings, "warning", "warnings"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_has_a_line_and_its_remedy_one_below() {
        let finding = Finding {
            subject: "disk".into(),
            verdict: Verdict::Warning,
            what: "100MiB are free\u{1b}[2J".into(),
            remedy: Some("make room".into()),
        };
        let expected = "warning  disk           100MiB are free\\u{1b}[2J\n                      ->  make room";
        assert_eq!(line(&finding, false), expected);
        assert!(line(&finding, true).starts_with("\u{1b}[33mwarning\u{1b}[0m  disk"));
        let good = Finding { verdict: Verdict::Ok, remedy: None, ..finding.clone() };
        assert_eq!(summary(std::slice::from_ref(&good)), "all is well");
        assert_eq!(summary(&[good, finding]), "0 problems, 1 warning");
    }
}
