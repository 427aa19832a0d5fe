//! Listings for people: columns that fit, and other people's texts made harmless.

use std::io;

use bothost::logs::escape;

use super::colour::{self, Paint};

/// Columns whose words say how something is.
const STATES: [&str; 4] = ["PHASE", "SEVERITY", "STATE", "TURN"];
/// What stands between two columns.
const GAP: &str = "  ";
/// A cell is cut to this many characters: versions and messages are other people's texts.
pub(super) const CELL_CHARS_MAX: usize = 200;
/// A line is not cut below this, however narrow the terminal.
const LINE_CHARS_MIN: usize = 40;

/// Lines of cells below a line of headings.
pub(super) struct Table<const N: usize> {
    headings: [&'static str; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// Returns a table with headings and nothing else.
    pub(super) fn new(headings: [&'static str; N]) -> Self {
        Self { headings, rows: Vec::new() }
    }

    /// Adds a line. Cells that are empty are shown as `-`, but in the last column.
    pub(super) fn push(&mut self, cells: [&str; N]) {
        let mut row = cells.map(cell);
        let inner = N.saturating_sub(1);
        row[..inner].iter_mut().filter(|cell| cell.is_empty()).for_each(|cell| cell.push('-'));
        self.rows.push(row);
    }

    /// Returns the text, with no line longer than this where a width is given.
    pub(super) fn render(&self, width: Option<usize>) -> String {
        self.render_as(width, colour::is_on())
    }

    fn render_as(&self, width: Option<usize>, is_coloured: bool) -> String {
        let headings = self.headings.map(str::to_owned);
        let rows = || std::iter::once(&headings).chain(&self.rows);
        let mut widths = [0; N];
        for row in rows() {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let lines = rows().map(|row| {
            let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            let line = cells.join(GAP);
            let line = cut(line.trim_end(), width.map_or(usize::MAX, |width| width.max(LINE_CHARS_MIN)));
            if is_coloured { self.paint(line, row, &widths) } else { line }
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Paints the words of a line that say how something is, where they are all there.
    fn paint(&self, line: String, row: &[String; N], widths: &[usize; N]) -> String {
        let (mut painted, mut rest) = (String::new(), line.as_str());
        for (index, (heading, cell)) in self.headings.iter().zip(row).enumerate() {
            let taken = rest.char_indices().nth(widths[index] + GAP.len()).map_or(rest.len(), |(at, _)| at);
            let (column, after) = rest.split_at(taken);
            rest = after;
            match column.strip_prefix(cell.as_str()).zip(Paint::of(cell).filter(|_| STATES.contains(heading))) {
                Some((padding, paint)) => painted.extend([paint.apply(cell), padding.to_owned()]),
                None => painted.push_str(column),
            }
        }
        painted + rest
    }
}

/// Returns how many characters a line of standard output has, where it is a terminal.
pub(super) fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Returns a moment in RFC 3339 without its fraction of a second.
pub(super) fn to_the_second(moment: &str) -> String {
    match moment.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => moment.to_owned(),
    }
}

fn cell(text: &str) -> String {
    cut(&escape(text), CELL_CHARS_MAX)
}

/// Returns a text, or the beginning of one that is longer.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().nth(chars_max).is_none() {
        return text.to_owned();
    }
    let kept: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[[&str; 3]]) -> Table<3> {
        let mut table = Table::new(["NAME", "PHASE", "DETAIL"]);
        rows.iter().for_each(|row| table.push(*row));
        table
    }

    #[test]
    fn the_columns_are_aligned() {
        let table = table(&[["echo", "running", ""], ["broken-bot", "", "no such file"]]);
        let expected = "\
NAME        PHASE    DETAIL
echo        running
broken-bot  -        no such file";
        assert_eq!(table.render(None), expected);
    }

    #[test]
    fn no_text_of_somebody_else_breaks_the_table() {
        let long = "v".repeat(10_000);
        let text = table(&[["a\nNAME\u{1b}[2J\u{202e}", &long, "x"]]).render(None);
        assert_eq!(text.lines().count(), 2);
        assert!(text.len() < 1000 && text.contains(r"a\nNAME\u{1b}[2J\u{202e}"), "{text}");
    }

    #[test]
    fn lines_fit_the_terminal() {
        let long = "v".repeat(100);
        let table = table(&[["echo", "running", &long]]);
        let longest = |width| table.render(Some(width)).lines().map(|line| line.chars().count()).max();
        assert_eq!((longest(80), longest(1), longest(500)), (Some(80), Some(LINE_CHARS_MIN), Some(115)));
        assert!(table.render(Some(80)).ends_with("vv…"));
    }

    #[test]
    fn words_are_painted_and_nothing_is_moved_by_it() {
        let table = table(&[["running", "running", "running"], ["b", "quarantined", "é"]]);
        let (plain, painted) = (table.render_as(Some(80), false), table.render_as(Some(80), true));
        assert!(painted.contains("\nrunning  \u{1b}[32mrunning\u{1b}[0m      running\n"), "{painted:?}");
        assert!(painted.contains("\u{1b}[31mquarantined\u{1b}[0m  é"), "{painted:?}");
        let without = painted.replace("\u{1b}[32m", "").replace("\u{1b}[31m", "").replace("\u{1b}[0m", "");
        assert_eq!(without, plain);
    }

    #[test]
    fn moments_are_shown_to_the_second() {
        assert_eq!(to_the_second("2026-11-21T12:40:48.123Z"), "2026-11-21T12:40:48Z");
        assert_eq!(to_the_second("2026-11-21T12:40:48Z"), "2026-11-21T12:40:48Z");
    }
}
