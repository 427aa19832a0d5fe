//! From a component's bytes to native code: compiled in a child process with caps on memory and time, kept on disk by content
//! hash. Never loads compiled code that this program did not write itself.
//!
//! A child, because compiling cannot be interrupted: one function of 400,000 statements took 9 s and 1 GB here. The child
//! runs this same program with the verb `compile`: the component comes in on standard input, native code leaves on standard
//! output, what is wrong with the component on standard error.

use std::hash::{Hash, Hasher};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::Digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::engine::guest_config;
use crate::id::ContentHash;

/// Wall-clock time of the compiling child for each second of processor time that it may use.
const WALL_PER_CPU: u32 = 2;
/// Threads of the compiling child; each reserves address space of its own.
const CHILD_THREADS: usize = 4;
/// Bytes of native code for one component. A JavaScript guest of 12 MB becomes 40 MB.
const CODE_BYTES_MAX: u64 = 1 << 30;
/// Bytes of native code kept on disk; the least recently used goes first.
const CACHE_BYTES_MAX: u64 = 4 << 30;
/// Bytes of the child's standard error that are read.
const COMPLAINT_BYTES_MAX: u64 = 16 << 10;
/// The exit code with which the child says that the component is at fault.
const EXIT_BAD_COMPONENT: i32 = 65;

/// What compiling one component may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Address space in bytes. A Python guest of 18 MB peaks at 0.5 GB of memory. Default: 3 GiB.
    pub memory: u64,
    /// Processor time, in whole seconds. A JavaScript guest of 12 MB takes 15 s. Default: 120 s.
    pub cpu: Duration,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self { memory: 3 << 30, cpu: Duration::from_secs(120) }
    }
}

/// Why a component could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// Not WebAssembly, truncated, or not valid.
    #[error("it is no valid component, was it copied whole? {0}")]
    Invalid(String),
    /// Compiling took more than it may.
    #[error(
        "compiling took more than {} s of processor time or {} of memory; make the component smaller",
        .0.cpu.as_secs(),
        crate::units::ByteSize(.0.memory)
    )]
    TooCostly(CompileLimits),
    /// The child could not be run.
    #[error("cannot run the compiler {}", .program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The cache could not be written or read back.
    #[error("cannot keep compiled code at {}", .path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The child ended in a way that says nothing of the component.
    #[error("the compiler ended with {status}: {complaint}")]
    Broken {
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it wrote.
        complaint: String,
    },
}

/// Compiles components and keeps the result.
pub(super) struct Compiler {
    engine: Engine,
    /// Differs between engines whose code does not fit each other.
    compatibility: u64,
    cache_dir: PathBuf,
    program: PathBuf,
    limits: CompileLimits,
    /// One compilation at a time leaves a core to the bots that run.
    turn: Semaphore,
}

impl Compiler {
    pub(super) fn open(
        engine: &Engine,
        cache_dir: PathBuf,
        program: Option<PathBuf>,
        limits: CompileLimits,
    ) -> std::io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&cache_dir)?;
        let mut hasher = std::hash::DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        // `/proc/self/exe` works even after the program's file was replaced by an update.
        let program = program.unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
        prune(&cache_dir, CACHE_BYTES_MAX)?;
        let compatibility = hasher.finish();
        Ok(Self { engine: engine.clone(), compatibility, cache_dir, program, limits, turn: Semaphore::new(1) })
    }

    /// Returns the code of the component with this hash: from the cache, or compiled from the bytes that `read` returns. `read`
    /// may block, and is called at most once. Says whether the code was there. Cancelled, the child is killed.
    ///
    /// # Errors
    ///
    /// Those of `read`, and [`CompileError`].
    pub(super) async fn code<E: From<CompileError> + Send + 'static>(
        self: &Arc<Self>,
        hash: ContentHash,
        read: impl FnOnce() -> Result<Vec<u8>, E> + Send + 'static,
    ) -> Result<(Component, bool), E> {
        if let Some(component) = self.cached(hash).await {
            return Ok((component, true));
        }
        let _turn = self.turn.acquire().await.expect("the semaphore is never closed");
        // Many bots may have waited for the same component.
        if let Some(component) = self.cached(hash).await {
            return Ok((component, true));
        }
        let bytes = tokio::task::spawn_blocking(read).await.expect("reading a file does not panic")?;
        Ok((self.compile(hash, bytes).await?, false))
    }

    async fn cached(self: &Arc<Self>, hash: ContentHash) -> Option<Component> {
        let this = Arc::clone(self);
        let loaded = tokio::task::spawn_blocking(move || this.load(hash)).await;
        loaded.ok()?
    }

    async fn compile(self: &Arc<Self>, hash: ContentHash, bytes: Vec<u8>) -> Result<Component, CompileError> {
        let code = self.code_path(hash);
        let unfinished = self.cache_dir.join(format!("{hash}.{:016x}.tmp", fastrand::u64(..)));
        let outcome = self.run_child(&unfinished, bytes).await;
        let this = Arc::clone(self);
        let kept = tokio::task::spawn_blocking(move || {
            let kept = outcome.and_then(|()| {
                keep(&unfinished, &code).map_err(|source| CompileError::Cache { path: code.clone(), source })
            });
            // Fails where the file was renamed, which is the good end.
            let _ = std::fs::remove_file(&unfinished);
            kept?;
            this.load(hash).ok_or_else(|| CompileError::Cache {
                path: code,
                source: std::io::Error::other("the code that was just compiled does not load"),
            })
        });
        kept.await.expect("the closure does not panic")
    }

    async fn run_child(&self, output: &Path, bytes: Vec<u8>) -> Result<(), CompileError> {
        let spawn_error = |source| CompileError::Spawn { program: self.program.clone(), source };
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(output);
        let file = file.map_err(|source| CompileError::Cache { path: output.to_owned(), source })?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(CHILD_THREADS);
        let mut child = tokio::process::Command::new(&self.program)
            .arg("compile")
            .args(["--memory", &self.limits.memory.to_string()])
            .args(["--cpu-seconds", &self.limits.cpu.as_secs().to_string()])
            .env_clear()
            .env("RAYON_NUM_THREADS", threads.to_string())
            .env("MALLOC_ARENA_MAX", "2")
            // Ctrl-C on the terminal is for the host, which ends its child itself.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::from(file))
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(spawn_error)?;
        let mut stdin = child.stdin.take().expect("standard input is piped");
        let mut stderr = child.stderr.take().expect("standard error is piped");
        let feed = async move {
            // A child that refuses the component early stops reading; its exit code says why.
            let _ = stdin.write_all(&bytes).await;
            drop(stdin);
        };
        let mut complaint = Vec::new();
        let listen = async {
            let _ = (&mut stderr).take(COMPLAINT_BYTES_MAX).read_to_end(&mut complaint).await;
            // What is beyond the cap is read and forgotten, so that the child is never stuck on a full pipe.
            let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
        };
        let limit = self.limits.cpu * WALL_PER_CPU;
        let status = tokio::time::timeout(limit, async { tokio::join!(feed, listen, child.wait()).2 }).await;
        let status = status.map_err(|_| CompileError::TooCostly(self.limits))?.map_err(spawn_error)?;
        verdict(status, String::from_utf8_lossy(&complaint).trim().to_owned(), self.limits)
    }

    /// Loads code from the cache; anything amiss with it is a miss.
    fn load(&self, hash: ContentHash) -> Option<Component> {
        let path = self.code_path(hash);
        let expected = std::fs::read_to_string(sum_path(&path)).ok()?;
        if file_sum(&path).ok()?.to_string() != expected {
            tracing::warn!(path = %path.display(), "compiled code in the cache is damaged and will be compiled again");
            return None;
        }
        // For the pruning, which goes by the time of the last use. Losing it costs a compilation at most.
        let _ = std::fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        deserialize(&self.engine, &path)
    }

    fn code_path(&self, hash: ContentHash) -> PathBuf {
        self.cache_dir.join(format!("{hash}-{:016x}.cwasm", self.compatibility))
    }
}

#[expect(unsafe_code, reason = "loading native code is unsafe by nature; this is the one place that does it")]
fn deserialize(engine: &Engine, path: &Path) -> Option<Component> {
    // SAFETY: the file was written by `keep` into a directory that only this user can write (0700), under a name made of the
    // component's hash and the engine's compatibility hash, and its content was just compared with the sum written with it.
    // Nothing here ever takes a path from a user.
    unsafe { Component::deserialize_file(engine, path) }.ok()
}

/// Reads how the child ended.
fn verdict(status: std::process::ExitStatus, complaint: String, limits: CompileLimits) -> Result<(), CompileError> {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(EXIT_BAD_COMPONENT), _) => Err(CompileError::Invalid(complaint)),
        // Out of address space: Rust aborts (SIGABRT), a mapping that failed elsewhere may fault (SIGSEGV, SIGBUS). Out of
        // processor time: SIGXCPU, then SIGKILL, which is also what the kernel's out-of-memory killer sends.
        (None, Some(6 | 7 | 9 | 11 | 24)) => Err(CompileError::TooCostly(limits)),
        _ => Err(CompileError::Broken { status, complaint }),
    }
}

/// Gives finished code its name, with its sum beside it. The sum first: code without one is never loaded.
fn keep(unfinished: &Path, code: &Path) -> std::io::Result<()> {
    if std::fs::metadata(unfinished)?.len() > CODE_BYTES_MAX {
        return Err(std::io::Error::other("the compiled code is larger than 1 GiB"));
    }
    let sum = file_sum(unfinished)?;
    let unfinished_sum = unfinished.with_extension("sum.tmp");
    std::fs::write(&unfinished_sum, sum.to_string())?;
    std::fs::rename(&unfinished_sum, sum_path(code))?;
    std::fs::rename(unfinished, code)
}

pub(super) fn sum_path(code: &Path) -> PathBuf {
    code.with_extension("sum")
}

pub(super) fn file_sum(path: &Path) -> std::io::Result<ContentHash> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(ContentHash(hasher.finalize().into())),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// Removes what an earlier run left unfinished, and the least recently used code past `bytes_max`.
fn prune(cache_dir: &Path, bytes_max: u64) -> std::io::Result<()> {
    let mut code = Vec::new();
    for entry in std::fs::read_dir(cache_dir)? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("tmp") => std::fs::remove_file(&path)?,
            Some("cwasm") => {
                let metadata = std::fs::metadata(&path)?;
                code.push((metadata.modified()?, metadata.len(), path));
            }
            _ => {}
        }
    }
    code.sort();
    let mut total: u64 = code.iter().map(|(_, len, _)| len).sum();
    for (_, len, path) in code {
        if total <= bytes_max {
            break;
        }
        std::fs::remove_file(&path)?;
        // Without its code a sum is harmless.
        let _ = std::fs::remove_file(sum_path(&path));
        total -= len;
    }
    Ok(())
}

/// The body of the verb `compile`: caps this process, then compiles standard input to standard output. Returns the exit code.
pub fn compile_in_this_process(limits: CompileLimits) -> i32 {
    match compile_capped(std::io::stdin().lock(), std::io::stdout().lock(), limits) {
        Ok(()) => 0,
        Err(complaint) => {
            // The parent reads this; there is nobody to tell if it cannot be written.
            let _ = writeln!(std::io::stderr(), "{complaint}");
            EXIT_BAD_COMPONENT
        }
    }
}

fn compile_capped(mut input: impl Read, mut output: impl Write, limits: CompileLimits) -> Result<(), String> {
    cap(rustix::process::Resource::As, limits.memory);
    cap(rustix::process::Resource::Cpu, limits.cpu.as_secs());
    cap(rustix::process::Resource::Fsize, CODE_BYTES_MAX);
    cap(rustix::process::Resource::Core, 0);
    // Bots that run come first. A kernel that refuses only makes compiling less polite.
    let _ = rustix::process::nice(10);
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let engine = Engine::new(&guest_config()).map_err(|error| format!("{error:#}"))?;
    let code = engine.precompile_component(&bytes).map_err(|error| format!("{error:#}"))?;
    output.write_all(&code).and_then(|()| output.flush()).map_err(|error| error.to_string())
}

/// Lowers a limit of this process; it stays where the machine's own limit is lower.
fn cap(resource: rustix::process::Resource, limit: u64) {
    let own = rustix::process::getrlimit(resource);
    let lowered = own.maximum.map_or(limit, |maximum| maximum.min(limit));
    let _ = rustix::process::setrlimit(
        resource,
        rustix::process::Rlimit { current: Some(lowered), maximum: Some(lowered) },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, len: usize, age_secs: u64) {
        std::fs::write(path, vec![0; len]).unwrap();
        let time = SystemTime::now() - Duration::from_secs(age_secs);
        std::fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn the_cache_forgets_the_least_recently_used_and_what_is_unfinished() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        write(&path("old.cwasm"), 600, 30);
        write(&path("old.sum"), 64, 30);
        write(&path("new.cwasm"), 600, 10);
        write(&path("x.tmp"), 10, 0);
        prune(dir.path(), 1_000).unwrap();
        assert!(path("new.cwasm").exists());
        assert!(!path("old.cwasm").exists() && !path("old.sum").exists() && !path("x.tmp").exists());
    }

    #[test]
    fn code_that_changed_on_disk_is_not_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::new(&guest_config()).unwrap();
        let compiler = Compiler::open(&engine, dir.path().to_owned(), None, CompileLimits::default()).unwrap();
        let hash = ContentHash::of(b"component");
        let code = engine.precompile_component(&wat::parse_str("(component)").unwrap()).unwrap();
        let unfinished = dir.path().join("a.tmp");
        std::fs::write(&unfinished, &code).unwrap();
        keep(&unfinished, &compiler.code_path(hash)).unwrap();
        assert!(compiler.load(hash).is_some());

        let mut damaged = code;
        *damaged.last_mut().unwrap() ^= 1;
        std::fs::write(compiler.code_path(hash), damaged).unwrap();
        assert!(compiler.load(hash).is_none());
    }

    #[test]
    fn code_that_a_user_dropped_beside_ours_is_not_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::new(&guest_config()).unwrap();
        let compiler = Compiler::open(&engine, dir.path().to_owned(), None, CompileLimits::default()).unwrap();
        let hash = ContentHash::of(b"component");
        let code = engine.precompile_component(&wat::parse_str("(component)").unwrap()).unwrap();
        std::fs::write(compiler.code_path(hash), code).unwrap();
        assert!(compiler.load(hash).is_none(), "there is no sum for it");
    }
}
