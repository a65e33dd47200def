//! `recording-uploader`: arguments and wiring.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use recording_operator::telemetry::{self, Threads};
use recording_operator::uploader::{self, Config, Once};
use tracing::Level;

/// Uploads recordings from a spool to the destination that the operator's broker names; with --once, those of a
/// directory to the destination in a file.
#[derive(Parser)]
#[command(version, after_help = uploader::EXIT_CODES, subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    once: Option<Once>,
    #[command(flatten)]
    sidecar: Option<Config>,
}

#[derive(Subcommand)]
enum Command {
    /// Ask the sidecar in this container whether it runs: what the kubelet's probes run.
    Probe,
}

fn main() -> ExitCode {
    match Arguments::parse() {
        Arguments { command: Some(Command::Probe), .. } => match uploader::probe() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        Arguments { once: Some(once), .. } => {
            let bar = indicatif::ProgressBar::new(0);
            // On a terminal the progress bar shows successful uploads.
            let level = if bar.is_hidden() { Level::INFO } else { Level::WARN };
            let lines = {
                let bar = bar.clone();
                move || BesideBar(bar.clone())
            };
            telemetry::run_command(
                lines,
                level,
                Threads::One,
                uploader::run_once(once, bar, telemetry::shutdown()),
            )
        }
        Arguments { sidecar: Some(config), .. } => {
            telemetry::run("uploader", Threads::One, uploader::run(config, telemetry::shutdown()))
        }
        Arguments { once: None, sidecar: None, .. } => unreachable!("clap asks for one or the other"),
    }
}

/// Standard error, with the bar out of the way of each line.
struct BesideBar(indicatif::ProgressBar);

impl Write for BesideBar {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_needs_none_of_the_arguments_that_uploading_needs() {
        let asked = Arguments::try_parse_from(["recording-uploader", "probe"]).unwrap();
        assert!(matches!(asked.command, Some(Command::Probe)));
        let sidecar = ["recording-uploader", "--broker-url=https://broker", "--broker-ca=pem"];
        assert!(
            Arguments::try_parse_from(sidecar).is_ok_and(|it| it.command.is_none() && it.sidecar.is_some())
        );
    }
}
