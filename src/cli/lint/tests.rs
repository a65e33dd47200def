use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;
use crate::cli::output::{CommandOutcome, Report as _};
use crate::cli::yaml;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository, under its path there.
fn source(path: &Path) -> Source {
    let text = std::fs::read_to_string(path).unwrap();
    Source { name: path.file_name().unwrap().to_str().unwrap().to_owned(), documents: yaml::documents(&text) }
}

fn linted(text: &str) -> Findings {
    Manifests::read(&[Source { name: "stdin".to_owned(), documents: yaml::documents(text) }]).findings
}

fn words(findings: &Findings) -> String {
    anstream::adapter::strip_str(&findings.text()).to_string()
}

/// Every text below `stringData` and `data`.
fn secret_values(node: &Node, found: &mut Vec<String>) {
    for field in node.fields() {
        if ["stringData", "data"].contains(&field.name.as_str()) {
            let texts = field.value.fields().iter().map(|entry| match entry.value.value() {
                Value::String(text) => text.trim().to_owned(),
                other => other.to_string(),
            });
            found.extend(texts);
        }
        secret_values(&field.value, found);
    }
    node.items().iter().for_each(|item| secret_values(item, found));
}

/// Every `golden/NAME.yaml` gets the words in `golden/NAME.txt`. `GOLDEN=write` updates them.
#[test]
fn what_is_wrong_is_named_with_its_line_the_field_the_rule_and_the_fix() {
    let mut files: Vec<PathBuf> = std::fs::read_dir(repository().join("src/cli/lint/golden"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    for file in &files {
        let source = source(file);
        let mut secrets = Vec::new();
        source.documents.iter().flatten().for_each(|node| secret_values(node, &mut secrets));
        let findings = Manifests::read(&[source]).findings;
        let text = words(&findings);
        let golden = file.with_extension("txt");
        if std::env::var("GOLDEN").is_ok_and(|value| value == "write") {
            std::fs::write(&golden, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(&golden).unwrap(), "{}", file.display());
        assert_eq!(findings.outcome(), CommandOutcome::Wrong, "{}", file.display());
        let json = serde_json::to_string(&findings).unwrap();
        for secret in secrets {
            assert!(
                !text.contains(&secret) && !json.contains(&secret),
                "{}: an External ID shows",
                file.display()
            );
        }
    }
    assert!(files.len() > 4, "{}", files.len());
}

#[test]
fn of_the_examples_it_says_that_their_external_id_is_one_and_nothing_else() {
    let sources: Vec<_> = std::fs::read_dir(repository().join("examples"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| source(&path))
        .collect();
    let findings = Manifests::read(&sources).findings;
    let all: Vec<_> =
        findings.findings.iter().map(|f| (f.file.as_str(), f.severity, f.field.as_str())).collect();
    assert_eq!(all, [("tenant.yaml", Severity::Warning, "stringData.externalID")], "{}", words(&findings));
    assert!(findings.findings[0].message.contains("is an example"), "{}", words(&findings));
    assert_eq!(findings.outcome(), CommandOutcome::Well);
}

#[test]
fn what_the_cluster_hands_out_is_in_order() {
    let text = std::fs::read_to_string(repository().join("examples/tenant.yaml")).unwrap();
    let status = "status: {observedGeneration: 1, conditions: []}\n";
    let text =
        text.replace("5f0c2f7e-9a41-4a55-8a0e-3f1f6a2d7c19", "0d4b6f8a-2c1e-4a3b-9d7f-6e5c8b0a1f2d") + status;
    assert_eq!(words(&linted(&text)), "2 documents, 1 destination: nothing is wrong with them\n");
    // The same as JSON, which is YAML.
    let items: Vec<Value> = yaml::documents(&text).unwrap().iter().map(Node::value).collect();
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items});
    let findings = linted(&serde_json::to_string_pretty(&list).unwrap());
    assert_eq!(words(&findings), "2 documents, 1 destination: nothing is wrong with them\n");
}

#[test]
fn files_that_hold_nothing_of_ours_are_read_and_left_alone() {
    for text in
        ["", "---\n", "# nothing\n", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n", "just text\n"]
    {
        assert_eq!(linted(text).outcome(), CommandOutcome::Well, "{text}");
        assert_eq!(linted(text).findings.len(), 0, "{text}");
    }
}

#[test]
fn programs_get_each_finding_with_its_file_line_and_field() {
    let spec = "{bucket: a.b, region: us-east-1, roleARN: 'arn:aws:iam::111111111111:role/x', externalIDSecretRef: {name: x}}";
    let text = format!("apiVersion: {VERSION}\nkind: {KIND}\nmetadata: {{name: acme}}\nspec: {spec}\n");
    let json = serde_json::to_value(linted(&text)).unwrap();
    assert_eq!((&json["documents"], &json["destinations"]), (&Value::from(1), &Value::from(1)));
    let mut finding = json["findings"][0].clone();
    let message = finding.as_object_mut().unwrap().remove("message").unwrap();
    assert!(message.as_str().unwrap().starts_with("bucket must not contain dots"), "{message}");
    let expected = serde_json::json!({
        "file": "stdin", "line": 4, "severity": "error", "object": "RecordingDestination acme", "field": "spec.bucket",
    });
    assert_eq!(finding, expected);
}
