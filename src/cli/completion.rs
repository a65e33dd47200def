//! Shell completion, for `kubectl recordings` and for `kubectl-recordings`.

use std::ffi::OsString;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;

use super::output::CommandOutcome;

/// Which script to print.
///
/// It completes `kubectl-recordings`. kubectl completes `kubectl recordings` by a command on PATH of which this one is
/// the same: ln -s kubectl-recordings kubectl_complete-recordings
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The shell.
    shell: Shell,
}

/// Prints the script that completes `command`.
pub(super) fn run(arguments: &Arguments, mut command: Command) -> CommandOutcome {
    clap_complete::generate(arguments.shell, &mut command, "kubectl-recordings", &mut std::io::stdout());
    CommandOutcome::Well
}

/// The words to complete, if the process was started under the name that kubectl uses for completion.
pub(super) fn asked_by_kubectl() -> Option<Vec<OsString>> {
    let mut words = std::env::args_os();
    let name = words.next()?;
    (Path::new(&name).file_name()? == "kubectl_complete-recordings").then(|| words.collect())
}

/// What the last word may become, in the form of Cobra's completions: candidates with a tab before their help, and a
/// directive, of which 0 lets the shell add files and 4 does not.
pub(super) fn answer(words: Vec<OsString>, mut command: Command) -> String {
    let all: Vec<_> = std::iter::once(OsString::from("kubectl-recordings")).chain(words).collect();
    let last = all.len() - 1;
    // Without a directory no files are listed: the shell does that better.
    let candidates = clap_complete::engine::complete(&mut command, all, last, None).unwrap_or_default();
    let mut text = String::new();
    for candidate in candidates.iter().filter(|candidate| !candidate.is_hide_set()) {
        let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
        let help = help.lines().next().unwrap_or_default();
        text.push_str(&format!("{}\t{help}\n", candidate.get_value().to_string_lossy()));
    }
    let directive = if candidates.is_empty() { 0 } else { 4 };
    text + &format!(":{directive}\n")
}
