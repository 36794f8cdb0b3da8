//! `qk256`: checks 2-bit quantised kernels against exact oracles and times them beside scalar code.

mod adopt;
mod cases;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod certify;
mod check;
mod format_option;
mod formats;
mod gate;
mod ggml_option;
mod history;
mod list;
mod minimize;
mod new_plugin;
mod output;
mod overnight;
mod plugins;
mod program;
mod replay;
mod reveal;
mod select;
mod selftest;
mod signals;
mod usage;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use qk256_verify::examiner::ExamineError;
use qk256_verify::memory::fault::exit_after_crash;

/// Check low-bit quantised SIMD kernels: are they right, memory-safe and fast?
///
/// `qk256 check` checks every kernel of this project that this CPU can run, in about 20 seconds. `qk256 check --lib FILE` checks the
/// kernels of a shared library, in any language. `qk256 new-plugin DIR` writes such a kernel to start from.
///
/// A report that is written to `-` goes to standard output; tables then go to standard error.
#[derive(Parser)]
#[command(
    name = "qk256",
    version,
    max_term_width = 100,
    after_help = concat!(
        "Examples:",
        "\n  qk256 check",
        "\n  qk256 check --lib ./libkernel.so",
        "\n  qk256 help check",
        "\n\nExit codes:",
        "\n  0      no findings",
        "\n  1      a finding, or a required check that could not be made",
        "\n  2      bad usage or bad input",
        "\n  3      nothing is wrong, but not everything could be judged (gate only)",
        "\n  128+N  signal N ended it before anything was found (130: Ctrl-C); the reports cover what was done"
    )
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Check(check::Args),
    List(list::Args),
    Formats(formats::Args),
    Replay(replay::Args),
    Minimize(minimize::Args),
    Reveal(reveal::Args),
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Certify(certify::Args),
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    #[command(hide = true)]
    CertifyOne(certify::OneArgs),
    Selftest(selftest::Args),
    Gate(gate::Args),
    History(history::Args),
    #[command(hide = true)]
    GateWorker(gate::WorkerArgs),
    #[command(hide = true)]
    GateCaller(gate::CallerArgs),
    Overnight(overnight::Args),
    Adopt(adopt::Args),
    #[command(hide = true)]
    FuzzOne(overnight::One),
    #[command(hide = true)]
    TriageOne(overnight::Triage),
    #[command(hide = true)]
    TimeInputs(overnight::TimeInputs),
    #[command(hide = true)]
    Worker(plugins::Worker),
    NewPlugin(new_plugin::Args),
}

/// How a command that ran ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing is wrong.
    Pass,
    /// Something is violated, or was required and could not be checked.
    Finding,
    /// Nothing is wrong as far as could be judged, which was not everything.
    Unknown,
    /// Nothing was found before a signal ended the command.
    Interrupted,
}

/// How long a call of a kernel may take. The longest that there are take milliseconds.
pub(crate) const HANG: Duration = Duration::from_secs(10);

/// The exit code of a finding.
pub(crate) const FINDING: u8 = 1;

/// The exit code of bad usage or bad input.
const BAD_USAGE: u8 = 2;

/// The exit code when nothing can be concluded.
const UNKNOWN: u8 = 3;

/// What is added to the number of a signal that ended a command before anything was found.
const SIGNALLED: u8 = 128;

/// The exit code when the reader of standard output has gone, as of a program that died of SIGPIPE.
const CLOSED_PIPE: u8 = 141;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // A file that grows past the limit (ulimit -f) is then an error with words, not the silent end of the process.
    // SAFETY: to ignore a signal has no preconditions.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    qk256_verify::finding::set_program(program::shown());
    // The selftest sets a limit of its own, a worker has a host that watches it, and where instructions are counted none may be those
    // of a watchdog.
    if !matches!(cli.command, Command::Selftest(_) | Command::Worker(_) | Command::GateCaller(_)) {
        exit_after_crash(FINDING.into(), HANG);
    }
    let result = match cli.command {
        Command::Check(args) => check::run(&args),
        Command::List(args) => list::run(&args),
        Command::Formats(args) => formats::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Minimize(args) => minimize::run(&args),
        Command::Reveal(args) => reveal::run(&args),
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        Command::Certify(args) => certify::run(&args),
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        Command::CertifyOne(args) => certify::run_one(&args),
        Command::Selftest(args) => selftest::run(&args),
        Command::Gate(args) => gate::run(&args),
        Command::History(args) => history::run(&args),
        Command::GateWorker(args) => gate::work(&args),
        Command::GateCaller(args) => gate::call(&args),
        Command::Overnight(args) => overnight::run(&args),
        Command::Adopt(args) => adopt::run(&args),
        Command::FuzzOne(args) => overnight::run_one(&args),
        Command::TriageOne(args) => overnight::run_triage(&args),
        Command::TimeInputs(args) => overnight::run_time_inputs(&args),
        Command::Worker(args) => plugins::work(&args),
        Command::NewPlugin(args) => new_plugin::run(&args),
    };
    match result {
        Ok(Verdict::Pass) => ExitCode::SUCCESS,
        Ok(Verdict::Finding) => ExitCode::from(FINDING),
        Ok(Verdict::Unknown) => ExitCode::from(UNKNOWN),
        Ok(Verdict::Interrupted) => interrupted(),
        Err(error) if matches!(error.downcast_ref(), Some(ExamineError::Interrupted)) => interrupted(),
        Err(error) if is_closed_pipe(&error) => ExitCode::from(CLOSED_PIPE),
        Err(error) => {
            // Nothing more can be done if standard error is gone as well.
            let _ = writeln!(io::stderr(), "qk256: {error:#}");
            ExitCode::from(BAD_USAGE)
        }
    }
}

/// The exit code after a signal that ended a command before anything was found.
fn interrupted() -> ExitCode {
    ExitCode::from(signals::received().map_or(BAD_USAGE, |(signal, _)| SIGNALLED + signal as u8))
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use clap::{Arg, CommandFactory};

    use super::*;

    /// Whether the help explains an argument in words, with its unit or form in the name of its value.
    fn is_explained(argument: &Arg) -> bool {
        let words = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let takes_value = argument.get_action().takes_values();
        let is_named =
            argument.get_value_names().is_some_and(|names| names.iter().all(|name| !name.is_empty()));
        words.split_whitespace().count() > 1 && (!takes_value || is_named)
    }

    #[test]
    fn every_argument_of_every_subcommand_is_explained_and_every_subcommand_has_examples() {
        let mut cli = Cli::command();
        cli.build();
        let shown =
            cli.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help");
        let mut arguments = 0;
        for command in shown {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name} is not explained");
            let end = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(end.contains("Examples:") && end.contains("Exit codes:"), "{name}: {end}");
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                assert!(is_explained(argument), "{name}: {}", argument.get_id());
                arguments += 1;
            }
        }
        assert!(arguments > 60, "only {arguments} arguments were looked at");
    }

    #[test]
    fn options_stand_in_groups() {
        let mut cli = Cli::command();
        cli.build();
        for command in
            cli.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help")
        {
            let options = command.get_opts().filter(|option| !option.is_hide_set());
            let alone: Vec<_> =
                options.filter(|option| option.get_help_heading().is_none()).map(Arg::get_id).collect();
            assert!(alone.is_empty(), "{}: {alone:?} are in no group", command.get_name());
        }
    }
}
