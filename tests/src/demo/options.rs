//! The demo's arguments, read by hand: there are two.
//!
//! Always true: whatever is not understood is refused with the way to the help.

use std::time::Duration;

/// What `--help` prints; `deploy/demo.sh` prints the same file without building anything.
pub const HELP: &str = include_str!("help.txt");

/// The longest show, a day.
const MOST_SECONDS: u64 = 86_400;

/// What to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Ends by itself after this; `None`: Ctrl-C ends it.
    pub duration: Option<Duration>,
}

/// What the caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The demo.
    Show(Options),
    /// Its help.
    Help,
}

/// Reads the arguments, the program's own name left out.
///
/// # Errors
/// One sentence for whoever typed them.
pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Asked, String> {
    let mut duration = None;
    while let Some(argument) = arguments.next() {
        let seconds = match argument.as_str() {
            "--help" | "-h" => return Ok(Asked::Help),
            "--seconds" => arguments.next().unwrap_or_default(),
            other => match other.strip_prefix("--seconds=") {
                Some(seconds) => seconds.to_owned(),
                None => return Err(format!("\"{other}\" is not an argument of the demo: --help names them")),
            },
        };
        match seconds.parse() {
            Ok(seconds @ 1..=MOST_SECONDS) => duration = Some(Duration::from_secs(seconds)),
            _ => {
                return Err(format!(
                    "--seconds wants a whole number from 1 to {MOST_SECONDS}, not \"{seconds}\""
                ));
            }
        }
    }
    Ok(Asked::Show(Options { duration }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Asked, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn seconds_are_read_in_both_ways_of_writing_them() {
        let twenty = Ok(Asked::Show(Options { duration: Some(Duration::from_secs(20)) }));
        assert_eq!(parsed("--seconds 20"), twenty);
        assert_eq!(parsed("--seconds=20"), twenty);
        assert_eq!(parsed(""), Ok(Asked::Show(Options { duration: None })));
        assert_eq!(parsed("--seconds 20 --help"), Ok(Asked::Help));
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (line, names) in [("--second 20", "--second"), ("--seconds", "\"\""), ("--seconds 0", "\"0\"")] {
            let problem = parsed(line).expect_err(line);
            assert!(problem.contains(names), "{problem}");
        }
    }
}
