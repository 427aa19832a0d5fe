//! `host metrics [NAME]`: which measurements there are, and what one of them was lately.

use bothost::admin::{MetricsView, PointView, SeriesView};
use bothost::grants::ConnectorKey;
use bothost::id::BotName;
use bothost::logs::escape;

use super::figure::{Unit, sparkline};
use super::remote::{Remote, address, read};
use super::table::{Table, terminal_width, to_the_second};
use super::{Failure, complain, tell};

/// Blocks of a line where nobody says how wide the terminal is.
const WIDTH: usize = 80;

/// Shows what was measured lately; without NAME, the names of what is measured
#[derive(Debug, clap::Args)]
pub(super) struct Metrics {
    #[command(flatten)]
    remote: Remote,
    /// What `/metrics` calls it; `bothost_` may be left out
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Of one bot
    #[arg(long)]
    bot: Option<BotName>,
    /// Of one connector
    #[arg(long)]
    connector: Option<ConnectorKey>,
    /// From this long ago, or from a moment such as 2026-11-21T12:40:48Z
    #[arg(long, default_value = "1h")]
    since: String,
    /// To this long ago, or to a moment
    #[arg(long)]
    until: Option<String>,
    /// One line for so long, such as `10m`; without it, the finest there is
    #[arg(long)]
    step: Option<String>,
}

impl Metrics {
    pub(super) fn run(self) -> Result<(), Failure> {
        let host = self.remote.find()?;
        let Some(name) = &self.name else {
            let names = host.get("/api/v1/metrics/names")?;
            if self.remote.json {
                tell(names);
            } else {
                let names: Vec<String> = read(names)?;
                names.iter().for_each(|name| tell(escape(name)));
                if names.is_empty() {
                    tell("nothing was measured yet");
                }
            }
            return Ok(());
        };
        let parameters = [
            ("name", Some(name.clone())),
            ("since", Some(self.since)),
            ("until", self.until),
            ("step", self.step),
            ("bot", self.bot.map(|bot| bot.to_string())),
            ("connector", self.connector.map(|connector| connector.to_string())),
        ];
        let answer = host.get(&address("/api/v1/metrics/history", parameters))?;
        if self.remote.json {
            tell(answer);
            return Ok(());
        }
        let view: MetricsView = read(answer)?;
        if view.series.is_empty() {
            tell("nothing of that name was measured then; `host metrics` lists the names");
        }
        view.series.iter().for_each(|series| tell(present(&view, series, terminal_width())));
        if view.series_left_out > 0 {
            complain(format_args!("{} more series are not shown: choose a bot or a connector", view.series_left_out));
        }
        if view.is_cut {
            complain("that is too much to look at: the latest part is not shown; choose a shorter time");
        }
        Ok(())
    }
}

/// Returns one series: what it is, its line, and its points.
fn present(view: &MetricsView, series: &SeriesView, width: Option<usize>) -> String {
    let labels: Vec<_> = series.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let title = format!("{} {}", view.name, labels.join(" "));
    let heights: Vec<_> = series.points.iter().map(height).collect();
    let line = sparkline(&heights, width.unwrap_or(WIDTH));
    format!("{}\n{line}\n{}\n", escape(title.trim_end()), points(view, series, width))
}

/// Returns how high a point stands in the line.
fn height(point: &PointView) -> Option<f64> {
    point.increase.or(point.max).or(point.count.map(|count| count as f64))
}

fn points(view: &MetricsView, series: &SeriesView, width: Option<usize>) -> String {
    let unit = Unit::of(&view.name);
    let at = |point: &PointView| to_the_second(&point.at);
    match view.kind.as_str() {
        "counter" => {
            let mut table = Table::new(["AT", "INCREASE"]);
            series.points.iter().for_each(|point| table.push([&at(point), &unit.show_some(point.increase)]));
            table.render(width)
        }
        "histogram" => {
            let mut table = Table::new(["AT", "COUNT", "P50", "P95", "P99"]);
            for point in &series.points {
                let count = point.count.unwrap_or_default().to_string();
                let [p50, p95, p99] = [point.p50, point.p95, point.p99].map(|quantile| unit.show_some(quantile));
                table.push([&at(point), &count, &p50, &p95, &p99]);
            }
            table.render(width)
        }
        _ => {
            let mut table = Table::new(["AT", "LAST", "MIN", "MEAN", "MAX"]);
            for point in &series.points {
                let numbers = [point.last, point.min, point.mean, point.max];
                let [last, min, mean, max] = numbers.map(|number| unit.show_some(number));
                table.push([&at(point), &last, &min, &mean, &max]);
            }
            table.render(width)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_told_with_a_line_and_its_points() {
        let point = |at: &str, last| PointView {
            at: at.to_owned(),
            last: Some(last),
            min: Some(0.0),
            max: Some(last),
            mean: Some(last / 2.0),
            ..PointView::default()
        };
        let labels = [("bot".to_owned(), "e\u{1b}[2J".to_owned())].into();
        let points = vec![point("2026-11-21T12:40:00Z", 1024.0), point("2026-11-21T12:41:00Z", 2048.0)];
        let series = SeriesView { labels, points };
        let view = MetricsView { name: "bothost_x_bytes".into(), kind: "gauge".into(), ..MetricsView::default() };
        let expected = r"
bothost_x_bytes bot=e\u{1b}[2J
▅█
AT                    LAST   MIN  MEAN   MAX
2026-11-21T12:40:00Z  1 KiB  0 B  512 B  1 KiB
2026-11-21T12:41:00Z  2 KiB  0 B  1 KiB  2 KiB
";
        assert_eq!(present(&view, &series, Some(80)), expected.trim_start());
    }
}
