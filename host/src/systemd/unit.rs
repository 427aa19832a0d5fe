//! A systemd unit for one host: hardened as far as a program can be that compiles code while it runs. Pure text.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a stop takes beyond the drain timeout.
const BEYOND_DRAIN: Duration = Duration::from_secs(10);

/// What the unit is for. All paths are absolute.
#[derive(Debug, Clone)]
pub struct Unit {
    /// The program.
    pub program: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// Who runs it.
    pub user: String,
    /// The host's own files, which it writes.
    pub data_dir: PathBuf,
    /// The bots, which it reads.
    pub bots_dir: PathBuf,
    /// Other directories that it may write: those granted to bots for writing.
    pub writable: Vec<PathBuf>,
    /// How long a stop waits for what is at work.
    pub drain_timeout: Duration,
}

/// Why there is no unit for a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot stand in a unit: it holds a control character or is no UTF-8")]
pub struct UnitError(PathBuf);

impl Unit {
    /// Returns the unit's text.
    ///
    /// # Errors
    ///
    /// A path that no unit can name.
    pub fn render(&self) -> Result<String, UnitError> {
        // Variables are replaced in commands, and nowhere else.
        let word = |path| quoted(path).map(|text| text.replace('$', "$$"));
        let (program, config) = (word(&self.program)?, word(&self.config)?);
        let (data_dir, bots_dir) = (quoted(&self.data_dir)?, quoted(&self.bots_dir)?);
        let mut writable = vec![data_dir.clone()];
        for path in &self.writable {
            // The minus: one that is not there yet is no reason not to start.
            writable.push(format!("-{}", quoted(path)?));
        }
        let (user, writable) = (&self.user, writable.join(" "));
        let stop = (self.drain_timeout + BEYOND_DRAIN).as_secs_f64().ceil();
        let mut text = format!(
            "\
# Before the first start: useradd --system {user}; install -d -m 0700 -o {user} {data_dir}; mkdir -p {bots_dir}
# The user {user} must be able to read the configuration and the bots' directory.
[Unit]
Description=bothost, a host of chat bots
Wants=network-online.target
After=network-online.target
# Five starts that fail within a minute, and it stays down.
StartLimitIntervalSec=60
StartLimitBurst=5

[Service]
Type=notify
NotifyAccess=main
ExecStart={program} run {config}
ExecReload=kill -HUP $MAINPID
User={user}
Restart=on-failure
RestartSec=1
# A configuration with a mistake is not mended by another start.
RestartPreventExitStatus=64
# The host says that it lives only if all of its parts have answered.
WatchdogSec=30
# Until the store is open; after a crash with millions of events that takes a while.
TimeoutStartSec=300
TimeoutStopSec={stop}
KillMode=mixed
# One compilation that takes too much memory is not the end of the host.
OOMPolicy=continue
LimitNOFILE=65536
UMask=0077
# Secrets: LoadCredential=token:/etc/bothost/token, and {{ file = \"${{CREDENTIALS_DIRECTORY}}/token\" }} in the configuration.

ReadWritePaths={writable}
"
        );
        self.homes(&bots_dir, &mut text);
        text.push_str(SANDBOX);
        Ok(text)
    }

    /// Hides what the host does not need, unless something of its own lies there.
    fn homes(&self, bots_dir: &str, text: &mut String) {
        let own = [&self.program, &self.config, &self.data_dir, &self.bots_dir];
        let lies_in = |roots: &[&str]| {
            own.iter().copied().chain(&self.writable).any(|path| roots.iter().any(|root| path.starts_with(root)))
        };
        let homes = if lies_in(&["/home", "/root", "/run/user"]) { "read-only" } else { "yes" };
        let temporary = if lies_in(&["/tmp", "/var/tmp"]) { "no" } else { "yes" };
        // To a text, which takes everything.
        let _ = write!(text, "ReadOnlyPaths=-{bots_dir}\nProtectHome={homes}\nPrivateTmp={temporary}\n");
    }
}

const SANDBOX: &str = "\
ProtectSystem=strict
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
# Bots are compiled to machine code in this process' memory, which is written first and then executed.
MemoryDenyWriteExecute=no

[Install]
WantedBy=multi-user.target
";

/// Returns a path as a unit names it: in quotes, with what systemd would take for something else written out.
fn quoted(path: &Path) -> Result<String, UnitError> {
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control));
    let text = text.ok_or_else(|| UnitError(path.to_owned()))?;
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    Ok(if escaped.contains([' ', '\'', '"', ';', '\\']) { format!("\"{escaped}\"") } else { escaped })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn unit() -> Unit {
        Unit {
            program: "/usr/local/bin/host".into(),
            config: "/etc/bothost/config.toml".into(),
            user: "bothost".into(),
            data_dir: "/var/lib/bothost".into(),
            bots_dir: "/srv/bots".into(),
            writable: Vec::new(),
            drain_timeout: Duration::from_secs(5),
        }
    }

    /// Reads a unit as systemd does: sections of keys, without comments.
    fn parse(text: &str) -> BTreeMap<(String, String), String> {
        let mut section = String::new();
        let mut found = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = name.to_owned();
                continue;
            }
            let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("no key: {line}"));
            let twice = found.insert((section.clone(), key.to_owned()), value.to_owned());
            assert_eq!(twice, None, "{key} stands there twice");
        }
        found
    }

    fn service(unit: &Unit, key: &str) -> String {
        parse(&unit.render().unwrap())[&("Service".to_owned(), key.to_owned())].clone()
    }

    #[test]
    fn the_unit_starts_watches_and_stops_the_host_as_it_wants_it() {
        let of = |key| service(&unit(), key);
        assert_eq!(of("ExecStart"), "/usr/local/bin/host run /etc/bothost/config.toml");
        assert_eq!((of("Type"), of("WatchdogSec"), of("KillMode")), ("notify".into(), "30".into(), "mixed".into()));
        assert_eq!((of("TimeoutStopSec"), of("ReadWritePaths")), ("15".into(), "/var/lib/bothost".into()));
        assert_eq!((of("ProtectHome"), of("PrivateTmp")), ("yes".into(), "yes".into()));
        assert_eq!((of("CapabilityBoundingSet"), of("NoNewPrivileges")), (String::new(), "yes".into()));
    }

    #[test]
    fn what_lies_in_a_home_or_a_temporary_directory_is_not_hidden_from_it() {
        let at_home = Unit { bots_dir: "/home/ada/bots".into(), ..unit() };
        assert_eq!(service(&at_home, "ProtectHome"), "read-only");
        let temporary = Unit { data_dir: "/tmp/data".into(), ..unit() };
        assert_eq!(service(&temporary, "PrivateTmp"), "no");
        let granted = Unit { writable: vec!["/home/ada/files".into()], ..unit() };
        assert_eq!(service(&granted, "ReadWritePaths"), "/var/lib/bothost -/home/ada/files");
        assert_eq!(service(&granted, "ProtectHome"), "read-only");
    }

    #[test]
    fn a_path_is_never_taken_for_something_else() {
        let of = |path: &str| quoted(Path::new(path));
        assert_eq!(of("/a b/100%/$HOME").unwrap(), "\"/a b/100%%/$HOME\"");
        let dollar = Unit { config: "/$X/c.toml".into(), data_dir: "/$X/data".into(), ..unit() };
        assert!(service(&dollar, "ExecStart").ends_with(" /$$X/c.toml"));
        assert_eq!(service(&dollar, "ReadWritePaths"), "/$X/data");
        assert_eq!(of("/a\"b\\c").unwrap(), "\"/a\\\"b\\\\c\"");
        assert!(of("/a\nExecStart=/bin/sh").is_err());
    }
}
