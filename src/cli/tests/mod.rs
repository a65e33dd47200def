//! What the commands print, as golden files that `GOLDEN=write` updates.

mod manifests;
mod status_and_explain;
mod surroundings;

use std::path::Path;

use clap::{CommandFactory as _, Parser as _, error::ErrorKind};

use super::output::{Format, Report, write};
use super::*;

/// Compares a text with `golden/NAME`.
fn golden(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/golden").join(name);
    if std::env::var("GOLDEN").is_ok_and(|value| value == "write") {
        std::fs::write(&file, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&file).unwrap_or_default(), "{name}");
}

/// The report in words, as it is where no terminal is.
fn words(report: &impl Report) -> String {
    anstream::adapter::strip_str(&report.text()).to_string()
}

/// The report as it is seen on a terminal, or where there is none.
fn written(report: &impl Report, format: Format, on_terminal: bool) -> String {
    let mut seen = Vec::new();
    if on_terminal {
        write(&mut anstream::AutoStream::always_ansi(&mut seen), report, format).unwrap();
    } else {
        // As the library chooses by itself: no buffer is a terminal.
        write(&mut anstream::AutoStream::auto(&mut seen), report, format).unwrap();
    }
    String::from_utf8(seen).unwrap()
}

#[test]
fn the_commands_are_well_formed() {
    Arguments::command().debug_assert();
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let refused = |line: &str| {
        let arguments = ["kubectl-recordings"].into_iter().chain(line.split_whitespace());
        Arguments::try_parse_from(arguments).err().map(|error| error.kind())
    };
    for (line, expected) in [
        ("lint -f a.yaml", None),
        ("lint -f a.yaml b.yaml -o json", None),
        ("lint", Some(ErrorKind::MissingRequiredArgument)),
        ("init acme --account 111111111111", None),
        ("init acme --role-arn arn:aws:iam::111111111111:role/x", None),
        ("init acme", Some(ErrorKind::MissingRequiredArgument)),
        ("init acme --account 111111111111 -n tenant-acme --bind-namespace --per-tenant-role", None),
        ("init acme --account 111111111111 --bind-namespace", Some(ErrorKind::MissingRequiredArgument)),
        ("validate acme --timeout 2m", None),
        ("validate acme --timeout soon", Some(ErrorKind::ValueValidation)),
        ("validate acme --request-timeout 7", None),
        ("validate acme --request-timeout 7s", None),
        ("validate acme --request-timeout soon", Some(ErrorKind::ValueValidation)),
        ("explain acme -n b --as ann --as-group x --as-group y --cluster c --user u --context d", None),
        ("explain acme --as-group x", Some(ErrorKind::MissingRequiredArgument)),
        ("explain acme -A", Some(ErrorKind::UnknownArgument)),
        ("status -A -l team=voice,tier!=test -w", None),
        ("status -n a --all-namespaces --selector team --watch --kubeconfig k", None),
        ("lint -f a.yaml,b.yaml -f c -R", None),
        ("check -f a.yaml", Some(ErrorKind::MissingRequiredArgument)),
        ("check -f a.yaml --platform-principal-arn arn:aws:iam::111111111111:user/x", None),
        ("status -o wide", Some(ErrorKind::InvalidValue)),
        ("stauts", Some(ErrorKind::InvalidSubcommand)),
    ] {
        assert_eq!(refused(line), expected, "{line}");
    }
}

#[test]
fn each_outcome_has_the_exit_code_that_the_help_names() {
    let help = Arguments::command().render_long_help().to_string();
    for (outcome, code, sentence) in [
        (CommandOutcome::Well, 0, "all is well"),
        (CommandOutcome::Wrong, 1, "something is wrong"),
        (CommandOutcome::Failed, 2, "could not do its work"),
        (CommandOutcome::Unclear, 3, "no clear answer"),
    ] {
        let line = help.lines().find(|line| line.trim_start().starts_with(&format!("{code}  ")));
        assert!(line.is_some_and(|line| line.contains(sentence)), "{code}: {line:?}");
        assert_eq!(format!("{:?}", ExitCode::from(outcome)), format!("{:?}", ExitCode::from(code)));
    }
}

#[test]
fn shells_complete_every_command() {
    for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Arguments::command(), "kubectl-recordings", &mut script);
        let script = String::from_utf8(script).unwrap();
        for command in Arguments::command().get_subcommands() {
            assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
        }
    }
}

#[test]
fn kubectl_is_told_what_a_word_may_become() {
    let answer =
        |line: &str| completion::answer(line.split(' ').map(Into::into).collect(), Arguments::command());
    for (line, first, directive) in [
        ("st", "status\tShow how tenants are", ":4"),
        ("explain --nam", "--namespace\t", ":4"),
        ("status -o y", "yaml\tThe same as YAML", ":4"),
        ("lint -f ", ":0", ":0"),
    ] {
        let text = answer(line);
        assert!(text.starts_with(first) && text.trim_end().ends_with(directive), "{line}: {text}");
    }
    let commands = answer("");
    for command in Arguments::command().get_subcommands() {
        assert!(commands.contains(&format!("{}\t", command.get_name())), "{commands}");
    }
}
