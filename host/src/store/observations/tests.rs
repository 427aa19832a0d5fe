use std::fs;
use std::os::unix::fs::PermissionsExt;

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::action::Severity;
use crate::alert::{Standing, Turn};

const NOW: u64 = 1_800_000_000_000;
const KEEP: [Keep; 2] = [
    Keep { step_seconds: 60, age_max: Duration::from_secs(86_400) },
    Keep { step_seconds: 600, age_max: Duration::from_secs(7 * 86_400) },
];

fn open(dir: &TempDir) -> (Observations, Opened) {
    Observations::open(dir.path()).unwrap()
}

fn alert(source: &str, key: &str) -> Alert {
    let source = if source.is_empty() { Source::Host } else { Source::Bot(source.parse().unwrap()) };
    let details = vec![("file".to_owned(), "x".to_owned())];
    Alert::new(source, key, Severity::Warning, "it is bad", Timestamp::now()).with_details(details)
}

fn turned(turn: Turn, alert: &Alert) -> News {
    News { at: Timestamp::now(), turn, alert: alert.clone() }
}

fn row(step_seconds: u32, name: &str, at_ms: u64, len: usize) -> PointsRow {
    // Not of one byte only, so that the rows differ.
    let body = (0..len).map(|index| (index as u64 ^ at_ms) as u8).collect();
    PointsRow { step_seconds, name: name.into(), at: Timestamp::from_millis(at_ms), body }
}

fn query(step_seconds: u32, name: &str) -> PointsQuery {
    PointsQuery {
        step_seconds,
        name: name.into(),
        since: Timestamp::from_millis(0),
        until: Timestamp::from_millis(u64::MAX),
        after: None,
        bytes_max: usize::MAX,
    }
}

async fn rows(observations: &Observations, step_seconds: u32, name: &str) -> Vec<PointsRow> {
    observations.range(query(step_seconds, name)).await.unwrap().rows
}

async fn history(observations: &Observations, query: AlertQuery) -> Vec<(u64, &'static str, String)> {
    let found = observations.alert_history(AlertQuery { limit: 30_000, ..query }).await.unwrap();
    found.into_iter().map(|StoredNews { id, news }| (id, news.turn.as_str(), news.alert.key)).collect()
}

#[tokio::test]
async fn what_was_up_is_up_again_and_acknowledged_stays_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (observations, opened) = open(&dir);
    assert_eq!(opened, Opened::default());
    assert_eq!(fs::metadata(dir.path().join(OBSERVATIONS_FILE)).unwrap().permissions().mode() & 0o777, 0o600);
    let (of_host, mut of_bot, over) = (alert("", "disk"), alert("echo", "rate"), alert("echo", "over"));
    of_bot.channels = Some(vec!["ops".parse().unwrap()]);
    for alert in [&of_host, &of_bot, &over] {
        observations.note(&turned(Turn::Fired, alert));
    }
    of_bot.standing = Standing::Acknowledged { by: "ann".to_owned(), at: Timestamp::from_millis(7) };
    of_bot.times = 3;
    observations.note(&turned(Turn::Acknowledged, &of_bot));
    let resolved = turned(Turn::Resolved { by: Some("ann".to_owned()) }, &over);
    observations.note(&resolved);
    observations.close().await;

    let (observations, _) = open(&dir);
    let mut up = observations.alerts_up().await;
    up.sort_by(|one, other| one.source.cmp(&other.source));
    assert_eq!(up, [of_host, of_bot]);
    let latest = AlertQuery { limit: 1, ..AlertQuery::default() };
    assert_eq!(observations.alert_history(latest).await.unwrap()[0].news, resolved);
    let all = history(&observations, AlertQuery::default()).await;
    let turns: Vec<_> = all.iter().map(|(_, turn, key)| (*turn, key.as_str())).collect();
    let expected =
        [("resolved", "over"), ("acknowledged", "rate"), ("fired", "over"), ("fired", "rate"), ("fired", "disk")];
    assert_eq!(turns, expected);

    let of = |source: &Source| AlertQuery { source: Some(source.clone()), ..AlertQuery::default() };
    assert_eq!(history(&observations, of(&Source::Host)).await.len(), 1);
    let key = AlertQuery { key: Some("rate".to_owned()), before: Some(all[1].0), ..AlertQuery::default() };
    assert_eq!(history(&observations, key).await.len(), 1);
    let until = AlertQuery { until: Some(Timestamp::from_millis(1)), ..AlertQuery::default() };
    assert_eq!(history(&observations, until).await, []);
}

#[tokio::test]
async fn one_that_flaps_does_not_take_the_others_history_along() {
    let dir = tempfile::tempdir().unwrap();
    let (observations, _) = open(&dir);
    observations.note(&turned(Turn::Fired, &alert("calm", "once")));
    let flapping = alert("noisy", "x");
    for _ in 0..11 {
        for _ in 0..100 {
            observations.note(&turned(Turn::Fired, &flapping));
        }
        // So that the next hundred has room.
        observations.settled().await;
    }
    let of = |bot: &str| AlertQuery { source: Some(Source::Bot(bot.parse().unwrap())), ..AlertQuery::default() };
    assert_eq!(history(&observations, of("noisy")).await.len(), 1_000);
    assert_eq!(history(&observations, of("calm")).await.len(), 1);
    assert_eq!(observations.losses(), Losses::default());
}

#[tokio::test]
async fn words_of_a_newer_host_are_left_out_and_so_is_a_row_that_was_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (observations, _) = open(&dir);
    for key in ["a", "b", "c"] {
        observations.note(&turned(Turn::Fired, &alert("", key)));
    }
    observations.append(vec![row(60, "m", NOW, 9), row(60, "m", NOW + 60_000, 9)], &[], Timestamp::from_millis(NOW));
    observations.close().await;

    let connection = Connection::open(dir.path().join(OBSERVATIONS_FILE)).unwrap();
    let body: String =
        connection.query_row("SELECT body FROM alert_news WHERE key = 'a'", (), |row| row.get(0)).unwrap();
    let newer = body.replace("\"fired\"", "\"snoozed\"");
    let at_ms: i64 =
        connection.query_row("SELECT at_ms FROM alert_news WHERE key = 'a'", (), |row| row.get(0)).unwrap();
    let checksum = super::super::sqlite::news_checksum_of(at_ms, "", "a", &newer);
    connection.execute("UPDATE alert_news SET body = ?1, checksum = ?2 WHERE key = 'a'", (newer, checksum)).unwrap();
    connection.execute("UPDATE alert_news SET at_ms = at_ms + 1 WHERE key = 'b'", ()).unwrap();
    connection.execute("UPDATE points SET body = x'00' WHERE at_ms = ?1", [NOW as i64]).unwrap();
    drop(connection);

    let (observations, opened) = open(&dir);
    assert_eq!(opened.set_aside, None);
    let keys: Vec<_> = history(&observations, AlertQuery::default()).await.into_iter().map(|found| found.2).collect();
    assert_eq!(keys, ["c"]);
    assert_eq!(rows(&observations, 60, "m").await, [row(60, "m", NOW + 60_000, 9)]);
    assert_eq!(observations.losses(), Losses { unfit: 2, ..Losses::default() });
}

#[tokio::test]
async fn a_damaged_file_is_put_aside_and_only_the_newest_three_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(OBSERVATIONS_FILE);
    for time in 1..=4 {
        fs::write(dir.path().join(format!("{OBSERVATIONS_FILE}.damaged-{time:013}")), "old").unwrap();
    }
    fs::write(&path, "this is no database, whatever its name is. ".repeat(100)).unwrap();
    let (observations, opened) = open(&dir);
    let aside = opened.set_aside.unwrap();
    assert!(fs::read_to_string(&aside).unwrap().starts_with("this is no database"), "{aside:?}");
    let mut kept: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    kept.retain(|path| path.to_string_lossy().contains("damaged"));
    kept.sort();
    assert_eq!((kept.len(), kept.last()), (3, Some(&aside)));
    assert_eq!(observations.losses().files, 1);

    observations.note(&turned(Turn::Fired, &alert("", "disk")));
    assert_eq!(observations.alerts_up().await.len(), 1);
    assert!(observations.is_working());
}

#[tokio::test]
async fn a_file_of_a_newer_host_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (observations, _) = open(&dir);
    observations.note(&turned(Turn::Fired, &alert("", "disk")));
    observations.close().await;
    let connection = Connection::open(dir.path().join(OBSERVATIONS_FILE)).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let (observations, opened) = open(&dir);
    assert!(opened.set_aside.is_some());
    assert_eq!(observations.alerts_up().await, []);
}

#[tokio::test]
async fn a_file_that_is_damaged_while_it_is_open_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(OBSERVATIONS_FILE);
    let (observations, _) = open(&dir);
    let many = (0..2_000).map(|minute| row(60, "m", NOW + minute * 60_000, 4_000)).collect();
    observations.append(many, &[], Timestamp::from_millis(NOW));
    observations.close().await;
    let (observations, opened) = open(&dir);
    assert_eq!(opened.set_aside, None);
    let len = fs::metadata(&path).unwrap().len() as usize;
    // From the second page on, so that it opens.
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![0xa5; len - 4_096], 4_096).unwrap();
    let refused = observations.range(query(60, "m")).await;
    assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{refused:?}");
    observations.append(vec![row(60, "m", NOW, 9)], &[], Timestamp::from_millis(NOW));
    assert_eq!(rows(&observations, 60, "m").await.len(), 1);
    assert_eq!(observations.losses(), Losses { files: 1, ..Losses::default() });
}

#[tokio::test]
async fn on_a_full_disk_what_comes_is_dropped_and_counted_and_later_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { file_bytes_max: 400 << 10, rest: Duration::from_secs(3_600), ..Limits::default() };
    let (observations, _) = Observations::open_with(dir.path(), limits).unwrap();
    let many = || (0..100).map(|minute| row(60, "m", NOW + minute * 60_000, 8_000)).collect();
    let now = Timestamp::from_millis(NOW);
    observations.append(vec![row(60, "m", NOW, 9)], &[], now);
    observations.append(many(), &[], now);
    observations.settled().await;
    assert!(!observations.is_working());
    assert_eq!(observations.losses(), Losses { points: 100, ..Losses::default() });
    // What is small enough is not even tried, for an hour.
    let (first, second) = (alert("", "first"), alert("", "second"));
    observations.note(&turned(Turn::Fired, &first));
    observations.settled().await;
    assert_eq!(observations.losses(), Losses { points: 100, news: 1, ..Losses::default() });
    assert_eq!(rows(&observations, 60, "m").await.len(), 1, "what was written is there and can be read");
    observations.close().await;

    let limits = Limits { rest: Duration::ZERO, ..limits };
    let (observations, _) = Observations::open_with(dir.path(), limits).unwrap();
    observations.append(many(), &[], now);
    observations.note(&turned(Turn::Fired, &second));
    observations.settled().await;
    assert!(observations.is_working());
    assert_eq!(observations.losses().points, 100);
    assert_eq!(observations.alerts_up().await, [second]);
}

#[tokio::test]
async fn an_alert_whose_turn_was_dropped_is_up_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { file_bytes_max: 400 << 10, rest: Duration::from_millis(1), ..Limits::default() };
    let (observations, _) = Observations::open_with(dir.path(), limits).unwrap();
    let now = Timestamp::from_millis(NOW);
    // Fills it to the last page.
    for _ in 0..200 {
        observations.append(vec![row(60, "m", NOW, 4_000)], &[], now);
        observations.settled().await;
    }
    let big = Alert { details: vec![("k".to_owned(), "v".repeat(500)); 8], ..alert("", "big") };
    let before = observations.losses().news;
    for _ in 0..50 {
        observations.note(&turned(Turn::Fired, &big));
        observations.settled().await;
    }
    assert!(observations.losses().news > before);
    const NOTHING: [Keep; 1] = [Keep { step_seconds: 60, age_max: Duration::ZERO }];
    let later = Timestamp::from_millis(NOW + 60_000);
    // The rest is over at some time, and then this makes room.
    for _ in 0..1_000 {
        observations.append(vec![row(600, "m", NOW, 9)], &NOTHING, later);
        observations.settled().await;
        if rows(&observations, 60, "m").await.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    observations.note(&turned(Turn::Fired, &alert("", "other")));
    observations.settled().await;
    let mut up: Vec<_> = observations.alerts_up().await.into_iter().map(|alert| alert.key).collect();
    up.sort();
    assert_eq!(up, ["big", "other"]);
}

#[tokio::test]
async fn the_oldest_of_the_finest_step_go_where_there_is_too_much() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { bytes_max: 8 << 20, ..Limits::default() };
    let (observations, _) = Observations::open_with(dir.path(), limits).unwrap();
    for minute in 0..1_200u64 {
        let at = NOW + minute * 60_000;
        let mut rows = vec![row(60, "m", at, 5_000), row(60, "n", at, 5_000)];
        rows.extend(minute.is_multiple_of(10).then(|| row(600, "m", at, 5_000)));
        observations.append(rows, &KEEP, Timestamp::from_millis(at));
        if minute % 100 == 0 {
            observations.settled().await;
        }
    }
    let minutes = rows(&observations, 60, "m").await;
    assert_eq!(minutes.last(), Some(&row(60, "m", NOW + 1_199 * 60_000, 5_000)));
    assert!(minutes.len() < 1_000 && minutes.len() > 10, "{}", minutes.len());
    assert_eq!(rows(&observations, 600, "m").await.len(), 120);
    assert_eq!(observations.losses(), Losses::default());
    observations.close().await;
    let len = fs::metadata(dir.path().join(OBSERVATIONS_FILE)).unwrap().len();
    assert!(len < 10 << 20, "{len}");
}

#[tokio::test]
async fn rows_are_forgotten_by_age_and_where_they_are_of_a_clock_that_was_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (observations, _) = open(&dir);
    let day = 86_400_000;
    let ages = [8 * day, 2 * day, 0];
    let all =
        |step| ages.map(|age| row(step, "m", NOW - age, 9)).into_iter().chain([row(step, "m", NOW + 900 * day, 9)]);
    observations.append(all(60).chain(all(600)).collect(), &[], Timestamp::from_millis(NOW));
    assert_eq!(rows(&observations, 60, "m").await.len(), 4);
    observations.append(vec![row(60, "a", NOW, 1)], &KEEP, Timestamp::from_millis(NOW));
    assert_eq!((rows(&observations, 60, "m").await.len(), rows(&observations, 600, "m").await.len()), (1, 2));
    assert_eq!(observations.names(60, 10).await.unwrap(), ["a", "m"]);
    assert_eq!(observations.names(60, 1).await.unwrap(), ["a"]);
}

#[tokio::test]
async fn a_row_of_the_same_step_is_a_further_part_and_pages_lose_none() {
    let dir = tempfile::tempdir().unwrap();
    let (observations, _) = open(&dir);
    let written: Vec<_> = (0..10).map(|len| row(60, "m", NOW + len / 4 * 60_000, len as usize)).collect();
    for row in &written {
        observations.append(vec![row.clone()], &[], Timestamp::from_millis(NOW));
    }
    let (mut found, mut after) = (Vec::new(), None);
    for _ in 0..20 {
        let page = observations.range(PointsQuery { after, bytes_max: 3, ..query(60, "m") }).await.unwrap();
        found.extend(page.rows);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, written);
    let until = PointsQuery { until: Timestamp::from_millis(NOW + 60_000), ..query(60, "m") };
    assert_eq!(observations.range(until).await.unwrap().rows.len(), 4);
}

#[tokio::test]
async fn what_finds_no_room_to_wait_is_dropped_and_counted() {
    let absent = Observations::absent();
    absent.note(&turned(Turn::Fired, &alert("", "disk")));
    absent.append(vec![row(60, "m", NOW, 9), row(60, "n", NOW, 9)], &[], Timestamp::from_millis(NOW));
    absent.settled().await;
    assert_eq!(absent.alerts_up().await, []);
    assert_eq!(absent.losses(), Losses { news: 1, points: 2, ..Losses::default() });
    assert!(!absent.is_working());

    let dir = tempfile::tempdir().unwrap();
    let (observations, _) = open(&dir);
    // Made before, so that they come faster than they can be written.
    let large: Vec<_> = (0..4).map(|_| vec![row(60, "m", NOW, 15 << 20)]).collect();
    large.into_iter().for_each(|rows| observations.append(rows, &[], Timestamp::from_millis(NOW)));
    observations.settled().await;
    assert!(observations.losses().points >= 1);
    observations.append(vec![row(60, "n", NOW, 9)], &[], Timestamp::from_millis(NOW));
    assert_eq!(rows(&observations, 60, "n").await.len(), 1, "there is room again");
}
