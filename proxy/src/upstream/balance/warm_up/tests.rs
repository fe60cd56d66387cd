#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use proptest::prelude::*;

#[test]
fn the_curve_is_that_of_the_controller() {
    let straight = WarmUp::default();
    assert_eq!(straight.factor(Duration::ZERO), 0.1);
    assert_eq!(straight.factor(Duration::from_secs(9)), 0.1);
    assert_eq!(straight.factor(Duration::from_secs(45)), 0.5);
    assert_eq!(straight.factor(Duration::from_secs(90)), 1.0);
    let eager = WarmUp::new(Duration::from_secs(100), 2.0, 0.1);
    assert!((eager.factor(Duration::from_secs(25)) - 0.5).abs() < 1e-9);
}

#[test]
fn no_window_means_no_warm_up() {
    assert_eq!(WarmUp::new(Duration::ZERO, 1.0, 0.1).factor(Duration::ZERO), 1.0);
}

proptest! {
    #[test]
    fn the_share_stays_in_bounds_and_never_falls(
        window in 0_u64..1_000, aggression: f64, least: f64, younger in 0_u64..2_000, older in 0_u64..2_000
    ) {
        let warm_up = WarmUp::new(Duration::from_secs(window), aggression, least);
        let (younger, older) = (younger.min(older), younger.max(older));
        let (young, old) =
            (warm_up.factor(Duration::from_secs(younger)), warm_up.factor(Duration::from_secs(older)));
        prop_assert!((0.1..=1.0).contains(&young) && (0.1..=1.0).contains(&old));
        prop_assert!(young <= old);
    }
}
