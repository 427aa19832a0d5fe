//! One stream, standard error most likely, as where lines end up.

use std::io::Write;

use super::Format;
use super::format::report;
use super::queue::Sink;

/// Writes each line as soon as it comes.
#[derive(Debug)]
pub(super) struct Stream<W> {
    pub(super) writer: W,
    pub(super) format: Format,
}

impl<W: Write + Send + 'static> Sink<()> for Stream<W> {
    fn write(&mut self, line: &str, (): &()) -> u64 {
        u64::from(self.writer.write_all(line.as_bytes()).is_err())
    }

    fn dropped(&mut self, lines: u64) {
        // If it cannot be written: what it tells of is counted.
        let _ = self.writer.write_all(report(self.format, lines).as_bytes());
    }

    fn flush(&mut self) -> u64 {
        let _ = self.writer.flush();
        0
    }

    fn look_after(&mut self) -> u64 {
        0
    }
}
