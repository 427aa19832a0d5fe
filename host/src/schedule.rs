//! When a timer is due: the arithmetic of [`Schedule`]. Pure; the caller brings the time.
//!
//! A cron expression has five fields (minute, hour, day of month, month, day of week) or six (a second before them) and is
//! read in an IANA time zone. Where the zone's clock jumps:
//!
//! - An expression whose hour holds `*` or `?` counts real time. It has no hour to fire in that does not exist, and fires in
//!   both passes of an hour that comes twice.
//! - Any other names times of the day. What falls into a skipped hour fires once, at the first moment after it; what falls
//!   into an hour that comes twice fires in its first pass only.

use std::time::Duration;

use croner::Cron;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::action::Schedule;
use crate::clock::Timestamp;

/// Shortest time between two firings of [`Schedule::Every`].
pub const EVERY_MIN: Duration = Duration::from_secs(1);

/// Longest cron expression, in bytes.
pub const CRON_BYTES_MAX: usize = 256;

/// How many years a search looks ahead. The rarest day that an expression can name, a 29 February on a given day of the week,
/// comes again within 40 years, even across a century that has none. The cap keeps an impossible one (30 February) cheap:
/// 0.2 ms in place of the 80 ms that a search up to the library's own limit takes.
const YEARS_AHEAD: i16 = 40;

/// Why a schedule can never be kept. The bot's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// An interval below [`EVERY_MIN`].
    #[error("an interval of {} ms is too short: at least {} ms", given.as_millis(), EVERY_MIN.as_millis())]
    TooShort {
        /// The interval.
        given: Duration,
    },
    /// An expression longer than [`CRON_BYTES_MAX`].
    #[error("a cron expression has at most {CRON_BYTES_MAX} bytes, not {bytes}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not five or six fields.
    #[error("a cron expression has five or six fields, not {fields}")]
    Fields {
        /// How many there are.
        fields: usize,
    },
    /// A field that makes no sense.
    #[error("`{expression}` is no cron expression: {reason}")]
    Expression {
        /// As it was given.
        expression: String,
        /// What the parser says.
        reason: String,
    },
    /// A zone that the time zone database does not know.
    #[error("`{zone}` is no IANA time zone such as `Europe/Berlin`")]
    Zone {
        /// As it was given, cut to 64 characters.
        zone: String,
    },
    /// An expression that names no day of any year.
    #[error("the cron expression `{expression}` never comes true")]
    Never {
        /// As it was given.
        expression: String,
    },
}

impl Schedule {
    /// Checks that the schedule can be kept: an interval long enough, an expression and a zone that are known and come true.
    ///
    /// Costs up to a millisecond for a cron expression.
    ///
    /// # Errors
    ///
    /// What is wrong, in words for the bot's author.
    pub fn validate(&self) -> Result<(), ScheduleError> {
        match self {
            Self::After(_) | Self::At(_) => Ok(()),
            Self::Every(interval) if *interval < EVERY_MIN => Err(ScheduleError::TooShort { given: *interval }),
            Self::Every(_) => Ok(()),
            Self::Cron { expression, zone } => {
                // Days repeat in a cycle of years, so an expression that comes true after this moment always does again.
                let year_2000 = Timestamp::from_millis(946_684_800_000);
                let next = CronInZone::parse(expression, zone)?.next_after(year_2000)?;
                next.map(drop).ok_or_else(|| ScheduleError::Never { expression: expression.clone() })
            }
        }
    }

    /// Returns when a timer set at `set_at` is due first; `set_at` or earlier for an [`At`](Schedule::At) that has passed.
    /// `None`: never, for a schedule that [`validate`](Schedule::validate) refuses.
    pub fn first_due(&self, set_at: Timestamp) -> Option<Timestamp> {
        match self {
            Self::After(wait) => Some(set_at.saturating_add(*wait)),
            Self::At(moment) => Some(*moment),
            Self::Every(_) | Self::Cron { .. } => self.next_after(set_at, set_at),
        }
    }

    /// Returns the first moment strictly after `now` at which a timer set at `set_at` is due; `None` where there is none left.
    ///
    /// `Every` stays on the grid that begins at `set_at`, however late it is asked, so that intervals do not drift.
    pub fn next_after(&self, set_at: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let next = match self {
            Self::After(wait) => set_at.saturating_add(*wait),
            Self::At(moment) => *moment,
            Self::Every(interval) => {
                let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
                let passed = now.as_millis().saturating_sub(set_at.as_millis()) / interval_ms;
                let ahead_ms = interval_ms.saturating_mul(passed.saturating_add(1));
                Timestamp::from_millis(set_at.as_millis().saturating_add(ahead_ms))
            }
            Self::Cron { expression, zone } => CronInZone::parse(expression, zone).ok()?.next_after(now).ok()??,
        };
        (next > now).then_some(next)
    }

    /// Returns whether the timer comes again after it has fired.
    pub fn repeats(&self) -> bool {
        matches!(self, Self::Every(_) | Self::Cron { .. })
    }
}

/// A cron expression and the zone whose clock it reads.
struct CronInZone<'a> {
    expression: &'a str,
    /// Six fields, the first a second.
    fields: String,
    counts_real_time: bool,
    zone: TimeZone,
}

impl<'a> CronInZone<'a> {
    fn parse(expression: &'a str, zone: &str) -> Result<Self, ScheduleError> {
        if expression.len() > CRON_BYTES_MAX {
            return Err(ScheduleError::TooLong { bytes: expression.len() });
        }
        let mut fields: Vec<&str> = expression.split_whitespace().collect();
        match fields.len() {
            5 => fields.insert(0, "0"),
            6 => {}
            fields => return Err(ScheduleError::Fields { fields }),
        }
        let unknown_zone = |_| ScheduleError::Zone { zone: zone.chars().take(64).collect() };
        Ok(Self {
            expression,
            counts_real_time: fields[2].contains(['*', '?']),
            fields: fields.join(" "),
            zone: TimeZone::get(zone).map_err(unknown_zone)?,
        })
    }

    /// Returns the first match strictly after `now`; `None` where none comes within [`YEARS_AHEAD`].
    fn next_after(&self, now: Timestamp) -> Result<Option<Timestamp>, ScheduleError> {
        let Some(now) = i64::try_from(now.as_millis()).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        else {
            return Ok(None);
        };
        let year = now.to_zoned(self.zone.clone()).year();
        let expression = format!("{} {year}-{}", self.fields, year.saturating_add(YEARS_AHEAD));
        let cron: Cron = expression.parse().map_err(|error: croner::errors::CronError| ScheduleError::Expression {
            expression: self.expression.to_owned(),
            reason: error.to_string(),
        })?;
        let next = if self.counts_real_time { self.next_real(&cron, now) } else { self.next_of_day(&cron, now) };
        Ok(next.and_then(|next| u64::try_from(next.as_millisecond()).ok()).map(Timestamp::from_millis))
    }

    fn next_real(&self, cron: &Cron, now: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let next = cron.find_next_occurrence(&now.to_zoned(self.zone.clone()), false).ok()?;
        Some(next.timestamp())
    }

    /// Searches the clock face, which knows no jumps, and then looks up which moment shows that time.
    fn next_of_day(&self, cron: &Cron, now: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let (from, inclusive) = self.search_start(now);
        let shown = cron.find_next_occurrence(&from, inclusive).ok()?;
        let ambiguous = self.zone.to_ambiguous_timestamp(shown);
        match ambiguous.offset() {
            // The moment of the jump itself, at which the clock shows the first time after the gap.
            AmbiguousOffset::Gap { before, .. } => {
                let before_jump = before.to_timestamp(shown).ok()?.checked_sub(DAY_AT_MOST).ok()?;
                self.zone.following(before_jump).map(|jump| jump.timestamp()).find(|jump| *jump > now)
            }
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
        }
    }

    /// Returns from where on the clock face to search: the time shown at `now`, exclusively. In the second pass of an hour that
    /// comes twice it is the end of that hour: all that is named before was due in the first pass.
    fn search_start(&self, now: jiff::Timestamp) -> (DateTime, bool) {
        let offset = self.zone.to_offset(now);
        let shown = offset.to_datetime(now);
        if let AmbiguousOffset::Fold { before, after } = self.zone.to_ambiguous_timestamp(shown).offset()
            && offset == after
            // A transition is looked for before a moment, and `now` may be that of the jump.
            && let Ok(later) = now.checked_add(jiff::SignedDuration::from_nanos(1))
            && let Some(jump) = self.zone.preceding(later).next()
        {
            return (before.to_datetime(jump.timestamp()), true);
        }
        (shown, false)
    }
}

/// No clock jumps by more; see Samoa in 2011.
const DAY_AT_MOST: jiff::SignedDuration = jiff::SignedDuration::from_hours(25);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        let moment: jiff::Timestamp = text.parse().unwrap();
        Timestamp::from_millis(moment.as_millisecond().try_into().unwrap())
    }

    fn cron(expression: &str, zone: &str) -> Schedule {
        Schedule::Cron { expression: expression.to_owned(), zone: zone.to_owned() }
    }

    /// The firings of a cron expression in Berlin after `from`, as UTC.
    fn firings(expression: &str, from: &str, count: usize) -> Vec<String> {
        let schedule = cron(expression, "Europe/Berlin");
        let from = at(from);
        let next = |now: &Timestamp| schedule.next_after(from, *now);
        std::iter::successors(next(&from), next).take(count).map(|due| due.to_string()).collect()
    }

    #[test]
    fn what_falls_into_a_skipped_hour_fires_once_at_its_end() {
        // On 2024-03-31 Berlin goes from 01:59:59 CET to 03:00:00 CEST, at 01:00 UTC.
        let eve = "2024-03-30T12:00:00Z";
        let expected = ["2024-03-31T01:00:00Z", "2024-04-01T00:30:00Z"];
        assert_eq!(firings("30 2 * * *", eve, 2), expected);
        assert_eq!(firings("*/20 2 * * *", eve, 3), [expected[0], "2024-04-01T00:00:00Z", "2024-04-01T00:20:00Z"]);
        assert_eq!(firings("0 2,14 * * *", eve, 3), ["2024-03-30T13:00:00Z", expected[0], "2024-03-31T12:00:00Z"]);
        assert_eq!(firings("30 2 * * *", "2024-03-31T00:59:59.999Z", 1), [expected[0]]);
        assert_eq!(firings("30 2 * * *", "2024-03-31T01:00:00Z", 1), [expected[1]]);
    }

    #[test]
    fn what_falls_into_an_hour_that_comes_twice_fires_in_the_first_pass() {
        // On 2024-10-27 Berlin shows 02:00 to 02:59:59 at 00:00 UTC and again at 01:00 UTC.
        let eve = "2024-10-26T12:00:00Z";
        assert_eq!(firings("30 2 * * *", eve, 2), ["2024-10-27T00:30:00Z", "2024-10-28T01:30:00Z"]);
        let thrice = ["2024-10-27T00:00:00Z", "2024-10-27T00:20:00Z", "2024-10-27T00:40:00Z", "2024-10-28T01:00:00Z"];
        assert_eq!(firings("*/20 2 * * *", eve, 4), thrice);
        for second_pass in ["2024-10-27T01:00:00Z", "2024-10-27T01:29:00Z", "2024-10-27T01:59:59Z"] {
            assert_eq!(firings("30 2 * * *", second_pass, 1), ["2024-10-28T01:30:00Z"], "{second_pass}");
            assert_eq!(firings("0 3 * * *", second_pass, 1), ["2024-10-27T02:00:00Z"], "{second_pass}");
        }
    }

    #[test]
    fn an_expression_for_every_hour_counts_real_time() {
        let hourly = ["2024-03-31T00:00:00Z", "2024-03-31T01:00:00Z", "2024-03-31T02:00:00Z"];
        assert_eq!(firings("0 * * * *", "2024-03-30T23:30:00Z", 3), hourly);
        let hourly = ["2024-10-27T00:00:00Z", "2024-10-27T01:00:00Z", "2024-10-27T02:00:00Z"];
        assert_eq!(firings("0 * * * *", "2024-10-26T23:30:00Z", 3), hourly);
    }

    #[test]
    fn a_day_that_the_calendar_skips_fires_at_its_end() {
        // Samoa had no 2011-12-30.
        let next =
            cron("0 12 30 12 *", "Pacific/Apia").next_after(at("2011-12-01T00:00:00Z"), at("2011-12-01T00:00:00Z"));
        assert_eq!(next, Some(at("2011-12-30T10:00:00Z")));
    }

    #[test]
    fn six_fields_begin_with_the_second() {
        assert_eq!(firings("15 0 12 * * *", "2024-07-01T00:00:00Z", 1), ["2024-07-01T10:00:15Z"]);
    }

    #[test]
    fn an_interval_stays_on_its_grid_and_collapses_what_was_missed() {
        let every = Schedule::Every(Duration::from_secs(60));
        let set_at = Timestamp::from_millis(1_000_500);
        assert_eq!(every.first_due(set_at), Some(Timestamp::from_millis(1_060_500)));
        assert_eq!(
            every.next_after(set_at, Timestamp::from_millis(1_060_500)),
            Some(Timestamp::from_millis(1_120_500))
        );
        assert_eq!(
            every.next_after(set_at, Timestamp::from_millis(9_999_999)),
            Some(Timestamp::from_millis(10_000_500))
        );
    }

    #[test]
    fn a_single_time_is_due_once() {
        let (set_at, wait) = (Timestamp::from_millis(100), Duration::from_millis(50));
        assert_eq!(Schedule::After(wait).first_due(set_at), Some(Timestamp::from_millis(150)));
        assert_eq!(Schedule::After(wait).next_after(set_at, Timestamp::from_millis(150)), None);
        let passed = Schedule::At(Timestamp::from_millis(7));
        assert_eq!(passed.first_due(set_at), Some(Timestamp::from_millis(7)));
        assert_eq!(passed.next_after(set_at, set_at), None);
    }

    #[test]
    fn what_cannot_be_kept_is_refused_with_its_reason() {
        let refused = |schedule: Schedule| schedule.validate().unwrap_err().to_string();
        assert_eq!(
            refused(Schedule::Every(Duration::from_millis(999))),
            "an interval of 999 ms is too short: at least 1000 ms"
        );
        assert_eq!(refused(cron("@daily", "UTC")), "a cron expression has five or six fields, not 1");
        assert_eq!(refused(cron("0 0 * * * * 2030", "UTC")), "a cron expression has five or six fields, not 7");
        assert_eq!(refused(cron(&"0 ".repeat(200), "UTC")), "a cron expression has at most 256 bytes, not 400");
        assert_eq!(refused(cron("0 0 * * *", "Mars/Base")), "`Mars/Base` is no IANA time zone such as `Europe/Berlin`");
        assert_eq!(refused(cron("0 0 30 2 *", "UTC")), "the cron expression `0 0 30 2 *` never comes true");
        assert!(refused(cron("0 25 * * *", "UTC")).starts_with("`0 25 * * *` is no cron expression: "));
    }

    #[test]
    fn the_rarest_day_is_found_even_across_a_century_without_it() {
        let leap_monday = cron("0 0 29 2 +MON", "UTC");
        assert_eq!(leap_monday.validate(), Ok(()));
        let mut due = at("2000-01-01T00:00:00Z");
        while due < at("2190-01-01T00:00:00Z") {
            due = leap_monday.next_after(due, due).unwrap();
        }
    }

    const ZONES: [&str; 7] = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "Africa/Casablanca",
        "Antarctica/Troll",
    ];

    fn expression() -> impl Strategy<Value = String> {
        let minute = prop_oneof!["[0-5][0-9]", Just("*".to_owned()), Just("*/7".to_owned()), Just("0,30".to_owned())];
        let hour = prop_oneof!["[01]?[0-9]", Just("*".to_owned()), Just("*/3".to_owned()), Just("1-3".to_owned())];
        let day = prop_oneof![Just("*".to_owned()), (1u8..29).prop_map(|day| day.to_string())];
        (minute, hour, day).prop_map(|(minute, hour, day)| format!("{minute} {hour} {day} * *"))
    }

    fn schedule() -> impl Strategy<Value = Schedule> {
        prop_oneof![
            (1_000u64..1 << 40).prop_map(|ms| Schedule::Every(Duration::from_millis(ms))),
            (expression(), prop::sample::select(ZONES.to_vec())).prop_map(|(text, zone)| cron(&text, zone)),
        ]
    }

    proptest! {
        /// Later questions never get earlier answers, and no firing hides between a question and its answer.
        #[test]
        fn the_next_time_is_later_and_none_is_passed_over(
            schedule in schedule(),
            set_ms in 1_300_000_000_000u64..1_900_000_000_000,
            later_ms in 0u64..10_000_000_000,
        ) {
            let set_at = Timestamp::from_millis(set_ms);
            let now = Timestamp::from_millis(set_ms + later_ms);
            prop_assert_eq!(schedule.validate(), Ok(()));
            let first = schedule.next_after(set_at, set_at).unwrap();
            let next = schedule.next_after(set_at, now).unwrap();
            prop_assert!(first > set_at && next > now && next >= first);
            let just_before = Timestamp::from_millis(next.as_millis() - 1);
            prop_assert_eq!(schedule.next_after(set_at, just_before.max(now)), Some(next));
            let between = Timestamp::from_millis(now.as_millis() + (next.as_millis() - now.as_millis()) / 2);
            prop_assert_eq!(schedule.next_after(set_at, between), Some(next));
        }

        #[test]
        fn no_expression_panics(text in "[0-9*/,#LW+?A-Z -]{0,40}", zone in "[A-Za-z/]{0,20}", now in any::<u64>()) {
            let schedule = cron(&text, &zone);
            let _ = schedule.validate();
            let _ = cron(&text, "UTC").next_after(Timestamp::from_millis(0), Timestamp::from_millis(now));
        }
    }
}
