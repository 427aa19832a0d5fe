//! What is read of the audit log: the newest first, a page at a time.

use std::fs;
use std::io;
use std::path::Path;

use super::ledger::{lines, numbers, place};
use super::{AuditError, Record, record};
use crate::clock::Timestamp;

/// Files that are looked through for one page; what is left is for the next.
const FILES_MAX: usize = 4;
/// Most records of one page.
const RECORDS_MAX: usize = 1_000;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Only records before this number.
    pub before: Option<u64>,
    /// At most so many; 1,000 at most.
    pub limit: usize,
    /// Only what this one did.
    pub who: Option<String>,
    /// Only what was done since.
    pub since: Option<Timestamp>,
}

/// A page of records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The newest first.
    pub records: Vec<Record>,
    /// Where the next page begins: what to ask for as `before`; none: there is nothing more.
    pub next: Option<u64>,
    /// Lines that were passed over because they are not what was written.
    pub damaged: u64,
}

/// Reads a page. Blocks.
pub(super) fn read(dir: &Path, query: &Query) -> Result<Page, AuditError> {
    let limit = query.limit.clamp(1, RECORDS_MAX);
    let mut page = Page::default();
    let mut oldest_seen = None;
    for (index, number) in numbers(dir).map_err(AuditError::disk(dir))?.into_iter().rev().enumerate() {
        let path = place(dir, number);
        let bytes = match fs::read(&path) {
            // It was removed meanwhile, and so is older than what is asked for.
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            read => read.map_err(AuditError::disk(&path))?,
        };
        // Cheap to know by its first line whether a whole file is too new.
        let first = lines(&bytes).0.find_map(record::parse).map(|record| record.seq);
        if first.is_some_and(|first| query.before.is_some_and(|before| first >= before)) {
            continue;
        }
        if index >= FILES_MAX && oldest_seen.is_some() {
            page.next = oldest_seen;
            return Ok(page);
        }
        for line in lines(&bytes).0.rev() {
            let Some(record) = record::parse(line) else {
                page.damaged += 1;
                continue;
            };
            if query.before.is_some_and(|before| record.seq >= before) {
                continue;
            }
            if query.since.is_some_and(|since| record.at < since) {
                return Ok(page);
            }
            if page.records.len() == limit {
                page.next = oldest_seen;
                return Ok(page);
            }
            oldest_seen = Some(record.seq);
            if query.who.as_ref().is_none_or(|who| *who == record.who) {
                page.records.push(record);
            }
        }
    }
    Ok(page)
}
