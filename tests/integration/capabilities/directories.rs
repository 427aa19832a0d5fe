//! Granted directories: what is in them, and nothing beyond, by whatever path.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use harness::guests;
use harness::host::{Home, PATIENCE, TestHost};

use super::{COMPILER, home, host};

/// What stands in the file beside the granted directory, and must never be in an answer.
const SECRET: &str = "c4n4ry";

/// Two granted directories, `/data` to read and `/files` to write, beside a file with the secret.
const GRANTS: &str = r#"
[[grants.dirs]]
host = "../data-dir"
guest = "/data"
[[grants.dirs]]
host = "../work-dir"
guest = "/files"
write = true
"#;

async fn granted() -> TestHost {
    let home = home("", "files", GRANTS);
    let (data, work) = (home.path().join("data-dir"), home.path().join("work-dir"));
    std::fs::write(home.path().join("secret.txt"), SECRET).unwrap();
    for dir in [&data, &work] {
        std::fs::create_dir_all(dir.join("sub")).unwrap();
        std::fs::write(dir.join("hello.txt"), "hello").unwrap();
        symlink("hello.txt", dir.join("inside")).unwrap();
        symlink("../secret.txt", dir.join("outside")).unwrap();
        symlink(home.path().join("secret.txt"), dir.join("absolute")).unwrap();
        symlink("..", dir.join("up")).unwrap();
        symlink("/", dir.join("root")).unwrap();
        symlink("/proc/self/root", dir.join("proc")).unwrap();
        symlink("loop", dir.join("loop")).unwrap();
    }
    let host = home.start().await;
    host.serving("files").await;
    host
}

#[track_caller]
fn is_refused(answer: &str, path: &str) {
    assert!(answer.starts_with("error: "), "{path}: {answer}");
    assert!(!answer.contains(SECRET), "{path}: {answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_reads_and_writes_in_the_directories_it_is_granted() {
    let host = granted().await;
    assert_eq!(host.ask("lobby", "!read /data/hello.txt").await, "read hello");
    assert_eq!(host.ask("lobby", "!read /data/sub/../inside").await, "read hello", "a link may stay within");
    assert_eq!(host.ask("lobby", "!write /files/new.txt written").await, "wrote 7 bytes");
    assert_eq!(host.ask("lobby", "!read /files/new.txt").await, "read written");
    assert_eq!(std::fs::read_to_string(host.home().join("work-dir/new.txt")).unwrap(), "written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f016_no_path_leads_out_of_a_granted_directory() {
    let host = granted().await;
    let home = host.home().to_str().unwrap().to_owned();
    let mut paths: Vec<String> = Vec::new();
    for dir in ["/data", "/files"] {
        for inside in [
            "../secret.txt",
            "../../../../../../../../etc/hostname",
            "sub/../../secret.txt",
            "./../secret.txt",
            "sub/..//..///secret.txt",
            "..\\secret.txt",
            "..%2fsecret.txt",
            "..\u{2215}secret.txt",
            "hello.txt/../../secret.txt",
            "outside",
            "absolute",
            "up/secret.txt",
            "root/etc/hostname",
            "proc/etc/hostname",
            "loop",
        ] {
            paths.push(format!("{dir}/{inside}"));
        }
        paths.push(format!("{dir}/root{home}/secret.txt"));
    }
    paths.push(format!("{home}/secret.txt"));
    for path in
        ["/etc/hostname", "/proc/self/root/etc/hostname", "/proc/self/environ", "secret.txt", "../secret.txt", "/"]
    {
        paths.push(path.to_owned());
    }
    for path in &paths {
        is_refused(&host.ask("lobby", &format!("!read {path}")).await, path);
    }
    for path in &paths {
        host.ask("lobby", &format!("!write {path} overwritten")).await;
        let secret = std::fs::read_to_string(Path::new(&home).join("secret.txt")).unwrap();
        assert_eq!(secret, SECRET, "{path}");
    }
    let beside = |name: &str| Path::new(&home).join(name).exists();
    assert!(!beside("..\\secret.txt") && !Path::new("/etc/hostname/overwritten").exists());
    assert_eq!(host.serving("files").await.faults, 0, "a refusal is an answer and no fault");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f016_what_is_granted_for_reading_cannot_be_written() {
    let host = granted().await;
    for path in ["/data/hello.txt", "/data/new.txt", "/data/sub/new.txt", "/data/inside"] {
        is_refused(&host.ask("lobby", &format!("!write {path} overwritten")).await, path);
    }
    let data = host.home().join("data-dir");
    assert_eq!(std::fs::read_to_string(data.join("hello.txt")).unwrap(), "hello");
    assert!(!data.join("new.txt").exists() && !data.join("sub/new.txt").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f016_a_link_that_is_swapped_while_it_is_read_never_leads_out() {
    const ROUNDS: usize = 200;
    let host = granted().await;
    let dir = host.home().join("data-dir");
    let stop = AtomicBool::new(false);
    let answers = std::thread::scope(|scope| {
        scope.spawn(|| {
            let started = Instant::now();
            while !stop.load(Ordering::Relaxed) && started.elapsed() < 2 * PATIENCE {
                for target in ["hello.txt", "../secret.txt", "up/secret.txt"] {
                    symlink(target, dir.join("next")).unwrap();
                    std::fs::rename(dir.join("next"), dir.join("swapped")).unwrap();
                }
            }
        });
        let ask = async {
            let before = host.chat.delivered_count();
            for round in 0..ROUNDS {
                host.say(&format!("room-{}", round % 8), "!read /data/swapped").await;
            }
            let answers = host.answers_since(before, ROUNDS as u64).await;
            stop.store(true, Ordering::Relaxed);
            answers
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(ask))
    });
    let read = answers.iter().filter(|answer| *answer == "read hello").count();
    let refused = answers.iter().filter(|answer| answer.starts_with("error: ")).count();
    assert_eq!(read + refused, ROUNDS, "{answers:?}");
    assert!(answers.iter().all(|answer| !answer.contains(SECRET)), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_grant_there_is_no_file_at_all() {
    let host = host("files", "").await;
    for path in ["/", "/etc/hostname", ".", "hello.txt", "/data/hello.txt", "/dev/null", "/proc/self/environ"] {
        is_refused(&host.ask("lobby", &format!("!read {path}")).await, path);
        is_refused(&host.ask("lobby", &format!("!write {path} x")).await, path);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_granted_directory_that_is_not_there_keeps_the_bot_out_and_is_named() {
    let entry = "[[grants.dirs]]\nhost = \"/no/such/place\"\nguest = \"/data\"\n";
    let host = home("", "files", entry).with("echo.wasm", &guests::example("echo")).start().await;
    let reason = host.rejected("files").await;
    assert!(reason.contains("/no/such/place") && reason.contains("No such file"), "{reason}");
    host.serving("echo").await;
    assert_eq!(host.ask("lobby", "!echo still").await, "still");

    let file = "[[grants.dirs]]\nhost = \"files.toml\"\nguest = \"/data\"\n";
    let host = Home::new(COMPILER, "")
        .with("files.wasm", &guests::guest("files"))
        .with("files.toml", file.as_bytes())
        .start()
        .await;
    assert!(host.rejected("files").await.contains("files.toml"), "a file is no directory");
}
