//! Files of JSON that are there as a whole or not at all, and know when they are no longer what was written.
//!
//! ```text
//! {"format":1,"sha256":"…64 digits…","body":{…}}     the hash is that of the body's bytes
//! ```

use std::fs::{self, DirBuilder, DirEntry, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::id::ContentHash;

/// What a file of any format begins with.
const START: &str = r#"{"format":"#;
/// The format that is written, and the only one that is read.
const FORMAT: u32 = 1;
/// What stands before the hash.
const HEAD: &str = r#"{"format":1,"sha256":""#;
/// What stands between the hash and the body.
const NECK: &str = r#"","body":"#;
/// What stands after the body.
const TAIL: &str = "}\n";
/// Digits of a hash.
const HASH_LEN: usize = 64;
/// What a file's name begins with while it is written.
pub(crate) const UNFINISHED: &str = ".bothost-unfinished-";

/// Why a sealed file gives nothing.
#[derive(Debug)]
pub(crate) enum SealError {
    /// It cannot be read.
    Unreadable(io::Error),
    /// It is not what was written.
    Broken,
    /// It is of a format that a newer host writes.
    Newer(u32),
}

/// Returns what is in a directory; nothing where there is none: on a full disk it cannot be made before it is needed.
pub(crate) fn list(directory: &Path) -> io::Result<Vec<DirEntry>> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read?.collect(),
    }
}

/// Makes a directory (mode 0700) unless it is there, and sees to it that it stays.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    sync_directory_of(path)
}

/// Brings the names in the directory of a file to the disk.
pub(crate) fn sync_directory_of(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

/// Returns the directory of a file.
pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a file (mode 0600), and its directory where there is none, so that it is there as a whole or not at all, and stays when the power goes.
pub(crate) fn write(path: &Path, body: &impl Serialize) -> io::Result<()> {
    let body = serde_json::to_string(body)?;
    let hash = ContentHash::of(body.as_bytes());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = path.with_file_name(format!("{UNFINISHED}{name}"));
    make_directory(directory_of(path))?;
    let written = (|| {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&unfinished)?;
        write!(file, "{HEAD}{hash}{NECK}{body}{TAIL}")?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    })();
    if let Err(error) = written {
        // Best effort: the next write of it, or the next start, does it otherwise.
        let _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    sync_directory_of(path)
}

/// Reads a file that [`write`] wrote.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, SealError> {
    let bytes = fs::read(path).map_err(SealError::Unreadable)?;
    match unseal(&bytes).and_then(|body| serde_json::from_slice(body).ok()) {
        Some(content) => Ok(content),
        None => Err(newer_format(&bytes).map_or(SealError::Broken, SealError::Newer)),
    }
}

/// Returns the format of a file that is newer than what is read here, unless it is a file of this one whose number has changed on
/// the disk.
fn newer_format(bytes: &[u8]) -> Option<u32> {
    let rest = bytes.strip_prefix(START.as_bytes())?;
    let (format, rest) = rest.split_at(rest.iter().position(|byte| *byte == b',')?);
    let format = std::str::from_utf8(format).ok()?.parse().ok().filter(|format| *format > FORMAT)?;
    let as_written = [START.as_bytes(), FORMAT.to_string().as_bytes(), rest].concat();
    unseal(&as_written).is_none().then_some(format)
}

fn unseal(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(HEAD.as_bytes())?;
    let (hash, rest) = rest.split_at_checked(HASH_LEN)?;
    let body = rest.strip_prefix(NECK.as_bytes())?.strip_suffix(TAIL.as_bytes())?;
    let hash: ContentHash = std::str::from_utf8(hash).ok()?.parse().ok()?;
    (ContentHash::of(body) == hash).then_some(body)
}

/// Removes what somebody was writing in a directory when he died.
pub(crate) fn remove_unfinished(directory: &Path) -> io::Result<()> {
    for file in list(directory)? {
        if file.file_name().to_string_lossy().starts_with(UNFINISHED) {
            fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

/// Removes a file, and sees to it that it stays away. One that is not there is removed.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| sync_directory_of(path)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        write(&path, &"old").unwrap();
        write(&path, &"new").unwrap();
        assert_eq!(read::<String>(&path).unwrap(), "new");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(json["body"], "new");
    }

    #[test]
    fn f077_no_flipped_bit_and_no_cut_goes_unseen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        write(&path, &["some", "text"]).unwrap();
        let good = fs::read(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(&bad).is_none() && newer_format(&bad).is_none(), "bit {bit}");
        }
        for len in 0..good.len() {
            assert!(unseal(&good[..len]).is_none(), "{len} bytes");
        }
    }

    #[test]
    fn f058_a_newer_format_is_known_for_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        for (text, expected) in
            [("{\"format\":2,\"body\":1}", Some(2)), ("{\"format\":0,", None), ("{\"format\":x,", None)]
        {
            fs::write(&path, text).unwrap();
            let newer = match read::<String>(&path) {
                Err(SealError::Newer(format)) => Some(format),
                _ => None,
            };
            assert_eq!(newer, expected, "{text}");
        }
    }
}
