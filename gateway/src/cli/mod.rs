//! The command line: what can be typed, and what is printed.
//!
//! Always true: exit code 0 is done, 1 is refused or failed, 2 is a usage mistake (clap's); results
//! go to stdout, why there is none to stderr; `--json` prints one JSON document and nothing else.
//!
//! In reading order: [`check`], [`status`], [`point`] (read and write), [`reload`], [`handover`], [`driver`](mod@driver); [`drivers`] is a part of status; below them
//! [`table`] (columns), [`human`] (ages, sizes, counts), [`print`] (the terminal).

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::control_socket;
use crate::control::client::{self, ClientError};
use crate::control::message::{Reply, Request};

mod check;
mod driver;
mod drivers;
mod handover;
mod human;
mod point;
mod print;
mod reload;
mod status;
mod table;
#[cfg(test)]
mod tests;

pub use check::{check, refuse};
pub use driver::{DriverArgs, driver};

/// Where the configuration is unless told otherwise.
const CONFIG_DIR: &str = "/etc/sagoo-edge";

/// Edge gateway for the SagooIOT platform.
///
/// Reads devices in the field through drivers, keeps what it read on disk through any outage, and
/// forwards it to the platform over MQTT. Commands travel the same way back.
#[derive(Debug, Parser)]
#[command(name = "sagoo-edge", version, max_term_width = 100, after_long_help = OVERVIEW)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const OVERVIEW: &str = "\
First steps:
  1. Write gateway.toml (the gateway and the platform) and conf.d/*.toml (the field).
  2. sagoo-edge check --config DIR    until it says that the configuration is valid
  3. sagoo-edge run --config DIR      normally done by systemd
  4. sagoo-edge status                what is connected, what waits, was anything lost?

Exit codes: 0 done, 1 refused or failed, 2 usage.";

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway until it is told to stop.
    ///
    /// Checks the configuration first and refuses to start with mistakes in it. SIGTERM or Ctrl-C
    /// stops it within 5 s; nothing that was read is lost.
    #[command(after_long_help = "\
Examples:
  sagoo-edge run
  SAGOO_LOG=debug sagoo-edge run --config ./demo")]
    Run(RunArgs),

    /// Check the configuration: every mistake at once, with its place.
    ///
    /// Reads gateway.toml and conf.d/*.toml, then starts each driver it names and lets it check its
    /// own part. Touches no device and no running gateway.
    #[command(after_long_help = "\
Examples:
  sagoo-edge check
  sagoo-edge check --config ./demo
  sagoo-edge check --json | jq -r '.problems[] | \"\\(.file):\\(.line): \\(.message)\"'

Exit code 1 when there is a mistake; warnings alone are 0.")]
    Check(CheckArgs),

    /// Show how the running gateway is doing.
    ///
    /// Without DEVICE: the platform, the buffer, drivers and devices. With DEVICE: the latest value of
    /// each of its points, and where its samples went.
    #[command(after_long_help = "\
Examples:
  sagoo-edge status
  sagoo-edge status meter-3a
  sagoo-edge status --json | jq .totals

The account of samples always adds up:
  read   = suppressed + dropped by the driver + stored
  stored = acknowledged + waiting + evicted + parked + merged")]
    Status(StatusArgs),

    /// Read points of a device now, past its schedule.
    ///
    /// Waits for the device at most 10 s. Without POINT it reads all points of the device.
    #[command(after_long_help = "\
Examples:
  sagoo-edge read meter-3a voltage energy
  sagoo-edge read meter-3a
  sagoo-edge read meter-3a voltage --json | jq '.points[0].value'

Exit code 0 only when every point was read.")]
    Read(ReadArgs),

    /// Write a point of a device now
    ///
    /// The value is true or false, a number, or else text; the driver makes of it what the point
    /// needs. Waits at most 10 s. The answer says what became of it:
    ///
    ///   applied   done and confirmed by the device
    ///   differs   written, but it reads back otherwise
    ///   refused   nothing was changed; the message says why
    ///   unknown   sent, but not answered: it may have happened
    ///   expired   too late; not executed
    #[command(
        verbatim_doc_comment,
        after_long_help = "\
Examples:
  sagoo-edge write meter-3a limit 16
  sagoo-edge write meter-3a offset -2.5
  sagoo-edge write pump-1 running true
  sagoo-edge write panel-1 line1 --text 42

Exit code 0 only when it was applied."
    )]
    Write(WriteArgs),

    /// Go on with the configuration as the files are now.
    ///
    /// Reads gateway.toml and conf.d/*.toml again and lets the drivers check their part, before anything
    /// is touched: with a mistake nothing changes. Devices whose settings did not change are read on all
    /// the while. SIGHUP does the same; status shows what became of it.
    #[command(after_long_help = "\
Examples:
  sagoo-edge reload
  sagoo-edge reload --json | jq -r '.changes[]'

Exit code 0 when what the files say is what runs.")]
    Reload(ReloadArgs),

    /// End the gateway and leave its drivers running.
    ///
    /// For an upgrade: the drivers read on and keep what they read, the next `sagoo-edge run` takes them
    /// over and nothing is missing. Without one they end by themselves after drivers.orphan_grace. Returns
    /// when the gateway is gone.
    #[command(after_long_help = "\
Examples:
  sagoo-edge handover && sagoo-edge run

Exit code 0 when the gateway is gone.")]
    Handover(HandoverArgs),

    /// Make, check, install, list and remove packages of drivers.
    ///
    /// A driver is a program that speaks one field protocol; its package is signed with minisign. No
    /// running gateway is needed; one that runs takes over what changed by itself.
    #[command(after_long_help = "\
Examples:
  sagoo-edge driver list
  sagoo-edge driver install driver-modbus-1.2.0-aarch64.zip
  sagoo-edge driver install --help")]
    Driver(DriverArgs),
}

/// `reload`
#[derive(Debug, Args)]
pub struct ReloadArgs {
    #[command(flatten)]
    gateway: Gateway,
}

/// `handover`
#[derive(Debug, Args)]
pub struct HandoverArgs {
    #[command(flatten)]
    gateway: Gateway,
}

/// `run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Directory with gateway.toml and conf.d.
    #[arg(long, value_name = "DIR", default_value = CONFIG_DIR)]
    pub config: PathBuf,
}

/// `check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Directory with gateway.toml and conf.d.
    #[arg(long, value_name = "DIR", default_value = CONFIG_DIR)]
    pub config: PathBuf,
    /// Print one JSON document instead of text.
    #[arg(long)]
    pub json: bool,
}

/// How to find the running gateway.
#[derive(Debug, Args)]
pub struct Gateway {
    /// Directory of the running gateway's configuration, which names its socket.
    #[arg(long, value_name = "DIR", default_value = CONFIG_DIR)]
    pub config: PathBuf,
    /// The gateway's control socket, when the configuration is not at hand.
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    pub socket: Option<PathBuf>,
    /// Print one JSON document instead of text.
    #[arg(long)]
    pub json: bool,
}

/// `status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Name of a device in the configuration.
    pub device: Option<String>,
    #[command(flatten)]
    gateway: Gateway,
}

/// `read`
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// Name of a device in the configuration.
    pub device: String,
    /// Names of its points; none: all.
    #[arg(value_name = "POINT")]
    pub points: Vec<String>,
    #[command(flatten)]
    gateway: Gateway,
}

/// `write`
#[derive(Debug, Args)]
pub struct WriteArgs {
    /// Name of a device in the configuration.
    pub device: String,
    /// Name of one of its points.
    pub point: String,
    /// true, false, a number, or text.
    #[arg(allow_negative_numbers = true)]
    pub value: String,
    /// Take VALUE for text, whatever it looks like.
    #[arg(long)]
    pub text: bool,
    #[command(flatten)]
    gateway: Gateway,
}

impl Cli {
    /// What was typed; usage mistakes and `--help` end the process here.
    pub fn typed() -> Self {
        Self::parse()
    }
}

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
    /// The gateway's reply, or what to tell the user and the remedy.
    async fn ask(&self, request: &Request) -> Result<Reply, String> {
        let socket = self.socket.clone().unwrap_or_else(|| control_socket(&self.config));
        self.understood(client::ask(&socket, request).await)
    }

    /// The same, and then waits until the gateway is gone.
    async fn ask_and_outlive(&self, request: &Request) -> Result<Reply, String> {
        let socket = self.socket.clone().unwrap_or_else(|| control_socket(&self.config));
        self.understood(client::ask_and_outlive(&socket, request).await)
    }

    fn understood(&self, replied: Result<Reply, ClientError>) -> Result<Reply, String> {
        match replied {
            Ok(Reply::Error { error }) => Err(error),
            Ok(reply) => Ok(reply),
            Err(error @ ClientError::NotRunning(_)) => {
                Err(format!("{error} start it with: sagoo-edge run --config {}", self.config.display()))
            }
            Err(error) => Err(error.to_string()),
        }
    }
}
