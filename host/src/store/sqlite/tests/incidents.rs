//! What happened to bots and which of their versions are condemned, through processes and past the hand of fate.

use super::*;
use crate::id::{ContentHash, EventId};
use crate::store::incidents::{Condemned, Incident, IncidentFilter, IncidentKind, IncidentQuery, StoredIncident};

/// How long the idle writer may take; longer than it should.
const PATIENCE: Duration = Duration::from_secs(30);

fn incident(bot_name: &str, kind: IncidentKind, message: &str) -> Incident {
    Incident {
        at: NOW,
        bot: bot(bot_name),
        kind,
        event: Some(EventId::from_bytes([7; 16])),
        attempt: 2,
        component: Some(ContentHash::of(b"component")),
        message: message.to_owned(),
        backtrace: "handle at src/lib.rs:7\nmain".to_owned(),
        strategy: "restart in 2 s".to_owned(),
    }
}

fn fault(bot_name: &str, message: &str) -> Incident {
    incident(bot_name, IncidentKind::Fault("trapped".into()), message)
}

fn everything() -> IncidentQuery {
    IncidentQuery { limit: 100, ..IncidentQuery::default() }
}

async fn listed(store: &Store, query: IncidentQuery) -> Vec<Incident> {
    store.incidents(query).await.unwrap().into_iter().map(|StoredIncident { incident, .. }| incident).collect()
}

async fn messages(store: &Store, query: IncidentQuery) -> Vec<String> {
    listed(store, query).await.into_iter().map(|incident| incident.message).collect()
}

#[tokio::test]
async fn what_was_noted_before_the_store_was_closed_is_there_afterwards() {
    let fixture = Fixture::new();
    let bare = Incident {
        event: None,
        attempt: 0,
        component: None,
        backtrace: String::new(),
        ..incident("other", IncidentKind::Refused, "asks for what is not granted")
    };
    for incident in [fault("echo", "first"), bare.clone(), fault("echo", "second")] {
        fixture.store.note(incident);
    }
    let fixture = fixture.reopen().await;
    let all = [fault("echo", "second"), bare.clone(), fault("echo", "first")];
    assert_eq!(listed(&fixture.store, everything()).await, all);

    let store = &fixture.store;
    let of_echo = IncidentQuery { bot: Some(bot("echo")), ..everything() };
    assert_eq!(messages(store, of_echo.clone()).await, ["second", "first"]);
    assert_eq!(listed(store, IncidentQuery { kinds: IncidentFilter::Life, ..everything() }).await, [bare]);
    let faults = IncidentQuery { kinds: IncidentFilter::Faults, ..everything() };
    assert_eq!(messages(store, faults).await, ["second", "first"]);
    let newest = store.incidents(IncidentQuery { limit: 1, ..of_echo.clone() }).await.unwrap();
    assert_eq!(messages(store, IncidentQuery { before: Some(newest[0].id), ..of_echo }).await, ["first"]);
}

#[tokio::test]
async fn what_is_noted_goes_to_disk_by_itself() {
    let fixture = Fixture::new();
    fixture.store.note(fault("echo", "alone"));
    let begun = std::time::Instant::now();
    while listed(&fixture.store, everything()).await.is_empty() {
        assert!(begun.elapsed() < PATIENCE, "it is not written");
        tokio::task::yield_now().await;
    }
    let health = fixture.store.health();
    assert_eq!(health.borrow().incidents_dropped, 0);
}

#[tokio::test]
async fn f077_an_incident_that_was_changed_on_disk_is_put_aside_and_hides_no_other() {
    let fixture = Fixture::new();
    (0..4).for_each(|n| fixture.store.note(fault("echo", &n.to_string())));
    let fixture = fixture.reopen().await;
    let fate = fixture.fate();
    fate.execute("UPDATE incidents SET message = 'never said' WHERE message = '1'", ()).unwrap();
    fate.execute("UPDATE incidents SET strategy = CAST(x'ff' AS TEXT) WHERE message = '2'", ()).unwrap();
    for _ in 0..2 {
        assert_eq!(messages(&fixture.store, everything()).await, ["3", "0"]);
        assert_eq!((count(&fate, "quarantine"), count(&fate, "incidents")), (2, 2));
    }
}

#[tokio::test]
async fn a_version_stays_condemned_through_processes_until_its_bot_is_pardoned() {
    let fixture = Fixture::new();
    let (bad, worse) = (ContentHash::of(b"bad"), ContentHash::of(b"worse"));
    let long = "x".repeat(10_000);
    for (name, version, reason) in [("echo", bad, "traps"), ("echo", worse, &long), ("other", bad, "traps")] {
        fixture.store.condemn(&bot(name), version, reason, NOW).await.unwrap();
    }
    let fixture = fixture.reopen().await;
    let all = fixture.store.condemned().await.unwrap();
    let expected = Condemned { bot: bot("echo"), component: bad, reason: "traps".to_owned(), at: NOW };
    assert_eq!((&all[0], all[1].component, all[1].reason.len(), all.len()), (&expected, worse, 2_048, 3));
    assert_eq!(fixture.store.pardon(&bot("echo")).await.unwrap(), 2);
    assert_eq!(fixture.store.pardon(&bot("echo")).await.unwrap(), 0);
    let fixture = fixture.reopen().await;
    assert_eq!(fixture.store.condemned().await.unwrap(), [Condemned { bot: bot("other"), ..expected }]);
}

#[tokio::test]
async fn f077_a_condemnation_that_was_changed_on_disk_condemns_nothing() {
    let fixture = Fixture::new();
    fixture.store.condemn(&bot("echo"), ContentHash::of(b"bad"), "traps", NOW).await.unwrap();
    fixture.store.condemn(&bot("other"), ContentHash::of(b"bad"), "traps", NOW).await.unwrap();
    let fate = fixture.fate();
    fate.execute("UPDATE condemned SET component = zeroblob(32) WHERE bot = 'echo'", ()).unwrap();
    for _ in 0..2 {
        let left = fixture.store.condemned().await.unwrap();
        assert_eq!((left.len(), &left[0].bot, count(&fate, "quarantine")), (1, &bot("other"), 1));
    }
}

#[tokio::test]
async fn a_bot_that_is_removed_begins_anew_when_it_comes_back() {
    let fixture = Fixture::new();
    fixture.store.note(fault("echo", "noted before, written with the removal"));
    fixture.store.note(fault("other", "stays"));
    fixture.store.condemn(&bot("echo"), ContentHash::of(b"bad"), "traps", NOW).await.unwrap();
    fixture.store.note(fault("echo", "noted just before"));
    fixture.store.forget_bot(&bot("echo")).await.unwrap();
    assert_eq!(messages(&fixture.store, everything()).await, ["stays"]);
    assert_eq!(fixture.store.condemned().await.unwrap(), []);
}

#[tokio::test]
async fn a_database_of_the_version_before_is_copied_and_goes_on_with_what_it_holds() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bothost.db");
    {
        let mut connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").unwrap();
        schema::migrate(&mut connection, &path, &schema::MIGRATIONS[..2]).unwrap();
        let alert = AlertChange::Raise {
            key: "feed".into(),
            severity: crate::action::Severity::Warning,
            summary: "no prices".into(),
            details: Vec::new(),
        };
        alerts::apply(&connection, &bot("echo"), &[alert], NOW).unwrap();
    }
    let store = Store::open(directory.path(), StoreOptions::default()).unwrap();
    assert_eq!(store.take_alerts().len(), 1);
    store.condemn(&bot("echo"), ContentHash::of(b"bad"), "traps", NOW).await.unwrap();
    assert_eq!(store.condemned().await.unwrap().len(), 1);
    store.close().await;
    let copy = Connection::open(directory.path().join("bothost.db.before-4")).unwrap();
    let version: i64 = copy.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!((version, count(&copy, "alerts")), (2, 1));
}
