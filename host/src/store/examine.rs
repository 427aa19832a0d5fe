//! What a look from outside finds in a store, whether or not a host has it open: it changes nothing, puts nothing aside and locks
//! nobody out.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{BlobId, sqlite};

/// What was found in a database.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Examined {
    /// Rows that were compared with their checksums.
    pub rows: u64,
    /// Rows that are not what was written, each by its kind and name; the first of them.
    pub unfit: Vec<String>,
    /// How many there are.
    pub unfit_count: u64,
    /// Rows that a host has put aside before.
    pub quarantined: u64,
    /// What SQLite says is wrong with the file.
    pub damage: Option<String>,
}

/// Why a database was not examined.
#[derive(Debug, thiserror::Error)]
pub enum NotExamined {
    /// It cannot be read.
    #[error("cannot read {path:?}: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        reason: String,
    },
    /// A newer host made it.
    #[error("{path:?} is of a newer host: its version is {found}, and this host knows {supported}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The latest that is known here.
        supported: u32,
    },
}

/// Looks through the database of a data directory, page by page and row by row. Blocking: seconds for each GiB. Nothing: there is no
/// database yet.
///
/// # Errors
///
/// See [`NotExamined`].
pub fn examine(data_dir: &Path) -> Result<Option<Examined>, NotExamined> {
    let path = data_dir.join("bothost.db");
    if !path.exists() {
        return Ok(None);
    }
    sqlite::examine(&path).map(Some)
}

/// Returns the version of SQLite.
pub fn library_version() -> &'static str {
    sqlite::library_version()
}

/// What was found among the contents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DamagedBlobs {
    /// Contents that were compared with their names.
    pub contents: u64,
    /// Those that are not what their names say.
    pub damaged: Vec<BlobId>,
    /// Those that a host has put aside before.
    pub aside: u64,
}

/// Compares every content in a data directory with its name. Blocking: about a second for each GiB.
///
/// # Errors
///
/// A file cannot be read. Without a directory there is nothing to compare.
pub fn examine_blobs(data_dir: &Path) -> io::Result<DamagedBlobs> {
    let root = data_dir.join("blobs");
    let mut found = DamagedBlobs { aside: list(&root.join("damaged"))?.len() as u64, ..DamagedBlobs::default() };
    for directory in list(&root.join("sha256"))? {
        if !directory.is_dir() {
            continue;
        }
        for file in list(&directory)? {
            let name: String = [&directory, &file].iter().filter_map(|path| path.file_name()?.to_str()).collect();
            // What somebody else has put there is none of ours.
            let Ok(id) = name.parse::<BlobId>() else { continue };
            match fs::read(&file) {
                Ok(content) if BlobId::of(&content) == id => {}
                Ok(_) => found.damaged.push(id),
                // A host that runs has removed it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            }
            found.contents += 1;
        }
    }
    Ok(found)
}

/// Returns whether there is a content of this name.
pub fn has_blob(data_dir: &Path, id: BlobId) -> bool {
    let name = id.to_string();
    data_dir.join("blobs/sha256").join(&name[..2]).join(&name[2..]).is_file()
}

fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, StoreOptions};

    #[tokio::test]
    async fn a_good_store_is_found_good_and_is_left_as_it_is() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(examine(home.path()).unwrap(), None);
        let data = home.path().join("data");
        let store = Store::open(&data, StoreOptions::default()).unwrap();
        let while_open = examine(&data).unwrap().unwrap();
        assert_eq!((while_open.damage, while_open.unfit_count), (None, 0));
        store.close().await;
        let files = || {
            let mut files: Vec<_> = list(&data).unwrap();
            files.sort();
            files
        };
        let (before, content) = (files(), fs::read(data.join("bothost.db")).unwrap());
        let found = examine(&data).unwrap().unwrap();
        assert_eq!((found.damage, found.unfit_count), (None, 0));
        assert_eq!((files(), fs::read(data.join("bothost.db")).unwrap()), (before, content));
    }

    #[test]
    fn a_content_that_is_not_what_its_name_says_is_found_and_left_there() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(examine_blobs(home.path()).unwrap(), DamagedBlobs::default());
        let id = BlobId::of(b"abc");
        let name = id.to_string();
        let place = home.path().join("blobs/sha256").join(&name[..2]);
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join(&name[2..]), "abc").unwrap();
        fs::write(place.join("notes"), "").unwrap();
        assert_eq!(examine_blobs(home.path()).unwrap(), DamagedBlobs { contents: 1, ..DamagedBlobs::default() });
        fs::write(place.join(&name[2..]), "abb").unwrap();
        assert_eq!(examine_blobs(home.path()).unwrap().damaged, [id]);
        assert!(place.join(&name[2..]).exists());
    }
}
