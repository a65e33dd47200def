//! `recording-operator`: arguments and wiring.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use recording_operator::telemetry::{self, Threads};
use recording_operator::{api, broker, controller, serve, webhook};

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
    /// Ask the operator's own servers whether they serve: what `helm test` runs.
    Check(Check),
    /// Ask the process in this container whether it runs, or serves: what the kubelet's probes run.
    Probe(Probe),
    /// Print the CustomResourceDefinition as YAML.
    Crds,
}

#[derive(clap::Args)]
struct Check {
    /// File with the CA certificates that the servers are trusted by, PEM.
    #[arg(long)]
    ca_file: PathBuf,
    /// What to ask, by https.
    #[arg(required = true)]
    urls: Vec<String>,
}

#[derive(clap::Args)]
struct Probe {
    /// Whether the process runs (alive) or serves (ready).
    asked: Asked,
    /// The socket that it answers probes on.
    #[arg(long, default_value = "/run/recording-operator/probe.sock")]
    socket: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Asked {
    Alive,
    Ready,
}

fn probe(probe: Probe) -> ExitCode {
    let asked = match probe.asked {
        Asked::Alive => serve::Probe::Alive,
        Asked::Ready => serve::Probe::Ready,
    };
    match serve::probe(&probe.socket, asked) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn check(check: Check) -> Result<(), serve::NoAnswer> {
    for url in check.urls {
        let status = serve::ask(&url, &check.ca_file).await?;
        tracing::info!(url, %status, "answered");
    }
    Ok(())
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Crds => {
            print!("{}", serde_yaml::to_string(&api::crd()).expect("the CRD serializes"));
            ExitCode::SUCCESS
        }
        Command::Probe(asked) => probe(asked),
        Command::Check(asked) => telemetry::run("check", Threads::Two, check(asked)),
        Command::Controller(config) => {
            telemetry::run("controller", Threads::Two, controller::run(config, telemetry::shutdown()))
        }
        Command::Broker(config) => {
            telemetry::run("broker", Threads::Two, broker::run(config, telemetry::shutdown()))
        }
        Command::Webhook(config) => {
            telemetry::run("webhook", Threads::Two, webhook::run(config, telemetry::shutdown()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_flags_are_given_all_together_or_not_at_all() {
        let all = [
            "--certificates-namespace=operator",
            "--webhook-service=webhook",
            "--broker-service=broker",
            "--mutating-webhook-configuration=operator",
        ];
        let kept = |flags: &[&str]| {
            let principal = "--platform-principal-arn=arn:aws:iam::111111111111:user/recordings";
            let arguments =
                ["recording-operator", "controller", principal].into_iter().chain(flags.iter().copied());
            match Arguments::try_parse_from(arguments).map(|arguments| arguments.command) {
                Ok(Command::Controller(config)) => Ok(config.certificates.is_some()),
                Ok(_) => unreachable!("it is the controller"),
                Err(error) => Err(error.kind()),
            }
        };
        assert_eq!(kept(&all), Ok(true));
        assert_eq!(kept(&[]), Ok(false));
        for missing in 0..all.len() {
            let flags: Vec<_> = (0..all.len()).filter(|i| *i != missing).map(|i| all[i]).collect();
            assert_eq!(kept(&flags), Err(clap::error::ErrorKind::MissingRequiredArgument), "{flags:?}");
        }
    }
}
