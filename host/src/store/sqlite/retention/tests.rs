//! What stays and what goes.

use super::super::checksum::Digest;
use super::super::inbox::PreparedEvent;
use super::super::schema;
use super::*;
use crate::action::Priority;
use crate::event::LaneKey;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn database() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    schema::migrate(&mut connection, std::path::Path::new("x"), schema::MIGRATIONS).unwrap();
    connection
}

/// Writes an event that one bot has in a state.
fn event(connection: &Connection, seq: i64, state: i64) {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&seq.to_be_bytes());
    let lane = LaneKey::other("test", "a");
    let prepared =
        PreparedEvent { id, origin: None, platform_id: None, received_ms: 0, body: b"{}".to_vec(), lane: lane.clone() };
    inbox::insert_event(connection, seq, &prepared, Digest::of(b"{}")).unwrap();
    inbox::insert_row(connection, (seq, "echo"), (&lane, Priority::Normal), 2, None).unwrap();
    inbox::change(connection, (seq, "echo"), &[inbox::state::WAITING], |row| row.state = state).unwrap();
}

fn kept(events: u32, dead_letters: u32) -> Kept {
    Kept { events, dead_letters }
}

fn numbers(connection: &Connection, sql: &str) -> Vec<i64> {
    connection.prepare(sql).unwrap().query_map((), |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

fn sweep_all(retention: &mut Retention, connection: &Connection, last: i64) -> usize {
    let mut rounds = 1;
    while retention.sweep(connection, last, Some(NOW)).unwrap() {
        rounds += 1;
    }
    rounds
}

#[test]
fn the_last_finished_events_stay_and_what_waits_or_is_dead_always_does() {
    let connection = database();
    for seq in 1..=1_000 {
        let state = match seq {
            7 => inbox::state::WAITING,
            8 => inbox::state::DEAD,
            seq if seq % 2 == 0 => inbox::state::UNWANTED,
            _ => inbox::state::DONE,
        };
        event(&connection, seq, state);
    }
    let mut retention = Retention::load(&connection, kept(10, 5)).unwrap();
    sweep_all(&mut retention, &connection, 1_000);
    let expected: Vec<i64> = [7, 8].into_iter().chain(991..=1_000).collect();
    assert_eq!(numbers(&connection, "SELECT seq FROM events ORDER BY seq"), expected);
    assert_eq!(numbers(&connection, "SELECT event FROM queue ORDER BY event"), expected);
    // What ends after the cursor has passed it goes when that has begun anew.
    inbox::change(&connection, (7, "echo"), &[inbox::state::WAITING], |row| row.state = inbox::state::DONE).unwrap();
    (0..2).for_each(|_| assert!(sweep_all(&mut retention, &connection, 1_000) < 9));
    assert_eq!(numbers(&connection, "SELECT min(seq) FROM events"), [8]);
}

#[test]
fn one_step_removes_a_bounded_number_and_busy_transactions_keep_pace() {
    let connection = database();
    (1..=2_000).for_each(|seq| event(&connection, seq, inbox::state::DONE));
    let mut retention = Retention::load(&connection, kept(0, 5)).unwrap();
    retention.keep_up(&connection, 2_000).unwrap();
    assert_eq!(numbers(&connection, "SELECT count(*) FROM events"), [2_000 - 4 * STEP]);
    retention.sweep(&connection, 2_000, None).unwrap();
    assert_eq!(numbers(&connection, "SELECT count(*) FROM events"), [2_000 - 12 * STEP]);
    assert!(sweep_all(&mut retention, &connection, 2_000) < 5);
}

/// Its number names an action to platforms that recognise what they were given before, and an event to what refers to it.
#[test]
fn the_last_number_is_never_forgotten() {
    let connection = database();
    event(&connection, 1, inbox::state::DONE);
    connection
        .execute(
            "INSERT INTO outbox(id, event, bot, n, connector, lane, priority, committed_ms, state, attempts, checksum, body)
             VALUES (5, 1, 'echo', 0, 'chat', '', 0, 0, 2, 1, 0, x'')",
            (),
        )
        .unwrap();
    (2..=100).for_each(|seq| event(&connection, seq, inbox::state::DONE));
    let mut retention = Retention::load(&connection, kept(0, 5)).unwrap();
    sweep_all(&mut retention, &connection, 100);
    assert_eq!(numbers(&connection, "SELECT max(id) FROM outbox"), [5]);
    assert_eq!(numbers(&connection, "SELECT seq FROM events ORDER BY seq"), [1, 100]);
}

#[test]
fn the_oldest_dead_letters_give_way_and_no_others() {
    let connection = database();
    (1..=10).for_each(|seq| event(&connection, seq, inbox::state::DEAD));
    let mut retention = Retention::load(&connection, kept(100, 10)).unwrap();
    event(&connection, 11, inbox::state::DEAD);
    retention.died(1);
    retention.keep_up(&connection, 11).unwrap();
    assert_eq!(numbers(&connection, "SELECT min(event) FROM queue WHERE state = 2"), [2]);
    retention.keep_up(&connection, 11).unwrap();
    assert_eq!(numbers(&connection, "SELECT count(*) FROM queue WHERE state = 2"), [10]);
}

#[test]
fn a_transaction_that_fails_undoes_its_own_count_and_no_earlier_one() {
    let connection = database();
    (1..=10).for_each(|seq| event(&connection, seq, inbox::state::DEAD));
    let mut retention = Retention::load(&connection, kept(100, 10)).unwrap();
    // An operator drops nine of them, which is committed; then a transaction fails.
    connection.execute("DELETE FROM queue WHERE event > 1", ()).unwrap();
    retention.revived(9);
    retention.committed();
    retention.died(3);
    retention.rolled_back();
    event(&connection, 11, inbox::state::DEAD);
    retention.died(1);
    retention.keep_up(&connection, 11).unwrap();
    assert_eq!(numbers(&connection, "SELECT event FROM queue WHERE state = 2"), [1, 11]);
}

#[test]
fn tickets_are_kept_for_a_week() {
    let connection = database();
    let ticket = |days: u64| (NOW.as_millis() - days * 86_400_000) << TICKET_COUNTER_BITS;
    for days in [0, 6, 8] {
        outbox::remember(&connection, to_column(ticket(days)), "m").unwrap();
    }
    sweep_all(&mut Retention::load(&connection, kept(0, 0)).unwrap(), &connection, 0);
    assert_eq!(numbers(&connection, "SELECT count(*) FROM tickets"), [2]);
}
