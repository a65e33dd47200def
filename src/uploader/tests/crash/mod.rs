//! Uploaders as processes of their own, with real files and an S3 that speaks HTTP, ended with SIGKILL at every call to
//! the file system and to S3, and with each of these calls failing.

mod process;
mod s3;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use self::process::{Ended, Trial, Way};
use self::s3::Fault;
use super::steps::TAKE_SPACE;

/// Processes at a time. They mostly wait.
const AT_ONCE: usize = 6;

fn is_long() -> bool {
    std::env::var_os("RECORDINGS_TEST_LONG").is_some()
}

/// Runs trials on some threads; the first that fails fails the test.
fn each<T: Send>(trials: Vec<T>, run: impl Fn(T) + Sync) {
    let trials = Mutex::new(trials.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = trials.lock().unwrap().next();
                    match next {
                        Some(trial) => run(trial),
                        None => break,
                    }
                }
            });
        }
    });
}

#[test]
fn killed_at_any_call_it_loses_nothing_and_the_next_one_brings_the_rest() {
    let (address, buckets) = s3::serve();
    let (kills, steps) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mut plans = Vec::new();
    for way in Way::ALL {
        let trial = Trial::new(address, &buckets, way);
        let calls = trial.steps();
        steps.fetch_add(calls.len(), Ordering::Relaxed);
        let stride = if is_long() { 1 } else { 9 };
        for at in (1..=calls.len()).step_by(stride) {
            plans.push((way, vec![at]));
            if is_long() {
                // The next process is killed as well: early, in the middle or late.
                plans.push((way, vec![at, (at * 7) % calls.len() + 1]));
            }
        }
    }
    each(plans, |(way, plan)| {
        let trial = Trial::new(address, &buckets, way);
        for at in &plan {
            if trial.run(&format!("kill@{at}")) == Ended::Killed {
                kills.fetch_add(1, Ordering::Relaxed);
            }
            trial.assert_nothing_lost(&format!("{way:?} killed at {plan:?}"));
        }
        trial.assert_delivered(&format!("{way:?} killed at {plan:?}"));
    });
    let (kills, steps) = (kills.into_inner(), steps.into_inner());
    println!("{kills} kills at {steps} different calls");
    assert!(kills > if is_long() { 1000 } else { 20 }, "{kills}");
}

#[test]
fn whichever_call_fails_once_or_for_want_of_space_for_ever_all_is_brought() {
    let (address, buckets) = s3::serve();
    let injected = AtomicUsize::new(0);
    let mut plans = Vec::new();
    for way in Way::ALL {
        let calls = Trial::new(address, &buckets, way).steps();
        let is_file_call = |call: &str| !call.starts_with("S3");
        let stride = if is_long() { 1 } else { 11 };
        let numbered = || calls.iter().enumerate().filter(|(_, call)| is_file_call(call));
        // Each kind of call, where it comes first, is never left out.
        let firsts = BTreeMap::from_iter(numbered().map(|(at, call)| (call, at)).rev());
        let firsts = firsts.into_iter().map(|(call, at)| (at, call)).filter(|_| way == Way::InParts);
        let chosen: BTreeMap<_, _> = numbered().step_by(stride).chain(firsts).collect();
        for (at, call) in chosen {
            plans.push((way, format!("EIO@{}", at + 1)));
            if TAKE_SPACE.contains(&call.as_str()) {
                plans.push((way, format!("ENOSPC@{}", at + 1)));
                plans.push((way, format!("ENOSPC@{}+", at + 1)));
            }
        }
    }
    each(plans, |(way, plan)| {
        let trial = Trial::new(address, &buckets, way);
        assert_eq!(trial.run(&plan), Ended::Drained, "{way:?} {plan}");
        injected.fetch_add(1, Ordering::Relaxed);
        trial.assert_nothing_lost(&format!("{way:?} {plan}"));
        // What could not be unlinked, or is in quarantine for an error that stayed, is there still; nothing was lost.
        trial.assert_delivered(&format!("{way:?} {plan}"));
    });
    println!("{} errors of the file system", injected.into_inner());
}

#[test]
fn whatever_s3_does_to_a_request_on_the_wire_all_is_brought_once() {
    let (address, buckets) = s3::serve();
    let injected = AtomicUsize::new(0);
    let mut kinds = vec![
        Fault::Reset,
        Fault::AnswerLost,
        Fault::AnswerCut,
        Fault::WrongChecksum,
        Fault::Page(200),
        Fault::Page(403),
        Fault::Page(502),
        Fault::Refused(503, "SlowDown"),
        Fault::Refused(500, "InternalError"),
        Fault::Refused(200, "InternalError"),
        Fault::Refused(400, "ExpiredToken"),
        Fault::Refused(403, "RequestTimeTooSkewed"),
        Fault::Refused(403, "AccessDenied"),
        Fault::Refused(409, "ConditionalRequestConflict"),
        Fault::Refused(404, "NoSuchUpload"),
    ];
    if is_long() {
        kinds.push(Fault::Hang);
    }
    let mut plans = Vec::new();
    for way in Way::ALL {
        for kind in &kinds {
            for at in (0..way.requests()).step_by(if is_long() { 1 } else { 4 }) {
                plans.push((way, BTreeMap::from([(at, *kind)])));
            }
        }
    }
    each(plans, |(way, plan)| {
        let trial = Trial::new(address, &buckets, way);
        let (label, planned) = (format!("{way:?} {plan:?}"), plan.len());
        trial.plan(plan);
        assert_eq!(trial.run("none@0"), Ended::Drained, "{label}");
        trial.assert_delivered(&label);
        injected.fetch_add(planned - trial.bucket(|bucket| bucket.plan.len()), Ordering::Relaxed);
    });
    println!("{} faults of S3 on the wire", injected.into_inner());
}

#[test]
fn after_a_kill_nothing_that_the_journal_has_is_sent_again() {
    let (address, buckets) = s3::serve();
    let (way, all) = (Way::InParts, Way::InParts.content().len());
    let calls = Trial::new(address, &buckets, way).steps();
    let answered = calls.iter().enumerate().filter(|(_, call)| *call == "S3 answered a part");
    let answered: Vec<usize> = answered.map(|(at, _)| at + 1).collect();
    let trial = Trial::new(address, &buckets, way);
    let late = answered[answered.len() * 3 / 4];
    assert_eq!(trial.run(&format!("kill@{late}")), Ended::Killed);
    // What was in the sockets still arrives.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let (sent, journalled) = (trial.bucket(|bucket| bucket.part_bytes), trial.journalled_parts());
    trial.assert_delivered("late");
    let again = trial.bucket(|bucket| bucket.part_bytes) - all;
    println!(
        "{again} of {all} bytes sent again; {journalled} parts were in the journal, {sent} bytes had been sent"
    );
    assert!(journalled > 0, "some parts were answered before the kill");
    assert!(
        again <= sent - journalled * process::PART,
        "{again} of {sent}, {journalled} parts in the journal"
    );
}
