//! The quickest master there can be on this machine: a thread that does nothing else and watches the clock.
//!
//! Always true: it knows how long each answer is, so it begins to wait for the silence with the read that
//! brings the last byte; what the line measures between its frames beyond that silence is the error of the
//! line, the pty and the machine.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::formula::{Run, Wire};
use super::slave;

/// The last of a wait is spent looking at the clock.
const SPIN: Duration = Duration::from_micros(300);
/// Bytes of an answer without registers.
const EMPTY_ANSWER: usize = 5;

/// Reads each run of unit 1 once, with a request of its own.
pub(super) fn read(master: &Path, wire: Wire, runs: &[Run]) -> Result<()> {
    let open = File::options().read(true).write(true).open(master);
    let mut port = open.with_context(|| format!("opening {}", master.display()))?;
    for (first, count) in runs {
        port.write_all(&slave::request(1, *first, *count)).context("asking")?;
        let mut answer = vec![0; EMPTY_ANSWER + 2 * usize::from(*count)];
        port.read_exact(&mut answer).context("waiting for an answer")?;
        wait(Instant::now() + wire.silence());
    }
    Ok(())
}

fn wait(until: Instant) {
    let left = until.saturating_duration_since(Instant::now());
    if left > SPIN {
        std::thread::sleep(left - SPIN);
    }
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}
