//! The demo's program: reads its arguments, shows the whole path for as long as asked, and ends with a
//! verdict.
//!
//! Always true: exit status 0 means that every sample that was read reached the platform.

use std::io::Write;
use std::process::ExitCode;

use e2e::demo::{self, Asked};

#[tokio::main]
async fn main() -> ExitCode {
    let options = match demo::parse(std::env::args().skip(1)) {
        Ok(Asked::Show(options)) => options,
        Ok(Asked::Help) => {
            // A closed pipe is the reader's decision.
            let _ = write!(std::io::stdout(), "{}", demo::HELP);
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    match demo::show(options).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}
