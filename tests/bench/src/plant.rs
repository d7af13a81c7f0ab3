//! A plant of simulated Modbus TCP devices that are quick enough never to be what is measured.
//!
//! Always true: a time is taken as soon as a request has been read; every read of register 0 with others
//! is one more read of its device (of a single register a driver may ask for reasons of its own, and tell
//! nobody), and every register it answers with is made of the device, the
//! address and that count, so what arrives elsewhere tells which read it came from and whether it was
//! filed rightly; devices answer from a thread of their own.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// Bytes of a request up to the end of its count: header, unit, function, address, count.
const REQUEST: usize = 12;
/// Bytes of the header up to the length it tells.
const HEADER: usize = 6;
/// Reads of registers; anything else is refused.
const FUNCTIONS: [u8; 2] = [3, 4];
/// Counts come round after so many reads, so that every value is a positive number in any type.
pub const ROUND: u64 = 0x8000;

/// Which devices there are behind which port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// So many, each behind a port of its own and answering to every unit id.
    Apart(usize),
    /// So many behind one port, as units 1, 2, …
    Together(usize),
}

/// The devices; they end with the value.
#[derive(Debug)]
pub struct Plant {
    /// Where each device listens, on the loopback.
    pub ports: Vec<u16>,
    /// The unit id of each.
    pub units: Vec<u8>,
    devices: Arc<Vec<Device>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What is known of one device.
#[derive(Debug, Default)]
struct Device {
    /// When it was read. Locks, because the bench looks while connections add to them.
    reads: Mutex<Vec<Instant>>,
    /// When it was asked for anything.
    requests: Mutex<Vec<Instant>>,
    dead: AtomicBool,
}

impl Plant {
    /// Starts them on free ports.
    pub fn start(shape: Shape) -> Result<Self> {
        let (Shape::Apart(count) | Shape::Together(count)) = shape;
        let devices: Arc<Vec<Device>> = Arc::new((0..count).map(|_| Device::default()).collect());
        let (sockets, units) = match shape {
            Shape::Apart(_) => ((0..count).map(|_| bind()).collect::<Result<Vec<_>>>()?, vec![1; count]),
            Shape::Together(_) => {
                let units = (1..=count).map(u8::try_from).collect::<Result<Vec<u8>, _>>();
                (vec![bind()?], units.context("units of one connection")?)
            }
        };
        let ports = (0..count).map(|device| sockets[device.min(sockets.len() - 1)].1).collect();
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let (runtime, served) = (runtime.context("starting the devices' thread")?, Arc::clone(&devices));
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                for (device, (socket, _)) in sockets.into_iter().enumerate() {
                    let device = matches!(shape, Shape::Apart(_)).then_some(device);
                    tokio::spawn(accept(socket, Arc::clone(&served), device));
                }
                // Either is the end.
                let _ = stopped.await;
            });
        });
        Ok(Self { ports, units, devices, stop: Some(stop), thread: Some(thread) })
    }

    /// When this device was read; the first read has the count 1.
    pub fn reads(&self, device: usize) -> Vec<Instant> {
        locked(&self.devices[device].reads).clone()
    }

    /// When this device was asked for anything at all.
    pub fn requests(&self, device: usize) -> Vec<Instant> {
        locked(&self.devices[device].requests).clone()
    }

    /// From now on it answers nobody, or everybody again.
    pub fn set_dead(&self, device: usize, dead: bool) {
        self.devices[device].dead.store(dead, Ordering::Relaxed);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.devices.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }
}

impl Drop for Plant {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of it has been printed already.
            let _ = thread.join();
        }
    }
}

/// What a register of a device holds at its read number `count`. Register 0 holds the count.
pub fn value(device: usize, address: u16, count: u64) -> u16 {
    let moved = if address == 0 { 0 } else { u64::from(address) * 31 + device as u64 * 7 };
    ((count + moved) % ROUND) as u16
}

fn locked(times: &Mutex<Vec<Instant>>) -> MutexGuard<'_, Vec<Instant>> {
    times.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A free port of the loopback, bound before anybody is told of it.
fn bind() -> Result<(std::net::TcpListener, u16)> {
    let socket =
        std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on the loopback")?;
    socket.set_nonblocking(true).context("a socket that does not wait")?;
    let port = socket.local_addr().context("the port of a bound socket")?.port();
    Ok((socket, port))
}

/// Takes every connection.
async fn accept(socket: std::net::TcpListener, devices: Arc<Vec<Device>>, device: Option<usize>) {
    let Ok(listener) = TcpListener::from_std(socket) else { return };
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, Arc::clone(&devices), device));
    }
}

/// Answers until the connection ends.
async fn serve(mut stream: TcpStream, devices: Arc<Vec<Device>>, device: Option<usize>) {
    let mut taken: Vec<u8> = Vec::with_capacity(4096);
    let mut out = Vec::with_capacity(4096);
    // A connection that breaks is the driver's affair.
    let _ = stream.set_nodelay(true);
    while matches!(stream.read_buf(&mut taken).await, Ok(bytes) if bytes > 0) {
        let at = Instant::now();
        let mut used = 0;
        while let Some(frame) = frame(&taken[used..]) {
            used += frame.len();
            answer(frame, &devices, device, at, &mut out);
        }
        taken.drain(..used);
        if stream.write_all(&out).await.is_err() {
            return;
        }
        out.clear();
    }
}

/// The first whole frame.
fn frame(bytes: &[u8]) -> Option<&[u8]> {
    let length = usize::from(u16::from_be_bytes([*bytes.get(4)?, *bytes.get(5)?]));
    bytes.get(..HEADER + length)
}

fn answer(frame: &[u8], devices: &[Device], device: Option<usize>, at: Instant, out: &mut Vec<u8>) {
    let Some(&[_, _, _, _, _, _, unit, function, high, low, more, count]) = frame.get(..REQUEST) else {
        return;
    };
    let Some(number) = device.or_else(|| usize::from(unit).checked_sub(1)) else { return };
    let Some(device) = devices.get(number) else { return };
    if device.dead.load(Ordering::Relaxed) {
        return;
    }
    let (address, count) = (u16::from_be_bytes([high, low]), u16::from_be_bytes([more, count]));
    out.extend_from_slice(&frame[..4]);
    if !FUNCTIONS.contains(&function) || !(1..=125).contains(&count) {
        out.extend_from_slice(&[0, 3, unit, function | 0x80, 1]);
        return;
    }
    let read = {
        let mut reads = locked(&device.reads);
        if address == 0 && count > 1 {
            reads.push(at);
        }
        reads.len() as u64
    };
    locked(&device.requests).push(at);
    out.extend_from_slice(&(3 + 2 * count).to_be_bytes());
    out.extend_from_slice(&[unit, function, (2 * count) as u8]);
    for place in 0..count {
        out.extend_from_slice(&value(number, address.wrapping_add(place), read).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    fn ask(stream: &mut TcpStream, unit: u8, address: u16, count: u16) -> Option<Vec<u16>> {
        let [[high, low], [more, less]] = [address.to_be_bytes(), count.to_be_bytes()];
        stream.write_all(&[0, 9, 0, 0, 0, 6, unit, 3, high, low, more, less]).unwrap();
        let mut answer = vec![0; 9 + 2 * usize::from(count)];
        stream.read_exact(&mut answer).ok()?;
        assert_eq!(answer[..2], [0, 9]);
        Some(answer[9..].chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect())
    }

    #[test]
    fn a_value_tells_its_device_its_address_and_which_read_it_came_from() {
        let plant = Plant::start(Shape::Apart(2)).unwrap();
        let before = Instant::now();
        let mut stream = TcpStream::connect(("127.0.0.1", plant.ports[1])).unwrap();
        for count in 1..=3 {
            let expected: Vec<u16> = (0..100).map(|address| value(1, address, count)).collect();
            assert_eq!(ask(&mut stream, 5, 0, 100).unwrap(), expected);
        }
        assert_eq!(ask(&mut stream, 5, 7, 2).unwrap()[0], value(1, 7, 3), "a read of its neighbours is none");
        assert_eq!(ask(&mut stream, 5, 0, 1).unwrap(), [3], "nor is one of register 0 alone");
        assert_eq!((plant.reads(0).len(), plant.reads(1).len(), plant.requests(1).len()), (0, 3, 5));
        assert!(plant.reads(1).iter().all(|at| *at >= before));
        assert_eq!((value(1, 0, 3), plant.len()), (3, 2));
    }

    #[test]
    fn one_dead_unit_of_a_connection_leaves_the_others_alone() {
        let plant = Plant::start(Shape::Together(3)).unwrap();
        plant.set_dead(1, true);
        let mut stream = TcpStream::connect(("127.0.0.1", plant.ports[0])).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert_eq!(ask(&mut stream, 1, 0, 2).unwrap()[0], 1);
        assert_eq!(ask(&mut stream, 2, 0, 2), None);
        assert_eq!(ask(&mut stream, 3, 0, 2).unwrap()[0], 1);
    }
}
