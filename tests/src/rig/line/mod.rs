//! A serial line as slow as a real one: ptys for a master and slaves on one RS-485 bus.
//!
//! Always true: a byte written at one end reaches the others no earlier than its transmission ends
//! (bits ÷ baud), the last one of a burst at that moment, and [`SerialLine::lateness`] says how far
//! that was missed; the line is shared, so two that speak at once garble each other; an end opened at
//! another speed sends and hears garbage. Parity is counted as a bit and nothing more: a pty has none.

mod air;
mod port;

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use tempfile::TempDir;

use self::air::{Air, Arrival, garbled};
pub use self::air::{From, Manners, Passed};
use self::port::Port;

/// The kernel wakes a sleeper about this late; the rest of the wait is spent looking at the clock.
const SPIN: Duration = Duration::from_micros(120);
/// The longest sleep; whoever changes something wakes the thread anyway.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Speed and character of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// Bits per second.
    pub baud: u32,
    /// Start, data, parity and stop bits of one byte.
    pub bits: u32,
}

impl Mode {
    /// From words like `9600-8E1`.
    pub fn of(text: &str) -> Self {
        let parsed = text.split_once('-').and_then(|(baud, format)| {
            let [data, parity, stop] = format.as_bytes() else { return None };
            let digit = |byte: &u8| char::from(*byte).to_digit(10);
            let parity = u32::from(*parity != b'N');
            Some(Self { baud: baud.parse().ok()?, bits: 1 + digit(data)? + parity + digit(stop)? })
        });
        parsed.unwrap_or_else(|| panic!("{text:?} is no mode of a serial line like 9600-8E1"))
    }

    /// How long one byte takes.
    pub fn character(self) -> Duration {
        Duration::from_secs(u64::from(self.bits)) / self.baud
    }
}

/// How late last bytes of bursts were handed over: the line's own error, for a bench to subtract.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lateness {
    /// Bursts.
    pub count: u32,
    /// Of all of them.
    pub total: Duration,
    /// The worst.
    pub worst: Duration,
}

impl Lateness {
    /// On average.
    pub fn mean(&self) -> Duration {
        self.total.checked_div(self.count).unwrap_or_default()
    }
}

/// The line; ends with its value.
#[derive(Debug)]
pub struct SerialLine {
    mode: Mode,
    // A mutex and not a channel: what a case changes holds when its call returns.
    state: Arc<Mutex<State>>,
    /// Closed at the end, written to for attention.
    bell: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    dir: TempDir,
}

#[derive(Debug)]
struct State {
    air: Air,
    // By the end's place: the master first. Shared with the thread while it waits for them.
    ports: BTreeMap<usize, Arc<Port>>,
    baud: u32,
    lateness: Lateness,
}

impl SerialLine {
    /// A line with a master's end and the ends of `slaves`.
    pub fn start(mode: &str, slaves: usize) -> Self {
        let mode = Mode::of(mode);
        let dir = TempDir::with_prefix("serial-line-").expect("a temporary directory");
        let ports = (0..=slaves).map(|end| (end, Arc::new(Port::plug(&path(dir.path(), end), mode.baud))));
        let (air, lateness) = (Air::new(mode.character()), Lateness::default());
        let state = State { air, ports: ports.collect(), baud: mode.baud, lateness };
        let state = Arc::new(Mutex::new(state));
        let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
        let (heard, bell) = pipe_with(flags).expect("the system has pipes");
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new().name("serial-line".to_owned());
        let thread = thread.spawn(move || run(&shared, &heard)).expect("the system has threads");
        Self { mode, state, bell: Some(bell), thread: Some(thread), dir }
    }

    /// Speed and character.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The path of the master's end.
    pub fn master(&self) -> PathBuf {
        path(self.dir.path(), 0)
    }

    /// The path of a slave's end, counted from 0.
    pub fn slave(&self, slave: usize) -> PathBuf {
        path(self.dir.path(), slave + 1)
    }

    /// Changes how the line behaves, for bytes written from now on.
    pub fn behave(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.state().air.manners);
    }

    /// Somebody who is not connected sends bytes now, whoever else may be speaking.
    pub fn inject(&self, bytes: &[u8]) {
        self.state().air.send(From::Stranger, bytes, Instant::now());
        self.ring();
    }

    /// Like [`SerialLine::inject`], but waits for `silence` first, as another master would.
    pub fn inject_after(&self, silence: Duration, bytes: &[u8]) {
        let mut state = self.state();
        let now = Instant::now();
        let quiet = state.air.quiet_from().map_or(now, |quiet| quiet.max(now));
        state.air.send(From::Stranger, bytes, quiet + silence);
        drop(state);
        self.ring();
    }

    /// The master's adapter is pulled out: its device is gone, and whoever has it open is told.
    pub fn cut_master(&self) {
        let port = self.state().ports.remove(&0).expect("it was plugged in");
        // The thread lets go of it when it looks up; gone is gone when this returns.
        while Arc::strong_count(&port) > 1 {
            self.ring();
            std::thread::yield_now();
        }
    }

    /// It is plugged in again: another device behind the same path.
    pub fn plug_master(&self) {
        let fresh = Arc::new(Port::plug(&self.master(), self.mode.baud));
        let before = self.state().ports.insert(0, fresh);
        assert!(before.is_none(), "it was plugged in all the time");
        self.ring();
    }

    /// What has passed since the last call, in the order it began.
    pub fn take_record(&self) -> Vec<Passed> {
        let mut record = std::mem::take(&mut self.state().air.record);
        record.sort_by_key(|passed| passed.begins);
        record
    }

    /// The line's own error until now.
    pub fn lateness(&self) -> Lateness {
        self.state().lateness
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    fn ring(&self) {
        if let Some(bell) = &self.bell {
            // A full pipe wakes the thread as well.
            let _ = rustix::io::write(bell, &[1]);
        }
    }
}

impl Drop for SerialLine {
    fn drop(&mut self) {
        self.bell = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn path(dir: &Path, end: usize) -> PathBuf {
    match end {
        0 => dir.join("master"),
        slave => dir.join(format!("slave-{slave}")),
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The line's thread; ends when the bell is gone.
fn run(state: &Mutex<State>, bell: &OwnedFd) {
    // Without it the kernel adds 50 µs to every sleep.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    loop {
        let (ports, next) = {
            let state = locked(state);
            (state.ports.clone(), state.air.next())
        };
        let Some(spoke) = wait(&ports, bell, next) else { return };
        let now = Instant::now();
        let mut state = locked(state);
        for end in spoke {
            let bytes = ports[&end].take();
            if !bytes.is_empty() {
                state.send(end, &bytes, now);
            }
        }
        state.hand_over();
    }
}

/// Sleeps until something is due or somebody speaks, and says who; `None` at the end.
fn wait(ports: &BTreeMap<usize, Arc<Port>>, bell: &OwnedFd, next: Option<Instant>) -> Option<Vec<usize>> {
    let mut fds: Vec<PollFd<'_>> = vec![PollFd::new(bell, PollFlags::IN)];
    fds.extend(ports.values().map(|port| PollFd::new(&port.wire, PollFlags::IN)));
    loop {
        let now = Instant::now();
        let left = next.map_or(LONGEST_SLEEP, |due| due.saturating_duration_since(now));
        // Close to the moment it only looks, so that it also sees who begins to speak meanwhile.
        let sleep = left.saturating_sub(SPIN).min(LONGEST_SLEEP);
        let timeout = Timespec::try_from(sleep).expect("a second fits");
        // An interrupted sleep is one more look.
        let woken = poll(&mut fds, Some(&timeout)).unwrap_or_default();
        if woken > 0 {
            if fds[0].revents().contains(PollFlags::HUP) {
                return None;
            }
            let mut rung = [0; 64];
            while let Ok(1..) = rustix::io::read(bell, &mut rung) {}
            let spoke = |fd: &PollFd<'_>| !fd.revents().is_empty();
            return Some(
                ports.keys().zip(&fds[1..]).filter(|(_, fd)| spoke(fd)).map(|(end, _)| *end).collect(),
            );
        }
        if left.is_zero() || next.is_none() {
            return Some(Vec::new());
        }
    }
}

impl State {
    fn send(&mut self, end: usize, bytes: &[u8], now: Instant) {
        let from = end.checked_sub(1).map_or(From::Master, From::Slave);
        let right = self.hears_right(end);
        let bytes: Vec<u8> = bytes.iter().map(|byte| if right { *byte } else { garbled(*byte) }).collect();
        self.air.send(from, &bytes, now);
    }

    fn hears_right(&self, end: usize) -> bool {
        self.ports.get(&end).is_none_or(|port| port.baud() == self.baud)
    }

    fn hand_over(&mut self) {
        let arrivals = self.air.arrived(Instant::now());
        if arrivals.is_empty() {
            return;
        }
        let echo = self.air.manners.echo;
        for (end, port) in &self.ports {
            let own = end.checked_sub(1).map_or(From::Master, From::Slave);
            let hears = |from: From| match from {
                From::Noise => own == From::Master,
                from => from != own || (echo && own == From::Master),
            };
            let heard = arrivals.iter().filter(|one| hears(one.from));
            let mut heard: Vec<u8> = heard.map(|one| one.byte).collect();
            if !heard.is_empty() && !self.hears_right(*end) {
                heard.iter_mut().for_each(|byte| *byte = garbled(*byte));
            }
            port.give(&heard);
        }
        let now = Instant::now();
        for Arrival { due, .. } in arrivals.iter().filter(|one| one.last) {
            let late = now.saturating_duration_since(*due);
            self.lateness.count += 1;
            self.lateness.total += late;
            self.lateness.worst = self.lateness.worst.max(late);
        }
    }
}

#[cfg(test)]
mod tests;
