//! A checker that finds nothing proves nothing: each violation, made by hand, is found.

use std::time::Instant;

use serde_json::json;

use super::*;

const CHAT: i64 = 7;

fn answers(texts: &[&str]) -> Vec<Call> {
    let call = |text: &&str| Call {
        method: "sendMessage".to_owned(),
        parameters: json!({"chat_id": CHAT, "text": text}),
        at: Instant::now(),
        status: Some(200),
    };
    texts.iter().map(call).collect()
}

/// Audits three messages in one chat against these answers.
fn audit(mode: OnUncertain, kills: &[usize], texts: &[&str], confession: &Confession) -> Audit {
    let ledger = Ledger {
        on_uncertain: mode,
        said: BTreeMap::from([(CHAT, vec![1000, 1001, 1002])]),
        counted_before: 0,
        kills: kills.to_vec(),
    };
    ledger.audit(&answers(texts), &[], confession)
}

#[track_caller]
fn check(mode: OnUncertain, kills: &[usize], texts: &[&str], violation: &str) {
    let audit = audit(mode, kills, texts, &Confession::default());
    assert!(audit.violations.iter().any(|found| found.contains(violation)), "{audit}");
}

#[track_caller]
fn good(mode: OnUncertain, kills: &[usize], texts: &[&str], confession: &Confession) -> Audit {
    let audit = audit(mode, kills, texts, confession);
    assert!(audit.violations.is_empty(), "{audit}");
    assert_eq!((audit.answered + audit.uncertain + audit.dead_letters, audit.lost), (3, 0));
    audit
}

fn lost(text: &str, reason: &str) -> Confession {
    Confession { lost: vec![(text.to_owned(), reason.to_owned())], ..Confession::default() }
}

use OnUncertain::{Drop, Retry};

#[test]
fn every_message_answered_once_and_in_order_is_good() {
    for mode in [Retry, Drop] {
        good(mode, &[], &["7-0 1", "7-1 2", "7-2 3"], &Confession::default());
    }
}

#[test]
fn a_message_without_an_answer_is_found() {
    check(Retry, &[1], &["7-0 1", "7-2 2"], "7-1 LOST");
    check(Drop, &[1], &["7-0 1", "7-2 3"], "7-1 LOST");
    let audit = audit(Retry, &[], &[], &Confession::default());
    assert_eq!((audit.lost, audit.answered), (3, 0));
}

#[test]
fn an_answer_that_comes_twice_is_excused_only_as_the_last_one_before_a_kill() {
    let twice = ["7-0 1", "7-1 2", "7-1 2", "7-2 3"];
    assert_eq!(good(Retry, &[2], &twice, &Confession::default()).doubles, 1);
    check(Retry, &[], &twice, "7-1 was answered twice");
    check(Retry, &[1], &twice, "7-1 was answered twice");
    check(Retry, &[3], &twice, "7-1 was answered twice");
    check(Drop, &[2], &twice, "7-1 was answered twice");
    // The next one had gone out before the kill, so this one was noted.
    check(Retry, &[2], &["7-0 1", "7-1 2", "7-0 1", "7-2 3"], "7-0 was answered twice");
}

#[test]
fn three_times_takes_two_kills() {
    let thrice = ["7-0 1", "7-1 2", "7-1 2", "7-1 2", "7-2 3"];
    assert_eq!(good(Retry, &[2, 3], &thrice, &Confession::default()).doubles, 2);
    check(Retry, &[2], &thrice, "7-1 was answered twice");
}

#[test]
fn a_message_that_was_handled_twice_is_found() {
    check(Retry, &[1], &["7-0 1", "7-0 2", "7-1 3", "7-2 4"], "7-0 was handled twice");
    check(Retry, &[1], &["7-0 1", "7-1 3", "7-2 4"], "7-1 was handled on a state with 3, which should be 2");
}

#[test]
fn a_state_that_was_lost_is_found() {
    check(Retry, &[2], &["7-0 1", "7-1 2", "7-2 1"], "7-2 was handled on a state with 1, which should be 3");
}

#[test]
fn an_answer_out_of_order_is_found() {
    check(Retry, &[], &["7-0 1", "7-2 3", "7-1 2"], "7-1 was answered after 7-2");
}

#[test]
fn an_answer_that_nobody_asked_for_is_found() {
    for text in ["8-0 1", "7-3 4", "pong"] {
        check(Retry, &[], &["7-0 1", "7-1 2", "7-2 3", text], "did not ask for it");
    }
}

#[test]
fn a_dead_letter_stands_for_one_message_that_changed_no_state() {
    let dead = |chats: &[i64]| Confession { dead_letters: chats.to_vec(), ..Confession::default() };
    assert_eq!(good(Retry, &[], &["7-0 1", "7-2 2"], &dead(&[CHAT])).dead_letters, 1);
    let violations = |texts: &[&str], chats: &[i64]| audit(Retry, &[], texts, &dead(chats)).violations.join("\n");
    assert!(violations(&["7-0 1", "7-2 3"], &[CHAT]).contains("7-2 was handled on a state with 3"));
    assert!(violations(&["7-0 1", "7-2 2"], &[8]).contains("7-1 LOST"));
    assert!(violations(&["7-0 1", "7-1 2", "7-2 3"], &[CHAT]).contains("dead letters of messages that were answered"));
}

#[test]
fn an_uncertain_answer_may_be_missing_only_where_the_host_says_so_and_was_killed() {
    let rest = ["7-0 1", "7-2 3"];
    assert_eq!(good(Drop, &[1], &rest, &lost("7-1 2", "uncertain")).uncertain, 1);
    // It had arrived all the same.
    assert_eq!(good(Drop, &[2], &["7-0 1", "7-1 2", "7-2 3"], &lost("7-1 2", "uncertain")).uncertain, 0);
    let violations = |mode, kills: &[usize], lost| audit(mode, kills, &rest, &lost).violations.join("\n");
    assert!(violations(Drop, &[], lost("7-1 2", "uncertain")).contains("1 lost answers of 0 kills"));
    assert!(violations(Drop, &[1], lost("7-1 2", "expired")).contains("listed as lost: expired"));
    assert!(violations(Retry, &[1], lost("7-1 2", "uncertain")).contains("listed as lost: uncertain"));
}

#[test]
fn a_conversation_is_known_by_its_chat_however_it_is_shown() {
    for shown in [json!("7001"), json!("tg/7001"), json!("tg:7001"), json!({"connector": "tg", "id": "7001"})] {
        assert_eq!(chat_of(&shown), 7001);
    }
}
