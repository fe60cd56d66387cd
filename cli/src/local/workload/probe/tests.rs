#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn schedule() -> Schedule {
    Schedule {
        initial_delay: Duration::ZERO,
        period: Duration::from_secs(10),
        timeout: Duration::from_secs(1),
        success_threshold: 1,
        failure_threshold: 3,
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Takes all looks that are due and gives them this outcome.
fn look(probes: &mut Probes, ok: bool, now: Duration) -> (Vec<ProbeKind>, Consequence) {
    let mut tickets = now.as_millis() as u64 * 10;
    let due = probes.due(now, || {
        tickets += 1;
        tickets
    });
    let mut last = Consequence::None;
    for (_, ticket) in &due {
        let outcome = if ok { Ok(()) } else { Err("refused".to_owned()) };
        match probes.learn(*ticket, outcome, now) {
            Consequence::None => {}
            consequence => last = consequence,
        }
    }
    (due.into_iter().map(|(kind, _)| kind).collect(), last)
}

#[test]
fn nothing_else_runs_before_the_startup_probe_has_succeeded() {
    let all = [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness].map(|kind| (kind, schedule()));
    let mut probes = Probes::new(&all, Duration::ZERO);
    assert_eq!(look(&mut probes, false, Duration::ZERO).0, [ProbeKind::Startup]);
    assert!(!probes.is_started());
    let next = probes.next().unwrap();
    assert_eq!(look(&mut probes, true, next).0, [ProbeKind::Startup]);
    assert!(probes.is_started() && !probes.is_ready());
    assert_eq!(look(&mut probes, true, next).0, [ProbeKind::Liveness, ProbeKind::Readiness]);
    assert!(probes.is_ready());
}

#[test]
fn a_startup_probe_is_as_patient_as_it_says_although_it_looks_more_often() {
    let mut probes = Probes::new(&[(ProbeKind::Startup, schedule())], Duration::ZERO);
    let mut now = Duration::ZERO;
    loop {
        if let (_, Consequence::Restart(why)) = look(&mut probes, false, now) {
            assert!(why.contains("startup") && why.contains("refused"), "{why}");
            break;
        }
        now = probes.next().unwrap();
    }
    assert_eq!(now, seconds(20.0), "the third failure that counts");
}

#[test]
fn readiness_needs_its_thresholds() {
    let two = Schedule { success_threshold: 2, failure_threshold: 2, ..schedule() };
    let mut probes = Probes::new(&[(ProbeKind::Readiness, two)], Duration::ZERO);
    look(&mut probes, true, seconds(0.0));
    assert!(!probes.is_ready());
    look(&mut probes, true, seconds(1.0));
    assert!(probes.is_ready());
    look(&mut probes, false, seconds(20.0));
    assert!(probes.is_ready(), "one failure is none");
    look(&mut probes, false, seconds(40.0));
    assert!(!probes.is_ready());
    assert_eq!(probes.why_not_ready().unwrap(), "readiness probe failed: refused");
}

#[test]
fn liveness_condemns_after_so_many_failures_in_a_row() {
    let mut probes = Probes::new(&[(ProbeKind::Liveness, schedule())], Duration::ZERO);
    let outcomes = [false, false, true, false, false, false];
    let consequences: Vec<bool> = outcomes
        .iter()
        .enumerate()
        .map(|(turn, ok)| look(&mut probes, *ok, Duration::from_secs(10 * turn as u64)).1 != Consequence::None)
        .collect();
    assert_eq!(consequences, [false, false, false, false, false, true]);
    assert!(probes.is_ready(), "it says nothing about readiness");
}

#[test]
fn the_outcome_of_a_look_at_an_earlier_start_means_nothing() {
    let mut probes = Probes::new(&[(ProbeKind::Readiness, schedule())], Duration::ZERO);
    assert_eq!(probes.learn(99, Ok(()), Duration::ZERO), Consequence::None);
    assert!(!probes.is_ready());
}
