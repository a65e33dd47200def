//! The output of commands: coloured text, JSON or YAML, and an exit code.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::printable::printable_lines;

/// The exit codes, as the help shows them.
pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  all is well
  1  something is wrong with what was looked at, and the output says what
  2  the command could not do its work: its arguments, a file, or the cluster
  3  no clear answer: not proved yet, or somebody did not answer in time";

/// The outcome of a command, which decides its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CommandOutcome {
    Well,
    /// Inconclusive.
    Unclear,
    /// The command found something wrong.
    Wrong,
    /// The command could not do its work.
    Failed,
}

impl From<CommandOutcome> for ExitCode {
    fn from(outcome: CommandOutcome) -> Self {
        ExitCode::from(match outcome {
            CommandOutcome::Well => 0,
            CommandOutcome::Wrong => 1,
            CommandOutcome::Failed => 2,
            CommandOutcome::Unclear => 3,
        })
    }
}

/// Why there is no report: what happened, and what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The command could not do its work.
    #[error("{0}")]
    Undone(String),
    /// There was no answer in time.
    #[error("{0}")]
    Unanswered(String),
}

impl Failure {
    pub(super) fn outcome(&self) -> CommandOutcome {
        match self {
            Failure::Undone(_) => CommandOutcome::Failed,
            Failure::Unanswered(_) => CommandOutcome::Unclear,
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

/// The result of a command. Programs get it serialized.
pub(super) trait Report: Serialize {
    /// The text for people. Styles are stripped where the output is not a terminal.
    fn text(&self) -> String;
    fn outcome(&self) -> CommandOutcome;
}

pub(super) fn print(report: &impl Report, format: Format) -> Result<CommandOutcome, Failure> {
    write(&mut anstream::stdout(), report, format)
}

pub(super) fn write(
    out: &mut impl Write,
    report: &impl Report,
    format: Format,
) -> Result<CommandOutcome, Failure> {
    let text = match format {
        Format::Text => printable_lines(&report.text(), &styles()),
        Format::Json => serde_json::to_string_pretty(report).expect("reports serialize") + "\n",
        Format::Yaml => serde_yaml::to_string(report).expect("reports serialize"),
    };
    match out.write_all(text.as_bytes()) {
        // A reader such as `head` may close the pipe early.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Undone(format!("the output cannot be written: {error}")))
        }
        _ => Ok(report.outcome()),
    }
}

/// Prints to standard error why the command failed.
pub(super) fn explain(failure: &Failure) {
    let failure = printable_lines(&failure.to_string(), &[]);
    anstream::eprintln!("{} {failure}", paint(BAD.bold(), "error:"));
}

/// Prints a note to standard error.
pub(super) fn note(text: &str) {
    anstream::eprintln!("{} {}", paint(DIM, "note:"), printable_lines(text, &[]));
}

pub(super) const GOOD: Style = AnsiColor::Green.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default();
pub(super) const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
pub(super) const DIM: Style = Style::new().dimmed();

/// What a terminal reads of each style that `paint` is given.
pub(super) fn styles() -> Vec<String> {
    let plain = [GOOD, BAD, DOUBTFUL, DIM, Style::new()];
    let all = plain.into_iter().flat_map(|style| [style, style.bold()]);
    all.flat_map(|style| [style.render().to_string(), style.render_reset().to_string()]).collect()
}

pub(super) fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_style_of_ours_passes_and_one_of_a_text_does_not() {
        for style in [GOOD, BAD, DOUBTFUL, DIM, Style::new()] {
            for style in [style, style.bold()] {
                assert_eq!(printable_lines(&paint(style, "é\n"), &styles()), paint(style, "é\n"));
            }
        }
        let hidden = paint(GOOD, "a\u{1b}[8mb");
        assert_eq!(printable_lines(&hidden, &styles()), paint(GOOD, "a\\u001b[8mb"));
    }
}
