//! Which files of the bots' directory are a bot's, decided by their names alone.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::catalogue::FileProblem;
use crate::id::BotName;

/// A file of the bots' directory that means something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FileName {
    /// `NAME.wasm`.
    Component(BotName),
    /// `NAME.toml`.
    Entry(BotName),
    /// Ends in `.wasm` or `.toml`, but no bot can have its name. Shown with control characters escaped.
    Misnamed(String),
}

/// A file that is a component or an entry by its ending, or why its name will not do.
pub(super) type Classified = (FileName, Result<(), FileProblem>);

impl FileName {
    /// Returns what a file of this name is; `None` if it is none of the host's business.
    ///
    /// Editors and copying tools put their temporary files beside the real one, always with a leading dot or with something
    /// after the ending (`.x.wasm.swp`, `.#x.wasm`, `x.wasm~`, `#x.wasm#`, `x.wasm.part`, `4913`), so those need no list.
    pub(super) fn classify(name: &OsStr) -> Option<Classified> {
        let text = name.to_string_lossy();
        if text.starts_with('.') {
            return None;
        }
        let (stem, of): (_, fn(BotName) -> Self) = if let Some(stem) = text.strip_suffix(".wasm") {
            (stem, Self::Component)
        } else {
            (text.strip_suffix(".toml")?, Self::Entry)
        };
        Some(match stem.parse() {
            Ok(bot) => (of(bot), Ok(())),
            Err(error) => {
                let file = escape(name);
                (Self::Misnamed(file.clone()), Err(FileProblem::Misnamed { file, error }))
            }
        })
    }

    /// Returns where the file is.
    pub(super) fn path_in(&self, dir: &Path) -> PathBuf {
        match self {
            Self::Component(bot) => dir.join(format!("{bot}.wasm")),
            Self::Entry(bot) => dir.join(format!("{bot}.toml")),
            Self::Misnamed(file) => dir.join(file),
        }
    }
}

/// Makes a name safe to print. Two different names stay different, even if they are not UTF-8.
fn escape(name: &OsStr) -> String {
    match name.to_str() {
        Some(text) => text.escape_debug().to_string(),
        None => name.as_encoded_bytes().escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    fn classify(name: &str) -> Option<Classified> {
        FileName::classify(OsStr::new(name))
    }

    #[test]
    fn components_and_entries_are_known_by_their_endings() {
        let bot: BotName = "a.b-2".parse().unwrap();
        assert_eq!(classify("a.b-2.wasm"), Some((FileName::Component(bot.clone()), Ok(()))));
        assert_eq!(classify("a.b-2.toml"), Some((FileName::Entry(bot), Ok(()))));
    }

    #[test]
    fn temporary_files_of_editors_and_copies_are_left_alone() {
        for name in [
            "4913",
            "x.wasm~",
            ".x.wasm.swp",
            "#x.toml#",
            ".#x.toml",
            "x.wasm.tmp",
            "x.wasm.part",
            "x.toml___jb_tmp___",
            ".echo.wasm.Ab3dEf",
            "sedAb3dEf",
            "..data",
            ".wasm",
            "wasm",
            "README.md",
        ] {
            assert_eq!(classify(name), None, "{name}");
        }
    }

    #[test]
    fn a_component_that_no_bot_can_be_named_after_is_a_problem_and_not_silence() {
        for name in [" x.wasm", "two words.toml", "ü.wasm", "-x.wasm", "a\u{1b}[31m.wasm"] {
            let (FileName::Misnamed(file), Err(problem)) = classify(name).unwrap() else { panic!("{name}") };
            assert!(!file.contains('\u{1b}') && !problem.to_string().contains('\u{1b}'), "{problem}");
        }
        let not_utf8 = FileName::classify(OsStr::from_bytes(b"\xff.wasm")).unwrap();
        assert_eq!(not_utf8.0, FileName::Misnamed("\\xff.wasm".to_owned()));
    }
}
