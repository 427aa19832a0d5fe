//! Who can be let in at the admin side, and what it shows of itself.

use super::{Finding, Patient};
use crate::access::{AccessError, Book};
use crate::admin::TlsHandle;
use crate::clock::Timestamp;

pub(super) fn accounts(patient: &Patient) -> Vec<Finding> {
    const SUBJECT: &str = "accounts";
    vec![match Book::open(patient.data_dir()) {
        Ok(book) => {
            let (accounts, tokens) = (book.accounts().len(), book.tokens().len());
            Finding::ok(SUBJECT, format!("{accounts} accounts and {tokens} tokens can be read"))
        }
        Err(error @ AccessError::Disk { .. }) => {
            Finding::problem(SUBJECT, error.to_string(), "run this as the user that runs the host")
        }
        // It says what to do.
        Err(error) => Finding { remedy: None, ..Finding::problem(SUBJECT, error.to_string(), "") },
    }]
}

pub(super) fn certificate(patient: &Patient) -> Vec<Finding> {
    judged(patient, Timestamp::now())
}

fn judged(patient: &Patient, now: Timestamp) -> Vec<Finding> {
    const SUBJECT: &str = "certificate";
    let Some(files) = patient.config.admin.tls.clone() else { return Vec::new() };
    let handle = match TlsHandle::load(files) {
        Ok(handle) => handle,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            let what = format!("{error}{}", cause.unwrap_or_default());
            return vec![Finding::problem(SUBJECT, what, "mend the files that `[admin] tls` names")];
        }
    };
    let warnings = handle.warnings(now);
    if warnings.is_empty() {
        let what = match handle.ends_at() {
            Some(end) => format!("good until {end}"),
            None => "it can be used, and does not tell until when".to_owned(),
        };
        return vec![Finding::ok(SUBJECT, what)];
    }
    let is_over = handle.ends_at().is_some_and(|end| end <= now);
    let finding = |warning| match is_over {
        true => Finding { remedy: None, ..Finding::problem(SUBJECT, warning, "") },
        false => Finding { remedy: None, ..Finding::warning(SUBJECT, warning, "") },
    };
    warnings.into_iter().map(finding).collect()
}
