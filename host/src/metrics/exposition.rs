//! The exposition in the two formats that scrapers ask for. The library writes OpenMetrics; Prometheus' own text format, which
//! `promtool check metrics` and older scrapers read, is made from that.

use std::borrow::Cow;

/// How measurements are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0, as [`Metrics::render`](super::Metrics::render) returns it.
    OpenMetrics,
    /// Prometheus' text format, 0.0.4.
    Prometheus,
}

impl Format {
    /// Returns the format for what a scraper says that it accepts. A scraper that says nothing gets what all of them read.
    pub fn accepted(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }

    /// Returns the media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Returns an exposition in OpenMetrics in this format.
    pub fn write(self, open_metrics: &str) -> Cow<'_, str> {
        match self {
            Self::OpenMetrics => Cow::Borrowed(open_metrics),
            Self::Prometheus => Cow::Owned(prometheus(open_metrics)),
        }
    }
}

/// OpenMetrics describes a counter by its name without `_total`, Prometheus by the name of its samples; the former ends with a
/// line of its own, and may name units.
fn prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + 1_024);
    // The help of a family comes before its type, which says whether it is a counter.
    let mut help: Option<&str> = None;
    for line in open_metrics.lines() {
        if line.starts_with("# HELP ") {
            help = Some(line);
            continue;
        }
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|described| described.split_once(' ')) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some(help) =
                help.take().and_then(|help| help.strip_prefix("# HELP ")).and_then(|help| help.strip_prefix(name))
            {
                text += &format!("# HELP {name}{suffix}{help}\n");
            }
            text += &format!("# TYPE {name}{suffix} {kind}\n");
        } else if !line.starts_with('#') {
            text += line;
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_described_by_the_name_of_its_samples() {
        let open_metrics = "# HELP a Things.\n# TYPE a counter\na_total{b=\"# x\"} 1\n# HELP c Else.\n# TYPE c gauge\n\
                            # UNIT c bytes\nc 2.5\n# EOF\n";
        let expected = "# HELP a_total Things.\n# TYPE a_total counter\na_total{b=\"# x\"} 1\n# HELP c Else.\n# TYPE c gauge\nc 2.5\n";
        assert_eq!(Format::Prometheus.write(open_metrics), expected);
        assert_eq!(Format::OpenMetrics.write(open_metrics), open_metrics);
    }

    #[test]
    fn a_scraper_gets_what_it_reads() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Format::accepted(Some(prometheus)), Format::OpenMetrics);
        assert_eq!(Format::accepted(Some("*/*")), Format::Prometheus);
        assert_eq!(Format::accepted(None), Format::Prometheus);
    }
}
