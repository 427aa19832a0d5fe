//! `host report`: how the host, its bots and its connectors fared lately, and which limits would suit the bots.

use std::collections::BTreeMap;

use bothost::history::{self, BotReport, Budget, ConnectorReport, HostReport, Level, Quantiles};
use bothost::id::BotName;
use bothost::logs::escape;

use super::figure::Unit;
use super::remote::{Remote, address, read};
use super::table::{Table, terminal_width, to_the_second};
use super::{Failure, complain, tell};

/// Tells how the host, its bots and its connectors fared lately, the worst first
#[derive(Debug, clap::Args)]
pub(super) struct Report {
    #[command(flatten)]
    remote: Remote,
    /// How far back
    #[arg(long, default_value = "1h")]
    window: String,
    /// Only one bot
    #[arg(long)]
    bot: Option<BotName>,
}

impl Report {
    pub(super) fn run(self) -> Result<(), Failure> {
        let answer = self.remote.find()?.get(&path(&self.window, self.bot.as_ref()))?;
        if self.remote.json {
            tell(answer);
            return Ok(());
        }
        let report: history::Report = read(answer)?;
        tell(format_args!("from {} to {}", to_the_second(&report.since), to_the_second(&report.until)));
        match (&self.bot, report.bots.first()) {
            (Some(_), Some(bot)) => tell(self::bot(bot)),
            (Some(bot), None) => tell(format_args!("nothing was measured of {bot} then")),
            (None, _) => tell(whole(&report, terminal_width())),
        }
        if report.left_out > 0 {
            complain(format_args!("{} bots and connectors are not shown; they fared better", report.left_out));
        }
        if report.is_cut {
            complain("that is too much to look at: the latest part of some numbers is missing; choose a shorter time");
        }
        Ok(())
    }
}

/// Returns the address of a report.
pub(super) fn path(window: &str, bot: Option<&BotName>) -> String {
    address("/api/v1/report", [("window", Some(window.to_owned())), ("bot", bot.map(ToString::to_string))])
}

/// Returns how one bot fared, a line for each thing that is known.
pub(super) fn bot(bot: &BotReport) -> String {
    let BotReport { ok, failed, restarts, dead_letters, .. } = bot;
    let lines = [
        ("events", Some(format!("{ok} ok, {failed} failed, {dead_letters} dead letters, {restarts} restarts"))),
        ("faults", Some(counts(&bot.faults)).filter(|faults| !faults.is_empty())),
        ("waited", bot.waited_seconds.map(quantiles)),
        ("took", bot.elapsed_seconds.map(quantiles)),
        ("fuel", budget(&bot.fuel, Unit::Plain)),
        ("memory", budget(&bot.memory, Unit::Bytes)),
    ];
    let lines = lines.into_iter().filter_map(|(name, value)| Some(line(name, &value?)));
    lines.collect::<Vec<_>>().join("\n")
}

fn whole(report: &history::Report, width: Option<usize>) -> String {
    let mut parts = vec![host(&report.host)];
    if !report.bots.is_empty() {
        parts.push(bots(&report.bots).render(width));
        parts.push(limits(&report.bots).render(width));
    }
    if !report.connectors.is_empty() {
        parts.push(connectors(&report.connectors).render(width));
    }
    parts.join("\n\n")
}

fn host(host: &HostReport) -> String {
    let level = |level: Option<Level>, unit: Unit| {
        level.map(|level| format!("{} on average, {} at most", unit.show(level.mean), unit.show(level.max)))
    };
    let HostReport { events, errors, restarts, .. } = host;
    let lines = [
        ("processor", level(host.cpu_cores, Unit::Ratio)),
        ("machine", level(host.machine_cpu_ratio, Unit::Ratio)),
        ("memory", level(host.memory_bytes, Unit::Bytes)),
        ("memory of all", level(host.memory_used_ratio, Unit::Ratio)),
        ("disk", host.disk_free_bytes_min.map(|bytes| format!("{} free at least", Unit::Bytes.show(bytes)))),
        ("queue", host.queued_events_max.map(|events| format!("{} waiting at most", Unit::Plain.show(events)))),
        ("counted", Some(format!("{events} events, {errors} errors, {restarts} restarts"))),
    ];
    let lines = lines.into_iter().filter_map(|(name, value)| Some(line(name, &value?)));
    lines.collect::<Vec<_>>().join("\n")
}

fn bots(bots: &[BotReport]) -> Table<9> {
    let mut table =
        Table::new(["BOT", "OK", "FAILED", "DEAD", "RESTARTS", "TOOK P50", "TOOK P99", "WAITED P99", "FAULTS"]);
    for bot in bots {
        let [ok, failed, dead, restarts] =
            [bot.ok, bot.failed, bot.dead_letters, bot.restarts].map(|count| count.to_string());
        let took = |of: fn(Quantiles) -> f64| Unit::Seconds.show_some(bot.elapsed_seconds.map(of));
        let waited = Unit::Seconds.show_some(bot.waited_seconds.map(|waited| waited.p99));
        let (p50, p99) = (took(|took| took.p50), took(|took| took.p99));
        table.push([&bot.bot, &ok, &failed, &dead, &restarts, &p50, &p99, &waited, &counts(&bot.faults)]);
    }
    table
}

fn limits(bots: &[BotReport]) -> Table<8> {
    let mut table = Table::new([
        "BOT",
        "FUEL P50",
        "FUEL P99",
        "LIMIT",
        "SUGGESTED",
        "MEMORY PEAK",
        "LIMIT",
        "SUGGESTED",
    ]);
    for BotReport { bot, fuel, memory, .. } in bots {
        let [p50, p99, fuel_limit, fuel_suggested] =
            [fuel.p50, fuel.p99, fuel.limit, fuel.suggested].map(|number| Unit::Plain.show_some(number));
        let [peak, limit, suggested] =
            [memory.peak, memory.limit, memory.suggested].map(|number| Unit::Bytes.show_some(number));
        table.push([bot, &p50, &p99, &fuel_limit, &fuel_suggested, &peak, &limit, &suggested]);
    }
    table
}

fn connectors(connectors: &[ConnectorReport]) -> Table<8> {
    let mut table =
        Table::new(["CONNECTOR", "EVENTS", "TOOK P50", "TOOK P99", "SLOWED", "WAITED", "CONNECTED", "DELIVERIES"]);
    for connector in connectors {
        let took = |of: fn(Quantiles) -> f64| Unit::Seconds.show_some(connector.delivery_seconds.map(of));
        let [events, limited, connections] =
            [connector.events, connector.rate_limited, connector.connections].map(|count| count.to_string());
        let (p50, p99) = (took(|took| took.p50), took(|took| took.p99));
        let waited = Unit::Seconds.show(connector.rate_limit_wait_seconds);
        let deliveries = counts(&connector.deliveries);
        table.push([&connector.connector, &events, &p50, &p99, &limited, &waited, &connections, &deliveries]);
    }
    table
}

fn budget(budget: &Budget, unit: Unit) -> Option<String> {
    let parts = [
        ("p50", budget.p50),
        ("p99", budget.p99),
        ("peak", budget.peak),
        ("limit", budget.limit),
        ("suggested limit", budget.suggested),
    ];
    let known = parts.into_iter().filter_map(|(name, number)| Some(format!("{name} {}", unit.show(number?))));
    let text = known.collect::<Vec<_>>().join(", ");
    (!text.is_empty()).then_some(text)
}

fn quantiles(quantiles: Quantiles) -> String {
    let [p50, p95, p99] = [quantiles.p50, quantiles.p95, quantiles.p99].map(|seconds| Unit::Seconds.show(seconds));
    format!("p50 {p50}, p95 {p95}, p99 {p99}")
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

fn line(name: &str, value: &str) -> String {
    format!("{name:<13} {}", escape(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> BotReport {
        BotReport {
            bot: "echo".into(),
            ok: 120,
            failed: 2,
            faults: [("trapped".to_owned(), 2)].into(),
            waited_seconds: Some(Quantiles { p50: 0.001, p95: 0.004, p99: 0.005 }),
            elapsed_seconds: Some(Quantiles { p50: 0.002, p95: 0.02, p99: 0.03 }),
            fuel: Budget {
                p50: Some(2e5),
                p99: Some(6e5),
                limit: Some(1e9),
                suggested: Some(2e6),
                ..Budget::default()
            },
            memory: Budget { peak: Some(3e6), ..Budget::default() },
            restarts: 1,
            dead_letters: 0,
        }
    }

    #[test]
    fn a_bot_is_told_with_the_limit_that_would_suit_it() {
        let expected = "
events        120 ok, 2 failed, 0 dead letters, 1 restarts
faults        trapped 2
waited        p50 1 ms, p95 4 ms, p99 5 ms
took          p50 2 ms, p95 20 ms, p99 30 ms
fuel          p50 200k, p99 600k, limit 1G, suggested limit 2M
memory        peak 2.86 MiB";
        assert_eq!(bot(&echo()), expected.trim_start());
        let nothing = bot(&BotReport::default());
        assert_eq!(nothing, "events        0 ok, 0 failed, 0 dead letters, 0 restarts", "and no more than is known");
    }

    #[test]
    fn a_report_fits_the_terminal() {
        let connector = ConnectorReport {
            connector: "chat".into(),
            deliveries: [("ok".to_owned(), 7), ("expired".to_owned(), 1)].into(),
            ..ConnectorReport::default()
        };
        let report =
            history::Report { bots: vec![echo()], connectors: vec![connector], ..history::Report::default() };
        let text = whole(&report, Some(60));
        assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
        assert!(whole(&report, None).contains("expired 1, ok 7"), "{}", whole(&report, None));
    }
}
