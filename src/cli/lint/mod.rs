//! `lint`: what is wrong with manifests, before they are applied.

mod findings;
mod labels_and_annotations;
mod schema;
mod secrets;
mod tenants;
#[cfg(test)]
mod tests;

pub(super) use findings::Findings;

use super::files::{Filenames, Source};
use super::output::Failure;
use super::pods;
use super::yaml::{Content, Node};
use crate::api::{RecordingDestination, is_object_name};
use crate::secret::ExternalID;
use findings::{Document, Finding, KIND, Severity, did_you_mean};

/// What to lint: destinations, their Secrets, Namespaces and pods.
///
/// What belongs together is best given together: only then is seen what does not fit.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    files: Filenames,
}

pub(super) fn run(arguments: &Arguments) -> Result<Findings, Failure> {
    Ok(Manifests::read(&arguments.files.read()?).findings)
}

/// Manifests with what lint found.
pub(super) struct Manifests {
    pub findings: Findings,
    /// The destinations that the API server would accept, each with its External ID from the files.
    pub destinations: Vec<(RecordingDestination, Option<ExternalID>)>,
}

impl Manifests {
    pub(super) fn read(sources: &[Source]) -> Self {
        let mut findings = Findings { documents: 0, destinations: 0, findings: Vec::new() };
        let mut documents = Vec::new();
        for Source { name, documents: read } in sources {
            match read {
                Ok(read) => read.iter().for_each(|node| collect(name, node, &mut documents)),
                Err(malformed) => findings.findings.push(Finding {
                    file: name.clone(),
                    line: malformed.line,
                    severity: Severity::Error,
                    object: String::new(),
                    field: String::new(),
                    message: format!("this is not YAML that Kubernetes reads: {}", malformed.problem),
                }),
            }
        }
        findings.documents = documents.len();
        let mut destinations = Vec::new();
        for (index, document) in documents.iter().enumerate() {
            check_object(document, &documents[..index], &mut findings);
            if is_destination(document) {
                findings.destinations += 1;
                destinations.extend(destination(document, &mut findings).map(|read| (document, read)));
            }
        }
        let ids = tenants::check(&destinations, &documents, &mut findings);
        let place = |file: &str| sources.iter().position(|source| source.name == file);
        findings.findings.sort_by_key(|finding| (place(&finding.file), finding.line));
        // Of a Secret that two destinations name.
        findings.findings.dedup();
        let destinations = destinations.into_iter().map(|(_, destination)| destination).zip(ids).collect();
        Manifests { findings, destinations }
    }
}

/// Checks that apply to any object.
fn check_object(document: &Document, earlier: &[Document], findings: &mut Findings) {
    duplicate_keys(document, document.node, "", findings);
    namesakes(document, earlier, findings);
    labels_and_annotations::check(document, findings);
    for refusal in pods::of(document.node).iter().filter_map(pods::Pod::refusal) {
        findings.error(document, document.node.line, "", format!("its pod would be refused: {refusal}"));
    }
}

/// A List counts as its items.
fn collect<'a>(file: &'a str, node: &'a Node, documents: &mut Vec<Document<'a>>) {
    match node.at(&["items"]) {
        Some(items) if node.text(&["kind"]).is_some_and(|kind| kind.ends_with("List")) => {
            items.items().iter().for_each(|item| collect(file, item, documents));
        }
        _ => documents.push(Document { file, node }),
    }
}

fn duplicate_keys(document: &Document, node: &Node, path: &str, findings: &mut Findings) {
    for (index, field) in node.fields().iter().enumerate() {
        let path = if path.is_empty() { field.name.clone() } else { format!("{path}.{}", field.name) };
        if let Some(first) = node.fields()[..index].iter().find(|other| other.name == field.name) {
            let message = format!(
                "the key is there already, on line {}: remove one, as only one would count",
                first.line
            );
            findings.error(document, field.line, &path, message);
        }
        duplicate_keys(document, &field.value, &path, findings);
    }
    for (index, item) in node.items().iter().enumerate() {
        duplicate_keys(document, item, &format!("{path}[{index}]"), findings);
    }
}

fn namesakes(document: &Document, earlier: &[Document], findings: &mut Findings) {
    let same = |other: &&Document| {
        (other.kind(), other.namespace(), other.name())
            == (document.kind(), document.namespace(), document.name())
    };
    if document.name().is_empty() {
        return;
    }
    if let Some(first) = earlier.iter().find(same) {
        let message = format!(
            "{}:{} has the same kind and name: the later one would replace it; rename one",
            first.file, first.node.line
        );
        findings.error(document, document.line(&["metadata", "name"]), "metadata.name", message);
    }
}

/// Whether it is, or is meant to be, a RecordingDestination.
fn is_destination(document: &Document) -> bool {
    let version = document.node.text(&["apiVersion"]).unwrap_or_default();
    version.starts_with("recordings.revenue.io/") || document.kind() == KIND
}

const VERSION: &str = "recordings.revenue.io/v1alpha1";

/// The destination, if the API server would take it.
fn destination(document: &Document, findings: &mut Findings) -> Option<RecordingDestination> {
    let before = findings.errors();
    for (field, wanted) in [("apiVersion", VERSION), ("kind", KIND)] {
        if document.node.text(&[field]) != Some(wanted) {
            findings.error(document, document.line(&[field]), field, format!("it must be {wanted}"));
        }
    }
    for field in document.node.fields() {
        let known = ["apiVersion", "kind", "metadata", "spec", "status"];
        if !known.contains(&field.name.as_str()) {
            let meant = did_you_mean(&field.name, &known).unwrap_or("spec");
            findings.error(
                document,
                field.line,
                &field.name,
                format!("there is no such field: did you mean {meant}?"),
            );
        }
    }
    if !document.node.text(&["metadata", "name"]).is_some_and(is_object_name) {
        let message = "it must be a name of lower-case letters, digits, - and ., in quotes if it looks like a number, e.g. acme";
        findings.error(document, document.line(&["metadata", "name"]), "metadata.name", message.to_owned());
    }
    match document.node.at(&["spec"]) {
        Some(spec) if matches!(spec.content, Content::Map(_)) => {
            schema::check(document, spec, findings);
        }
        _ => findings.error(
            document,
            document.node.line,
            "spec",
            "it is missing: write it below kind and metadata".to_owned(),
        ),
    }
    if findings.errors() > before {
        return None;
    }
    serde_json::from_value(document.node.value()).ok()
}
