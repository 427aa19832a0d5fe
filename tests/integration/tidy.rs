//! Keeps the shape of the host's source: who may name whom, what is named in one place only, how long a file may be.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The floors of the house, lowest first. A module may name what stands on a lower floor, and its own submodules.
const FLOORS: &[&[&str]] = &[
    &[
        "backoff",
        "board",
        "bytes_as_text",
        "clock",
        "failpoint",
        "forecast",
        "machine",
        "ping",
        "rate",
        "secret",
        "systemd",
        "units",
    ],
    &["id", "limits"],
    &["document", "event", "grants", "sealed"],
    &["action"],
    &["access", "daemon", "delivery", "egress", "schedule", "supervision"],
    &["metrics"],
    &["alert", "audit", "errors", "logs", "telemetry", "vitals"],
    &["store", "watcher"],
    &["connector", "sandbox", "timers"],
    &["bot"],
    &["offer"],
    &["config", "history", "outbox", "router", "sentinel", "watchdog"],
    &["generation"],
    &["supervisor"],
    &["monitor"],
    &["admin"],
    &["host"],
    &["doctor"],
    &["cli"],
    &["main"],
];

/// Pairs that the floors would allow and the design does not.
const STRANGERS: &[(&str, &str)] = &[("bot", "connector"), ("sandbox", "connector"), ("admin", "sandbox")];

/// What may be named in one place only.
const CONFINED: &[(&str, &str)] = &[
    ("wasmtime", "sandbox"),
    ("wasmtime_wasi", "sandbox"),
    ("rusqlite", "store/sqlite"),
    ("clap", "cli"),
    ("notify", "watcher"),
    ("sd_notify", "systemd"),
    ("lettre", "alert/channel"),
    ("sysinfo", "vitals"),
    ("opentelemetry_proto", "telemetry"),
];

/// Lines of a file without its tests.
const LINES_MAX: usize = 400;

/// Names that say nothing of what a module owns.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "manager", "misc", "mod"];

struct Source {
    /// Relative to `src`, without `.rs`, such as `bot/call`.
    path: String,
    /// Without its tests.
    code: String,
}

impl Source {
    /// The top-level module it belongs to.
    fn module(&self) -> &str {
        self.path.split('/').next().unwrap_or(&self.path)
    }
}

fn sources() -> Vec<Source> {
    fn walk(dir: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                into.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            let code = text.split("\n#[cfg(test)]").next().unwrap().to_owned();
            let path = path.strip_prefix(&root).unwrap().with_extension("").to_str().unwrap().to_owned();
            Source { path, code }
        })
        // A file that is all tests has no shape to keep.
        .filter(|source| !source.path.ends_with("/tests"))
        .collect()
}

fn floor(module: &str) -> usize {
    FLOORS
        .iter()
        .position(|floor| floor.contains(&module))
        .unwrap_or_else(|| panic!("`{module}` stands on no floor: add it to FLOORS and to ARCHITECTURE.md"))
}

/// The top-level modules that a piece of code names, by `crate::` or, in the binary, by `bothost::`.
fn named_modules(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for marker in ["crate::", "bothost::"] {
            for (at, _) in line.match_indices(marker) {
                let before = line[..at].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                    continue;
                }
                let rest = &line[at + marker.len()..];
                let name: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                // `bothost::bot` is also the generated name of the interface's package.
                let is_module = FLOORS.iter().flat_map(|floor| floor.iter()).any(|module| *module == name);
                if marker == "crate::" && !name.is_empty() || is_module {
                    found.insert(name);
                }
            }
        }
    }
    found
}

#[test]
fn every_module_names_only_what_stands_below_it() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.path != "lib" && source.path != "sandbox/wit/v0_1") {
        let own = floor(source.module());
        for named in named_modules(&source.code).into_iter().filter(|named| named != source.module()) {
            if floor(&named) >= own {
                wrong.push(format!("{} names {named}, which does not stand below it", source.path));
            }
            if STRANGERS.contains(&(source.module(), named.as_str())) {
                wrong.push(format!("{} names {named}, which is no business of its", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_belongs_in_one_place_is_named_there_only() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (name, place) in CONFINED {
            let is_there = source.path == *place || source.path.starts_with(&format!("{place}/"));
            let code = source.code.lines().filter(|line| !line.trim_start().starts_with("//"));
            if !is_there && code.clone().any(|line| names_crate(line, name)) {
                wrong.push(format!("{} names {name}, which belongs in {place}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether a line names something of a crate, and not of one whose name only ends like it.
fn names_crate(line: &str, name: &str) -> bool {
    let goes_on_before = |at: usize| line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    line.match_indices(&format!("{name}::")).any(|(at, _)| !goes_on_before(at))
}

#[test]
fn every_file_is_short_has_a_name_and_says_what_it_owns() {
    let mut wrong = Vec::new();
    for source in sources() {
        let lines = source.code.lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{} has {lines} lines without its tests", source.path));
        }
        if source.path.split('/').any(|part| EMPTY_NAMES.contains(&part)) {
            wrong.push(format!("{} has a name that says nothing", source.path));
        }
        if !source.code.starts_with("//!") {
            wrong.push(format!("{} does not begin by saying what it owns", source.path));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_check_itself_sees_what_it_should() {
    let code =
        "use crate::store::Store;\n// use crate::host::Host;\nlet x = crate::units::Span(d);\nbothost::cli::run()";
    let named: Vec<_> = named_modules(code).into_iter().collect();
    assert_eq!(named, ["cli", "store", "units"]);
    assert!(names_crate("let x = (notify::Event)", "notify") && !names_crate("sd_notify::notify()", "notify"));
}
