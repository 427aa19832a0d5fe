use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn there_are_never_more_points_than_may_be_and_nothing_is_lost_between_them(
        waits in prop::collection::vec(0u64..120_000, 1..600), window in 1_000u64..21_600_000,
    ) {
        let window = Duration::from_millis(window);
        let (mut points, mut histograms) = (Numbers::default(), VecDeque::new());
        let mut now = Instant::now();
        let mut seen: Vec<(Instant, f64)> = Vec::new();
        for (index, wait) in waits.into_iter().enumerate() {
            now += Duration::from_millis(wait);
            let value = (index * 37 % 101) as f64;
            seen.push((now, value));
            points.push(now, value, window);
            push_histogram(&mut histograms, now, Histogram::default(), window);
            prop_assert!(points.0.len() <= POINTS_MAX && histograms.len() <= HISTOGRAMS_MAX);
            let within = seen.iter().filter(|(at, _)| now - *at < window).map(|(_, value)| *value);
            let most = within.fold(f64::MIN, f64::max);
            let found = points.value(Function::Maximum, window, false).unwrap();
            prop_assert!(found >= most, "{} {}", found, most);
        }
        prop_assert_eq!(points.value(Function::Increase, window, true).is_some(), points.0.len() > 1);
        let points = points.points(false);
        prop_assert!(points.windows(2).all(|pair| pair[0].at <= pair[1].at));
    }
}

#[test]
fn an_increase_reaches_back_to_the_beginning_of_the_window_and_hardly_further() {
    let window = Duration::from_secs(600);
    let (mut points, mut now) = (Numbers::default(), Instant::now());
    for second in 0..5_000u32 {
        points.push(now, f64::from(second), window);
        now += Duration::from_secs(1);
    }
    let increase = points.value(Function::Increase, window, true).unwrap();
    assert!((600.0..=612.0).contains(&increase), "{increase}");
    let rate = points.value(Function::Rate, window, true).unwrap();
    assert!((rate - 1.0).abs() < 1e-9, "{rate}");
}
