//! Processes that die in the middle of an edit: the next one finds it done as a whole, or not begun.

use harness::guests;

use super::lab::{HOST, Lab, echo, in_short, other_bytes};
use serde_json::json;

const OLD: &str = "priority = \"high\"\n";
const NEW: &str = "priority = \"low\"\n";

/// What the second generation has, in the configuration file.
fn edited() -> String {
    format!("{HOST}[queue]\nkeep = 7\nmax_attempts = 7\n")
}

/// Returns a home with two generations, the second of which differs from the first in every file; stopped.
async fn with_two_generations() -> Lab {
    let mut lab = Lab::start(HOST, &[("echo.wasm", &echo()), ("echo.toml", OLD.as_bytes())]).await;
    lab.stop().await;
    lab.save(&edited());
    lab.put("echo.wasm", &other_bytes(&echo(), 2));
    lab.put("echo.toml", NEW.as_bytes());
    lab.resume(&["echo"], &[]).await;
    assert_eq!(lab.generation(), 2);
    lab.stop().await;
    lab
}

/// Kills a rollback to the first generation at a visit of a failpoint, and looks at what the next start makes of it.
async fn dies_and_converges(point: &str, visit: u32, is_begun: bool) {
    let mut lab = with_two_generations().await;
    let case = format!("{point}:{visit}");
    lab.resume(&["echo"], &[("CRASH_AT", &case)]).await;
    let (code, said) = lab.host(&["config", "rollback", "1", "--author", "ann", "--reason", "back"]).await;
    assert_ne!(code, 0, "{case} was not reached: {said}");
    lab.dies_at(point).await;

    lab.resume(&["echo"], &[]).await;
    let start = |number| json!([number, "host", "start"]);
    let versions = if is_begun {
        lab.get_when("/api/v1/config/versions", |versions| versions[0]["generation"] == 3).await;
        assert_eq!((lab.text("config.toml").as_str(), lab.text("bots/echo.toml").as_str()), (HOST, OLD), "{case}");
        assert!(std::fs::read(lab.path("bots/echo.wasm")).unwrap() == echo(), "{case}");
        vec![json!([3, "ann", "back"]), start(2), start(1)]
    } else {
        assert_eq!((lab.text("config.toml"), lab.text("bots/echo.toml").as_str()), (edited(), NEW), "{case}");
        vec![start(2), start(1)]
    };
    assert_eq!(in_short(&lab.versions()), versions, "{case}");
    assert_eq!(lab.alert("needs-restart"), None, "{case}: this is the restart");
    // The next edit finds nothing in its way, and the next start nothing to do.
    lab.told(&["config", "set", "queue.max_events", "9"]).await;
    assert!(!lab.path("data/generations/edit.json").exists(), "{case}");
    let versions = lab.versions();
    lab.stop().await;
    lab.resume(&["echo"], &[]).await;
    assert_eq!(lab.versions(), versions, "{case}");
    lab.stop().await;
}

macro_rules! edits {
    ($($name:ident: $point:literal, $visit:literal, $is_begun:literal;)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            dies_and_converges($point, $visit, $is_begun).await;
        })+
    };
}

edits! {
    f056_a_crash_before_the_edit_is_written_down_leaves_all_as_it_was: "edit.before-intent", 1, false;
    f056_a_crash_after_the_edit_is_written_down_has_it_finished_at_the_next_start: "edit.after-intent", 1, true;
    f056_a_crash_after_the_first_file_has_the_others_follow: "edit.after-file", 1, true;
    f056_a_crash_after_the_second_file_has_the_third_follow: "edit.after-file", 2, true;
    f056_a_crash_after_the_last_file_has_the_edit_recorded: "edit.after-file", 3, true;
    f056_a_crash_before_the_generation_is_written_has_it_recorded_as_the_edit_that_it_is: "record.before", 1, true;
    f056_a_crash_after_the_generation_is_written_counts_it_once: "record.after", 1, true;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f056_a_crash_while_what_somebody_saved_is_recorded_leaves_no_gap() {
    for (point, number) in [("record.before", 1), ("record.after", 1), ("record.before", 2), ("record.after", 2)] {
        let mut lab = Lab::new(HOST, &[("counter.wasm", &guests::guest("counter"))]);
        let case = format!("{point}:{number}");
        if number == 1 {
            lab.begin(&[("CRASH_AT", &case)]);
        } else {
            lab.resume(&["counter"], &[("CRASH_AT", &case)]).await;
            lab.save(&edited());
        }
        lab.dies_at(point).await;
        lab.resume(&["counter"], &[]).await;
        let numbers: Vec<_> = lab.versions().iter().map(|version| version["generation"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=number).rev().collect::<Vec<_>>(), "{case}");
        assert_eq!(lab.ask("GET /api/v1/config", &[], "").body, lab.text("config.toml"), "{case}");
        lab.stop().await;
    }
}
