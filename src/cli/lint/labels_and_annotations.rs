//! Labels and annotations of the operator: whether each exists, and is on the kind that it applies to.

use serde_json::Value;

use super::findings::{Document, Findings, KIND, did_you_mean};
use crate::api::{
    ALLOWED_ACCOUNTS_ANNOTATION, CREDENTIALS_ANNOTATION, DESTINATION_ANNOTATION, INJECT_LABEL,
    REVALIDATE_ANNOTATION, SIDECAR_CPU_LIMIT_ANNOTATION, SIDECAR_CPU_REQUEST_ANNOTATION,
    SIDECAR_EPHEMERAL_STORAGE_LIMIT_ANNOTATION, SIDECAR_EPHEMERAL_STORAGE_REQUEST_ANNOTATION,
    SIDECAR_LOG_LEVEL_ANNOTATION, SIDECAR_MEMORY_LIMIT_ANNOTATION, SIDECAR_MEMORY_REQUEST_ANNOTATION,
    SPOOL_PATH_ANNOTATION, SPOOL_VOLUME_ANNOTATION,
};
use crate::cli::pods;
use crate::cli::yaml::{Content, Node};

const OURS: &str = "recordings.revenue.io/";

/// Key, whether it is a label or an annotation, and the kind that it is read on.
const KNOWN: [(&str, &str, &str); 14] = [
    (INJECT_LABEL, "labels", "Pod"),
    (DESTINATION_ANNOTATION, "annotations", "Pod"),
    (SPOOL_VOLUME_ANNOTATION, "annotations", "Pod"),
    (SPOOL_PATH_ANNOTATION, "annotations", "Pod"),
    (CREDENTIALS_ANNOTATION, "annotations", "Pod"),
    (SIDECAR_CPU_REQUEST_ANNOTATION, "annotations", "Pod"),
    (SIDECAR_CPU_LIMIT_ANNOTATION, "annotations", "Pod"),
    (SIDECAR_MEMORY_REQUEST_ANNOTATION, "annotations", "Pod"),
    (SIDECAR_MEMORY_LIMIT_ANNOTATION, "annotations", "Pod"),
    (SIDECAR_EPHEMERAL_STORAGE_REQUEST_ANNOTATION, "annotations", "Pod"),
    (SIDECAR_EPHEMERAL_STORAGE_LIMIT_ANNOTATION, "annotations", "Pod"),
    (SIDECAR_LOG_LEVEL_ANNOTATION, "annotations", "Pod"),
    (REVALIDATE_ANNOTATION, "annotations", KIND),
    (ALLOWED_ACCOUNTS_ANNOTATION, "annotations", "Namespace"),
];

pub(super) fn check(document: &Document, findings: &mut Findings) {
    let kind = document.kind();
    of_metadata(document, document.node, kind, "metadata", findings);
    if let Some(template) = pods::template(kind, document.node).filter(|_| kind != "Pod") {
        of_metadata(document, template, "Pod", "template.metadata", findings);
    }
}

fn of_metadata(document: &Document, object: &Node, kind: &str, path: &str, findings: &mut Findings) {
    let is_labelled = object.at(&["metadata", "labels", INJECT_LABEL]).is_some();
    for place in ["labels", "annotations"] {
        let fields = object.at(&["metadata", place]).map(Node::fields).unwrap_or_default();
        for field in fields.iter().filter(|field| field.name.starts_with(OURS)) {
            let path = format!("{path}.{place}.{}", field.name);
            match KNOWN.iter().find(|(key, ..)| *key == field.name) {
                None => {
                    let known: Vec<_> = KNOWN.iter().map(|(key, ..)| &key[OURS.len()..]).collect();
                    let fix = did_you_mean(&field.name[OURS.len()..], &known);
                    let fix =
                        fix.map_or("remove it".to_owned(), |meant| format!("did you mean {OURS}{meant}?"));
                    findings.warning(document, field.line, &path, format!("nobody reads this: {fix}"));
                }
                Some((_, wanted, on)) if *wanted != place || *on != kind => {
                    let whose = match *on {
                        "Pod" => "of the pod, in a Deployment and its like of the pod template",
                        KIND => "of the RecordingDestination",
                        _ => "of the Namespace",
                    };
                    let message = format!("nobody reads it here: move it to metadata.{wanted} {whose}");
                    findings.warning(document, field.line, &path, message);
                }
                Some(_) if place == "annotations" && kind == "Pod" && !is_labelled => {
                    let message = format!(
                        "it is read only on pods with the label {INJECT_LABEL}: \"true\", and without a sidecar recordings \
                         stay in the pod: add the label, or remove the annotation"
                    );
                    findings.warning(document, field.line, &path, message);
                }
                Some(_) => value(document, field.line, &path, &field.value, place, findings),
            }
        }
    }
}

fn value(document: &Document, line: usize, path: &str, value: &Node, place: &str, findings: &mut Findings) {
    match &value.content {
        Content::Scalar(Value::String(text))
            if place == "labels" && !["true", "false"].contains(&text.as_str()) =>
        {
            let message =
                "pods with it are refused: write \"true\" for a sidecar, or \"false\" or no label for none";
            findings.error(document, line, path, message.to_owned());
        }
        Content::Scalar(Value::String(_)) => {}
        _ => findings.error(document, line, path, "it must be text: put it in quotes".to_owned()),
    }
}
