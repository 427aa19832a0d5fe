//! Who may read and write what belongs to the host.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::{Finding, Patient};

const SUBJECT: &str = "permissions";
/// Modes that let others of the group or the machine write.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Files in the data directory that only the host's user may open, beside the databases.
const OWN_FILES: [&str; 5] = ["admin.sock", "access.json", "bothost.db", "observations.db", "audit"];

pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let data_dir = patient.data_dir();
    let mut findings = match data_dir.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let remedy = "`host run` creates it; otherwise look at `[host] data_dir`";
            vec![Finding::warning(SUBJECT, format!("there is no data directory {}", data_dir.display()), remedy)]
        }
        Err(error) => vec![unreadable(data_dir, &error)],
        Ok(found) => data_directory(data_dir, &found),
    };
    findings.extend(directory(&patient.config.host.bots_dir, "the bots' directory"));
    if let Some(logs) = patient.config.logs_dir() {
        findings.extend(directory(&logs, "the log directory"));
    }
    findings.extend(secrets_in_open_file(&patient.config.path));
    findings
}

fn data_directory(path: &Path, found: &Metadata) -> Vec<Finding> {
    let mut findings = Vec::new();
    let shown = path.display();
    if let Some(finding) = owner(path, found) {
        findings.push(finding);
    }
    if found.mode() & 0o077 != 0 {
        findings.push(Finding::problem(
            SUBJECT,
            format!(
                "other users can look into {shown} (mode {:03o}), where secrets and messages are",
                found.mode() & 0o777
            ),
            format!("chmod 700 {shown}"),
        ));
    }
    let own: Vec<PathBuf> = OWN_FILES.iter().map(|name| path.join(name)).collect();
    for file in own {
        match file.symlink_metadata() {
            Ok(found) if found.mode() & 0o077 != 0 && !found.is_symlink() => findings.push(Finding::problem(
                SUBJECT,
                format!("other users can open {} (mode {:03o})", file.display(), found.mode() & 0o777),
                format!("chmod 600 {}", file.display()),
            )),
            Err(error) if error.kind() != io::ErrorKind::NotFound => findings.push(unreadable(&file, &error)),
            _ => {}
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(SUBJECT, format!("{shown} is for its owner alone")));
    }
    findings
}

/// Checks a directory whose contents decide what the host does.
fn directory(path: &Path, what: &str) -> Option<Finding> {
    let shown = path.display();
    let found = match path.metadata() {
        // It is created.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(unreadable(path, &error)),
        Ok(found) => found,
    };
    let mode = found.mode() & 0o777;
    Some(match mode & WRITABLE_BY_OTHERS {
        0 => Finding::ok(SUBJECT, format!("only its owner writes into {what} {shown}")),
        by => {
            let who = if by & 0o002 == 0 { "its group" } else { "every user" };
            let what = format!("{who} can write into {what} {shown} (mode {mode:03o})");
            Finding::problem(SUBJECT, what, format!("chmod go-w {shown}"))
        }
    })
}

fn owner(path: &Path, found: &Metadata) -> Option<Finding> {
    let own = geteuid().as_raw();
    // The administrator looks at the host of another user.
    if found.uid() == own || own == 0 {
        return None;
    }
    let what = format!("{} belongs to user {} and this is user {own}", path.display(), found.uid());
    Some(Finding::problem(SUBJECT, what, "run this, and the host, as the user to whom it belongs"))
}

/// A configuration may have secrets in it as they are.
fn secrets_in_open_file(config: &Path) -> Option<Finding> {
    let mode = config.metadata().ok()?.mode() & 0o777;
    let shown = config.display();
    if mode & WRITABLE_BY_OTHERS != 0 {
        let what = format!("others can change {shown} (mode {mode:03o}), and so what the host does");
        return Some(Finding::problem(SUBJECT, what, format!("chmod go-w {shown}")));
    }
    None
}

fn unreadable(path: &Path, error: &io::Error) -> Finding {
    let what = format!("{} cannot be looked at: {error}", path.display());
    Finding::problem(SUBJECT, what, "run this as the user that runs the host")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::Verdict;
    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_data_directory_that_others_can_look_into_is_a_problem_and_so_is_each_open_file() {
        let dir = tempfile::tempdir().unwrap();
        set_mode(dir.path(), 0o700);
        let found = || data_directory(dir.path(), &dir.path().metadata().unwrap());
        assert!(found().iter().all(|finding| finding.verdict == Verdict::Ok));
        set_mode(dir.path(), 0o755);
        assert!(found()[0].remedy.as_deref().unwrap().starts_with("chmod 700 "), "{:?}", found());
        set_mode(dir.path(), 0o700);
        fs::write(dir.path().join("access.json"), "").unwrap();
        set_mode(&dir.path().join("access.json"), 0o640);
        assert_eq!(found().len(), 1);
        assert!(found()[0].what.contains("access.json") && found()[0].verdict == Verdict::Problem, "{:?}", found());
    }

    #[test]
    fn a_directory_of_bots_that_others_write_into_is_a_problem() {
        let dir = tempfile::tempdir().unwrap();
        for (mode, verdict, who) in [
            (0o755, Verdict::Ok, "only its owner"),
            (0o775, Verdict::Problem, "its group"),
            (0o757, Verdict::Problem, "every user"),
        ] {
            set_mode(dir.path(), mode);
            let found = directory(dir.path(), "the bots' directory").unwrap();
            assert!(found.verdict == verdict && found.what.starts_with(who), "{found:?}");
        }
        assert_eq!(directory(&dir.path().join("none"), "x"), None);
    }
}
