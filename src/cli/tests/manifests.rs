//! `preview` and `init`.

use clap::Parser as _;
use serde_json::{Value, json};

use super::super::{Arguments, Command, init, preview};
use super::{golden, words};
use crate::api::{EXTERNAL_ID_SECRET_TYPE, RecordingDestination};
use crate::cli::files::Source;
use crate::cli::lint::Manifests;
use crate::cli::output::{CommandOutcome, Failure, Report};
use crate::cli::yaml;
use crate::domain::injection::{Settings, inject};
use crate::domain::trust::weakness;
use crate::secret::ExternalID;

fn parsed(line: &str) -> Command {
    let arguments = ["kubectl-recordings"].into_iter().chain(line.split_whitespace());
    Arguments::try_parse_from(arguments).unwrap().command
}

fn initialised(line: &str) -> Result<init::Tenant, Failure> {
    let Command::Init(arguments) = parsed(&format!("init {line}")) else { panic!("{line}") };
    init::run(&arguments)
}

fn previewed(file: &str) -> Result<preview::Previews, Failure> {
    let file = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
    let Command::Preview(arguments) = parsed(&format!("preview {file}")) else { panic!("{file}") };
    preview::run(&arguments)
}

fn external_id(text: &str) -> String {
    let secret =
        yaml::documents(text).unwrap().into_iter().find(|d| d.text(&["kind"]) == Some("Secret")).unwrap();
    assert_eq!(secret.text(&["type"]), Some(EXTERNAL_ID_SECRET_TYPE));
    secret.text(&["stringData", "externalID"]).unwrap().to_owned()
}

#[test]
fn init_writes_valid_manifests_with_the_external_id_in_the_secret_alone() {
    let mut all = String::new();
    for line in [
        "acme --account 111111111111",
        "acme --account 111111111111 -n tenant-acme --bucket acme-calls --region eu-central-1 --prefix calls/ \
         --bind-namespace --per-tenant-role",
        "acme --role-arn arn:aws-us-gov:iam::222222222222:role/x --region us-gov-west-1 -n t --per-tenant-role \
         --operator-namespace platform --release rec",
    ] {
        let text = words(&initialised(line).unwrap());
        let read = Manifests::read(&[Source { name: "stdin".to_owned(), documents: yaml::documents(&text) }]);
        assert_eq!(read.findings.first(), None, "{text}");
        let [(_, Some(id))] = &read.destinations[..] else {
            panic!("one destination with its Secret: {text}")
        };
        let value = external_id(&text);
        assert_eq!(id.expose(), value);
        assert_eq!(text.matches(&value).count(), 1, "{text}");
        all.push_str(&format!(
            "$ kubectl recordings init {line}\n{}\n",
            text.replace(&value, "(a random GUID)")
        ));
    }
    golden("init.txt", &all);
}

#[test]
fn external_ids_are_random_guids() {
    let ids: Vec<_> =
        (0..100).map(|_| external_id(&words(&initialised("a --account 111111111111").unwrap()))).collect();
    for id in &ids {
        assert_eq!((id.len(), &id[14..15]), (36, "4"), "{id}");
        assert!("89ab".contains(&id[19..20]), "{id}");
        assert_eq!(
            weakness(&ExternalID::parse(id).unwrap(), &["a", "a-recordings", "111111111111"]),
            None,
            "{id}"
        );
    }
    let mut different = ids.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), ids.len());
    // Every digit but those that say the version varies.
    for at in (0..36).filter(|at| ![8, 13, 14, 18, 23].contains(at)) {
        assert!(ids.iter().any(|id| id.as_bytes()[at] != ids[0].as_bytes()[at]), "digit {at}");
    }
}

#[test]
fn an_argument_that_cannot_be_is_refused_with_its_field() {
    for (line, expected) in [
        ("Acme --account 111111111111", "metadata.name"),
        ("acme --account 1111", "spec.roleARN"),
        ("acme --account 111111111111 --bucket acme.calls", "spec.bucket"),
        ("acme --account 111111111111 --prefix calls", "spec.prefix"),
        ("acme --account 111111111111 --region cn-north-1", "spec.region"),
    ] {
        let error = initialised(line).err().unwrap().to_string();
        assert!(error.starts_with(expected), "{line}: {error}");
    }
}

/// Built from the same pods as the webhook's own golden files: the pod, and what makes it.
#[test]
fn a_preview_is_what_the_webhook_makes_of_the_pod() {
    let file = "src/domain/injection/golden/recorder.in.yaml";
    let previews = previewed(file).unwrap();
    let text = words(&previews);
    let pod: Value = serde_yaml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let settings = Settings::usual(
        concat!("recording-operator:", env!("CARGO_PKG_VERSION")).to_owned(),
        "https://recording-operator-broker.recording-operator.svc:8443".to_owned(),
        "(the broker's CA certificates, as the operator knows them)".to_owned(),
    );
    let shown: Value = serde_yaml::from_str(&text).unwrap();
    assert_eq!(shown, inject(&pod, &settings).unwrap());
    assert_eq!(previews.outcome(), CommandOutcome::Well);
}

#[test]
fn previews_are_of_whatever_makes_pods_and_tell_why_one_is_refused() {
    let previews = previewed("src/cli/golden/preview.in.yaml").unwrap();
    golden("preview.out.yaml", &words(&previews));
    assert_eq!(previews.outcome(), CommandOutcome::Wrong);
    let error = previewed("examples/tenant.yaml").err().unwrap().to_string();
    assert!(error.contains("there is no pod"), "{error}");
    let error = previewed("src/cli/lint/golden/broken.yaml").err().unwrap().to_string();
    assert!(error.contains("broken.yaml:6: this is not YAML"), "{error}");
}

#[test]
fn objects_that_are_printed_are_what_a_cluster_takes() {
    let text = words(&initialised("acme --account 111111111111").unwrap());
    let documents = yaml::documents(&text).unwrap();
    let of_kind = |kind| documents.iter().find(|document| document.text(&["kind"]) == Some(kind)).unwrap();
    let destination = of_kind("RecordingDestination").value();
    let read: RecordingDestination = serde_json::from_value(destination).unwrap();
    assert_eq!(read.spec.bucket, "acme-recordings");
    let quota = of_kind("ResourceQuota").value();
    let hard = json!({"count/recordingdestinations.recordings.revenue.io": 500});
    assert_eq!(quota["spec"], json!({ "hard": hard }));
}
