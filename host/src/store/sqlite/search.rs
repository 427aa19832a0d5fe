//! The search for events that were taken over, the newest first. It looks at so many rows and no more, and for so long and no longer:
//! a read that takes long keeps the log from being copied back. Where it ends early, it says where to go on.

use std::time::{Duration, Instant};

use rusqlite::{Connection, Row};

use super::inbox::QueueRow;
use super::story::{self, EventRow};
use super::{Fault, from_column, to_column};
use crate::event::{Event, EventKind};
use crate::id::BotName;
use crate::store::history::{FoundEvent, FoundHandling, SearchEnd, SearchPage, SearchQuery, StandFilter};

/// Rows that one search looks at.
const ROWS_MAX: usize = 50_000;
/// How long one search takes, about.
const TIME_MAX: Duration = Duration::from_secs(2);
/// Rows between two looks at the clock.
const ROWS_PER_LOOK: usize = 64;

/// Finds events.
pub(super) fn search(connection: &Connection, query: &SearchQuery) -> Result<SearchPage, Fault> {
    search_within(connection, query, ROWS_MAX)
}

/// Finds events among so many rows.
fn search_within(connection: &Connection, query: &SearchQuery, rows_max: usize) -> Result<SearchPage, Fault> {
    let begun = Instant::now();
    let mut statement = connection.prepare_cached(
        "SELECT seq, id, origin, platform_id, received_ms, duplicates, checksum, body FROM events
         WHERE seq < ?1 AND seq > ?2 ORDER BY seq DESC",
    )?;
    let before = query.before.map_or(i64::MAX, to_column);
    let after = query.after.map_or(-1, to_column);
    let mut rows = statement.query([before, after])?;
    let search = Search::new(connection, query);
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX).max(1);
    let mut events = Vec::new();
    let mut looked_at = 0;
    while let Some(row) = rows.next()? {
        let seq: i64 = row.get(0)?;
        looked_at += 1;
        events.extend(search.look(seq, row)?);
        let before = from_column(seq);
        if events.len() >= limit {
            return Ok(SearchPage { events, end: SearchEnd::Full { before } });
        }
        let is_late = looked_at % ROWS_PER_LOOK == 0 && begun.elapsed() > TIME_MAX;
        if looked_at >= rows_max || is_late {
            return Ok(SearchPage { events, end: SearchEnd::Cut { before } });
        }
    }
    Ok(SearchPage { events, end: SearchEnd::Oldest })
}

struct Search<'a> {
    connection: &'a Connection,
    query: &'a SearchQuery,
    origin: Option<String>,
    /// In lower case.
    text: Option<String>,
}

impl<'a> Search<'a> {
    fn new(connection: &'a Connection, query: &'a SearchQuery) -> Self {
        let origin = query.connector.as_ref().map(ToString::to_string);
        let text = query.text.as_ref().map(|text| text.to_lowercase());
        Self { connection, query, origin, text }
    }

    /// Returns the event of a row if it is one that is looked for: what is cheap to find out first, the body last.
    fn look(&self, seq: i64, row: &Row<'_>) -> Result<Option<FoundEvent>, Fault> {
        let received = from_column(row.get(4)?);
        let is_after = self.query.since.is_none_or(|since| received >= since.as_millis());
        let is_before = self.query.until.is_none_or(|until| received < until.as_millis());
        if !is_after || !is_before {
            return Ok(None);
        }
        if let Some(origin) = &self.origin
            && row.get_ref(2)?.as_str_or_null().ok().flatten() != Some(origin.as_str())
        {
            return Ok(None);
        }
        let Some(handlings) = self.handlings(seq)? else { return Ok(None) };
        let Some(found) = EventRow::read(row) else { return Ok(None) };
        let is_it = match &found.event {
            Some(event) => self.says(event) && self.was_said_there(event),
            // What it says cannot be trusted.
            None => self.text.is_none() && self.query.conversation.is_none(),
        };
        Ok(is_it.then(|| FoundEvent {
            seq: from_column(seq),
            id: found.id,
            origin: found.origin,
            received_at: found.received_at,
            event: found.event,
            handlings,
        }))
    }

    /// Returns what the bots that are asked for have to do with an event. None: nothing, or nothing of what is looked for.
    fn handlings(&self, seq: i64) -> Result<Option<Vec<FoundHandling>>, Fault> {
        let mut statement = self.connection.prepare_cached(
            "SELECT event, bot, lane, priority, bytes, state, attempts, due_ms, ended_ms, elapsed_us, fuel, checksum
             FROM queue WHERE event = ?1 ORDER BY bot",
        )?;
        let mut rows = statement.query([seq])?;
        let mut handlings = Vec::new();
        while let Some(row) = rows.next()? {
            let Some(row) = QueueRow::read(row) else { continue };
            let Ok(bot) = row.bot.parse::<BotName>() else { continue };
            if self.query.bots.as_ref().is_none_or(|bots| bots.contains(&bot)) {
                let attempts = u32::try_from(row.attempts).unwrap_or(u32::MAX);
                handlings.push(FoundHandling { bot, stand: story::stand(&row), attempts });
            }
        }
        let is_so = |wanted: StandFilter| handlings.iter().any(|handling| wanted.takes(&handling.stand));
        let is_it = match self.query.stand {
            Some(wanted) => is_so(wanted),
            None => !handlings.is_empty() || self.query.bots.is_none(),
        };
        Ok(is_it.then_some(handlings))
    }

    fn says(&self, event: &Event) -> bool {
        let Some(text) = &self.text else { return true };
        let said = match &event.kind {
            EventKind::Message(message) | EventKind::Edited(message) => &message.text,
            EventKind::Command(command) => &command.message.text,
            _ => return false,
        };
        said.to_lowercase().contains(text)
    }

    fn was_said_there(&self, event: &Event) -> bool {
        let Some(wanted) = &self.query.conversation else { return true };
        event.kind.conversation().is_some_and(|conversation| conversation.id == *wanted)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::action::Priority;
    use crate::clock::Timestamp;
    use crate::connector::scripted::scripted;
    use crate::store::{NewEvent, Store, StoreOptions};

    /// A store where `lobby` was told `texts`, which bot `a` hears, and every second of them bot `b` as well.
    async fn told(dir: &Path, texts: &[&str]) -> Store {
        let store = Store::open(dir, StoreOptions::default()).unwrap();
        let (_, chat) = scripted("chat".parse().unwrap());
        for (index, text) in texts.iter().enumerate() {
            let mut event = chat.message("lobby", &index.to_string(), text);
            event.received_at = Timestamp::from_millis(1_000 + index as u64);
            let bots = ["a", "b"].into_iter().take(1 + index % 2);
            let bots = bots.map(|bot| (bot.parse().unwrap(), Priority::Normal)).collect();
            let origin = Some("chat".parse().unwrap());
            let new = NewEvent { event: Arc::new(event), origin, bots, timer: None };
            store.submit(new).await.unwrap().done().await.unwrap();
        }
        store
    }

    fn all() -> SearchQuery {
        SearchQuery { limit: 100, ..SearchQuery::default() }
    }

    fn texts(page: &SearchPage) -> Vec<String> {
        let text = |found: &FoundEvent| match &found.event.as_ref().unwrap().kind {
            EventKind::Message(message) => message.text.clone(),
            other => panic!("{other:?}"),
        };
        page.events.iter().map(text).collect()
    }

    #[tokio::test]
    async fn each_condition_leaves_out_what_does_not_meet_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = told(dir.path(), &["one", "Two", "THREE", "four ÄÖ"]).await;
        let at = |ms| Some(Timestamp::from_millis(ms));
        let b = || Some(["b".parse().unwrap()].into());
        let second = store.search(all()).await.unwrap().events[2].seq;
        let cases = [
            (all(), vec!["four ÄÖ", "THREE", "Two", "one"]),
            (SearchQuery { text: Some("tHr".into()), ..all() }, vec!["THREE"]),
            (SearchQuery { text: Some("äö".into()), ..all() }, vec!["four ÄÖ"]),
            (SearchQuery { bots: b(), ..all() }, vec!["four ÄÖ", "Two"]),
            (SearchQuery { bots: Some(["c".parse().unwrap()].into()), ..all() }, vec![]),
            (SearchQuery { since: at(1_002), ..all() }, vec!["four ÄÖ", "THREE"]),
            (SearchQuery { until: at(1_002), ..all() }, vec!["Two", "one"]),
            (SearchQuery { after: Some(second), ..all() }, vec!["four ÄÖ", "THREE"]),
            (SearchQuery { after: Some(second), before: Some(second + 2), ..all() }, vec!["THREE"]),
            (SearchQuery { stand: Some(StandFilter::Waiting), bots: b(), ..all() }, vec!["four ÄÖ", "Two"]),
            (SearchQuery { stand: Some(StandFilter::Done), ..all() }, vec![]),
            (SearchQuery { conversation: Some("lobby".into()), since: at(1_003), ..all() }, vec!["four ÄÖ"]),
            (SearchQuery { conversation: Some("hall".into()), ..all() }, vec![]),
            (SearchQuery { connector: Some("chat".parse().unwrap()), since: at(1_003), ..all() }, vec!["four ÄÖ"]),
            (SearchQuery { connector: Some("a/chat".parse().unwrap()), ..all() }, vec![]),
        ];
        for (query, expected) in cases {
            let page = store.search(query.clone()).await.unwrap();
            assert_eq!(
                (texts(&page), page.end),
                (expected.into_iter().map(str::to_owned).collect(), SearchEnd::Oldest),
                "{query:?}"
            );
        }
        let page = store.search(SearchQuery { bots: b(), ..all() }).await.unwrap();
        let bots: Vec<_> =
            page.events.iter().flat_map(|event| &event.handlings).map(|handling| handling.bot.as_str()).collect();
        assert_eq!(bots, ["b", "b"], "of other bots nothing is told");
    }

    #[tokio::test]
    async fn pages_and_cuts_go_on_where_they_ended_and_show_everything_once() {
        let dir = tempfile::tempdir().unwrap();
        let numbers: Vec<_> = (0..10).map(|number| number.to_string()).collect();
        let store = told(dir.path(), &numbers.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let connection = Connection::open(dir.path().join("bothost.db")).unwrap();
        let newest_first: Vec<_> = numbers.iter().rev().cloned().collect();
        for (limit, rows_max) in [(3, 100), (100, 4), (3, 2), (1, 1)] {
            let (mut found, mut before) = (Vec::new(), None);
            loop {
                let query = SearchQuery { before, limit, ..SearchQuery::default() };
                let page = search_within(&connection, &query, rows_max).unwrap_or_else(|_| panic!("the rows are good"));
                found.extend(texts(&page));
                before = match page.end {
                    SearchEnd::Oldest => break,
                    SearchEnd::Full { before } | SearchEnd::Cut { before } => Some(before),
                };
            }
            assert_eq!(found, newest_first, "{limit} {rows_max}");
        }
        let none = SearchQuery { text: Some("x".into()), ..all() };
        let page = search_within(&connection, &none, 4).unwrap_or_else(|_| panic!("the rows are good"));
        assert!(page.events.is_empty() && matches!(page.end, SearchEnd::Cut { .. }), "{page:?}");
        store.close().await;
    }
}
