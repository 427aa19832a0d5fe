//! The table at the end: what was measured, its median, its floor's, and the ratio of both.

use std::io::Write;
use std::path::PathBuf;
use std::time::SystemTime;

use super::measure::{BOTHOST, FLOOR};

/// The table. Medians are read from what criterion wrote in this run; what was filtered out leaves no row.
pub struct Sheet {
    output: PathBuf,
    started: SystemTime,
    rows: Vec<Row>,
}

/// What was measured, and how the figures read.
struct Row {
    what: String,
    bothost: Option<f64>,
    floor: Option<f64>,
    unit: Unit,
}

/// What figures are of.
#[derive(Clone, Copy)]
pub enum Unit {
    /// Nanoseconds.
    Time,
    /// Nanoseconds for one, shown as how many in a second.
    Rate,
    /// Sizes.
    Bytes,
}

impl Sheet {
    /// Returns an empty table for a run that begins now and whose figures criterion writes to `output`.
    pub fn new(output: PathBuf) -> Self {
        Self { output, started: SystemTime::now(), rows: Vec::new() }
    }

    /// Adds the times of a group.
    pub fn times(&mut self, what: &'static str, group: &str) {
        self.add(what, group, Unit::Time);
    }

    /// Adds the times of a group as rates.
    pub fn rates(&mut self, what: &'static str, group: &str) {
        self.add(what, group, Unit::Rate);
    }

    /// Adds figures that criterion knows nothing of.
    pub fn figures(&mut self, what: impl Into<String>, unit: Unit, bothost: f64, floor: Option<f64>) {
        self.rows.push(Row { what: what.into(), bothost: Some(bothost), floor, unit });
    }

    /// Prints the table.
    pub fn print(&self) {
        let mut lines = vec![line("", "bothost", "floor", "ratio")];
        lines.extend(self.rows.iter().map(Row::line));
        // A reader that has gone away needs no table.
        let _ = writeln!(std::io::stdout(), "\n{}", lines.join("\n"));
    }

    fn add(&mut self, what: &'static str, group: &str, unit: Unit) {
        let (bothost, floor) = (self.median(group, BOTHOST), self.median(group, FLOOR));
        if bothost.is_some() || floor.is_some() {
            self.rows.push(Row { what: what.to_owned(), bothost, floor, unit });
        }
    }

    /// Returns the median of one measurement in nanoseconds, if it was taken in this run.
    fn median(&self, group: &str, function: &str) -> Option<f64> {
        let path = self.output.join(group).join(function).join("new/estimates.json");
        if path.metadata().ok()?.modified().ok()? < self.started {
            return None;
        }
        let estimates: serde_json::Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        estimates["median"]["point_estimate"].as_f64()
    }
}

impl Row {
    fn line(&self) -> String {
        let show = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| self.unit.show(figure));
        // Of rates too these are times: how many times as long as the floor.
        let ratio = self.bothost.zip(self.floor).map_or_else(|| "-".to_owned(), |(a, b)| format!("{:.1}", a / b));
        line(&self.what, &show(self.bothost), &show(self.floor), &ratio)
    }
}

fn line(what: &str, bothost: &str, floor: &str, ratio: &str) -> String {
    format!("{what:<52}{bothost:>12}{floor:>12}{ratio:>8}")
}

impl Unit {
    /// Returns a figure as it is shown.
    pub fn show(self, figure: f64) -> String {
        match self {
            Self::Time if figure < 1e3 => format!("{figure:.0} ns"),
            Self::Time if figure < 1e5 => format!("{:.1} µs", figure / 1e3),
            Self::Time if figure < 1e6 => format!("{:.0} µs", figure / 1e3),
            Self::Time => format!("{:.1} ms", figure / 1e6),
            Self::Rate => format!("{:.0}/s", 1e9 / figure),
            Self::Bytes => format!("{:.1} KiB", figure / 1024.0),
        }
    }
}
