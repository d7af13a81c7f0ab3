//! What the program does when a person starts it: it is a driver only for the gateway.
//!
//! Always true: started by the gateway without arguments none of this runs and nothing is printed; a
//! mistake goes to stderr, names what is wrong and ends with status 2 (a mistake on the command line)
//! or 1 (everything else).

mod words;

use std::io::Write as _;
use std::process::ExitCode;

use sagoo_driver_sdk::did_you_mean;

pub(crate) use self::words::{Flag, Words};
use crate::{import, simulate};

/// Status after a mistake on the command line.
const WRONG_WORDS: u8 = 2;
const HELP: &str = include_str!("help.txt");

/// Why a command ends with a status other than 0.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The command line; `--help` is pointed to.
    Words(Vec<String>),
    /// Anything else, each on a line of its own.
    Told(Vec<String>),
}

impl Failure {
    /// One line.
    pub(crate) fn of(line: impl Into<String>) -> Self {
        Self::Told(vec![line.into()])
    }
}

/// Runs the command that was typed.
pub(crate) fn run(typed: &[String]) -> ExitCode {
    let Some((command, rest)) = typed.split_first() else {
        let _ = write!(std::io::stderr(), "{HELP}");
        return ExitCode::FAILURE;
    };
    let done = match command.as_str() {
        "simulate" => simulate::command(rest),
        "import" => import::command(rest),
        "--help" | "-h" | "help" => {
            print(HELP);
            Ok(())
        }
        "--version" | "-V" => {
            print(concat!("driver-modbus ", env!("CARGO_PKG_VERSION"), "\n"));
            Ok(())
        }
        _ => {
            let hint = did_you_mean(command, ["simulate", "import", "--help", "--version"]);
            let hint = hint.unwrap_or_else(|| "known here: simulate, import".to_owned());
            Err(Failure::Words(vec![format!("there is no command {command:?}; {hint}")]))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => tell(command, failure),
    }
}

fn tell(command: &str, failure: Failure) -> ExitCode {
    let (lines, status) = match &failure {
        Failure::Words(lines) => (lines, ExitCode::from(WRONG_WORDS)),
        Failure::Told(lines) => (lines, ExitCode::FAILURE),
    };
    warn(lines);
    if matches!(failure, Failure::Words(_)) {
        let of = if matches!(command, "simulate" | "import") { format!("{command} ") } else { String::new() };
        warn(&[format!("driver-modbus {of}--help says more")]);
    }
    status
}

/// To stderr, beside what was asked for.
pub(crate) fn warn(lines: &[String]) {
    let mut stderr = std::io::stderr().lock();
    for line in lines {
        // Without a stderr there is nobody to tell.
        let _ = writeln!(stderr, "{line}");
    }
}

/// To stdout, which may be a pipe that nobody reads any more.
pub(crate) fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}
