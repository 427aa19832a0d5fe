//! What a configuration takes from outside its text: environment variables and files of secrets. Opens every file that is read.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Largest file of a secret, in bytes.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Why a text could not be filled in.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FillError {
    #[error("the environment variable `{0}` is not set")]
    NotSet(String),
    #[error("the environment variable `{0}` is empty")]
    Empty(String),
    #[error("the environment variable `{0}` is not UTF-8")]
    NotUtf8(String),
    #[error("`${{` must be followed by a variable's name and `}}`, as in `${{NAME}}`; write `$${{` for the text `${{`")]
    NoName,
}

/// Returns `raw` with each `${NAME}` replaced by that variable and each `$${` by `${`. What a variable holds is not looked into
/// again.
pub(super) fn fill<'r>(raw: &'r str, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Cow<'r, str>, FillError> {
    let mut filled = String::new();
    let mut rest = raw;
    while let Some(dollar) = rest.find("${") {
        let (before, after) = (&rest[..dollar], &rest[dollar + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            filled.push_str(before);
            filled.push_str("${");
            rest = after;
            continue;
        }
        let (name, after) = after.split_once('}').filter(|(name, _)| is_name(name)).ok_or(FillError::NoName)?;
        let value = variable(name).ok_or_else(|| FillError::NotSet(name.to_owned()))?;
        let value = value.into_string().map_err(|_| FillError::NotUtf8(name.to_owned()))?;
        if value.is_empty() {
            return Err(FillError::Empty(name.to_owned()));
        }
        filled.push_str(before);
        filled.push_str(&value);
        rest = after;
    }
    if rest.len() == raw.len() {
        return Ok(Cow::Borrowed(raw));
    }
    filled.push_str(rest);
    Ok(Cow::Owned(filled))
}

/// Returns whether a text is made of nothing but what is filled in: `${NAME}`, once or more.
pub(super) fn is_reference(raw: &str) -> bool {
    let mut rest = raw;
    while let Some((name, after)) = rest.strip_prefix("${").and_then(|rest| rest.split_once('}')) {
        if !is_name(name) {
            return false;
        }
        rest = after;
    }
    rest.is_empty() && !raw.is_empty()
}

fn is_name(name: &str) -> bool {
    let begins_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    begins_well && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Opens a file to read it. Never waits for the other end of a pipe.
///
/// # Errors
///
/// What the system says, or that it is no ordinary file.
pub(super) fn open(path: &Path) -> io::Result<fs::File> {
    let ordinary = |metadata: fs::Metadata| match metadata.is_file() {
        true => Ok(()),
        false => Err(io::Error::other("it is no ordinary file")),
    };
    // Asked before it is opened, because opening some devices does something.
    ordinary(fs::metadata(path)?)?;
    // `NONBLOCK` for what may have taken its place since.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = fs::File::from(rustix::fs::open(path, flags, Mode::empty())?);
    ordinary(file.metadata()?)?;
    Ok(file)
}

/// What a file of a secret holds.
pub(super) struct SecretFile {
    /// Without the end of line that most editors add.
    pub(super) text: String,
    /// Others than its owner may read it.
    pub(super) is_exposed: bool,
}

/// Reads a file that holds a secret.
///
/// # Errors
///
/// Why it cannot be used: missing, no ordinary file, too large, empty, not UTF-8.
pub(super) fn read_secret(path: &Path) -> io::Result<SecretFile> {
    let file = open(path)?;
    let is_exposed = is_exposed(&file.metadata()?);
    let mut text = String::new();
    file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > SECRET_BYTES_MAX {
        return Err(io::Error::other("it is larger than 64KiB"));
    }
    let end = text.strip_suffix('\n').map_or(text.len(), |line| line.strip_suffix('\r').unwrap_or(line).len());
    text.truncate(end);
    if text.is_empty() {
        return Err(io::Error::other("it is empty"));
    }
    Ok(SecretFile { text, is_exposed })
}

#[cfg(unix)]
fn is_exposed(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    metadata.mode() & 0o044 != 0
}

#[cfg(not(unix))]
fn is_exposed(_: &fs::Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn variable(name: &str) -> Option<OsString> {
        match name {
            "TOKEN" => Some("s3cret".into()),
            "NESTED" => Some("${TOKEN}".into()),
            "EMPTY" => Some("".into()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_filled_in_once_and_escapes_are_kept() {
        for (raw, expected) in [
            ("", ""),
            ("plain $5 {x}", "plain $5 {x}"),
            ("${TOKEN}", "s3cret"),
            ("a${TOKEN}b${TOKEN}", "as3cretbs3cret"),
            ("$${TOKEN}", "${TOKEN}"),
            ("$$${TOKEN}", "$${TOKEN}"),
            ("$${", "${"),
            ("${NESTED}", "${TOKEN}"),
            ("é${TOKEN}é", "és3creté"),
        ] {
            assert_eq!(fill(raw, &variable).as_deref(), Ok(expected), "{raw}");
        }
    }

    #[test]
    fn a_reference_has_no_letter_of_its_own() {
        for reference in ["${TOKEN}", "${A}${B_2}"] {
            assert!(is_reference(reference), "{reference}");
        }
        for other in ["", "x", "$${TOKEN}", "1:${TOKEN}", "${TOKEN} ", "${A-B}", "${", "${}"] {
            assert!(!is_reference(other), "{other}");
        }
    }

    #[test]
    fn nothing_missing_becomes_an_empty_text() {
        assert_eq!(fill("${NONE}", &variable), Err(FillError::NotSet("NONE".to_owned())));
        assert_eq!(fill("${EMPTY}", &variable), Err(FillError::Empty("EMPTY".to_owned())));
        for raw in ["${", "${}", "${A", "${A-B}", "${1A}", "${ A }"] {
            assert_eq!(fill(raw, &variable), Err(FillError::NoName), "{raw}");
        }
    }

    #[test]
    fn a_secret_file_loses_one_end_of_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        for (held, expected) in
            [("abc\n", "abc"), ("abc\r\n", "abc"), ("abc", "abc"), ("abc\n\n", "abc\n"), (" a ", " a ")]
        {
            fs::write(&path, held).unwrap();
            assert_eq!(read_secret(&path).unwrap().text, expected, "{held:?}");
        }
    }

    #[test]
    fn a_secret_file_that_holds_nothing_or_too_much_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        for (held, reason) in [(String::new(), "empty"), ("\n".to_owned(), "empty"), ("x".repeat(70_000), "larger")] {
            fs::write(&path, held).unwrap();
            assert!(read_secret(&path).err().unwrap().to_string().contains(reason));
        }
        assert!(read_secret(dir.path()).err().unwrap().to_string().contains("no ordinary file"));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_one_without_braces_stays(raw in "[${}A-C ]{0,20}", plain in "[^$]*") {
            let _ = fill(&raw, &variable);
            prop_assert_eq!(fill(&plain, &variable), Ok(Cow::Borrowed(plain.as_str())));
        }
    }
}
