//! The checks of the API server at apply: the schema and the CEL rules of the CustomResourceDefinition.

use std::sync::LazyLock;

use kube::core::cel::Validator;
use serde_json::{Map, Value};

use super::findings::{Document, Findings, did_you_mean};
use crate::api::crd;
use crate::cli::yaml::{Content, Node};

/// The schema of `spec`.
static SPEC: LazyLock<Value> = LazyLock::new(|| {
    let crd = serde_json::to_value(crd()).expect("a CRD serializes");
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
});

pub(super) fn check(document: &Document, spec: &Node, findings: &mut Findings) {
    let before = findings.errors();
    let mut walk = Walk { document, findings };
    walk.node(&SPEC, spec, "spec");
    if findings.errors() > before {
        // Like the API server, which evaluates no rule on what has the wrong shape.
        return;
    }
    let failures = Validator::new().validate(&SPEC, &without_nulls(spec.value()), None);
    for failure in failures.err().into_iter().flat_map(|failures| failures.into_vec()) {
        // A rule of the whole spec names the field with the dot that the API server asks for.
        let path = failure.field_path.trim_start_matches('.');
        let field = if path.is_empty() { "spec".to_owned() } else { format!("spec.{path}") };
        let line = line_of(spec, path);
        findings.error(document, line, &field, failure.message);
    }
}

struct Walk<'a, 'f> {
    document: &'a Document<'a>,
    findings: &'f mut Findings,
}

impl Walk<'_, '_> {
    fn node(&mut self, schema: &Value, node: &Node, path: &str) {
        let problem = match &node.content {
            Content::Map(_) if schema["type"] == "object" => return self.fields(schema, node, path),
            Content::List(items) if schema["type"] == "array" => {
                return self.items(schema, items, node.line, path);
            }
            Content::Scalar(value) => scalar(schema, value),
            Content::Map(_) | Content::List(_) => Some(wrong_type(schema, &node.content)),
        };
        if let Some(problem) = problem {
            self.findings.error(self.document, node.line, path, problem);
        }
    }

    fn fields(&mut self, schema: &Value, node: &Node, path: &str) {
        let none = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&none);
        let mut meant = Vec::new();
        for field in node.fields() {
            let path = format!("{path}.{}", field.name);
            match properties.get(&field.name) {
                // What is null is not there.
                Some(_) if is_null(&field.value) => {}
                Some(schema) => self.node(schema, &field.value, &path),
                None => {
                    let known: Vec<_> = properties.keys().map(String::as_str).collect();
                    let fix = match did_you_mean(&field.name, &known) {
                        Some(known) => {
                            meant.push(known);
                            format!("did you mean {known}?")
                        }
                        None => format!("remove it; known are {}", known.join(", ")),
                    };
                    self.findings.error(
                        self.document,
                        field.line,
                        &path,
                        format!("there is no such field: {fix}"),
                    );
                }
            }
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if node.at(&[name]).is_none_or(is_null) && !meant.contains(&name) {
                let what = properties[name]["description"].as_str().unwrap_or_default().replace('\n', " ");
                let message = format!("it is missing: add it. {what}");
                self.findings.error(self.document, node.line, &format!("{path}.{name}"), message);
            }
        }
    }

    fn items(&mut self, schema: &Value, items: &[Node], line: usize, path: &str) {
        if let Some(most) = schema["maxItems"].as_u64().filter(|most| items.len() as u64 > *most) {
            let message = format!("it has {} entries: at most {most} are taken", items.len());
            self.findings.error(self.document, line, path, message);
        }
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let twice = items[..index].iter().any(|other| other.value() == item.value());
            if twice && schema["x-kubernetes-list-type"] == "set" {
                self.findings.error(
                    self.document,
                    item.line,
                    &path,
                    "it is in the list twice: remove one".to_owned(),
                );
            }
            self.node(&schema["items"], item, &path);
        }
    }
}

fn scalar(schema: &Value, value: &Value) -> Option<String> {
    if let Some(allowed) = schema["enum"].as_array() {
        let allowed: Vec<_> = allowed.iter().filter_map(Value::as_str).collect();
        return match value.as_str() {
            Some(text) if allowed.contains(&text) => None,
            given => {
                let meant = given.and_then(|text| did_you_mean(text, &allowed));
                let meant = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
                Some(format!("it must be one of {}{meant}", allowed.join(", ")))
            }
        };
    }
    match (schema["type"].as_str()?, value) {
        ("string", Value::String(text)) => {
            let length = text.chars().count() as u64;
            let bound = |name: &str| schema[name].as_u64();
            if let Some(least) = bound("minLength").filter(|least| length < *least) {
                return Some(format!("it has {length} characters: it must have at least {least}"));
            }
            let most = bound("maxLength").filter(|most| length > *most)?;
            Some(format!("it has {length} characters: it may have at most {most}"))
        }
        ("integer", Value::Number(number)) if number.is_i64() => {
            let bound = |name: &str| schema[name].as_f64().map(|bound| bound as i64);
            let number = number.as_i64()?;
            if let Some(least) = bound("minimum").filter(|least| number < *least) {
                return Some(format!("it is {number}: it must be at least {least}"));
            }
            let most = bound("maximum").filter(|most| number > *most)?;
            Some(format!("it is {number}: it may be at most {most}"))
        }
        ("boolean", Value::Bool(_)) => None,
        _ => Some(wrong_type(schema, &Content::Scalar(value.clone()))),
    }
}

/// Names what is there by its kind alone: a value in the wrong place may be an External ID.
fn wrong_type(schema: &Value, given: &Content) -> String {
    let is_scalar = matches!(given, Content::Scalar(_));
    let given = match given {
        Content::Map(_) => "a mapping",
        Content::List(_) => "a list",
        Content::Scalar(Value::String(_)) => "text",
        Content::Scalar(Value::Number(_)) => "a number",
        Content::Scalar(Value::Bool(_)) => "true or false",
        Content::Scalar(_) => "null",
    };
    let (wanted, fix) = match schema["type"].as_str() {
        Some("string") => ("text", "put it in quotes"),
        Some("integer") => ("a whole number", "write it without quotes, e.g. 3600"),
        Some("boolean") => ("true or false", "write true or false without quotes"),
        Some("array") => ("a list", "begin each entry with a hyphen"),
        _ => ("a mapping", "write its fields below it, indented"),
    };
    let fix = if is_scalar || matches!(wanted, "a list" | "a mapping") { fix } else { "write one value" };
    format!("it is {given} and must be {wanted}: {fix}")
}

fn is_null(node: &Node) -> bool {
    matches!(&node.content, Content::Scalar(Value::Null))
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        other => other,
    }
}

/// The line of a field, or of the nearest above it that is there.
fn line_of(spec: &Node, path: &str) -> usize {
    let mut node = spec;
    let mut line = spec.line;
    for name in path.split('.').filter(|name| !name.is_empty()) {
        let Some(field) = node.fields().iter().find(|field| field.name == name) else { break };
        (node, line) = (&field.value, field.line);
    }
    line
}
