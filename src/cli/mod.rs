//! `kubectl recordings`: the commands of a platform engineer, from the first manifest of a tenant to the reason why its
//! recordings wait.
//!
//! Each command is a module of its own: it reads, has `domain` decide, and returns a [`Report`](output::Report).

mod check;
mod completion;
mod explain;
mod explanation;
mod files;
mod grade;
mod guide;
mod init;
mod kubernetes;
mod lint;
mod output;
mod pods;
mod preview;
mod readiness;
mod status;
mod surroundings;
#[cfg(test)]
mod tests;
mod validate;
mod words;
mod yaml;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use output::{CommandOutcome, Failure, Format, print};

/// On-boards tenants of the recording operator, and tells how they are.
#[derive(Parser)]
#[command(name = "kubectl-recordings", bin_name = "kubectl recordings", version, after_help = output::EXIT_CODES)]
struct Arguments {
    /// Text for people, or JSON or YAML for programs.
    #[arg(short, long, global = true, value_enum, default_value_t)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write the manifests of a new tenant, with an External ID that nobody can guess. Needs no cluster.
    Init(init::Arguments),
    /// Write what the customer has to do: a guide, a page, a script and templates. Needs no cluster.
    Guide(guide::Arguments),
    /// Find what is wrong with manifests: what the API server would refuse, and what does not fit. Needs no cluster.
    Lint(lint::Arguments),
    /// Ask AWS, as the operator would, whether a destination can be proved. Needs no cluster.
    Check(check::Arguments),
    /// Show pods as they are with their upload sidecar, or why they are refused. Needs no cluster.
    Preview(preview::Arguments),
    /// Show how tenants are, those in trouble first, and what no status tells: pods without a sidecar, pods that are refused.
    Status(status::Arguments),
    /// Tell what is wrong with one destination, who can mend it, and the text to paste.
    Explain(explain::Arguments),
    /// Have the operator prove a destination now, and wait for what comes of it.
    Validate(validate::Arguments),
    /// Print a script that completes commands and options in a shell.
    Completion(completion::Arguments),
}

impl Command {
    async fn run(self, format: Format) -> Result<CommandOutcome, Failure> {
        match self {
            Command::Init(arguments) => print(&init::run(&arguments)?, format),
            Command::Guide(arguments) => print(&guide::run(&arguments)?, format),
            Command::Lint(arguments) => print(&lint::run(&arguments)?, format),
            Command::Check(arguments) => print(&check::run(&arguments).await?, format),
            Command::Preview(arguments) => print(&preview::run(&arguments)?, format),
            Command::Status(arguments) if arguments.watch => status::watch(&arguments, format).await,
            Command::Status(arguments) => print(&status::run(&arguments).await?, format),
            Command::Explain(arguments) => print(&explain::run(&arguments).await?, format),
            Command::Validate(arguments) => print(&validate::run(&arguments).await?, format),
            Command::Completion(arguments) => Ok(completion::run(&arguments, Arguments::command())),
        }
    }
}

/// Runs the command of this process's arguments and returns the exit code.
pub fn main() -> ExitCode {
    if let Some(words) = completion::asked_by_kubectl() {
        print!("{}", completion::answer(words, Arguments::command()));
        return ExitCode::SUCCESS;
    }
    let Arguments { output, command } = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.expect("a runtime without threads can be made").block_on(command.run(output)) {
        Ok(outcome) => outcome.into(),
        Err(failure) => {
            output::explain(&failure);
            failure.outcome().into()
        }
    }
}
