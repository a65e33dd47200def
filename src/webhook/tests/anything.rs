use proptest::prelude::*;

use super::*;

/// What a byte string becomes on a bad way: cut, doubled, overwritten.
#[derive(Clone, Debug)]
enum Damage {
    Cut(usize),
    Overwrite(usize, u8),
    Repeat(usize, usize),
    Remove(usize, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = 0_usize..2000;
    prop_oneof![
        place.clone().prop_map(Damage::Cut),
        (place.clone(), any::<u8>()).prop_map(|(at, byte)| Damage::Overwrite(at, byte)),
        (place.clone(), 1_usize..60).prop_map(|(at, length)| Damage::Repeat(at, length)),
        (place, 1_usize..60).prop_map(|(at, length)| Damage::Remove(at, length)),
    ]
}

fn damaged(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        let range = |at: usize, length: usize| at.min(bytes.len())..(at + length).min(bytes.len());
        match *damage {
            Damage::Cut(at) => bytes.truncate(at),
            Damage::Overwrite(at, byte) => {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            Damage::Repeat(at, length) => {
                let range = range(at, length);
                let copy = bytes[range.clone()].to_vec();
                bytes.splice(range.end..range.end, copy);
            }
            Damage::Remove(at, length) => drop(bytes.drain(range(at, length))),
        }
    }
    bytes
}

/// JSON made of the words that pods are made of, in places where they do not belong.
fn pods() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec![
            "",
            "true",
            "acme",
            "loopback",
            "recordings",
            "recording-uploader",
            "recording-uploader-token",
            "recording-uploader-credentials",
            "/spool",
            "Always",
            "../..",
        ])
        .prop_map(Value::from),
    ];
    let names = prop::sample::select(vec![
        "metadata",
        "labels",
        "annotations",
        "name",
        "recordings.revenue.io/inject",
        "recordings.revenue.io/destination",
        "recordings.revenue.io/credentials",
        "recordings.revenue.io/spool-path",
        "spec",
        "containers",
        "initContainers",
        "volumes",
        "volumeMounts",
        "mountPath",
        "env",
        "securityContext",
        "runAsUser",
        "runAsGroup",
        "hostNetwork",
        "emptyDir",
        "image",
        "resources",
        "limits",
        "terminationGracePeriodSeconds",
        "restartPolicy",
    ]);
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..6).prop_map(|fields| fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect()),
        ]
    })
}

fn now<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
}

proptest! {
    #[test]
    fn a_damaged_review_is_answered_or_refused_and_never_ends_the_webhook(
        damages in prop::collection::vec(damage(), 1..6),
    ) {
        let body = damaged(review("calls", &recorder()).to_string().into_bytes(), &damages);
        let (status, answer) = now(bench().post(body));
        prop_assert!(status == StatusCode::OK || status == StatusCode::BAD_REQUEST, "{status}: {answer}");
        prop_assert!(!answer.is_empty());
    }

    #[test]
    fn any_pod_is_refused_or_injected_idempotently(
        metadata in pods(), spec in pods(), labelled in any::<bool>(),
    ) {
        let mut pod = json!({"metadata": metadata, "spec": spec});
        if labelled {
            pod["metadata"] = recorder()["metadata"].clone();
        }
        if !pod["spec"].is_object() {
            pod["spec"] = recorder()["spec"].clone();
        }
        let bench = bench();
        let (status, answer) = now(bench.post(review("calls", &pod).to_string()));
        if status == StatusCode::BAD_REQUEST {
            return Ok(());
        }
        let response = serde_json::from_str::<Value>(&answer).unwrap()["response"].clone();
        prop_assert!(response["allowed"] == true || response["status"]["code"] == 403, "{answer}");
        if response["patch"].is_null() {
            return Ok(());
        }
        let injected = patched(&pod, &response);
        let again = now(bench.ask("calls", &injected));
        prop_assert!(again["allowed"] == true && again["patch"].is_null(), "{again}");
    }
}
