//! What is put to a place of the host by name, or removed from it: read from a file, sent, and what came of it told.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::Context as _;
use bothost::units::ByteSize;
use serde_json::Value;

use super::Failure;
use super::config::tell_edited;
use super::progress::Progress;
use super::remote::Session;

/// What is read at most: more than any host takes.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// What a file holds.
pub(super) struct Content {
    pub(super) media_type: &'static str,
    pub(super) bytes: Vec<u8>,
}

impl Content {
    /// Reads a file; `-` is standard input.
    pub(super) fn read(file: &Path, media_type: &'static str) -> Result<Self, Failure> {
        let mut bytes = Vec::new();
        let read = match file.as_os_str().to_str() {
            Some("-") => io::stdin().lock().take(FILE_BYTES_MAX).read_to_end(&mut bytes),
            _ => File::open(file).and_then(|opened| opened.take(FILE_BYTES_MAX).read_to_end(&mut bytes)),
        };
        read.with_context(|| format!("cannot read {}", file.display()))?;
        Ok(Self { media_type, bytes })
    }

    /// Returns a table of TOML as JSON. What is said of a mistake repeats no value, which may be a secret.
    pub(super) fn toml_as_json(self, file: &Path) -> Result<Self, Failure> {
        let wrong = |why: &str| Failure::Usage(format!("{}: {why}", file.display()));
        let text = std::str::from_utf8(&self.bytes).map_err(|_| wrong("it is not UTF-8"))?;
        let table: Value = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
            wrong(&format!("line {line}: {}", error.message().lines().next().unwrap_or("it is no TOML")))
        })?;
        Ok(Self { media_type: "application/json", bytes: table.to_string().into_bytes() })
    }
}

/// Has the host put it, and tells what came of it.
pub(super) fn put(host: &Session, json: bool, path: &str, content: Content) -> Result<(), Failure> {
    let Content { media_type, bytes } = content;
    let size = ByteSize(bytes.len() as u64);
    let progress = Progress::begin(&format!("sending {size}, and the host brings it into force"), json);
    let answer = host.put(path, media_type, bytes)?;
    drop(progress);
    tell_edited(answer, json)
}

/// Has the host remove it, and tells what came of it.
pub(super) fn remove(host: &Session, json: bool, path: &str) -> Result<(), Failure> {
    let progress = Progress::begin("the host brings it into force", json);
    let answer = host.delete(path)?;
    drop(progress);
    tell_edited(answer, json)
}
