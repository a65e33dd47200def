//! `recording-operator`: arguments and wiring.

use clap::{Parser, Subcommand};
use recording_operator::{api, broker, controller, telemetry, webhook};

/// Delivers call recordings into each customer's own S3 bucket.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prove destinations and write their status. One replica.
    Controller(controller::Config),
    /// Hand short-lived credentials to upload sidecars.
    Broker(broker::Config),
    /// Give labelled pods their upload sidecar.
    Webhook(webhook::Config),
    /// Print the CustomResourceDefinition as YAML.
    Crds,
}

fn main() -> std::process::ExitCode {
    match Arguments::parse().command {
        Command::Crds => {
            print!("{}", serde_yaml::to_string(&api::crd()).expect("the CRD serializes"));
            std::process::ExitCode::SUCCESS
        }
        Command::Controller(config) => {
            telemetry::run("controller", controller::run(config, telemetry::shutdown()))
        }
        Command::Broker(config) => telemetry::run("broker", broker::run(config, telemetry::shutdown())),
        Command::Webhook(config) => telemetry::run("webhook", webhook::run(config, telemetry::shutdown())),
    }
}
