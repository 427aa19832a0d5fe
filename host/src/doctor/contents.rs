//! Whether what is stored is still what was written.

use super::{Finding, Patient};
use crate::audit::{self, VerifyError};
use crate::generation;
use crate::sandbox::examine_cache;
use crate::store::{self, Examined};

/// What helps where a database is damaged.
const RESTORE: &str =
    "stop the host and keep a copy of the data directory; then start it, which puts what is damaged aside";

pub(super) fn databases(patient: &Patient) -> Vec<Finding> {
    const SUBJECT: &str = "database";
    let found = match store::examine(patient.data_dir()) {
        Ok(Some(found)) => found,
        Ok(None) => return vec![Finding::ok(SUBJECT, "there is none yet")],
        Err(error @ store::NotExamined::Newer { .. }) => {
            return vec![Finding::problem(SUBJECT, error.to_string(), "run the newer host")];
        }
        Err(error) => {
            return vec![Finding::problem(SUBJECT, error.to_string(), "run this as the user that runs the host")];
        }
    };
    let mut findings = Vec::new();
    if let Some(damage) = &found.damage {
        let what = format!("bothost.db is damaged: {}", damage.replace('\n', " "));
        findings.push(Finding::problem(SUBJECT, what, RESTORE));
    }
    if found.unfit_count > 0 {
        let what = format!(
            "{} of {} rows are not what was written, such as {}",
            found.unfit_count,
            found.rows,
            found.unfit.join(", ")
        );
        let remedy =
            "the host puts each aside when it comes upon it; look after the disk and the memory of the machine";
        findings.push(Finding::problem(SUBJECT, what, remedy));
    }
    if found.quarantined > 0 {
        let what = format!("{} rows were put aside because they could not be trusted", found.quarantined);
        let remedy = "the log of the host names each; writing or deleting the key takes it out again";
        findings.push(Finding::warning(SUBJECT, what, remedy));
    }
    if findings.is_empty() {
        findings
            .push(Finding::ok(SUBJECT, format!("each page is whole, and {} rows are what was written", found.rows)));
    }
    findings
}

pub(super) fn observations(patient: &Patient) -> Vec<Finding> {
    const SUBJECT: &str = "observations";
    vec![match store::observations::examine(patient.data_dir()) {
        Ok(None) => Finding::ok(SUBJECT, "there are none yet"),
        Ok(Some(Examined { damage: None, .. })) => Finding::ok(SUBJECT, "each page is whole"),
        Ok(Some(Examined { damage: Some(damage), .. })) => {
            let what = format!("observations.db is damaged: {}", damage.replace('\n', " "));
            let remedy = "start the host again, which puts it aside: the history of metrics and alerts begins anew";
            Finding::warning(SUBJECT, what, remedy)
        }
        Err(error) => Finding::problem(SUBJECT, error.to_string(), "run this as the user that runs the host"),
    }]
}

pub(super) fn blobs(patient: &Patient) -> Vec<Finding> {
    const SUBJECT: &str = "contents";
    let found = match store::examine_blobs(patient.data_dir()) {
        Ok(found) => found,
        Err(error) => {
            let what = format!("the stored contents cannot be read: {error}");
            return vec![Finding::problem(SUBJECT, what, "run this as the user that runs the host")];
        }
    };
    let mut findings = Vec::new();
    if let Some(first) = found.damaged.first() {
        let what =
            format!("{} of {} contents are not what was kept, such as {first}", found.damaged.len(), found.contents);
        let remedy = "the component comes back from the bots' directory at the next reload; a generation that names it cannot be restored";
        findings.push(Finding::problem(SUBJECT, what, remedy));
    }
    if found.aside > 0 {
        let what = format!("{} damaged contents were put aside", found.aside);
        findings.push(Finding::warning(
            SUBJECT,
            what,
            "remove blobs/damaged in the data directory once they were looked at",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(SUBJECT, format!("{} stored contents are what their names say", found.contents)));
    }
    findings
}

pub(super) fn cache(patient: &Patient) -> Vec<Finding> {
    const SUBJECT: &str = "compiled code";
    vec![match examine_cache(&patient.data_dir().join("cache")) {
        Err(error) => {
            let what = format!("the compiled code cannot be read: {error}");
            Finding::problem(SUBJECT, what, "run this as the user that runs the host")
        }
        Ok(found) if found.damaged.is_empty() => {
            Finding::ok(SUBJECT, format!("{} files are what was compiled", found.files))
        }
        Ok(found) => {
            let what = format!("{} of {} files are not what was compiled", found.damaged.len(), found.files);
            Finding::warning(SUBJECT, what, "nothing: they are never run, and are compiled again when they are needed")
        }
    }]
}

pub(super) fn generations(patient: &Patient) -> Vec<Finding> {
    const SUBJECT: &str = "generations";
    let found = match generation::examine(patient.data_dir()) {
        Ok(found) => found,
        Err(error) => {
            return vec![Finding::problem(SUBJECT, error.to_string(), "run this as the user that runs the host")];
        }
    };
    let mut findings = Vec::new();
    if !found.damaged.is_empty() {
        let what = format!("generations {:?} are not what was written", found.damaged);
        findings.push(Finding::problem(SUBJECT, what, "they cannot be restored; the others can"));
    }
    if !found.newer.is_empty() {
        let what = format!("generations {:?} are of a newer host", found.newer);
        findings.push(Finding::problem(SUBJECT, what, "run the newer host"));
    }
    if let (Some(first), Some(number)) = (found.missing.first(), found.missing_in) {
        let what = format!(
            "{} components that generations name are not stored, such as {first} of generation {number}",
            found.missing.len()
        );
        findings.push(Finding::problem(
            SUBJECT,
            what,
            "put the component into the bots' directory and `host reload`; otherwise these generations cannot be restored",
        ));
    }
    if found.aside > 0 {
        let what = format!("{} damaged generations were put aside", found.aside);
        findings.push(Finding::warning(SUBJECT, what, "remove generations/damaged once they were looked at"));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(SUBJECT, format!("{} can be restored", found.kept)));
    }
    findings
}

pub(super) fn audit(patient: &Patient) -> Vec<Finding> {
    const SUBJECT: &str = "audit log";
    vec![match audit::verify(patient.data_dir()) {
        Ok(found) => Finding::ok(SUBJECT, format!("{} records, each the successor of the one before", found.records)),
        Err(error @ VerifyError::Disk { .. }) => {
            Finding::problem(SUBJECT, error.to_string(), "run this as the user that runs the host")
        }
        Err(error) => Finding::problem(
            SUBJECT,
            error.to_string(),
            "somebody or something changed it from outside: keep a copy of the directory, and find out who",
        ),
    }]
}
