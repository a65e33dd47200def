//! What lint found, where, and how it is shown.

use serde::Serialize;

use crate::cli::output::{BAD, CommandOutcome, DIM, DOUBTFUL, GOOD, Report, paint};
use crate::cli::yaml::Node;

pub(super) const KIND: &str = "RecordingDestination";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Findings {
    /// Documents that were read.
    pub(super) documents: usize,
    /// RecordingDestinations among them.
    pub(super) destinations: usize,
    pub(super) findings: Vec<Finding>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Severity {
    /// It is refused, or cannot work, or lets others in.
    Error,
    /// It may be meant.
    Warning,
}

#[derive(PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Finding {
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) severity: Severity,
    /// Kind and name; empty when the text could not be read.
    pub(super) object: String,
    pub(super) field: String,
    /// The rule and the fix.
    pub(super) message: String,
}

/// One object of one file.
pub(super) struct Document<'a> {
    pub(super) file: &'a str,
    pub(super) node: &'a Node,
}

impl Document<'_> {
    pub(super) fn kind(&self) -> &str {
        self.node.text(&["kind"]).unwrap_or_default()
    }

    pub(super) fn name(&self) -> &str {
        self.node.text(&["metadata", "name"]).unwrap_or_default()
    }

    /// `None` for the namespace that it is applied in.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.node.text(&["metadata", "namespace"])
    }

    /// Line of the key under a path, or of the nearest above it that is there.
    pub(super) fn line(&self, path: &[&str]) -> usize {
        let mut node = self.node;
        let mut line = node.line;
        for key in path {
            let Some(field) = node.fields().iter().rev().find(|field| field.name == *key) else { break };
            (node, line) = (&field.value, field.line);
        }
        line
    }
}

impl Findings {
    fn add(&mut self, severity: Severity, document: &Document, line: usize, field: &str, message: String) {
        let object = format!("{} {}", document.kind(), document.name()).trim().to_owned();
        let (file, field) = (document.file.to_owned(), field.to_owned());
        self.findings.push(Finding { file, line, severity, object, field, message });
    }

    pub(super) fn error(&mut self, document: &Document, line: usize, field: &str, message: String) {
        self.add(Severity::Error, document, line, field, message);
    }

    pub(super) fn warning(&mut self, document: &Document, line: usize, field: &str, message: String) {
        self.add(Severity::Warning, document, line, field, message);
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// Field and message of the first.
    pub(crate) fn first(&self) -> Option<(&str, &str)> {
        self.findings.first().map(|finding| (finding.field.as_str(), finding.message.as_str()))
    }

    pub(super) fn errors(&self) -> usize {
        self.count(Severity::Error)
    }
}

/// The known word that was probably meant.
pub(super) fn did_you_mean<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let likeness = |known: &str| strsim::jaro_winkler(&given.to_lowercase(), &known.to_lowercase());
    let best = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.85).then_some(best)
}

impl Report for Findings {
    fn text(&self) -> String {
        let mut text = String::new();
        for Finding { file, line, severity, field, message, .. } in &self.findings {
            let severity = match severity {
                Severity::Error => paint(BAD, "error"),
                Severity::Warning => paint(DOUBTFUL, "warning"),
            };
            let field = if field.is_empty() { String::new() } else { format!("{field}: ") };
            text.push_str(&format!("{file}:{line}: {severity}: {field}{message}\n"));
        }
        let counted = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
        let (errors, warnings) = (self.errors(), self.count(Severity::Warning));
        let read =
            format!("{}, {}", counted(self.documents, "document"), counted(self.destinations, "destination"));
        let summary = match (errors, warnings) {
            (0, 0) => paint(GOOD, "nothing is wrong with them"),
            _ => format!("{}, {}", counted(errors, "error"), counted(warnings, "warning")),
        };
        text.push_str(&format!("{} {summary}\n", paint(DIM, &format!("{read}:"))));
        text
    }

    /// Warnings leave it well.
    fn outcome(&self) -> CommandOutcome {
        if self.errors() > 0 { CommandOutcome::Wrong } else { CommandOutcome::Well }
    }
}
