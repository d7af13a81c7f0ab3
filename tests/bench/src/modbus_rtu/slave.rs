//! Devices at the far end of a serial line, which answer as soon as they have a request.
//!
//! Always true: the line makes them wait for the silence they owe; a unit that is dead says nothing; it
//! ends with its value.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Bytes of a request to read registers.
pub(super) const REQUEST: usize = 8;
/// How often it looks whether it is to end.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// All units of a line.
#[derive(Debug)]
pub(super) struct Slave {
    dead: Arc<AtomicU8>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Slave {
    /// Listens at this end of a line, for every unit id.
    pub(super) fn start(path: &Path) -> Result<Self> {
        let open = File::options().read(true).write(true).open(path);
        let port = open.with_context(|| format!("opening {}", path.display()))?;
        let (dead, ended) = (Arc::new(AtomicU8::new(0)), Arc::new(AtomicBool::new(false)));
        let (its_dead, its_end) = (Arc::clone(&dead), Arc::clone(&ended));
        let thread = std::thread::spawn(move || serve(port, &its_dead, &its_end));
        Ok(Self { dead, ended, thread: Some(thread) })
    }

    /// From now on this unit says nothing; 0: all are alive.
    pub(super) fn kill(&self, unit: u8) {
        self.dead.store(unit, Ordering::Relaxed);
    }
}

impl Drop for Slave {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of it has been printed already.
            let _ = thread.join();
        }
    }
}

fn serve(mut port: File, dead: &AtomicU8, ended: &AtomicBool) {
    let mut taken = Vec::new();
    let mut bytes = [0; 256];
    while !ended.load(Ordering::Relaxed) {
        let mut wait = [PollFd::new(&port, PollFlags::IN)];
        if !matches!(poll(&mut wait, Some(&LOOK)), Ok(1..)) {
            // Half a frame and then silence is no frame.
            taken.clear();
            continue;
        }
        let Ok(count) = port.read(&mut bytes) else { return };
        taken.extend_from_slice(&bytes[..count]);
        while let Some(request) = taken.get(..REQUEST) {
            let answer = answer(request).filter(|_| request[0] != dead.load(Ordering::Relaxed));
            taken.drain(..REQUEST);
            if answer.is_some_and(|answer| port.write_all(&answer).is_err()) {
                return;
            }
        }
    }
}

/// Each register holds its address.
fn answer(request: &[u8]) -> Option<Vec<u8>> {
    let &[unit, function, high, low, _, count, _, _] = request else { return None };
    if request[REQUEST - 2..] != crc(&request[..REQUEST - 2]) {
        return None;
    }
    let first = u16::from_be_bytes([high, low]);
    let mut answer = vec![unit, function, count * 2];
    answer.extend((0..u16::from(count)).flat_map(|place| (first + place).to_be_bytes()));
    answer.extend(crc(&answer));
    Some(answer)
}

/// A request for registers.
pub(super) fn request(unit: u8, first: u16, count: u16) -> Vec<u8> {
    let mut request = vec![unit, 3];
    request.extend(first.to_be_bytes().into_iter().chain(count.to_be_bytes()));
    request.extend(crc(&request));
    request
}

/// CRC-16 of Modbus, in the order in which it is sent.
fn crc(bytes: &[u8]) -> [u8; 2] {
    let mut crc = 0xFFFF_u16;
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 };
        }
    }
    crc.to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_those_of_the_specification() {
        // The Modbus specification's own example of a CRC: 02 07 gives 41 12 on the wire.
        assert_eq!(crc(&[0x02, 0x07]), [0x41, 0x12]);
        let asked = request(9, 300, 2);
        assert_eq!(answer(&asked).unwrap()[..7], [9, 3, 4, 1, 44, 1, 45]);
        let mut broken = asked;
        broken[3] ^= 1;
        assert_eq!(answer(&broken), None);
    }
}
