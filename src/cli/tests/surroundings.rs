//! What `status` and `explain` say of pods, workloads and the operator, with the rights that the user has.

use jiff::{SignedDuration, Timestamp};

use super::{golden, words};
use crate::cli::output::{CommandOutcome, Report as _};
use crate::cli::status::Overview;
use crate::cli::surroundings::{Seen, Surroundings};
use crate::cluster::survey::{OperatorDeployment, RecorderPod, RefusedWorkload, Sidecar};

fn now() -> Timestamp {
    "2030-01-01T12:00:00Z".parse().unwrap()
}

fn pod(name: &str, label: Option<&str>, destination: Option<&str>, sidecar: Sidecar) -> RecorderPod {
    let text = |text: Option<&str>| text.map(str::to_owned);
    RecorderPod {
        namespace: "tenant-acme".to_owned(),
        name: name.to_owned(),
        label: text(label),
        destination: text(destination),
        sidecar,
    }
}

fn refused(name: &str, message: &str, minutes: i64) -> RefusedWorkload {
    RefusedWorkload {
        namespace: "tenant-acme".to_owned(),
        kind: "ReplicaSet".to_owned(),
        name: name.to_owned(),
        message: message.to_owned(),
        last: Some(now() - SignedDuration::from_mins(minutes)),
        count: minutes,
    }
}

fn deployment(component: &str, wanted: i64, available: i64) -> OperatorDeployment {
    OperatorDeployment {
        namespace: "recording-operator".to_owned(),
        name: format!("recording-operator-{component}"),
        component: component.to_owned(),
        wanted,
        available,
    }
}

fn well() -> Seen {
    Seen {
        pods: Ok(vec![pod("recorder-0", Some("true"), Some("acme"), Sidecar::Running)]),
        refused: Ok(Vec::new()),
        operator: Ok(["controller", "webhook", "broker"].map(|component| deployment(component, 2, 1)).into()),
    }
}

fn broken() -> Seen {
    let unknown = "Error creating: admission webhook \"inject.recordings.revenue.io\" denied the request: destination \
                   \"acme\" does not exist in namespace \"tenant-acme\": create the RecordingDestination first";
    let away = "Error creating: Internal error occurred: failed calling webhook \"inject.recordings.revenue.io\": no \
                endpoints available for service \"recording-operator-webhook\"";
    Seen {
        pods: Ok(vec![
            pod("recorder-0", Some("true"), Some("acme"), Sidecar::Running),
            pod("recorder-1", Some("true"), Some("acme"), Sidecar::Missing),
            pod("recorder-2", Some("yes"), Some("acme"), Sidecar::Missing),
            pod("recorder-3", None, Some("acme"), Sidecar::Missing),
            pod("kept-out", Some("false"), Some("acme"), Sidecar::Missing),
            pod("recorder-4", Some("true"), Some("acme"), Sidecar::Down("CrashLoopBackOff".to_owned())),
        ]),
        refused: Ok(vec![
            refused("recorder-5d9", unknown, 1),
            refused("recorder-7f2", away, 12),
            refused("long-ago", unknown, 55),
            refused("of-others", "Error creating: exceeded quota: cpu", 1),
        ]),
        operator: Ok(vec![deployment("controller", 1, 0), deployment("webhook", 0, 0)]),
    }
}

fn forbidden() -> Seen {
    let forbidden = |what: &str| format!("{what} is forbidden: User \"ann\" cannot list resource \"{what}\"");
    Seen {
        pods: Err(forbidden("pods")),
        refused: Err(forbidden("events")),
        operator: Err(forbidden("deployments.apps")),
    }
}

fn overview(seen: Seen) -> Overview {
    Overview::of(&[], Surroundings::of(seen, |_| true, now()), Some("tenant-acme"), now())
}

#[test]
fn status_names_pods_without_sidecar_and_workloads_whose_pods_are_refused() {
    let mut text = String::new();
    for (what, seen) in [("well", well()), ("broken", broken()), ("forbidden", forbidden())] {
        let overview = overview(seen);
        text.push_str(&format!("{what:=<100}\n{}exit {:?}\n", words(&overview), overview.outcome()));
    }
    let nothing = Seen { operator: Ok(Vec::new()), ..well() };
    text.push_str(&format!("{:=<100}\n{}", "no operator", words(&overview(nothing))));
    golden("surroundings.txt", &text);
    let json = serde_json::to_string_pretty(&overview(broken())).unwrap();
    golden("surroundings.json", &(json + "\n"));
}

#[test]
fn what_may_not_be_listed_is_said_and_fails_nothing() {
    assert_eq!(overview(forbidden()).outcome(), CommandOutcome::Well);
    assert_eq!(overview(well()).outcome(), CommandOutcome::Well);
    assert_eq!(overview(broken()).outcome(), CommandOutcome::Wrong);
    let text = words(&overview(forbidden()));
    for what in ["cannot tell which pods", "cannot tell which workloads", "cannot tell whether controller"] {
        assert!(text.contains(what), "{what}: {text}");
    }
}

#[test]
fn of_many_pods_a_screenful_is_listed() {
    let many = (0..30).map(|number| pod(&format!("p-{number:02}"), None, Some("acme"), Sidecar::Missing));
    let text = words(&overview(Seen { pods: Ok(many.collect()), ..well() }));
    assert!(text.contains("p-19") && !text.contains("p-20") && text.contains("and 10 more"), "{text}");
}

#[test]
fn explain_does_not_say_all_is_well_where_something_around_is_not() {
    let worst = |seen| Surroundings::of(seen, |_| true, now()).worst();
    assert_eq!(worst(well()), None);
    assert_eq!(worst(forbidden()), None, "what is not seen is not said to be wrong");
    assert_eq!(worst(broken()).as_deref(), Some("3 pods that name it have no sidecar"));
    let one = Seen { pods: Ok(vec![pod("p", None, Some("acme"), Sidecar::Missing)]), ..well() };
    assert_eq!(worst(one).as_deref(), Some("1 pod that names it has no sidecar"));
    let with_pods = Seen { pods: well().pods, ..broken() };
    assert_eq!(worst(with_pods).as_deref(), Some("the controller does not answer"));
    let refused = Seen { operator: well().operator, pods: well().pods, ..broken() };
    assert_eq!(worst(refused).as_deref(), Some("2 workloads in its namespace cannot create pods"));
}
