//! The history of metrics: what every series said, each look of the last hour in memory, minutes of a day and ten minutes of a week on
//! disk; and the report that is made of it. Takes snapshots and answers questions; who takes the snapshots, and when, is not its
//! matter, nor is what follows from them.
//!
//! ```text
//! Snapshot ──record──► Recorder ──steps that are over──► rows, deflated ──► Observations
//! query, report ◄── single points, open steps ──┘                               │
//!       └─────────────────────── rows of steps that are over ───────────────────┘
//! ```
//!
//! What is in memory alone when a process is killed is lost: up to a minute of the minutes, up to ten of the ten minutes.

mod point;
mod query;
mod recorder;
mod report;
mod row;
mod sift;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

pub use self::point::{Gauge, Point};
pub use self::query::{Filter, Found, FoundSeries, POINTS_MAX, Query, SERIES_MAX};
use self::query::{Plan, Resolution};
pub use self::recorder::{Finished, Recorder, STEPS};
pub use self::report::{BotReport, Budget, ConnectorReport, HostReport, Level, Quantiles, Report};
use self::report::{FAMILIES, Totals};
use self::sift::{Bounds, Sift};
use crate::clock::Timestamp;
use crate::metrics::ObservationFigures;
use crate::metrics::snapshot::Snapshot;
use crate::store::StoreError;
use crate::store::observations::{Losses, Observations, PointsQuery, PointsRow};

/// Questions at a time: each holds some megabytes.
const AT_A_TIME: usize = 2;
/// Bytes of rows that are read at once. In between, what is new can be written.
const PAGE_BYTES: usize = 1 << 20;
/// Names in a listing.
const NAMES_MAX: u32 = 5_000;
/// Steps that a report looks at, about.
const REPORT_STEPS: u32 = 100;

/// The handle: cheap to clone, usable from any task.
#[derive(Debug, Clone)]
pub struct History {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    observations: Observations,
    recorder: Mutex<Recorder>,
    turns: Semaphore,
}

impl History {
    /// Returns a history that keeps its rows there, and knows those that are there already.
    pub fn new(observations: Observations) -> Self {
        let turns = Semaphore::new(AT_A_TIME);
        Self { shared: Arc::new(Shared { observations, recorder: Mutex::default(), turns }) }
    }

    /// Takes a snapshot; to be called by one task, every few seconds. Does not wait for the disk. What it costs grows with the number
    /// of series, most of all once a minute, when rows are deflated.
    pub fn record(&self, snapshot: &Snapshot) {
        let finished = self.recorder().record(snapshot);
        self.append(finished, snapshot.at);
    }

    /// Returns what has become of what was written down here, and of the turns of alerts beside it.
    pub fn figures(&self) -> ObservationFigures {
        let Losses { news, points, unfit, files } = self.shared.observations.losses();
        let is_working = self.shared.observations.is_working();
        ObservationFigures { is_working, turns_lost: news, points_lost: points, unfit, files_set_aside: files }
    }

    /// Writes down what there is of the steps that are not over, and waits for that; for the end of the process. A process that goes
    /// on within the same minute adds to it.
    pub async fn flush(&self, now: Timestamp) {
        let finished = self.recorder().flush();
        self.append(finished, now);
        self.shared.observations.settled().await;
    }

    /// Returns how often a series was left out of a look because there are too many, since the process began.
    pub fn series_dropped(&self) -> u64 {
        self.recorder().dropped()
    }

    /// Returns the names of which something is known, sorted, five thousand at most.
    ///
    /// # Errors
    ///
    /// Where the database cannot be read.
    pub async fn names(&self) -> Result<Vec<String>, StoreError> {
        let mut names: BTreeSet<String> = self.recorder().names().map(str::to_owned).collect();
        for keep in STEPS {
            names.extend(self.shared.observations.names(keep.step_seconds, NAMES_MAX).await?);
        }
        names.retain(|name| !name.is_empty());
        Ok(names.into_iter().take(NAMES_MAX as usize).collect())
    }

    /// Returns what the series of a name said. An answer has at most [`SERIES_MAX`] series of [`POINTS_MAX`] points each, and says
    /// what it left out.
    ///
    /// # Errors
    ///
    /// Where the database cannot be read.
    pub async fn query(&self, query: Query, now: Timestamp) -> Result<Found, StoreError> {
        let _turn = self.shared.turns.acquire().await.expect("nobody closes it");
        let plan = Plan::of(query.since, query.until, query.step, self.recorder().raw_span(), now);
        let bounds = Bounds { series: SERIES_MAX, ..Bounds::default() };
        let sift = self.sift(&query, plan, Sift::new(query.labels.clone(), plan.step_ms, bounds)).await?;
        Ok(sift.into_found(Duration::from_millis(plan.step_ms)))
    }

    /// Returns how the host, its bots and its connectors fared in the last `window` before `now`.
    ///
    /// # Errors
    ///
    /// Where the database cannot be read.
    pub async fn report(&self, window: Duration, now: Timestamp) -> Result<Report, StoreError> {
        let _turn = self.shared.turns.acquire().await.expect("nobody closes it");
        let since =
            Timestamp::from_millis(now.as_millis().saturating_sub(window.as_millis().try_into().unwrap_or(u64::MAX)));
        let until = now.saturating_add(Duration::from_millis(1));
        // Its numbers are sums and extremes, for which a coarse step is as good as a fine one.
        let plan = Plan::of(since, until, Some(window / REPORT_STEPS), self.recorder().raw_span(), now);
        let mut totals = Totals::default();
        for name in FAMILIES {
            let labels = Filter::default();
            let query = Query { name: (*name).to_owned(), labels: labels.clone(), since, until, step: None };
            // All of the window is one point.
            let sift = self.sift(&query, plan, Sift::new(labels, u64::MAX, Bounds::default())).await?;
            totals.add(name, sift);
        }
        Ok(Report::of(&totals, since, now))
    }

    /// Puts all that is known of a question into a sift.
    async fn sift(&self, query: &Query, plan: Plan, mut sift: Sift) -> Result<Sift, StoreError> {
        // A step that has begun before the window belongs to it in part, and is shown whole.
        let own_ms = match plan.resolution {
            Resolution::Raw => 1,
            Resolution::Step(index) => u64::from(STEPS[index].step_seconds) * 1_000,
        };
        let since = Timestamp::from_millis(query.since.as_millis() / own_ms * own_ms);
        let span = (since, query.until);
        if let Resolution::Step(index) = plan.resolution {
            sift = self.sift_rows(query, STEPS[index].step_seconds, span, sift).await?;
        }
        let recorder = self.recorder();
        let each = |labels: &_, at, point| sift.add(labels, at, point);
        match plan.resolution {
            Resolution::Raw => recorder.raw(&query.name, &query.labels, span, each),
            Resolution::Step(index) => recorder.open_step(index, &query.name, &query.labels, span, each),
        }
        Ok(sift)
    }

    async fn sift_rows(
        &self,
        query: &Query,
        step_seconds: u32,
        (since, until): (Timestamp, Timestamp),
        mut sift: Sift,
    ) -> Result<Sift, StoreError> {
        let mut after = None;
        loop {
            let name = query.name.as_str().into();
            let page = PointsQuery { step_seconds, name, since, until, after, bytes_max: PAGE_BYTES };
            let page = self.shared.observations.range(page).await?;
            let rows = page.rows;
            // Rows may hold many series: other tasks of this thread do not wait for them.
            let sifted = tokio::task::spawn_blocking(move || {
                rows.iter().for_each(|row| sift.add_row(row));
                sift
            });
            sift = sifted.await.map_err(|_| StoreError::Stopped)?;
            match page.next.filter(|_| !sift.is_cut()) {
                Some(next) => after = Some(next),
                None => return Ok(sift),
            }
        }
    }

    fn append(&self, finished: Vec<Finished>, now: Timestamp) {
        if finished.is_empty() {
            return;
        }
        let rows = finished.into_iter().map(|Finished { step_seconds, at, name, kind, series }| {
            let body = row::encode(kind, &series);
            PointsRow { step_seconds, name, at, body }
        });
        self.shared.observations.append(rows.collect(), &STEPS, now);
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.shared.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
