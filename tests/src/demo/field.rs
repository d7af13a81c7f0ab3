//! The demo's field: three simulated Modbus TCP devices with living values. One of them is served by the
//! driver's own simulator, and this file stands between it and the gateway only to count.
//!
//! Always true: input 0 counts how often it was read, so whoever receives its values can tell a lost
//! one from a doubled one. A device goes away between two requests and never inside one, so that an
//! answer that was counted has also left.
//!
//! ```text
//! input 0-1  u32  reads of this register     input 2-3  f32  temperature
//! input 4-5  f32  load                       holding 0  u16  setpoint, tenths; may be written
//! ```

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::Server;
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};

use super::simulated::Simulated;
use super::site::MODEL;

/// Registers of the input table.
const INPUTS: usize = 6;
/// How long the device that dies lives, and then stays away.
const LIVES: Duration = Duration::from_secs(8);
const STAYS_AWAY: Duration = Duration::from_secs(3);
/// A port somebody else took meanwhile is tried again this often.
const REBIND: Duration = Duration::from_millis(200);

/// What kind of device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Character {
    /// Name in the gateway's configuration.
    pub(super) name: &'static str,
    /// For people, short.
    pub(super) habit: &'static str,
    /// It answers after this.
    pub(super) answers_after: Duration,
    /// It dies and comes back.
    pub(super) dies: bool,
    /// `driver-modbus simulate` serves it.
    pub(super) simulated: bool,
    /// Degrees its temperature swings around.
    pub(super) around: f32,
    /// Its setpoint at first, in tenths.
    pub(super) setpoint: u16,
}

/// Who is in the field.
pub(super) const CHARACTERS: [Character; 3] = [
    Character {
        name: "press",
        habit: "simulator's",
        answers_after: Duration::ZERO,
        dies: false,
        simulated: true,
        around: 21.0,
        setpoint: 200,
    },
    Character {
        name: "oven",
        habit: "slow, 0.4 s",
        answers_after: Duration::from_millis(400),
        dies: false,
        simulated: false,
        around: 180.0,
        setpoint: 1_800,
    },
    Character {
        name: "pump",
        habit: "dies, returns",
        answers_after: Duration::ZERO,
        dies: true,
        simulated: false,
        around: 35.0,
        setpoint: 400,
    },
];

/// A device that serves until it is told to stop.
pub(super) struct Device {
    /// What it is like.
    pub(super) character: Character,
    /// Where it listens, also while it is away.
    pub(super) port: u16,
    registers: Arc<Registers>,
    wanted: watch::Sender<Wanted>,
    task: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Wanted {
    Alive,
    Away,
    Ended,
}

impl Device {
    /// Starts it on a free port of the loopback; `programs` is where the driver is.
    pub(super) async fn start(character: Character, programs: &Path) -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port on the loopback")?;
        let port = listener.local_addr().context("the port of a bound socket")?.port();
        let simulated = match character.simulated {
            true => Some(Simulated::start(programs, MODEL, &values(&character)).await?),
            false => None,
        };
        let registers = Arc::new(Registers {
            character,
            simulated,
            started: Instant::now(),
            served: AtomicU32::new(0),
            setpoint: AtomicU16::new(character.setpoint),
        });
        let (wanted, watched) = watch::channel(Wanted::Alive);
        let task = tokio::spawn(live(listener, port, Arc::clone(&registers), watched));
        if character.dies {
            tokio::spawn(die_and_return(wanted.clone()));
        }
        Ok(Self { character, port, registers, wanted, task })
    }

    /// How often the counter was read and the answer left.
    pub(super) fn served(&self) -> u32 {
        self.registers.served.load(Ordering::Acquire)
    }

    /// What its setpoint register holds, also after it has ended.
    pub(super) fn setpoint(&self) -> Setpoint {
        Setpoint(Arc::clone(&self.registers))
    }

    /// Ends it between two requests, and waits for that.
    pub(super) async fn stop(&mut self) {
        self.wanted.send_replace(Wanted::Ended);
        // A panic in it would be a defect of the demo, and was printed.
        let _ = (&mut self.task).await;
    }
}

async fn die_and_return(wanted: watch::Sender<Wanted>) {
    let turn = |to| {
        wanted.send_if_modified(|now| {
            let goes_on = *now != Wanted::Ended;
            *now = if goes_on { to } else { *now };
            goes_on
        })
    };
    loop {
        tokio::time::sleep(LIVES).await;
        if !turn(Wanted::Away) {
            return;
        }
        tokio::time::sleep(STAYS_AWAY).await;
        if !turn(Wanted::Alive) {
            return;
        }
    }
}

/// Serves while it is wanted alive; refuses connections while it is away.
async fn live(
    listener: TcpListener,
    port: u16,
    registers: Arc<Registers>,
    mut wanted: watch::Receiver<Wanted>,
) {
    let mut listener = Some(listener);
    loop {
        let now = *wanted.borrow_and_update();
        match now {
            Wanted::Ended => return,
            Wanted::Alive => {
                if let Some(bound) = listener.take() {
                    serve(bound, &registers, wanted.clone()).await;
                    continue;
                }
                match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
                    Ok(bound) => listener = Some(bound),
                    Err(_) => tokio::time::sleep(REBIND).await,
                }
                continue;
            }
            Wanted::Away => {}
        }
        if wanted.changed().await.is_err() {
            return;
        }
    }
}

/// One life: ends when it is not wanted any more and its last connection has ended by itself.
async fn serve(listener: TcpListener, registers: &Arc<Registers>, wanted: watch::Receiver<Wanted>) {
    let open = watch::Sender::new(());
    let server = Server::new(listener);
    let connected = |stream: TcpStream, _: SocketAddr| {
        let alive = *wanted.borrow() == Wanted::Alive;
        let wire = alive.then(|| {
            let unit = Unit { registers: Arc::clone(registers) };
            (unit, Wire::new(stream, wanted.clone(), open.subscribe()))
        });
        async move { Ok::<_, io::Error>(wire) }
    };
    let mut ending = wanted.clone();
    tokio::select! {
        _ = server.serve(&connected, |_| ()) => {}
        () = async {
            // The sender outlives every life, so an error cannot happen; it would end this one.
            let _ = ending.wait_for(|wanted| *wanted != Wanted::Alive).await;
            open.closed().await;
        } => {}
    }
}

/// Looks into a device from outside, to check what the gateway says it did.
pub(super) struct Setpoint(Arc<Registers>);

impl Setpoint {
    /// Tenths of a degree.
    pub(super) fn tenths(&self) -> u16 {
        self.0.setpoint.load(Ordering::Acquire)
    }
}

/// What the simulator is told to hold: as its own, the other points move.
fn values(character: &Character) -> String {
    let setpoint = f32::from(character.setpoint) / 10.0;
    format!("counter = {{ counts = \"reads\" }}\nsetpoint = {setpoint:.1}\n")
}

struct Registers {
    character: Character,
    simulated: Option<Simulated>,
    started: Instant,
    served: AtomicU32,
    setpoint: AtomicU16,
}

impl Registers {
    fn inputs(&self, address: u16, count: u16) -> Result<Vec<u16>, ExceptionCode> {
        let range = range(address, count, INPUTS)?;
        let seconds = self.started.elapsed().as_secs_f32();
        let counts = range.contains(&0);
        let served = self.served.fetch_add(u32::from(counts), Ordering::AcqRel) + u32::from(counts);
        let temperature = self.character.around + 4.0 * (seconds / 7.0).sin() + 0.3 * (seconds * 1.9).sin();
        let load = 55.0 + 40.0 * (seconds / 11.0).sin() * (seconds / 3.0).cos();
        let words: Vec<u16> = [served, temperature.to_bits(), load.to_bits()]
            .into_iter()
            .flat_map(|bits| [(bits >> 16) as u16, bits as u16])
            .collect();
        Ok(words[range].to_vec())
    }

    /// Asks the simulator and keeps count of what it says.
    async fn relay(
        &self,
        simulated: &Simulated,
        request: Request<'static>,
    ) -> Result<Response, ExceptionCode> {
        let said = simulated.call(request.clone()).await?;
        match request {
            Request::ReadInputRegisters(0, _) => {
                self.served.fetch_add(1, Ordering::AcqRel);
            }
            Request::WriteSingleRegister(..) | Request::WriteMultipleRegisters(..) => {
                // What it holds now, and not what was asked of it.
                let held = simulated.call(Request::ReadHoldingRegisters(0, 1)).await?;
                if let Response::ReadHoldingRegisters(words) = held {
                    self.setpoint.store(words.first().copied().unwrap_or_default(), Ordering::Release);
                }
            }
            _ => {}
        }
        Ok(said)
    }

    fn answer(&self, request: &Request<'_>) -> Result<Response, ExceptionCode> {
        match request {
            Request::ReadInputRegisters(address, count) => {
                Ok(Response::ReadInputRegisters(self.inputs(*address, *count)?))
            }
            Request::ReadHoldingRegisters(address, count) => {
                let range = range(*address, *count, 1)?;
                let words = [self.setpoint.load(Ordering::Acquire)];
                Ok(Response::ReadHoldingRegisters(words[range].to_vec()))
            }
            Request::WriteSingleRegister(0, word) => {
                self.setpoint.store(*word, Ordering::Release);
                Ok(Response::WriteSingleRegister(0, *word))
            }
            Request::WriteMultipleRegisters(0, words) if words.len() == 1 => {
                self.setpoint.store(words[0], Ordering::Release);
                Ok(Response::WriteMultipleRegisters(0, 1))
            }
            Request::WriteSingleRegister(..) | Request::WriteMultipleRegisters(..) => {
                Err(ExceptionCode::IllegalDataAddress)
            }
            _ => Err(ExceptionCode::IllegalFunction),
        }
    }
}

fn range(address: u16, count: u16, size: usize) -> Result<std::ops::Range<usize>, ExceptionCode> {
    let range = usize::from(address)..usize::from(address) + usize::from(count);
    if count > 0 && range.end <= size { Ok(range) } else { Err(ExceptionCode::IllegalDataAddress) }
}

/// The device as tokio-modbus sees it, once per connection.
struct Unit {
    registers: Arc<Registers>,
}

impl Service for Unit {
    type Request = SlaveRequest<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = Pin<Box<dyn Future<Output = Result<Response, ExceptionCode>> + Send>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let registers = Arc::clone(&self.registers);
        Box::pin(async move {
            tokio::time::sleep(registers.character.answers_after).await;
            match &registers.simulated {
                Some(simulated) => registers.relay(simulated, request.request).await,
                None => registers.answer(&request.request),
            }
        })
    }
}

/// A connection that ends by itself, at a frame's boundary, once its device is not wanted any more:
/// tokio-modbus reads the next request only after the last answer has left.
struct Wire {
    stream: TcpStream,
    gone: Pin<Box<dyn Future<Output = ()> + Send>>,
    _open: watch::Receiver<()>,
}

impl Wire {
    fn new(stream: TcpStream, mut wanted: watch::Receiver<Wanted>, open: watch::Receiver<()>) -> Self {
        let gone = Box::pin(async move {
            // The device being dropped ends its connections as well.
            let _ = wanted.wait_for(|wanted| *wanted != Wanted::Alive).await;
        });
        Self { stream, gone, _open: open }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.gone.as_mut().poll(cx).is_ready() {
            self.gone = Box::pin(std::future::ready(())); // a finished future must not be polled again
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
