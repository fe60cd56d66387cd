//! Jobs: pods that run to their end.

use super::{Create, Ended, Member, Plan};
use crate::local::workload::restart;
use std::time::Duration;

/// A Job's wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// How many pods must succeed; `None`: one success is enough, no new pod follows it, and the job is complete when
    /// the others have ended too.
    pub completions: Option<u32>,
    /// How many pods may run at once.
    pub parallelism: u32,
    /// How many failures are made up for. Kubernetes' default: 6.
    pub backoff_limit: u32,
    /// When the job was made and how long it may take.
    pub deadline: Option<Duration>,
    /// `spec.suspend`: its pods are ended and no new ones are made.
    pub suspended: bool,
    /// Failures inside of pods that are not over (restartPolicy OnFailure), which count too.
    pub restarts: u32,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum JobState {
    /// Pods run or will run.
    #[default]
    Running,
    /// Enough pods have succeeded.
    Complete,
    /// Too many pods have failed (reason `BackoffLimitExceeded`).
    Failed,
    /// It took too long (reason `DeadlineExceeded`).
    TooLate,
}

/// Plans a Job and says how far it is. Pods that have ended stay, so that their logs and status can be read.
pub fn job(wish: &Job, members: &[Member], now: Duration) -> (JobState, Plan) {
    let mut plan = Plan::default();
    let active: Vec<&Member> = members.iter().filter(|member| member.is_active()).collect();
    let succeeded = members.iter().filter(|m| matches!(m.ended, Some(Ended::Succeeded(_)))).count() as u32;
    let failures: Vec<Duration> = members
        .iter()
        .filter_map(|member| match member.ended {
            Some(Ended::Failed(at)) => Some(at),
            _ => None,
        })
        .collect();
    let end_all = |plan: &mut Plan| plan.delete.extend(active.iter().map(|member| member.name.clone()));
    let is_complete = match wish.completions {
        Some(completions) => succeeded >= completions,
        None => succeeded > 0 && active.is_empty(),
    };
    if is_complete {
        end_all(&mut plan);
        return (JobState::Complete, plan);
    }
    if failures.len() as u32 + wish.restarts > wish.backoff_limit {
        end_all(&mut plan);
        return (JobState::Failed, plan);
    }
    if let Some(deadline) = wish.deadline {
        if now >= deadline {
            end_all(&mut plan);
            return (JobState::TooLate, plan);
        }
        plan.ask_again(deadline);
    }
    if wish.suspended {
        end_all(&mut plan);
        return (JobState::Running, plan);
    }
    let surplus = (active.len() as u32).saturating_sub(wish.parallelism);
    plan.delete.extend(active.iter().rev().take(surplus as usize).map(|member| member.name.clone()));
    let running = active.len() as u32;
    let missing = match wish.completions {
        Some(completions) => completions.saturating_sub(succeeded).min(wish.parallelism).saturating_sub(running),
        None if succeeded > 0 => 0,
        None => wish.parallelism.saturating_sub(running),
    };
    if missing > 0 {
        let wait = failures.iter().max().map(|last| *last + restart::delay(failures.len() as u32 - 1));
        match wait.filter(|until| now < *until) {
            Some(until) => plan.ask_again(until),
            None => plan.create.extend((0..missing).map(|_| Create::Any)),
        }
    }
    (JobState::Running, plan)
}
