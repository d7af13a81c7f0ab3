//! `sagoo-edge capture`: what passes on a connection's line, written down as it passes.
//!
//! Always true: the lines are the driver's, byte for byte, and each is out before the next one is waited
//! for; where some were lost, a line says how many.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::human;
use super::print::{self, harmless};
use super::scan::{duration, millis};
use super::typed::Gateway;
use crate::control::message::{Reply, Request};

/// `capture`
#[derive(Debug, Args)]
pub struct CaptureArgs {
    /// Name of a connection in the configuration.
    pub connection: String,
    /// End after this long, like 10s or 5m; without it with Ctrl-C.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    within: Option<Duration>,
    /// Write to this file instead of stdout; one that is there is replaced. With --json, what was
    /// captured is counted there when it ends.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    gateway: Gateway,
}

/// Listens, and writes.
pub async fn capture(args: &CaptureArgs) -> ExitCode {
    let as_json = args.gateway.json;
    if as_json && args.out.is_none() {
        return print::failure("--json counts what goes to a file: name one with --out FILE", true);
    }
    match captured(args).await {
        Ok(count) if as_json => {
            let Count { transfers, lost } = count;
            print::json(&json!({ "file": args.out, "transfers": transfers, "lost": lost }), true)
        }
        Ok(count) => {
            if let Some(file) = &args.out {
                eprintln!("{} in {}", count.words(), harmless(&file.display().to_string()));
            }
            ExitCode::SUCCESS
        }
        Err(error) => print::failure(&error, as_json),
    }
}

async fn captured(args: &CaptureArgs) -> Result<Count, String> {
    let request = Request::Capture { connection: args.connection.clone(), for_ms: millis(args.within) };
    let mut following = args.gateway.follow(&request).await?;
    let mut count = Count::default();
    let mut out: Option<Box<dyn Write + Send>> = None;
    loop {
        let next = tokio::select! {
            next = args.gateway.next(&mut following) => next?,
            _ = tokio::signal::ctrl_c() => return Ok(count),
        };
        let lines = match next {
            Reply::Captured { lines } => lines,
            Reply::End => return Ok(count),
            _ => return Err(print::ANOTHER_VERSION.to_owned()),
        };
        // only what begins replaces what is there
        let out = match &mut out {
            Some(out) => out,
            none => none.insert(open(args.out.as_deref())?),
        };
        let text: String =
            lines.iter().map(|line| format!("{}\n", harmless(line).replace('\n', " "))).collect();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // a reader that has gone away has seen enough
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(count),
            Err(error) => return Err(format!("{}: {error}", place(args.out.as_deref()))),
            Ok(()) => lines.iter().for_each(|line| count.add(line)),
        }
    }
}

fn open(file: Option<&std::path::Path>) -> Result<Box<dyn Write + Send>, String> {
    match file {
        None => Ok(Box::new(io::stdout())),
        Some(path) => match File::create(path) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) => Err(format!("{} cannot be written: {error}", path.display())),
        },
    }
}

fn place(file: Option<&std::path::Path>) -> String {
    file.map_or_else(|| "stdout".to_owned(), |file| file.display().to_string())
}

/// What was written.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    transfers: u64,
    lost: u64,
}

impl Count {
    /// `# …` is about the capture, `! 12 lost` about a gap, anything else a transfer.
    fn add(&mut self, line: &str) {
        match line.split_once(' ') {
            Some(("#", _)) => {}
            Some(("!", gap)) => {
                let lost = gap.split(' ').next().and_then(|number| number.parse().ok());
                self.lost += lost.unwrap_or(0_u64);
            }
            _ => self.transfers += 1,
        }
    }

    fn words(&self) -> String {
        let lost = match self.lost {
            0 => String::new(),
            lost => format!(", {} lost,", human::count(lost)),
        };
        format!("{} transfers{lost}", human::count(self.transfers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_captured_and_what_is_lost_are_counted() {
        let mut count = Count::default();
        for line in ["# sagoo-edge capture 1 x", "0.000000 > 01 03", "0.031250 < 01", "! 12 lost", "! odd"] {
            count.add(line);
        }
        assert_eq!(count, Count { transfers: 2, lost: 12 });
        assert_eq!(count.words(), "2 transfers, 12 lost,");
    }
}
