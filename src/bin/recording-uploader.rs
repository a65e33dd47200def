//! `recording-uploader`: arguments and wiring.

use clap::Parser;
use recording_operator::{telemetry, uploader};

/// Uploads recordings from a spool to the destination that the operator's broker names.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    config: uploader::Config,
}

fn main() -> std::process::ExitCode {
    let Arguments { config } = Arguments::parse();
    telemetry::run("uploader", uploader::run(config, telemetry::shutdown()))
}
