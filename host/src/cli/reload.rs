//! `host reload`: the running host looks at its configuration and at its bots now, and says what it did.

use bothost::logs::escape;
use bothost::supervisor::{ReloadReport, ReloadStep};

use super::progress::Progress;
use super::remote::{Remote, read};
use super::{BAD_CONFIGURATION, FAILED, Failure, complain, tell};

/// What a bot's step is called whose new version or entry was not taken, or would not be.
const REFUSED: [&str; 2] = ["refused", "would be refused"];
/// A longer detail does not move the column behind it.
const DETAIL_CHARS_MAX: usize = 24;

/// Has the host look at its configuration and its bots now, and tells each step; ends once every bot serves or was refused
#[derive(Debug, clap::Args)]
pub(super) struct Reload {
    #[command(flatten)]
    remote: Remote,
    /// Only tells what would be done
    #[arg(long)]
    dry_run: bool,
}

impl Reload {
    pub(super) fn run(self) -> Result<(), Failure> {
        let host = self.remote.find()?.patient();
        let progress = Progress::begin("the host reloads: until every bot serves or was refused", self.remote.json);
        let answer = host.post(&format!("/api/v1/reload?dry_run={}", self.dry_run))?;
        drop(progress);
        let report: ReloadReport = read(answer.clone())?;
        tell(if self.remote.json { answer.to_string() } else { text(&report, self.dry_run) });
        for line in report.rejected.iter().flat_map(|reason| reason.lines()) {
            complain(escape(line));
        }
        match exit_code(&report) {
            0 => Ok(()),
            code => Err(Failure::Told(code)),
        }
    }
}

fn exit_code(report: &ReloadReport) -> u8 {
    if report.rejected.is_some() {
        BAD_CONFIGURATION
    } else if report.steps.iter().any(|step| REFUSED.contains(&step.action.as_str())) {
        FAILED
    } else {
        0
    }
}

/// Returns what was done: a line for each step, then what is in force.
fn text(report: &ReloadReport, dry_run: bool) -> String {
    let widths = [
        width(report.steps.iter().map(|step| step.subject.as_str()), usize::MAX),
        width(report.steps.iter().map(|step| step.action.as_str()), usize::MAX),
        width(report.steps.iter().map(|step| step.detail.as_str()), DETAIL_CHARS_MAX),
    ];
    let mut lines: Vec<_> = report.steps.iter().map(|step| line(step, widths)).collect();
    lines.extend(report.needs_restart.iter().map(|key| format!("takes effect at the next start: {}", escape(key))));
    let generation = report.generation;
    lines.push(match (&report.rejected, dry_run) {
        (Some(_), _) => format!("the configuration was rejected; generation {generation} stays in force"),
        (None, true) => format!("nothing was changed: generation {generation} stays in force"),
        (None, false) if report.steps.is_empty() => {
            format!("there was nothing to do: generation {generation} is in force")
        }
        (None, false) => format!("generation {generation} is in force"),
    });
    lines.join("\n")
}

/// Returns how wide a column is, not counting texts that are longer than so many characters.
fn width<'a>(texts: impl Iterator<Item = &'a str>, chars_max: usize) -> usize {
    texts.map(|text| escape(text).chars().count()).filter(|chars| *chars <= chars_max).max().unwrap_or(0)
}

fn line(step: &ReloadStep, [subject_width, action_width, detail_width]: [usize; 3]) -> String {
    let (subject, action, detail) = (escape(&step.subject), escape(&step.action), escape(&step.detail));
    let elapsed = format!("{} ms", step.elapsed_ms);
    format!("{subject:<subject_width$}  {action:<action_width$}  {detail:<detail_width$}  {elapsed:>9}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(subject: &str, action: &str, detail: &str, elapsed_ms: u64) -> ReloadStep {
        ReloadStep { subject: subject.into(), action: action.into(), detail: detail.into(), elapsed_ms }
    }

    fn report(steps: Vec<ReloadStep>) -> ReloadReport {
        ReloadReport { generation: 7, steps, ..ReloadReport::default() }
    }

    #[test]
    fn each_step_has_a_line_and_the_columns_are_aligned() {
        let steps = vec![
            step("bot echo", "compiled", "1a2b3c…", 312),
            step("connector telegram", "started", "", 1_204),
            step("bot liar", "refused", "asks for \u{1b}[2J which nobody has granted", 5),
        ];
        let report = ReloadReport { needs_restart: vec!["host.data_dir".into()], ..report(steps) };
        let expected = r"
bot echo            compiled  1a2b3c…     312 ms
connector telegram  started              1204 ms
bot liar            refused   asks for \u{1b}[2J which nobody has granted       5 ms
takes effect at the next start: host.data_dir
generation 7 is in force";
        assert_eq!(text(&report, false), expected.trim_start());
        assert!(text(&report, true).ends_with("nothing was changed: generation 7 stays in force"));
        assert_eq!(text(&super::tests::report(Vec::new()), false), "there was nothing to do: generation 7 is in force");
    }

    #[test]
    fn the_exit_code_tells_a_bad_configuration_from_a_refused_bot() {
        let good = report(vec![step("bot echo", "serving", "", 1)]);
        let bad = report(vec![step("bot echo", "refused", "", 1)]);
        assert_eq!((exit_code(&good), exit_code(&bad)), (0, 1));
        let rejected = ReloadReport { rejected: Some("config.toml:7:1: unknown key".into()), ..bad };
        assert_eq!(exit_code(&rejected), 64);
        assert!(text(&rejected, false).ends_with("the configuration was rejected; generation 7 stays in force"));
    }
}
