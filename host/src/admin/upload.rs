//! A component on its way in: received piece by piece into a directory of its own, bounded in length, time and number. What was received
//! is a file until it is judged, and is removed whatever comes of it.

use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Bytes};
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::problem::Problem;
use crate::id::ContentHash;
use crate::watcher::ComponentFile;

/// Where they are, below the data directory.
const DIRECTORY: &str = "uploads";
/// Uploads at one moment.
const UPLOADS_MAX: usize = 2;
/// How long an upload may take beside what its bytes may.
const PATIENCE: Duration = Duration::from_secs(10);
/// The slowest that a client may send, in bytes a second.
const BYTES_PER_SECOND_MIN: u64 = 64 << 10;
/// What is left free on the disk, for the host's own files.
const LEFT_FREE_BYTES: u64 = 32 << 20;

/// The uploads that are under way.
#[derive(Debug)]
pub(super) struct Uploads {
    turns: Arc<Semaphore>,
}

impl Default for Uploads {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(UPLOADS_MAX)) }
    }
}

/// What was received. Its file goes when this is dropped.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) component: ComponentFile,
    _file: Unfinished,
    _turn: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Best effort: what stays is removed by the next process.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Uploads {
    /// Receives a body into the directory of uploads below `data_dir`.
    ///
    /// # Errors
    ///
    /// It is too long, too slow or broken off, others are under way, or the disk has no room.
    pub(super) async fn receive(&self, data_dir: &Path, bytes_max: u64, body: Body) -> Result<Received, Problem> {
        let begun = Instant::now();
        let declared = body.size_hint().lower();
        if declared > bytes_max {
            return Err(Problem::BodyTooLarge);
        }
        let busy =
            |_| Problem::Unavailable(format!("{UPLOADS_MAX} uploads are under way, the most at one moment: try again"));
        let turn = Arc::clone(&self.turns).try_acquire_owned().map_err(busy)?;
        let dir = data_dir.join(DIRECTORY);
        prepare(&dir, declared).await?;
        let path = dir.join(format!("{:016x}.part", fastrand::u64(..)));
        let file = Unfinished(path.clone());
        let mut writer = Writer::create(path.clone()).await?;
        let mut body = body;
        loop {
            let allowed = PATIENCE + Duration::from_secs(writer.len / BYTES_PER_SECOND_MIN);
            let frame = timeout_at(begun + allowed, body.frame()).await.map_err(|_| Problem::TooSlow)?;
            let Some(frame) = frame else { break };
            let broken = |_| Problem::BadRequest("the request's body broke off".to_owned());
            let Ok(piece) = frame.map_err(broken)?.into_data() else { continue };
            if writer.len + piece.len() as u64 > bytes_max {
                return Err(Problem::BodyTooLarge);
            }
            writer = writer.write(piece).await?;
        }
        let (hash, len) = writer.finish().await?;
        Ok(Received { component: ComponentFile { path, hash, len }, _file: file, _turn: turn })
    }
}

/// Removes what an earlier process has left of uploads below its data directory. Nothing depends on it but the room on the disk. Blocks.
pub(crate) fn remove_leftovers(data_dir: &Path) {
    let dir = data_dir.join(DIRECTORY);
    for file in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
        if let Err(error) = std::fs::remove_file(file.path()) {
            let path = file.path();
            tracing::warn!(path = %path.display(), %error, "what is left of an upload cannot be removed");
        }
    }
}

async fn prepare(dir: &Path, declared: u64) -> Result<(), Problem> {
    let path = dir.to_owned();
    on_disk(move || {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        let disk = rustix::fs::statvfs(&path)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        // Once here, once among the contents that are kept, and once in the bots' directory.
        if free < declared.saturating_mul(3).saturating_add(LEFT_FREE_BYTES) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    })
    .await
}

/// The file that is written. Each piece is written on a blocking thread.
struct Writer {
    file: std::fs::File,
    hasher: Sha256,
    len: u64,
}

impl Writer {
    async fn create(path: PathBuf) -> Result<Self, Problem> {
        let open = move || std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path);
        Ok(Self { file: on_disk(open).await?, hasher: Sha256::new(), len: 0 })
    }

    async fn write(mut self, piece: Bytes) -> Result<Self, Problem> {
        on_disk(move || {
            self.file.write_all(&piece)?;
            self.hasher.update(&piece);
            self.len += piece.len() as u64;
            Ok(self)
        })
        .await
    }

    async fn finish(self) -> Result<(ContentHash, u64), Problem> {
        let Self { file, hasher, len } = self;
        on_disk(move || file.sync_all()).await?;
        Ok((ContentHash(hasher.finalize().into()), len))
    }
}

async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|_| Problem::Unavailable("the host is stopping".to_owned()))?;
    done.map_err(|error| Problem::Unavailable(format!("an upload cannot be written: {error}")))
}
