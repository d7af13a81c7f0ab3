//! The command line: what can be typed, and what is printed.
//!
//! Always true: exit code 0 is done, 1 is refused or failed, 2 is a usage mistake (clap's); results
//! go to stdout, why there is none to stderr; `--json` prints one JSON document and nothing else.
//!
//! In reading order: [`typed`] (what can be typed); [`check`](mod@check), [`explain`](mod@explain),
//! [`status`], [`ledger`](mod@ledger), [`point`] (read and write), [`scan`](mod@scan), [`probe`](mod@probe),
//! [`invoke`](mod@invoke), [`capture`](mod@capture), [`deadletter`](mod@deadletter), [`reload`], [`handover`], [`driver`](mod@driver); [`drivers`] is a part of
//! status; below them [`table`] (columns), [`fold`](mod@fold) (lines), [`human`] (ages, sizes, counts), [`progress`] (a bar),
//! [`print`] (the terminal).

use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::control_socket;
use crate::control::client::{self, ClientError, Following};
use crate::control::message::{Reply, Request};

mod capture;
mod check;
mod deadletter;
mod driver;
mod drivers;
mod explain;
mod fold;
mod handover;
mod human;
mod invoke;
mod ledger;
mod point;
mod print;
mod probe;
mod progress;
mod reload;
mod scan;
mod status;
mod table;
#[cfg(test)]
mod tests;
mod typed;

pub use capture::{CaptureArgs, capture};
pub use check::{check, refuse};
pub use deadletter::{DeadletterArgs, deadletter};
pub use driver::{DriverArgs, driver};
pub use explain::{ExplainArgs, explain};
pub use invoke::{InvokeArgs, invoke};
pub use ledger::{LedgerArgs, ledger};
pub use probe::{ProbeArgs, probe};
pub use scan::{ScanArgs, scan};
pub use typed::{
    CheckArgs, Cli, Command, Gateway, HandoverArgs, ReadArgs, ReloadArgs, RunArgs, StatusArgs, WriteArgs,
};

/// Shows how the running gateway is doing.
pub async fn status(args: &StatusArgs) -> ExitCode {
    status::status(args).await
}

/// Reads points of a device.
pub async fn read(args: &ReadArgs) -> ExitCode {
    point::read(args).await
}

/// Writes a point of a device.
pub async fn write(args: &WriteArgs) -> ExitCode {
    point::write(args).await
}

/// Makes the running gateway read its configuration again.
pub async fn reload(args: &ReloadArgs) -> ExitCode {
    reload::reload(args).await
}

/// Ends the running gateway without its drivers.
pub async fn handover(args: &HandoverArgs) -> ExitCode {
    handover::handover(args).await
}

impl Gateway {
    fn door(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| control_socket(&self.config))
    }

    /// The gateway's reply, or what to tell the user and the remedy.
    async fn ask(&self, request: &Request) -> Result<Reply, String> {
        self.understood(client::ask(&self.door(), request).await)
    }

    /// The same; nothing when no gateway runs there.
    async fn ask_if_running(&self, request: &Request) -> Result<Option<Reply>, String> {
        match client::ask(&self.door(), request).await {
            Err(ClientError::NotRunning(_)) if self.socket.is_none() => Ok(None),
            replied => self.understood(replied).map(Some),
        }
    }

    /// The same, and then waits until the gateway is gone.
    async fn ask_and_outlive(&self, request: &Request) -> Result<Reply, String> {
        self.understood(client::ask_and_outlive(&self.door(), request).await)
    }

    /// Replies as they come.
    async fn follow(&self, request: &Request) -> Result<Following, String> {
        client::follow(&self.door(), request).await.map_err(|error| self.remedy(error))
    }

    /// The next of them.
    async fn next(&self, following: &mut Following) -> Result<Reply, String> {
        self.understood(following.next().await)
    }

    fn understood(&self, replied: Result<Reply, ClientError>) -> Result<Reply, String> {
        match replied {
            Ok(Reply::Error { error }) => Err(error),
            Ok(reply) => Ok(reply),
            Err(error) => Err(self.remedy(error)),
        }
    }

    fn remedy(&self, error: ClientError) -> String {
        match error {
            ClientError::NotRunning(_) => {
                format!("{error} start it with: sagoo-edge run --config {}", self.config.display())
            }
            error => error.to_string(),
        }
    }
}
