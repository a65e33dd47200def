//! How commands answer: in words and colours, in JSON or YAML, and by an exit code.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

/// The exit codes, as the help shows them.
pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  all is well
  1  something is wrong with what was looked at, and the output says what
  2  the command could not do its work: its arguments, a file, or the cluster
  3  no clear answer: not proved yet, or somebody did not answer in time";

/// What a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// All is well.
    Well,
    /// There is no clear answer.
    Unclear,
    /// Something is wrong with what was looked at.
    Wrong,
    /// The command could not do its work.
    Failed,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        ExitCode::from(match outcome {
            Outcome::Well => 0,
            Outcome::Wrong => 1,
            Outcome::Failed => 2,
            Outcome::Unclear => 3,
        })
    }
}

/// Why there is nothing to report: what happened, and what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The command could not do its work.
    #[error("{0}")]
    Undone(String),
    /// Nobody answered in time.
    #[error("{0}")]
    Unanswered(String),
}

impl Failure {
    /// What the command came to.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Failure::Undone(_) => Outcome::Failed,
            Failure::Unanswered(_) => Outcome::Unclear,
        }
    }
}

/// Form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON document.
    Json,
    /// The same as YAML.
    Yaml,
}

/// What a command has to say; serialized, it is what programs get.
pub(super) trait Report: Serialize {
    /// The same in words. Styles are taken out again where the output is not a terminal.
    fn text(&self) -> String;
    /// What it comes to.
    fn outcome(&self) -> Outcome;
}

/// Prints a report to standard output.
pub(super) fn print(report: &impl Report, format: Format) -> Result<Outcome, Failure> {
    write(&mut anstream::stdout(), report, format)
}

/// Writes a report to where it is seen.
pub(super) fn write(out: &mut impl Write, report: &impl Report, format: Format) -> Result<Outcome, Failure> {
    let text = match format {
        Format::Text => report.text(),
        Format::Json => serde_json::to_string_pretty(report).expect("reports serialize") + "\n",
        Format::Yaml => serde_yaml::to_string(report).expect("reports serialize"),
    };
    match out.write_all(text.as_bytes()) {
        // `| head` has seen enough.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Undone(format!("the output cannot be written: {error}")))
        }
        _ => Ok(report.outcome()),
    }
}

/// Says on standard error why the command did not do its work.
pub(super) fn explain(failure: &Failure) {
    anstream::eprintln!("{} {failure}", paint(BAD.bold(), "error:"));
}

/// Says something beside the output, on standard error.
pub(super) fn note(text: &str) {
    anstream::eprintln!("{} {text}", paint(DIM, "note:"));
}

/// In order.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// Not in order.
pub(super) const BAD: Style = AnsiColor::Red.on_default();
/// Not known to be in order.
pub(super) const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
/// Of lesser weight.
pub(super) const DIM: Style = Style::new().dimmed();

/// The text in a style.
pub(super) fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}
