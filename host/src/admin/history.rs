//! `/api/v1/metrics/…`: what series said. `/api/v1/report`: how the host, its bots and its connectors fared.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::ask::Ask;
use super::endpoint::{Access, Endpoint};
use super::operate::no_bot;
use super::parameter::{BOT, CONNECTOR, Kind, Parameter, SINCE, UNTIL};
use super::problem::Problem;
use super::query::Query;
use crate::access::Role;
use crate::clock::Timestamp;
use crate::grants::ConnectorKey;
use crate::history::{self, Filter, Found, FoundSeries, Point, Report};
use crate::id::BotName;
use crate::metrics::snapshot;

/// How far back is looked where nobody says.
const WINDOW: Duration = Duration::from_secs(3_600);
/// What every name begins with; it may be left out.
const PREFIX: &str = "bothost_";

/// What series of one name said, as the API shows it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MetricsView {
    /// The name.
    pub name: String,
    /// `counter`, `gauge`, `histogram`, or nothing where there are no series.
    pub kind: String,
    /// From when, in RFC 3339.
    pub since: String,
    /// To when, in RFC 3339.
    pub until: String,
    /// What a point is about, in seconds from its moment on.
    pub step_seconds: f64,
    /// The series.
    pub series: Vec<SeriesView>,
    /// Series that are not shown because there are too many.
    pub series_left_out: usize,
    /// It would have taken too long to look at everything: the latest part is not shown.
    pub is_cut: bool,
}

/// One series.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SeriesView {
    /// What tells it apart.
    pub labels: BTreeMap<String, String>,
    /// The oldest first. Where a counter or a histogram counted nothing there is none.
    pub points: Vec<PointView>,
}

/// One point.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PointView {
    /// When its step began, in RFC 3339.
    pub at: String,
    /// Of a counter: how much it grew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub increase: Option<f64>,
    /// Of a gauge: where it was at last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<f64>,
    /// Of a gauge: at the lowest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Of a gauge: at the highest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Of a gauge: on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// Of a histogram: how many observations there were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Of a histogram: all of them added up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sum: Option<f64>,
    /// Of a histogram: half of them were at most this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50: Option<f64>,
    /// Of a histogram: 95 of 100 were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95: Option<f64>,
    /// Of a histogram: 99 of 100 were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
}

impl PointView {
    fn new(at: Timestamp, point: &Point) -> Self {
        let at = at.to_string();
        // JSON has no infinity.
        let finite = |number: f64| Some(number).filter(|number| number.is_finite());
        match point {
            Point::Counter(increase) => Self { at, increase: finite(*increase), ..Self::default() },
            Point::Gauge(gauge) => Self {
                at,
                last: finite(gauge.last),
                min: finite(gauge.min),
                max: finite(gauge.max),
                mean: finite(gauge.mean()),
                ..Self::default()
            },
            Point::Histogram(histogram) => Self {
                at,
                count: Some(histogram.count),
                sum: finite(histogram.sum),
                p50: histogram.quantile(0.5),
                p95: histogram.quantile(0.95),
                p99: histogram.quantile(0.99),
                ..Self::default()
            },
        }
    }
}

impl From<FoundSeries> for SeriesView {
    fn from(FoundSeries { labels, points }: FoundSeries) -> Self {
        let labels = labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Self { labels, points: points.iter().map(|(at, point)| PointView::new(*at, point)).collect() }
    }
}

/// What is asked of a series.
const SERIES: &[Parameter] = &[
    Parameter::new("name", Kind::Text, "the metric, with or without `bothost_`").required(),
    SINCE,
    UNTIL,
    Parameter::new("step", Kind::Span, "one point for so long; it may be longer"),
    Parameter {
        about: "of this bot only, or of several with commas between; a tenant must name its own",
        kind: Kind::Names,
        ..BOT
    },
    CONNECTOR,
];

/// Most bots of one question.
const BOTS_MAX: usize = 100;

pub(super) fn endpoints() -> Vec<Endpoint> {
    const WINDOW: Parameter = Parameter::new("window", Kind::Span, "of the last so long; an hour where nobody says");
    let tenant = Access::Tenant(Role::Viewer);
    vec![
        Endpoint::get("/api/v1/metrics/history", tenant, "what series said")
            .takes(SERIES)
            .json(async |api, ask| metrics(&api, &ask).await),
        Endpoint::get("/api/v1/metrics/names", Access::Host(Role::Viewer), "the names of series")
            .json(async |api, _| names(&api).await),
        Endpoint::get("/api/v1/report", tenant, "how everything fared lately")
            .takes(&[WINDOW, BOT])
            .json(async |api, ask| report(&api, &ask).await),
    ]
}

/// Shows what series of one name said.
pub(super) async fn metrics(api: &Api, ask: &Ask) -> Result<MetricsView, Problem> {
    let (bots, scope) = (bots(&ask.query)?, ask.scope());
    if let Some(strange) = bots.iter().find(|bot| scope.tenant().is_some() && !api.covers(scope, bot)) {
        return Err(no_bot(strange.as_str()));
    }
    if bots.is_empty() && scope.tenant().is_some() {
        return Err(Problem::BadRequest("`bot` is missing: name your bots, such as ?bot=NAME,NAME".to_owned()));
    }
    let now = Timestamp::now();
    series(api, history_query(&ask.query, now)?, now).await
}

/// Shows what is asked for.
pub(super) async fn series(api: &Api, asked: history::Query, now: Timestamp) -> Result<MetricsView, Problem> {
    let (name, since, until) = (asked.name.clone(), asked.since.to_string(), asked.until.to_string());
    let found = api.records.ask(api.sources.observed.history.query(asked, now)).await?;
    let Found { kind, step, series, series_left_out, is_cut } = found;
    let kind = match kind {
        Some(snapshot::Kind::Counter) => "counter",
        Some(snapshot::Kind::Gauge) => "gauge",
        Some(snapshot::Kind::Histogram) => "histogram",
        None => "",
    };
    let (kind, step_seconds) = (kind.to_owned(), step.as_secs_f64());
    let series = series.into_iter().map(SeriesView::from).collect();
    Ok(MetricsView { name, kind, since, until, step_seconds, series, series_left_out, is_cut })
}

/// Returns the bots that are asked about; none: all.
fn bots(query: &Query) -> Result<Vec<BotName>, Problem> {
    let bad = |detail: String| Problem::BadRequest(format!("`bot`: {detail}"));
    let names = query.text("bot").into_iter().flat_map(|names| names.split(','));
    let bots = names.map(|name| name.parse::<BotName>().map_err(|error| bad(error.to_string())));
    let bots: Vec<_> = bots.collect::<Result<_, _>>()?;
    if bots.len() > BOTS_MAX { Err(bad(format!("at most {BOTS_MAX} at once"))) } else { Ok(bots) }
}

/// Lists the names of series.
async fn names(api: &Api) -> Result<Vec<String>, Problem> {
    api.records.ask(api.sources.observed.history.names()).await
}

/// Tells how everything fared, or one bot.
pub(super) async fn report(api: &Api, ask: &Ask) -> Result<Report, Problem> {
    let (window, bot) = (ask.query.span("window")?.unwrap_or(WINDOW), ask.asked_bot(api)?);
    let report = api.records.ask(api.sources.observed.history.report(window, Timestamp::now())).await?;
    Ok(match bot {
        Some(bot) => report.of_bot(bot.as_str()),
        None => report,
    })
}

fn history_query(query: &Query, now: Timestamp) -> Result<history::Query, Problem> {
    let name = query.text("name").ok_or_else(|| {
        Problem::BadRequest("`name` is missing; GET /api/v1/metrics/names lists what there is".to_owned())
    })?;
    let name = if name.starts_with(PREFIX) { name.to_owned() } else { format!("{PREFIX}{name}") };
    let until = query.moment("until", now)?.unwrap_or(now);
    let default = until.saturating_sub(WINDOW);
    let since = query.moment("since", now)?.unwrap_or(default);
    if since >= until {
        return Err(Problem::Unprocessable(format!("`since` must be before `until`, not {since} and {until}")));
    }
    let mut labels = Filter::default();
    let bots = bots(query)?;
    if !bots.is_empty() {
        labels = labels.with("bot", bots.iter().map(ToString::to_string));
    }
    if let Some(connector) = query.name::<ConnectorKey>("connector")? {
        labels = labels.with("connector", [connector.to_string()]);
    }
    Ok(history::Query { name, labels, since, until, step: query.span("step")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn asked(query: &str) -> Result<history::Query, Problem> {
        history_query(&Query::parse(Some(query), SERIES).unwrap(), NOW)
    }

    #[test]
    fn moments_are_told_by_the_calendar_or_as_ago() {
        let query = asked("name=queue_depth_events&since=10m&until=2027-01-15T08:00:00Z&step=30s&bot=echo").unwrap();
        assert_eq!(query.name, "bothost_queue_depth_events");
        assert_eq!(query.since, Timestamp::from_millis(NOW.as_millis() - 600_000));
        assert_eq!(query.until, NOW);
        assert_eq!(query.step, Some(Duration::from_secs(30)));
        assert_eq!(query.labels, Filter::default().with("bot", ["echo".to_owned()]));
        let query = asked("name=bothost_x").unwrap();
        assert_eq!((query.name.as_str(), query.until.saturating_since(query.since)), ("bothost_x", WINDOW));
    }

    #[test]
    fn what_is_no_question_is_refused_with_what_would_be_one() {
        for (query, said) in [
            ("", "`name` is missing"),
            ("name=x&since=yesterday", "`since` must be a moment such as"),
            ("name=x&step=5", "`step` must be a length of time"),
            ("name=x&bot=A%20B", "`bot`: "),
        ] {
            let refused = asked(query);
            assert!(matches!(&refused, Err(Problem::BadRequest(detail)) if detail.starts_with(said)), "{refused:?}");
        }
        let backwards = asked("name=x&since=1m&until=2m");
        let said = "`since` must be before `until`";
        assert!(matches!(&backwards, Err(Problem::Unprocessable(detail)) if detail.starts_with(said)), "{backwards:?}");
    }
}
