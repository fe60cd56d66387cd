#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::policy::seeds::{Seeded, for_each_seed};

const PACE: Pace = Pace {
    urgent: (Duration::from_millis(100), Duration::from_secs(10)),
    calm: (Duration::from_secs(1), Duration::from_secs(60)),
    at_least: Duration::from_secs(1),
    haste: Duration::from_secs(2),
    leisure: Duration::from_secs(30),
};

const DAY: Duration = Duration::from_secs(86_400);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn random(seed: &mut Seeded) -> u64 {
    seed.below(u64::MAX)
}

#[test]
fn pauses_double_up_to_the_longest_and_each_is_between_half_and_whole() {
    for_each_seed(|seed| {
        let mut backoff = Backoff::between(PACE.urgent.0, PACE.urgent.1);
        for failure in 0..100 {
            let whole = PACE.urgent.0.saturating_mul(1 << failure.min(20)).min(PACE.urgent.1);
            let pause = backoff.next(random(seed));
            assert!(pause >= whole / 2 && pause <= whole, "after failure {failure}: {pause:?} of {whole:?}");
        }
        backoff.reset();
        assert!(backoff.next(random(seed)) <= PACE.urgent.0);
    });
}

#[test]
fn proxies_that_fail_together_do_not_return_together() {
    let mut pauses = Vec::new();
    for_each_seed(|seed| {
        let mut backoff = Backoff::between(PACE.urgent.0, PACE.urgent.1);
        pauses.push((0..8).map(|_| backoff.next(random(seed))).last().unwrap());
    });
    if pauses.len() < 256 {
        return; // One seed is replayed.
    }
    let early = pauses.iter().filter(|pause| **pause < PACE.urgent.1.mul_f64(0.75)).count();
    assert!((64..192).contains(&early), "{early} of 256 in the first half");
}

#[test]
fn a_certificate_is_renewed_when_it_was_asked_for_and_always_before_it_expires() {
    for_each_seed(|seed| {
        let mut renewal = Renewal::new(now(), PACE);
        assert_eq!(renewal.due(), now(), "the first one is asked for at once");
        let valid = Duration::from_secs(60 + seed.below(100_000));
        let after = Duration::from_secs(seed.below(200_000));
        renewal.issued(now(), after, now() + valid);
        let pause = renewal.due().duration_since(now()).unwrap();
        assert!(pause >= PACE.at_least && pause <= valid.mul_f64(0.9), "{pause:?} of {valid:?}");
        if after >= PACE.at_least && after <= valid.mul_f64(0.9) {
            assert_eq!(pause, after);
        }
    });
}

#[test]
fn hostile_figures_neither_panic_nor_make_a_busy_loop() {
    for after in [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(u64::MAX)] {
        for expires in [SystemTime::UNIX_EPOCH, now(), now() + Duration::from_secs(1 << 40)] {
            let mut renewal = Renewal::new(now(), PACE);
            renewal.issued(now(), after, expires);
            assert!(renewal.due() >= now() + PACE.at_least);
        }
    }
}

#[test]
fn failures_keep_the_time_table_of_a_valid_and_of_a_missing_certificate() {
    for_each_seed(|seed| {
        // Every tenth second fsm-control is back for a moment; the certificate lives for a minute.
        let mut renewal = Renewal::new(now(), PACE);
        let (mut clock, mut expires, mut asked) = (now(), None::<SystemTime>, 0_u32);
        let end = now() + Duration::from_secs(1_200);
        while clock < end {
            clock = renewal.due().max(clock);
            asked += 1;
            if seed.chance(10) {
                expires = Some(clock + Duration::from_secs(60));
                renewal.issued(clock, Duration::from_secs(40), clock + Duration::from_secs(60));
                continue;
            }
            let valid = expires.is_some_and(|expires| expires > clock);
            let before = renewal.due();
            let pause = renewal.failed(clock, random(seed));
            let most = if valid { PACE.calm.1 } else { PACE.urgent.1 };
            assert!(pause <= most && !pause.is_zero(), "{pause:?}");
            assert!(renewal.due() > before, "no standing still");
            if valid {
                assert!(renewal.due() <= expires.unwrap(), "it is asked for again before the old one expires");
            }
        }
        assert!(asked < 1_200, "asked {asked} times in twenty minutes");
    });
}

#[test]
fn what_is_wanted_soon_comes_soon_but_not_in_the_middle_of_a_pause() {
    for_each_seed(|seed| {
        let mut renewal = Renewal::new(now(), PACE);
        renewal.issued(now(), DAY / 2, now() + DAY);
        renewal.wanted(now(), random(seed));
        assert!(renewal.due() <= now() + PACE.haste);
        let pause = renewal.failed(now(), random(seed));
        renewal.wanted(now(), random(seed));
        assert_eq!(renewal.due(), now() + pause);
    });
}

#[test]
fn a_certificate_is_suspected_after_several_failures_and_then_ever_more_rarely() {
    for_each_seed(|seed| {
        let pauses = (Duration::from_secs(300), Duration::from_secs(3_600));
        let mut suspicion = Suspicion::new(pauses);
        let begun = Instant::now();
        // A control plane that accepts and hangs up, for a day: each stream breaks after some seconds.
        let mut asked = Vec::new();
        let mut at = Duration::ZERO;
        while at < DAY {
            if suspicion.raise(begun + at, random(seed)) {
                asked.push(at);
            }
            at += Duration::from_secs(1 + seed.below(10));
        }
        assert!(asked[0] < Duration::from_secs(60), "{asked:?}");
        assert!((20..60).contains(&asked.len()), "{} certificates in a day", asked.len());
        let between: Vec<Duration> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(between[0] >= pauses.0 / 2 && between.last().unwrap() >= &(pauses.1 / 2), "{between:?}");

        suspicion.lift();
        let failures: Vec<bool> = (0..3).map(|_| suspicion.raise(begun + DAY, random(seed))).collect();
        assert_eq!(failures, [false, false, true], "all is well in between: it begins anew");
    });
}

#[test]
fn a_fleet_that_suspects_together_does_not_ask_together() {
    let mut waits = Vec::new();
    for_each_seed(|seed| {
        let mut renewal = Renewal::new(now(), PACE);
        renewal.issued(now(), DAY / 2, now() + DAY);
        renewal.suspected(now(), random(seed));
        waits.push(renewal.due().duration_since(now()).unwrap());
    });
    if waits.len() < 256 {
        return; // One seed is replayed.
    }
    assert!(waits.iter().all(|wait| *wait <= PACE.leisure));
    for second in 0..6 {
        let (from, to) = (Duration::from_secs(second * 5), Duration::from_secs(second * 5 + 5));
        let within = waits.iter().filter(|wait| (from..to).contains(*wait)).count();
        assert!(within > 20, "{within} of 256 from {from:?} on");
    }
}
