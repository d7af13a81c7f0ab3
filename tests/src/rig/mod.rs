//! Real processes and what steers them: broker, Modbus devices, gateway, and a [`Site`] of all.
//!
//! Always true: every port is free when taken and loopback only; every process and directory ends
//! with its value; nothing waits for a fixed time but for a condition, and says for which; a missing
//! program fails the case with the line to type, it never skips it.

mod account;
mod broker;
mod certificates;
mod clock;
mod gateway;
mod journal;
mod late;
mod ledger;
pub mod line;
mod listener;
mod meter;
mod modbus;
mod mount;
mod package;
mod peers;
mod plan;
mod process;
mod queue;
mod site;
mod subscriptions;
mod watch;
mod way;

use std::fmt::Display;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use self::account::Interrupted;
pub use self::broker::{Broker, Guard};
pub use self::certificates::Authority;
pub use self::gateway::{Gateway, Told, signal};
pub use self::journal::Journal;
pub use self::late::LateAnswers;
pub use self::listener::{Answer, Heard, Listener};
pub use self::meter::{Meter, Point};
pub use self::modbus::{ModbusDevice, Over, Serving, Stats, Written, python};
pub use self::package::{Fault, SigningKey, pack};
pub use self::peers::{Dtu, Simulator, Slave};
pub use self::plan::{EDGE, GATEWAY, POINTS, PRODUCT, Plan};
pub use self::process::Process;
pub use self::queue::Queue;
pub use self::site::Site;
pub use self::way::{Manners, Way};

/// Least pause between two looks at a condition.
const LOOK: Duration = Duration::from_millis(20);
/// The pause is this many times as long as the look.
const LOOK_SHARE: u32 = 4;

/// What a condition may answer: `bool`, `Option` or `Result`; the error says how far it got.
pub trait Look {
    /// What is there once it holds.
    type Found;
    /// `Err`: not yet.
    fn found(self) -> Result<Self::Found, String>;
}

impl Look for bool {
    type Found = ();
    fn found(self) -> Result<(), String> {
        self.then_some(()).ok_or_else(|| "no".to_owned())
    }
}

impl<T> Look for Option<T> {
    type Found = T;
    fn found(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing".to_owned())
    }
}

impl<T, E: Display> Look for Result<T, E> {
    type Found = T;
    fn found(self) -> Result<T, String> {
        self.map_err(|error| error.to_string())
    }
}

/// Waits until `condition` holds; after `within` fails with what it waited for and how far it got.
#[track_caller]
pub fn eventually<L: Look>(what: &str, within: Duration, mut condition: impl FnMut() -> L) -> L::Found {
    let deadline = Instant::now() + within;
    loop {
        let begun = Instant::now();
        match condition().found() {
            Ok(found) => return found,
            Err(last) if Instant::now() >= deadline => {
                panic!("waited {within:?} for: {what}\n  last look: {last}")
            }
            // A look that starts a process must not take the machine from what it looks at.
            Err(_) => std::thread::sleep(LOOK.max(begun.elapsed() * LOOK_SHARE)),
        }
    }
}

/// A loopback port nobody listens on at this moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Where cargo put the binaries: beside the running test or demo.
pub fn binary(name: &str) -> PathBuf {
    let path = build_dir().join(name);
    assert!(path.is_file(), "{} is missing; build first: cargo build --workspace", path.display());
    path
}

/// `target/debug` or `target/release`.
fn build_dir() -> PathBuf {
    let executable = std::env::current_exe().expect("a running program has a path");
    let dir = executable.parent().expect("a file is in a directory");
    if dir.ends_with("deps") {
        dir.parent().expect("deps is in target/debug").to_owned()
    } else {
        dir.to_owned()
    }
}
