//! The Secrets that destinations name. Of an External ID nothing is ever shown.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::findings::{Document, Findings, did_you_mean};
use crate::api::{EXTERNAL_ID_SECRET_TYPE, RecordingDestination};
use crate::cli::yaml::{Content, Field, Node};
use crate::domain::trust::weakness;
use crate::secret::{ExternalID, MalformedExternalID};

/// The External ID that a destination would be proved with, if the files have it in order.
pub(super) fn external_id(
    document: &Document,
    destination: &RecordingDestination,
    documents: &[Document],
    findings: &mut Findings,
) -> Option<ExternalID> {
    let reference = &destination.spec.external_id_secret_ref;
    let line = document.line(&["spec", "externalIDSecretRef", "name"]);
    let named = |other: &&Document| other.kind() == "Secret" && other.name() == reference.name;
    let here = |other: &&Document| other.namespace() == document.namespace();
    let Some(secret) = documents.iter().filter(named).find(here) else {
        let name = &reference.name;
        let field = "spec.externalIDSecretRef.name";
        match documents.iter().find(named) {
            Some(other) => {
                let message = format!(
                    "Secret {name} of {}:{} is of another namespace, and only one of the destination's own is read: \
                     give both the same metadata.namespace",
                    other.file, other.node.line
                );
                findings.error(document, line, field, message);
            }
            None => {
                let message = format!(
                    "Secret {name} is not in these files: unless the namespace has it, add one of type \
                     {EXTERNAL_ID_SECRET_TYPE} with the key {}",
                    reference.key
                );
                findings.warning(document, line, field, message);
            }
        }
        return None;
    };
    if secret.node.text(&["type"]) != Some(EXTERNAL_ID_SECRET_TYPE) {
        let message = format!(
            "it must be {EXTERNAL_ID_SECRET_TYPE}: a Secret of another type is never read. A type cannot be changed; \
             where the Secret exists, delete it first"
        );
        findings.error(secret, secret.line(&["type"]), "type", message);
        return None;
    }
    let Some((path, field)) = entry(secret, &reference.key) else {
        let keys: Vec<_> = entries(secret).map(|(_, field)| field.name.as_str()).collect();
        let fix = match did_you_mean(&reference.key, &keys) {
            Some(meant) => format!("rename {meant} to it"),
            None => "add it".to_owned(),
        };
        let message = format!("it has no key {}, which {}:{line} names: {fix}", reference.key, document.file);
        findings.error(secret, secret.line(&["stringData"]), "stringData", message);
        return None;
    };
    let spec = &destination.spec;
    let account = spec.role_arn.split(':').nth(4).unwrap_or_default();
    let names = [document.name(), document.namespace().unwrap_or_default(), &spec.bucket, account];
    entry_in_order(secret, path, field, &names, findings)
}

/// Checks Secrets of the operator's type that no destination of the files names.
pub(super) fn unnamed(
    destinations: &[(&Document, RecordingDestination)],
    documents: &[Document],
    findings: &mut Findings,
) {
    let is_ours = |secret: &&Document| {
        secret.kind() == "Secret" && secret.node.text(&["type"]) == Some(EXTERNAL_ID_SECRET_TYPE)
    };
    for secret in documents.iter().filter(is_ours) {
        let is_named = destinations.iter().any(|(document, destination)| {
            let name = &destination.spec.external_id_secret_ref.name;
            secret.name() == name && secret.namespace() == document.namespace()
        });
        if !is_named {
            let names = [secret.name(), secret.namespace().unwrap_or_default()];
            entries(secret).for_each(|(path, field)| {
                entry_in_order(secret, path, field, &names, findings);
            });
        }
    }
}

/// The External ID of an entry; finds what is wrong with it, and whether `names` make it easy to guess.
fn entry_in_order(
    secret: &Document,
    path: &str,
    entry: &Field,
    names: &[&str],
    findings: &mut Findings,
) -> Option<ExternalID> {
    let field = format!("{path}.{}", entry.name);
    match read(entry, path == "data") {
        Ok(id) => {
            if let Some(weakness) = weakness(&id, names) {
                let message = format!(
                    "the External ID {weakness}: have the customer choose a random one, such as uuidgen or kubectl \
                     recordings init makes, and put it into the role's trust policy as well"
                );
                findings.warning(secret, entry.line, &field, message);
            }
            Some(id)
        }
        Err(problem) => {
            findings.error(secret, entry.line, &field, problem);
            None
        }
    }
}

/// All entries; those of `stringData` come before those of `data`, as they do for the API server.
fn entries<'a>(secret: &'a Document) -> impl Iterator<Item = (&'static str, &'a Field)> {
    ["stringData", "data"].into_iter().flat_map(|path| {
        let fields = secret.node.at(&[path]).map(Node::fields).unwrap_or_default();
        fields.iter().rev().map(move |field| (path, field))
    })
}

fn entry<'a>(secret: &'a Document, key: &str) -> Option<(&'static str, &'a Field)> {
    entries(secret).find(|(_, field)| field.name == key)
}

fn read(field: &Field, is_encoded: bool) -> Result<ExternalID, String> {
    let Content::Scalar(Value::String(text)) = &field.value.content else {
        return Err("it must be text: put it in quotes".to_owned());
    };
    let malformed = |rule: MalformedExternalID| format!("it is not an External ID: {rule}");
    if !is_encoded {
        return ExternalID::parse(text).map_err(malformed);
    }
    let decoded = STANDARD.decode(text).ok();
    let Some(decoded) = decoded else {
        return Err("it must be Base64: put text as it is into stringData instead".to_owned());
    };
    let text = std::str::from_utf8(&decoded).map_err(|_| malformed(MalformedExternalID::Character))?;
    ExternalID::parse(text).map_err(malformed)
}
