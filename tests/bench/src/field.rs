//! Simulated Modbus TCP devices that know when they were asked, and a timer that knows when the machine
//! itself stood still.
//!
//! Always true: register 0 counts the reads that covered it and holds the count of the last one, so a
//! value tells which read it came from; a time is taken when a request has arrived.

use std::future::{Ready, ready};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::Server;
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};

/// A device; ends with its value.
#[derive(Debug)]
pub struct Device {
    /// Where it listens, on the loopback.
    pub port: u16,
    polls: Polls,
    connections: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

/// Ticks in a thread of its own: a pause of it is the machine's, whoever else had one at that time.
#[derive(Debug)]
pub struct Timer {
    ticks: Polls,
    // The thread ends with it.
    _alive: Arc<()>,
}

/// How often the timer ticks.
pub const TICK: Duration = Duration::from_millis(5);

/// When it was read. A lock, because every connection of the device adds to it.
#[derive(Debug, Clone, Default)]
struct Polls(Arc<Mutex<Vec<Instant>>>);

impl Device {
    /// Starts it on a free port.
    pub async fn start() -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port on the loopback")?;
        let port = listener.local_addr().context("the port of a bound socket")?.port();
        let polls = Polls::default();
        let connections = Arc::new(AtomicUsize::new(0));
        let (unit, opened) = (polls.clone(), Arc::clone(&connections));
        let server = tokio::spawn(async move {
            let connected = |stream: TcpStream, _: SocketAddr| {
                let unit = unit.clone();
                opened.fetch_add(1, Ordering::AcqRel);
                async move { Ok::<_, io::Error>(Some((unit, stream))) }
            };
            // A connection that breaks is the driver's affair.
            let _ = Server::new(listener).serve(&connected, |_| ()).await;
        });
        Ok(Self { port, polls, connections, server })
    }

    /// How often it was read.
    pub fn count(&self) -> usize {
        self.polls.times().len()
    }

    /// How many connections were ever opened to it. A driver keeps its own open.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    /// The longest pause between two reads, of those that began or ended between these two moments.
    pub fn longest_pause(&self, from: Instant, to: Instant) -> Duration {
        longest_pause(&self.polls.times(), from, to)
    }
}

impl Timer {
    /// Starts ticking.
    pub fn start() -> Self {
        let (ticks, alive) = (Polls::default(), Arc::new(()));
        let (ticking, watched) = (ticks.clone(), Arc::downgrade(&alive));
        std::thread::spawn(move || {
            while watched.strong_count() > 0 {
                ticking.times().push(Instant::now());
                std::thread::sleep(TICK);
            }
        });
        Self { ticks, _alive: alive }
    }

    /// The longest pause between two ticks, of those that began or ended between these two moments.
    pub fn longest_pause(&self, from: Instant, to: Instant) -> Duration {
        longest_pause(&self.ticks.times(), from, to)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Polls {
    fn times(&self) -> std::sync::MutexGuard<'_, Vec<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pause that is still going on at `to` counts as long as it has lasted.
fn longest_pause(times: &[Instant], from: Instant, to: Instant) -> Duration {
    let before = times.iter().rev().find(|at| **at < from).copied().unwrap_or(from);
    let within = times.iter().copied().filter(|at| (from..=to).contains(at));
    let mut last = before;
    let mut longest = Duration::ZERO;
    for at in within.chain([to]) {
        longest = longest.max(at.saturating_duration_since(last));
        last = at;
    }
    longest
}

impl Service for Polls {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        ready(match request.request {
            Request::ReadHoldingRegisters(0, 1) => {
                let mut times = self.times();
                times.push(Instant::now());
                Ok(Response::ReadHoldingRegisters(vec![times.len() as u16]))
            }
            _ => Err(ExceptionCode::IllegalDataAddress),
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn the_longest_pause_counts_what_touches_the_window() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let times = [at(0), at(100), at(450), at(500), at(600)];
        let pause = |from, to| longest_pause(&times, at(from), at(to)).as_millis();
        assert_eq!(pause(50, 600), 350);
        assert_eq!(pause(200, 300), 200, "it began before and goes on");
        assert_eq!(pause(460, 600), 100);
        assert_eq!(pause(600, 1_000), 400, "nobody asks any more");
        assert_eq!(longest_pause(&[], at(0), at(70)).as_millis(), 70);
    }

    #[test]
    fn a_timer_ticks_until_it_is_dropped() {
        let timer = Timer::start();
        let began = Instant::now();
        while timer.ticks.times().len() < 3 {
            std::thread::sleep(TICK);
        }
        assert!(timer.longest_pause(began, Instant::now()) < began.elapsed());
        let ticks = timer.ticks.clone();
        drop(timer);
        while Arc::strong_count(&ticks.0) > 1 {
            std::thread::sleep(TICK);
        }
    }

    #[tokio::test]
    async fn a_device_counts_its_reads() {
        let device = Device::start().await.unwrap();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, device.port)).await.unwrap();
        for count in 1..=3 {
            stream.write_all(&[0, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, 1]).await.unwrap();
            let mut answer = [0; 11];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer[9..], [0, count]);
        }
        assert_eq!((device.count(), device.connections()), (3, 1));
    }
}
