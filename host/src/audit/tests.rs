//! Tests of the log as a whole: what is written is read again, and whoever touches it is found out.

use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;

use super::ledger::{HEAD, place};
use super::*;

const SMALL: Terms = Terms { file_bytes: 1_500, files_max: 3 };

fn entry(subject: &str) -> Entry {
    Entry::of_host("restart", subject, "for a test")
}

fn append(dir: &Path, terms: Terms, count: usize) -> Vec<String> {
    let (mut ledger, findings) = Ledger::open(&dir.join(DIRECTORY), terms).unwrap();
    for number in 0..count {
        ledger.append(&[entry(&format!("bot {number}"))], Timestamp::from_millis(1_000 + number as u64)).unwrap();
    }
    findings
}

fn subjects(dir: &Path, query: &Query) -> (Vec<(u64, String)>, Option<u64>) {
    let page = page::read(&dir.join(DIRECTORY), query).unwrap();
    (page.records.into_iter().map(|record| (record.seq, record.subject)).collect(), page.next)
}

fn all() -> Query {
    Query { limit: 1_000, ..Query::default() }
}

use crate::clock::Timestamp;

#[tokio::test]
async fn what_is_answered_is_on_disk_and_is_read_the_newest_first() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, findings) = Audit::open(dir.path()).unwrap();
    assert!(findings.is_empty());
    audit.ready().await.unwrap();
    let records = (0..100).map(|number| audit.record(entry(&format!("bot {number}"))));
    for recorded in futures_util::future::join_all(records).await {
        recorded.unwrap();
    }
    // Nothing is flushed by closing: it is there.
    assert_eq!(verify(dir.path()).unwrap().records, 100);
    let page = audit.read(Query { limit: 2, ..Query::default() }).await.unwrap();
    assert_eq!((page.records.len(), page.records[0].seq, page.next), (2, 100, Some(99)));
    audit.close().await;
    assert!(matches!(audit.record(entry("late")).await, Err(AuditError::Closed)));
    assert!(matches!(audit.ready().await, Err(AuditError::Closed)));
    assert_eq!(verify(dir.path()).unwrap().unacknowledged, (0, 0));
}

#[test]
fn the_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    append(dir.path(), SMALL, 20);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join(DIRECTORY)), 0o700);
    for file in fs::read_dir(dir.path().join(DIRECTORY)).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

#[test]
fn only_so_many_files_are_kept_and_the_chain_goes_on_after_a_removal() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..4 {
        assert!(append(dir.path(), SMALL, 15).is_empty());
        let verified = verify(dir.path()).unwrap();
        assert!(verified.files <= SMALL.files_max && verified.records <= verified.last, "{verified:?}");
    }
    let verified = verify(dir.path()).unwrap();
    let (kept, next) = subjects(dir.path(), &all());
    assert_eq!((kept.len() as u64, next), (verified.records, None));
    assert!(
        kept.iter().any(|(_, subject)| subject.starts_with("audit-0000")),
        "a record says what was removed: {kept:?}"
    );
    assert_eq!(verified.last, kept[0].0);
    assert!(verified.last > 60 && verified.records < 40, "{verified:?}");
}

#[test]
fn pages_hold_each_record_once() {
    let dir = tempfile::tempdir().unwrap();
    append(dir.path(), Terms { file_bytes: 600, files_max: 50 }, 40);
    let (whole, _) = subjects(dir.path(), &Query { limit: 1_000, before: None, ..all() });
    let (mut paged, mut before) = (Vec::new(), None);
    loop {
        let (mut page, next) = subjects(dir.path(), &Query { limit: 7, before, ..all() });
        paged.append(&mut page);
        let Some(next) = next else { break };
        assert!(before.is_none_or(|before| next < before));
        before = Some(next);
    }
    assert_eq!(paged.len(), 40);
    assert!(paged.starts_with(&whole));
    assert!(subjects(dir.path(), &Query { who: Some("anna".into()), ..all() }).0.is_empty());
    let since = Some(Timestamp::from_millis(1_038));
    assert_eq!(subjects(dir.path(), &Query { since, ..all() }).0.len(), 2);
}

#[test]
fn a_line_torn_by_a_crash_is_cut_off_and_recorded() {
    let dir = tempfile::tempdir().unwrap();
    append(dir.path(), Terms::default(), 3);
    let file = place(&dir.path().join(DIRECTORY), 1);
    let good = fs::read(&file).unwrap();
    fs::write(&file, [&good[..], b"{\"seq\":4,\"at\""].concat()).unwrap();
    assert_eq!(verify(dir.path()).unwrap().unacknowledged, (0, 13));
    assert!(append(dir.path(), Terms::default(), 1).is_empty(), "a crash is no finding");
    assert_eq!(verify(dir.path()).unwrap().records, 5);
    let (records, _) = subjects(dir.path(), &all());
    assert_eq!(records[1], (4, "audit log".to_owned()));
}

#[test]
fn a_record_that_nobody_was_told_of_is_taken_for_good() {
    let dir = tempfile::tempdir().unwrap();
    append(dir.path(), Terms::default(), 3);
    let head_path = dir.path().join(DIRECTORY).join(HEAD);
    let head = fs::read(&head_path).unwrap();
    append(dir.path(), Terms::default(), 2);
    fs::write(&head_path, &head).unwrap();
    assert_eq!(verify(dir.path()).unwrap().unacknowledged, (2, 0));
    assert!(append(dir.path(), Terms::default(), 1).is_empty());
    assert_eq!(verify(dir.path()).unwrap(), Verified { unacknowledged: (0, 0), ..verify(dir.path()).unwrap() });
    assert_eq!(verify(dir.path()).unwrap().last, 6);
}

/// What a cut tail leaves is found at the next start, recorded, and still found after.
#[test]
fn f102_what_is_cut_off_is_found_before_and_after_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    append(dir.path(), Terms::default(), 5);
    let file = place(&dir.path().join(DIRECTORY), 1);
    let good = fs::read(&file).unwrap();
    let fourth = lines_of(&good)[..4].concat();
    fs::write(&file, fourth).unwrap();
    let said = verify(dir.path()).unwrap_err().to_string();
    assert!(said.contains("audit-000001.log:5: ") && said.contains("cut off"), "{said}");
    let findings = append(dir.path(), Terms::default(), 1);
    assert!(findings.len() == 1 && findings[0].contains("record 5"), "{findings:?}");
    let said = verify(dir.path()).unwrap_err().to_string();
    assert!(said.contains("audit-000002.log:1: ") && said.contains("does not follow record 4"), "{said}");
    let (records, _) = subjects(dir.path(), &all());
    assert_eq!(records[0].0, 7);
}

#[test]
fn f102_a_head_that_is_gone_or_damaged_is_found() {
    for damage in [None, Some("{}")] {
        let dir = tempfile::tempdir().unwrap();
        append(dir.path(), Terms::default(), 2);
        let head = dir.path().join(DIRECTORY).join(HEAD);
        match damage {
            None => fs::remove_file(&head).unwrap(),
            Some(text) => fs::write(&head, text).unwrap(),
        }
        assert!(matches!(verify(dir.path()), Err(VerifyError::Head { .. })));
        assert_eq!(append(dir.path(), Terms::default(), 1).len(), 1);
        assert!(subjects(dir.path(), &all()).0.len() == 4, "what was found is recorded");
    }
}

#[test]
fn an_empty_log_is_good() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(verify(dir.path()).unwrap().last, 0);
    append(dir.path(), SMALL, 0);
    assert_eq!(verify(dir.path()).unwrap().last, 0);
    assert!(append(dir.path(), SMALL, 1).is_empty());
}

#[tokio::test]
async fn where_it_cannot_be_written_nothing_may_be_changed_until_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, _) = Audit::open(dir.path()).unwrap();
    audit.record(entry("one")).await.unwrap();
    // The head cannot be replaced by a file while a directory with something in it has its name.
    let head = dir.path().join(DIRECTORY).join(HEAD);
    let aside = dir.path().join("aside");
    fs::rename(&head, &aside).unwrap();
    fs::create_dir_all(head.join("x")).unwrap();
    assert!(matches!(audit.record(entry("two")).await, Err(AuditError::Disk { .. })));
    assert!(audit.ready().await.is_err());
    assert!(matches!(*audit.health().borrow(), Health::Unwell { lost: 1, .. }));
    fs::remove_dir_all(&head).unwrap();
    fs::rename(&aside, &head).unwrap();
    audit.ready().await.unwrap();
    assert_eq!(*audit.health().borrow(), Health::Well);
    audit.close().await;
    verify(dir.path()).unwrap();
    let (records, _) = subjects(dir.path(), &all());
    assert_eq!(records, [(2, "audit log".to_owned()), (1, "one".to_owned())]);
}

fn lines_of(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').collect()
}

/// A log of a few files, as names and contents.
fn written() -> BTreeMap<String, Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    append(dir.path(), SMALL, 25);
    let files = fs::read_dir(dir.path().join(DIRECTORY)).unwrap().map(|file| file.unwrap());
    files.map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())).collect()
}

fn verify_files(files: &BTreeMap<String, Vec<u8>>) -> Result<Verified, VerifyError> {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(DIRECTORY)).unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(DIRECTORY).join(name), bytes).unwrap();
    }
    verify(dir.path())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is done to any file of the log: flipped, removed, doubled, swapped, cut.
    #[test]
    fn f102_no_tampering_goes_unseen(what in 0u8..6, file in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut files = written();
        prop_assert!(verify_files(&files).is_ok());
        // The newest file may be empty just after it was begun.
        let names: Vec<_> = files.iter().filter(|(_, bytes)| !bytes.is_empty()).map(|(name, _)| name.clone()).collect();
        let name = file.get(&names).clone();
        let bytes = files.get(&name).unwrap().clone();
        let mut lines = lines_of(&bytes);
        let line = at.index(lines.len());
        let bad = match what {
            0 => { let mut bad = bytes.clone(); bad[at.index(bytes.len())] ^= 1 << bit; bad }
            1 => { lines.remove(line); lines.concat() }
            2 => { lines.insert(line, lines[line]); lines.concat() }
            3 => { let by = (1 + at.index(lines.len())) % lines.len(); lines.rotate_left(by); lines.concat() }
            4 => bytes[..at.index(bytes.len())].to_vec(),
            _ => { files.remove(&name); Vec::new() }
        };
        if what < 5 {
            prop_assume!(bad != bytes);
            files.insert(name.clone(), bad);
        }
        prop_assert!(verify_files(&files).is_err(), "{what} in {name}");
    }
}
