//! What a bot uses of what it may, and what it should be allowed by that.

use serde::{Deserialize, Serialize};

use crate::metrics::snapshot::Histogram;

/// Fewer attempts than this say too little to suggest a limit.
const ATTEMPTS_MIN: u64 = 100;
/// No less fuel is suggested.
const FUEL_MIN: f64 = 1e6;
/// No less memory is suggested, in bytes: an empty component in some languages takes half of it.
const MEMORY_MIN: f64 = (4 << 20) as f64;
/// What is suggested is so many times what was used.
const SLACK: f64 = 2.0;

/// What was used of a limit, in the limit's unit.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Budget {
    /// Half of the attempts used at most this. Not known of memory.
    pub p50: Option<f64>,
    /// 99 of 100 attempts used at most this. Not known of memory.
    pub p99: Option<f64>,
    /// The most that was used. Not known of fuel.
    pub peak: Option<f64>,
    /// The limit in force.
    pub limit: Option<f64>,
    /// A limit that leaves room and not more than is sensible. None: too few attempts, or so much was used that the most is not
    /// known.
    pub suggested: Option<f64>,
}

impl Budget {
    /// Returns what attempts used of fuel.
    pub(super) fn of_fuel(fuel: &Histogram) -> Self {
        let at = |quantile| fuel.quantile(quantile);
        // Of those above the last bound it is not known how far.
        let known = fuel.buckets.iter().rev().find(|bucket| bucket.0.is_finite()).map_or(0, |bucket| bucket.1);
        let is_known = known as f64 >= 0.999 * fuel.count as f64;
        let high = at(0.999).filter(|_| is_known && fuel.count >= ATTEMPTS_MIN);
        let suggested = high.map(|high| rounded_up(high * SLACK).max(FUEL_MIN));
        Self { p50: at(0.5), p99: at(0.99), suggested, ..Self::default() }
    }

    /// Returns what instances used of memory.
    pub(super) fn of_memory(peak: f64, attempts: u64) -> Self {
        let mebibyte = f64::from(1 << 20);
        let wanted = (peak * SLACK / mebibyte).ceil().max(1.0);
        let suggested = (attempts >= ATTEMPTS_MIN && wanted < 1e9)
            .then(|| ((wanted as u64).next_power_of_two() as f64 * mebibyte).max(MEMORY_MIN));
        Self { peak: Some(peak), suggested, ..Self::default() }
    }
}

/// Returns the next larger of 1, 2, 5, 10, 20, 50, …
fn rounded_up(number: f64) -> f64 {
    let mut unit = 1.0;
    while unit < 1e18 {
        for step in [1.0, 2.0, 5.0] {
            if unit * step >= number {
                return unit * step;
            }
        }
        unit *= 10.0;
    }
    unit
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fuel(counts: [u64; 4]) -> Histogram {
        let mut total = 0;
        let buckets = [1e5, 1e6, 1e7, f64::INFINITY].into_iter().zip(counts).map(|(bound, count)| {
            total += count;
            (bound, total)
        });
        let buckets: Vec<_> = buckets.collect();
        Histogram { sum: 0.0, count: total, buckets }
    }

    #[test]
    fn a_limit_is_suggested_where_enough_is_known() {
        for (counts, suggested) in [
            ([99, 0, 0, 0], None),
            ([100, 0, 0, 0], Some(1e6)),
            ([0, 1_000, 0, 0], Some(2e6)),
            ([0, 0, 1_000, 0], Some(2e7)),
            ([0, 0, 990, 10], None),
            ([0, 0, 99_999, 1], Some(2e7)),
        ] {
            assert_eq!(Budget::of_fuel(&fuel(counts)).suggested, suggested, "{counts:?}");
        }
        assert_eq!(Budget::of_memory(5e6, 99).suggested, None);
        assert_eq!(Budget::of_memory(5e6, 100).suggested, Some(16.0 * 1_048_576.0));
        assert_eq!(Budget::of_memory(0.0, 100).suggested, Some(MEMORY_MIN));
    }

    proptest! {
        #[test]
        fn a_suggestion_is_at_least_twice_what_nearly_all_used(counts in proptest::array::uniform4(0u64..1_000)) {
            let fuel = fuel(counts);
            let budget = Budget::of_fuel(&fuel);
            if let (Some(suggested), Some(high)) = (budget.suggested, fuel.quantile(0.999)) {
                prop_assert!(suggested >= 2.0 * high && suggested >= FUEL_MIN);
                prop_assert!(suggested <= (5.0 * high).max(FUEL_MIN), "{suggested} for {high}");
            }
        }
    }
}
