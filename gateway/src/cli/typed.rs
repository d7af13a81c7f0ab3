//! What can be typed: every command with its help, and the arguments of most.
//!
//! Always true: every command teaches with examples.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::{
    CaptureArgs, DeadletterArgs, DriverArgs, ExplainArgs, InvokeArgs, LedgerArgs, ProbeArgs, ScanArgs,
};

/// Where the configuration is unless told otherwise.
pub(super) const CONFIG_DIR: &str = "/etc/sagoo-edge";

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

Where every sample went: sagoo-edge ledger")]
    Status(StatusArgs),

    /// Show what became of every sample, and whether it adds up.
    ///
    /// Two accounts per device; each number is counted by somebody else, so that they add up only if
    /// nothing was lost or invented on the way:
    ///
    ///   read   = suppressed + dropped by the driver + stored
    ///   stored = acknowledged + waiting + evicted + parked + merged
    ///
    ///   suppressed    not worth a row: unchanged within the deadband, bad without news
    ///   dropped       by the driver, which could not keep more while the gateway was away
    ///   acknowledged  the platform has answered
    ///   waiting       on disk, for the platform
    ///   evicted       lost here, because the buffer was FULL, its record was DAMAGED on the disk, or the row
    ///                 was TOO LARGE for a record, or UNWRITTEN: the disk took no data and memory was full
    ///   parked        given up: the platform answers others and never this one
    ///   merged        a newer value of the same point went instead
    ///
    /// The totals survive restarts and kills. After a power cut they go on from what was on the disk, and
    /// the last such start is shown below. A column of losses that nobody had is left out.
    #[command(
        verbatim_doc_comment,
        after_long_help = "\
Examples:
  sagoo-edge ledger
  sagoo-edge ledger meter-3a
  sagoo-edge ledger --json | jq '.devices[] | {name, waiting: .ledger.waiting}'

Exit code 1 when an account does not balance; the platform was told with the event ledgerViolated."
    )]
    Ledger(LedgerArgs),

    /// Show how devices are read, and what of each wire that takes.
    ///
    /// For each connection and device: the requests, the units they ask for and those read only to merge
    /// requests, the time they are predicted to take and their share of the wire. A running gateway's
    /// drivers also tell what they learned, with the line to paste; without one the installed drivers
    /// are asked what the configuration alone says.
    #[command(after_long_help = "\
Examples:
  sagoo-edge explain
  sagoo-edge explain meter-3a
  sagoo-edge explain --config ./demo --json | jq '.connections[] | {name, share}'

A connection that needs more than 100 % of its wire is refused by check, run and reload.
Exit code 1 when a connection cannot be explained.")]
    Explain(ExplainArgs),

    /// Look for devices on a connection of the running gateway.
    ///
    /// Reads only, between the polls of the devices that are known, which are read on. What it finds is
    /// printed with the lines to paste. KEY=VALUE are options in the driver's words; `sagoo-edge driver
    /// describe` names it. Ctrl-C ends the scan in the driver, too.
    #[command(after_long_help = "\
Examples:
  sagoo-edge scan bus1
  sagoo-edge scan bus1 units=1-32 modes=9600-8E1,19200-8N1
  sagoo-edge scan hall --for 5m --json | jq -r '.found[].address'

Exit code 0 when all was tried or the time was over.")]
    Scan(ScanArgs),

    /// Show what stands at an address of a device, in every way it can be read.
    ///
    /// The driver reads it, and its neighbours, now, and shows all decodings side by side, so that a
    /// wrong order of bytes or an address that is off by one is seen at once. ADDRESS is in the driver's
    /// words, as in the model.
    #[command(after_long_help = "\
Examples:
  sagoo-edge probe meter-3a input:0x10
  sagoo-edge probe meter-3a input:0x10 --count 4
  sagoo-edge probe meter-3a input:0x10 --json | jq -r '.rows[][0]'

Exit code 0 only when the device answered.")]
    Probe(ProbeArgs),

    /// Call a function of a device's driver.
    ///
    /// What functions there are is the driver's to say: a wrong name is answered with them. What comes out
    /// is printed as JSON. The device `gateway` is the gateway itself.
    #[command(after_long_help = "\
Examples:
  sagoo-edge invoke meter-3a forget                # what the driver has learned of the device
  sagoo-edge invoke pump-1 rinse '{ \"seconds\": 20 }'
  sagoo-edge invoke gateway rebootDriver '{ \"driver\": \"modbus\" }'

Exit code 0 only when it was done.")]
    Invoke(InvokeArgs),

    /// Write down what passes on a connection's line, byte for byte.
    ///
    /// Disturbs nothing: every request and answer is written with its time, until Ctrl-C or --for. A
    /// capture can be replayed as a device by the driver's simulator, where it has one.
    #[command(after_long_help = "\
Examples:
  sagoo-edge capture bus1
  sagoo-edge capture bus1 --for 10s
  sagoo-edge capture bus1 --for 10m --out bus1.capture

Exit code 0 when it ended as it should.")]
    Capture(CaptureArgs),

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

    /// List, show, send again or drop rows the platform never answered.
    ///
    /// A row that is not answered again and again although the platform answers others is set aside, so
    /// that the rows after it go on. At most 1 000 are kept, and 8 MiB; the oldest goes. `send` tries them
    /// again, with the id and the bytes they had; `drop` forgets them. In the account of samples they are
    /// parked, until they are answered after all.
    #[command(after_long_help = "\
Examples:
  sagoo-edge deadletter
  sagoo-edge deadletter show gw-0001-4711-0
  sagoo-edge deadletter send --all
  sagoo-edge deadletter --json | jq -r '.letters[].device' | sort | uniq -c

Exit code 0 when it was done with all of them.")]
    Deadletter(DeadletterArgs),

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
    pub(super) gateway: Gateway,
}

/// `handover`
#[derive(Debug, Args)]
pub struct HandoverArgs {
    #[command(flatten)]
    pub(super) gateway: Gateway,
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
    pub(super) gateway: Gateway,
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
    pub(super) gateway: Gateway,
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
    pub(super) gateway: Gateway,
}

impl Cli {
    /// What was typed; usage mistakes and `--help` end the process here.
    pub fn typed() -> Self {
        Self::parse()
    }
}
