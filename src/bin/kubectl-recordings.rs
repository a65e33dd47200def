//! `kubectl recordings`: kubectl finds it on PATH by this name.

fn main() -> std::process::ExitCode {
    recording_operator::cli::main()
}
