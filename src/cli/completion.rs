//! Scripts by which shells complete commands and options.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::output::Outcome;

/// Which script to print.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The shell.
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let mut command = super::Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "kubectl-recordings", &mut std::io::stdout());
    Outcome::Well
}
