//! `host check` tells every mistake with its place, and ends with the exit code that the documentation names.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A directory with these files, and an empty directory of bots.
fn directory(files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new().expect("a directory");
    fs::create_dir(dir.path().join("bots")).expect("a directory");
    for (name, text) in files {
        fs::write(dir.path().join(name), text).expect("a file");
    }
    dir
}

fn host(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_host"))
        .args(arguments)
        .current_dir(dir)
        .env("BOTHOST_TEST_TOKEN", "hunter2")
        .env_remove("BOTHOST_TEST_MISSING")
        .output()
        .expect("the binary runs")
}

/// Checks what `host check config.toml` says of these files.
#[track_caller]
fn check(files: &[(&str, &str)], code: i32, stdout: &str, stderr: &str) {
    let dir = directory(files);
    let output = host(dir.path(), &["check", "config.toml"]);
    // The directory of bots is shown by its whole path.
    let stderr = stderr.replace("DIR", dir.path().to_str().expect("UTF-8"));
    assert_eq!(String::from_utf8_lossy(&output.stderr), stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), stdout);
    assert_eq!(output.status.code(), Some(code));
}

#[test]
fn an_empty_configuration_is_good() {
    check(&[("config.toml", "")], 0, "config.toml is good: 0 bots, 0 connectors\n", "");
}

#[test]
fn an_override_counts_and_a_mistake_in_one_names_the_variable() {
    let dir = directory(&[("config.toml", "[queue]\nkeep = 0\n")]);
    let checked = |variables: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
        let output =
            command.args(["check", "config.toml"]).current_dir(dir.path()).envs(variables.iter().copied()).output();
        let output = output.expect("the binary runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(checked(&[("BOTHOST__QUEUE__KEEP", "5")]), (Some(0), String::new()));
    let (code, stderr) = checked(&[("BOTHOST__QUEUE__KEEP", "5"), ("BOTHOST__SUPERVISOR__MAX_RESTART", "20")]);
    assert_eq!(code, Some(64));
    let expected =
        "BOTHOST__SUPERVISOR__MAX_RESTART: unknown key `max_restart` in [supervisor], did you mean `max_restarts`?";
    assert!(stderr.contains(expected), "{stderr}");
}

#[test]
fn a_bot_that_is_switched_off_needs_no_component() {
    let config = "[connectors.t]\ntype = \"telegram\"\ntoken = \"${BOTHOST_TEST_TOKEN}\"\n[bots.one]\nconnectors = [\"t\"]\nenabled = false\n";
    check(
        &[
            ("config.toml", config),
            ("bots/two.toml", "enabled = false\n[connectors.c]\ntype = \"console\"\n"),
            ("bots/.hidden.toml", "nonsense"),
        ],
        0,
        "config.toml is good: 0 bots, 1 connector\n",
        "",
    );
}

#[test]
fn every_mistake_is_on_a_line_of_its_own() {
    check(
        &[(
            "config.toml",
            "[limit]\n\n[queue]\r\n\tmax_events = 0\n[cluster]\n[admin]\ntoken = \"${BOTHOST_TEST_MISSING}\"",
        )],
        64,
        "",
        "config.toml:1:2: unknown section `[limit]`, did you mean `[limits]`?\n\
         config.toml:4:15: `queue.max_events` must be a whole number from 1 to 4294967295, not 0\n\
         config.toml:5:2: `[cluster]` is not there yet\n\
         config.toml:7:9: `admin.token`: the environment variable `BOTHOST_TEST_MISSING` is not set\n",
    );
}

#[test]
fn mistakes_in_the_bots_own_files_are_told_together() {
    let telegram = "enabled = false\n[connectors.t]\ntype = \"telegram\"\ntoken = \"${BOTHOST_TEST_TOKEN}\"\n";
    check(
        &[
            ("config.toml", "[bots.a]\n"),
            ("bots/a.toml", "enabled = false"),
            ("bots/b c.toml", ""),
            ("bots/d.toml", telegram),
            ("bots/e.toml", telegram),
            ("bots/f.toml", "enabled = 1\ntenat = \"x\""),
            ("bots/g.toml", "component = \"nowhere.wasm\""),
        ],
        64,
        "",
        "`b c.toml` is left out: rename it: `b c` is no name: 1 to 64 of the letters a-z, A-Z, 0-9, `.`, `_`, `-`, the first a \
         letter or digit\n\
         DIR/bots/a.toml:1:1: bot `a` has an entry at config.toml:1:1 already; keep one of the two\n\
         DIR/bots/e.toml:2:1: connector `e/t` has the Telegram token of connector `d/t` at DIR/bots/d.toml:2:1\n\
         DIR/bots/f.toml:1:11: `enabled` must be true or false, not a whole number\n\
         DIR/bots/f.toml:2:1: unknown key `tenat`, did you mean `tenant`?\n\
         there is no `nowhere.wasm` in `bots`: copy it there\n",
    );
}

#[test]
fn a_missing_configuration_says_so() {
    check(&[], 64, "", "config.toml: there is no such file; an empty one is enough to begin with\n");
}

#[test]
fn a_missing_directory_of_bots_is_a_warning() {
    check(
        &[("config.toml", "[host]\nbots_dir = \"elsewhere\"")],
        0,
        "config.toml is good: 0 bots, 0 connectors\n",
        "elsewhere: there is no such directory; `host run` creates it (warning)\n",
    );
}

#[cfg(unix)]
#[test]
fn a_secret_that_others_may_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let dir = directory(&[
        ("config.toml", "[admin]\ntoken = { file = \"token\" }"),
        ("token", "hunter2hunter2hunter2hunter2hunter2\n"),
    ]);
    fs::set_permissions(dir.path().join("token"), fs::Permissions::from_mode(0o644)).unwrap();
    let output = host(dir.path(), &["check", "config.toml"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "config.toml:2:9: others than its owner may read the secret's file `token`; `chmod 600 token` (warning)\n"
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_wrong_command_line_is_a_mistake_of_usage() {
    let dir = directory(&[]);
    for arguments in [&[][..], &["chekc"], &["check"], &["check", "a", "b"], &["check", "--fast", "a"]] {
        let output = host(dir.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("Usage: host"), "{arguments:?}");
    }
}

#[test]
fn help_and_version_are_no_failure() {
    let dir = directory(&[]);
    for (arguments, expected) in
        [(&["--help"][..], "check"), (&["check", "--help"], "CONFIG.toml"), (&["--version"], "host ")]
    {
        let output = host(dir.path(), arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains(expected), "{arguments:?}");
    }
}
