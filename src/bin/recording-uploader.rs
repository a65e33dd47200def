//! `recording-uploader`: arguments and wiring.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use recording_operator::telemetry;
use recording_operator::uploader::{self, ByHand, Config};
use tracing::Level;

/// Uploads recordings from a spool to the destination that the operator's broker names; with --once, those of a
/// directory to the destination in a file.
#[derive(Parser)]
#[command(version, after_help = uploader::EXIT_CODES)]
struct Arguments {
    #[command(flatten)]
    by_hand: Option<ByHand>,
    #[command(flatten)]
    sidecar: Option<Config>,
}

fn main() -> ExitCode {
    match Arguments::parse() {
        Arguments { by_hand: Some(by_hand), .. } => {
            let bar = indicatif::ProgressBar::new(0);
            // On a terminal the progress bar shows successful uploads.
            let level = if bar.is_hidden() { Level::INFO } else { Level::WARN };
            let lines = {
                let bar = bar.clone();
                move || BesideBar(bar.clone())
            };
            telemetry::run_command(lines, level, uploader::run_by_hand(by_hand, bar, telemetry::shutdown()))
        }
        Arguments { sidecar: Some(config), .. } => {
            telemetry::run("uploader", uploader::run(config, telemetry::shutdown()))
        }
        Arguments { by_hand: None, sidecar: None } => unreachable!("clap asks for one or the other"),
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
