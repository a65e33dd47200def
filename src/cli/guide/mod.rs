//! `guide`: what a customer has to do in its own AWS account, as text, page, script and templates.
//!
//! `pack` says it, `page` makes the HTML of it, `templates/` has the words; here is where they come from and go to.

mod pack;
mod page;
#[cfg(test)]
mod tests;

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;
use strum::IntoEnumIterator as _;

use super::files::{self, Source};
use super::lint::Manifests;
use super::output::{CommandOutcome, Failure, Report};
use super::yaml;
use crate::api::RecordingDestination;
use pack::{Format, Pack};

const KIND: &str = "RecordingDestination";

/// What to write a guide for: a RecordingDestination in a file, or the few values that make one.
///
/// Nothing of an External ID is in it: the customer chooses it, and fills it in where the guide says so.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// File or directory with the RecordingDestination; - is standard input.
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["bucket", "region", "account", "role_arn", "prefix", "kms_key_arn"])]
    filename: Option<PathBuf>,
    /// Name of the destination, where the file has several.
    #[arg(requires = "filename")]
    name: Option<String>,
    /// The customer's bucket.
    #[arg(long, required_unless_present = "filename")]
    bucket: Option<String>,
    /// The bucket's region.
    #[arg(long, required_unless_present = "filename")]
    region: Option<String>,
    /// The customer's AWS account, 12 digits.
    #[arg(long, required_unless_present_any = ["filename", "role_arn"])]
    account: Option<String>,
    /// ARN of the customer's role; revenue-call-recording-writer of the account when absent.
    #[arg(long)]
    role_arn: Option<String>,
    /// Prefix of every key, such as calls/.
    #[arg(long)]
    prefix: Option<String>,
    /// ARN of the KMS key that recordings are to be encrypted with.
    #[arg(long)]
    kms_key_arn: Option<String>,
    /// The platform's principal, by ARN, which the role is to trust: the chart's platform.principalARN.
    #[arg(long, value_name = "ARN")]
    platform_principal_arn: String,
    /// What to print.
    #[arg(long, value_enum, default_value_t = Format::Markdown)]
    format: Format,
    /// Write everything into this directory instead, which is made if need be.
    #[arg(short, long, conflicts_with = "format")]
    directory: Option<PathBuf>,
}

/// What was handed over.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Handed {
    /// One text.
    Printed {
        /// Name that it goes by in a directory.
        file: &'static str,
        /// The whole of it.
        text: String,
    },
    /// All of them, as files.
    Written {
        /// Where they are.
        files: Vec<PathBuf>,
    },
}

pub(super) fn run(arguments: &Arguments) -> Result<Handed, Failure> {
    let destination = destination(arguments)?;
    let pack = Pack::new(&destination.spec, &arguments.platform_principal_arn);
    let pack = pack.map_err(|unfit| Failure::Undone(unfit.to_string()))?;
    match &arguments.directory {
        None => Ok(Handed::Printed { file: arguments.format.file(), text: pack.render(arguments.format) }),
        Some(directory) => {
            fs::create_dir_all(directory).map_err(|error| failed(directory, &error.to_string()))?;
            let files = Format::iter().map(|format| write(directory, format, &pack.render(format)));
            Ok(Handed::Written { files: files.collect::<Result<_, _>>()? })
        }
    }
}

/// The one that is asked for. Others in the file, and its Secrets, are left alone.
fn destination(arguments: &Arguments) -> Result<RecordingDestination, Failure> {
    let mut sources = match &arguments.filename {
        Some(file) => files::read(std::slice::from_ref(file), false)?,
        None => {
            let text = of_flags(arguments).to_string();
            vec![Source { name: "the arguments".to_owned(), documents: yaml::documents(&text) }]
        }
    };
    for read in sources.iter_mut().flat_map(|source| source.documents.as_mut()) {
        read.retain(|node| node.text(&["kind"]).is_some_and(|kind| kind == KIND || kind.ends_with("List")));
    }
    let Manifests { findings, destinations } = Manifests::read(&sources);
    let is_there = !destinations.is_empty();
    let wanted = |destination: &RecordingDestination| match &arguments.name {
        Some(name) => destination.metadata.name.as_ref() == Some(name),
        None => true,
    };
    let mut fitting: Vec<_> =
        destinations.into_iter().map(|(destination, _)| destination).filter(wanted).collect();
    match fitting.pop() {
        Some(destination) if fitting.is_empty() => Ok(destination),
        Some(_) => {
            Err(Failure::Undone(format!("{} has several destinations: name the one", sources[0].name)))
        }
        None => Err(Failure::Undone(match findings.first() {
            Some((field, message)) if !is_there => format!("{}: {field}: {message}", sources[0].name),
            _ => format!("{} has no such RecordingDestination", sources[0].name),
        })),
    }
}

fn of_flags(arguments: &Arguments) -> serde_json::Value {
    let account = arguments.account.as_deref().unwrap_or_default();
    let role = || format!("arn:aws:iam::{account}:role/revenue-call-recording-writer");
    let mut spec = json!({
        "bucket": arguments.bucket, "region": arguments.region,
        "roleARN": arguments.role_arn.clone().unwrap_or_else(role),
        "externalIDSecretRef": {"name": "external-id"},
    });
    if let Some(prefix) = &arguments.prefix {
        spec["prefix"] = json!(prefix);
    }
    if let Some(key) = &arguments.kms_key_arn {
        spec["encryption"] = json!({"type": "KMS", "kmsKeyARN": key});
    }
    json!({
        "apiVersion": "recordings.revenue.io/v1alpha1", "kind": KIND,
        "metadata": {"name": "guide"}, "spec": spec,
    })
}

/// Never over a file with another content: the directory may be somebody's Terraform.
fn write(directory: &Path, format: Format, text: &str) -> Result<PathBuf, Failure> {
    let file = directory.join(format.file());
    match fs::read_to_string(&file) {
        Ok(there) if there == text => return Ok(file),
        Ok(_) => return Err(failed(&file, "it is there already; remove it, or name another directory")),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(&file, &error.to_string())),
    }
    let mode = if format == Format::Script { 0o755 } else { 0o644 };
    let written =
        fs::write(&file, text).and_then(|()| fs::set_permissions(&file, Permissions::from_mode(mode)));
    written.map_err(|error| failed(&file, &error.to_string()))?;
    Ok(file)
}

fn failed(path: &Path, cause: &str) -> Failure {
    Failure::Undone(format!("{} cannot be written: {cause}", path.display()))
}

impl Report for Handed {
    fn text(&self) -> String {
        match self {
            Handed::Printed { text, .. } => text.clone(),
            Handed::Written { files } => {
                let lines = files.iter().zip(Format::iter()).map(|(file, format)| {
                    let file = file.display().to_string();
                    format!("{file:<40} {}\n", format.purpose())
                });
                lines.collect::<String>() + "\nSend the customer guide.html: it has the others in it.\n"
            }
        }
    }

    fn outcome(&self) -> CommandOutcome {
        CommandOutcome::Well
    }
}
