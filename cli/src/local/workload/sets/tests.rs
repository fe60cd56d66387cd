#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

const NOW: Duration = Duration::from_secs(1000);

fn member(name: &str, revision: &str, is_ready: bool) -> Member {
    Member {
        name: name.into(),
        revision: revision.into(),
        ready_since: is_ready.then_some(Duration::from_secs(900)),
        is_terminating: false,
        created: Duration::from_secs(800),
        ended: None,
    }
}

fn rolling_wish(replicas: u32) -> Rolling {
    Rolling {
        replicas,
        revision: "new".into(),
        max_surge: Share::Percent(25),
        max_unavailable: Share::Percent(25),
        recreate: false,
        min_ready: Duration::ZERO,
        paused: false,
    }
}

fn ready(number: usize, revision: &str) -> Vec<Member> {
    (0..number).map(|index| member(&format!("{revision}-{index}"), revision, true)).collect()
}

#[test]
fn an_update_of_four_goes_in_steps() {
    // Surge 1, unavailable 1: one more comes, one old one goes at once.
    let plan = rolling(&rolling_wish(4), &ready(4, "old"), NOW);
    assert_eq!((plan.create.len(), plan.delete.len()), (1, 1));
}

#[test]
fn an_update_without_any_leeway_still_moves() {
    let mut wish = rolling_wish(1);
    (wish.max_surge, wish.max_unavailable) = (Share::Pods(0), Share::Pods(0));
    assert_eq!(rolling(&wish, &ready(1, "old"), NOW).delete, ["old-0"]);
}

#[test]
fn recreation_waits_until_the_old_ones_are_gone() {
    let mut wish = rolling_wish(2);
    wish.recreate = true;
    let mut members = ready(2, "old");
    let plan = rolling(&wish, &members, NOW);
    assert_eq!((plan.create.len(), plan.delete.len()), (0, 2));
    members.iter_mut().for_each(|member| member.is_terminating = true);
    assert!(rolling(&wish, &members, NOW).is_empty());
    assert_eq!(rolling(&wish, &[], NOW).create.len(), 2);
}

#[test]
fn a_paused_deployment_scales_but_does_not_update() {
    let mut wish = rolling_wish(3);
    wish.paused = true;
    let plan = rolling(&wish, &ready(2, "old"), NOW);
    assert_eq!((plan.create.len(), plan.delete.len()), (1, 0));
}

#[test]
fn a_young_pod_does_not_count_until_it_has_been_ready_long_enough() {
    let mut wish = rolling_wish(1);
    wish.min_ready = Duration::from_secs(200);
    let mut members = ready(1, "new");
    members.extend(ready(1, "old"));
    members[1].ready_since = Some(Duration::ZERO);
    let plan = rolling(&wish, &members, NOW);
    assert!(plan.is_empty());
    assert_eq!(plan.again, Some(Duration::from_secs(1100)));
    assert_eq!(rolling(&wish, &members, Duration::from_secs(1100)).delete, ["old-0"]);
}

#[test]
fn the_least_useful_go_first() {
    let members = [member("a", "new", true), member("b", "new", false), member("c", "new", true)];
    assert_eq!(rolling(&rolling_wish(2), &members, NOW).delete, ["b"]);
    assert_eq!(replicas(2, &members).delete, ["b"]);
}

fn ordered_wish(replicas: u32) -> Ordered {
    Ordered {
        set: "db".into(),
        replicas,
        first: 0,
        revision: "new".into(),
        partition: 0,
        parallel: false,
        on_delete: false,
        min_ready: Duration::ZERO,
    }
}

#[test]
fn ordinals_come_upwards_and_go_downwards() {
    let two = [member("db-0", "new", true), member("db-1", "new", false)];
    assert!(ordered(&ordered_wish(3), &two, NOW).is_empty(), "db-1 is not ready");
    let two = [member("db-0", "new", true), member("db-1", "new", true)];
    assert_eq!(ordered(&ordered_wish(3), &two, NOW).create, [Create::Ordinal(2)]);
    assert_eq!(ordered(&ordered_wish(0), &two, NOW).delete, ["db-1"]);
    let mut wish = ordered_wish(4);
    wish.parallel = true;
    assert_eq!(ordered(&wish, &two, NOW).create, [Create::Ordinal(2), Create::Ordinal(3)]);
}

#[test]
fn an_update_of_a_set_goes_from_the_last_and_stops_at_the_partition() {
    let old: Vec<Member> = (0..3).map(|ordinal| member(&format!("db-{ordinal}"), "old", true)).collect();
    assert_eq!(ordered(&ordered_wish(3), &old, NOW).delete, ["db-2"]);
    let mut wish = ordered_wish(3);
    wish.partition = 3;
    assert!(ordered(&wish, &old, NOW).is_empty());
    // One that never becomes ready is replaced although the others wait for it.
    let stuck = [member("db-0", "old", true), member("db-1", "old", false)];
    assert_eq!(ordered(&ordered_wish(2), &stuck, NOW).delete, ["db-1"]);
}

#[test]
fn a_daemon_set_has_one_pod_and_never_two() {
    let wish = Daemon { revision: "new".into(), on_delete: false };
    assert_eq!(daemon(&wish, &[]).create.len(), 1);
    let mut old = member("d", "old", true);
    assert_eq!(daemon(&wish, std::slice::from_ref(&old)).delete, ["d"]);
    old.is_terminating = true;
    assert!(daemon(&wish, &[old]).is_empty());
}

fn job_wish() -> Job {
    Job { completions: Some(3), parallelism: 2, backoff_limit: 1, deadline: None, suspended: false, restarts: 0 }
}

#[test]
fn a_job_runs_so_many_at_once_until_enough_have_succeeded() {
    let done = |name: &str| Member { ended: Some(Ended::Succeeded(NOW)), ..member(name, "", false) };
    assert_eq!(job(&job_wish(), &[], NOW).1.create.len(), 2);
    assert_eq!(job(&job_wish(), &[done("a"), done("b")], NOW).1.create.len(), 1, "only one is missing");
    assert_eq!(job(&job_wish(), &[done("a"), done("b"), done("c")], NOW), (JobState::Complete, Plan::default()));
}

#[test]
fn a_job_waits_after_a_failure_and_gives_up_after_too_many() {
    let failed = |name: &str| Member { ended: Some(Ended::Failed(NOW)), ..member(name, "", false) };
    let (state, plan) = job(&job_wish(), &[failed("a")], NOW);
    assert_eq!((state, plan.create.len()), (JobState::Running, 0));
    let again = plan.again.expect("it tries again");
    assert!(again > NOW);
    assert_eq!(job(&job_wish(), &[failed("a")], again).1.create.len(), 2);
    let members = [failed("a"), failed("b"), member("c", "", true)];
    let (state, plan) = job(&job_wish(), &members, again);
    assert_eq!((state, plan.delete.as_slice()), (JobState::Failed, &["c".to_owned()][..]));
}

#[test]
fn a_job_may_take_only_so_long() {
    let wish = Job { deadline: Some(NOW), ..job_wish() };
    let (state, plan) = job(&wish, &[member("a", "", true)], NOW);
    assert_eq!((state, plan.delete.len()), (JobState::TooLate, 1));
}
