//! Each field of the spec at the edge of what its schema allows.

use serde_json::{Value, json};

use super::{leaves, spec_schema};
use crate::environment_or_skip;
use crate::support::kubectl_with;

/// A value of exactly `length` characters that the field's rules accept, where one can be made; else any.
fn text_of(path: &str, length: usize) -> String {
    let padded = |start: &str, end: &str| {
        format!("{start}{}{end}", "a".repeat(length.saturating_sub(start.len() + end.len())))
    };
    match path {
        "prefix" => padded("", "/"),
        "encryption.kmsKeyARN" => padded("arn:aws:kms:us-east-1:111111111111:key/", ""),
        "region" => padded("us-", "-central-1"),
        _ => padded("", ""),
    }
}

/// A sound spec with one field changed.
fn spec_with(path: &str, value: &Value) -> Value {
    let mut spec = json!({
        "bucket": "acme-recordings", "region": "us-east-1", "roleARN": "arn:aws:iam::111111111111:role/writer",
        "externalIDSecretRef": {"name": "acme-external-id"},
    });
    if path == "encryption.kmsKeyARN" {
        spec["encryption"] = json!({"type": "KMS"});
    }
    let pointer = format!("/{}", path.replace('.', "/"));
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = parent.trim_start_matches('/');
    let object = if parent.is_empty() { &mut spec } else { &mut spec[parent] };
    object[name] = value.clone();
    spec
}

/// What the API server says to a destination with this spec: nothing when it accepts it.
fn refusal(spec: &Value) -> Option<String> {
    let manifest = json!({
        "apiVersion": "recordings.revenue.io/v1alpha1", "kind": "RecordingDestination",
        "metadata": {"name": "bounds", "namespace": "default"}, "spec": spec,
    });
    let create = ["create", "--dry-run=server", "--validate=strict", "--filename=-"];
    let done = kubectl_with(&create, &manifest.to_string());
    (!done.ok).then_some(done.stderr)
}

/// What a field must let pass, and what it must refuse.
fn edges(path: &str, schema: &Value) -> (Vec<Value>, Vec<Value>) {
    let number = |name: &str| schema[name].as_f64().map(|it| it as i64);
    match schema["type"].as_str().unwrap() {
        "integer" => {
            let least = number("minimum").unwrap_or_else(|| panic!("{path} has no minimum"));
            let most = number("maximum").unwrap_or_else(|| panic!("{path} has no maximum"));
            let beyond = [least - 1, most + 1, i64::from(i32::MAX), i64::MAX, i64::MIN];
            let mut refused: Vec<Value> = beyond.iter().map(|it| json!(it)).collect();
            refused.extend([json!(1e308), json!("3600"), json!([])]);
            (vec![json!(least), json!(most)], refused)
        }
        "boolean" => (vec![json!(true), json!(false)], vec![json!("true"), json!(1)]),
        "string" if schema["enum"].is_array() => {
            let passing = schema["enum"].as_array().unwrap().clone();
            // A KMS key is asked for beside its own type.
            let passing = passing.into_iter().filter(|value| *value != json!("KMS")).collect();
            (passing, vec![json!(""), json!("NONE"), json!("a".repeat(70_000)), json!(1)])
        }
        "string" => {
            let most = number("maxLength").unwrap_or_else(|| panic!("{path} has no maxLength")) as usize;
            let passing = match path {
                // A rule bounds these more tightly than the schema's maxLength does.
                "expectedBucketOwner" => vec![json!("0".repeat(12)), json!("9".repeat(12))],
                "roleARN" => vec![json!(format!(
                    "arn:aws:iam::111111111111:role/{}/{}",
                    "p".repeat(510),
                    "n".repeat(64)
                ))],
                _ => vec![json!(text_of(path, most))],
            };
            let refused = vec![
                json!(text_of(path, most + 1)),
                json!("a".repeat(1_000_000)),
                json!("\u{202e}a"),
                json!("a\u{1b}[2J"),
                json!(1),
            ];
            (passing, refused)
        }
        "array" => {
            let most = number("maxItems").unwrap_or_else(|| panic!("{path} has no maxItems")) as usize;
            let longest = number("maxLength")
                .or(schema["items"]["maxLength"].as_f64().map(|it| it as i64))
                .unwrap() as usize;
            let list = |count: usize, length: usize| -> Value {
                (0..count).map(|number| format!("{number:0>length$}")).collect::<Vec<_>>().into()
            };
            let refused = vec![
                list(most + 1, 8),
                list(1, longest + 1),
                list(100_000, 8),
                json!(["same", "same"]),
                json!("text"),
            ];
            (vec![list(most, longest), json!([])], refused)
        }
        other => panic!("{path} is of type {other}: say here what its edges are"),
    }
}

#[test]
fn each_field_is_accepted_at_its_bound_and_refused_beyond() {
    environment_or_skip!();
    let mut wrong = Vec::new();
    for (path, schema) in leaves("", &spec_schema()) {
        let (passing, refused) = edges(&path, &schema);
        for value in passing {
            if let Some(said) = refusal(&spec_with(&path, &value)) {
                wrong.push(format!("{path} must accept {}: {}", shortened(&value), said.trim()));
            }
        }
        for value in refused {
            let last = path.rsplit('.').next().unwrap();
            match refusal(&spec_with(&path, &value)) {
                None => wrong.push(format!("{path} must refuse {}", shortened(&value))),
                Some(said) if said.contains(last) => {}
                Some(said) => wrong.push(format!(
                    "{path}, {}: does not name the field: {}",
                    shortened(&value),
                    said.trim()
                )),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn shortened(value: &Value) -> String {
    value.to_string().chars().take(60).collect()
}
