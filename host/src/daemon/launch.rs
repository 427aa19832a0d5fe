//! Starts a watching parent, apart from the terminal and the session of whoever starts it.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::DaemonError;
use super::log::DaemonLog;

/// What is started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program, whose verb `watch` is the parent.
    pub program: PathBuf,
    /// The configuration, by an absolute path: the parent has another working directory.
    pub config: PathBuf,
    /// The data directory, by an absolute path. It is made (mode 0700) unless it is there.
    pub data_dir: PathBuf,
}

impl Launch {
    /// Starts the parent, with its streams in `daemon.log`. It leaves this session by itself.
    ///
    /// # Errors
    ///
    /// Nothing was started.
    pub fn spawn(&self) -> Result<Child, DaemonError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| DaemonError::Write { path, source }
        };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.data_dir);
        made.map_err(failed(&self.data_dir))?;
        let log = DaemonLog::of(&self.data_dir);
        let streams = || -> io::Result<_> {
            let file = log.open()?;
            Ok((Stdio::from(file.try_clone()?), Stdio::from(file)))
        };
        let (stdout, stderr) = streams().map_err(failed(log.path()))?;
        Command::new(&self.program)
            .arg("watch")
            .arg("--data-dir")
            .arg(&self.data_dir)
            .arg(&self.config)
            // No file system is held busy by where the operator happened to be.
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .map_err(|source| DaemonError::Start { program: self.program.clone(), source })
    }
}
