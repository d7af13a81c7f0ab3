//! Devices that dial in: a modem on 4G connects to us and says who it is.
//!
//! One [`Door`] listens at an address for all connections that name it; its task alone accepts. Whoever
//! comes says its id, and its stream is put where the connection of that id finds it.
//!
//! Always true: a stream reaches a connection only after exactly its id; a new one replaces the one
//! before; at most [`GREETINGS`] strangers are listened to at a time, the oldest gives way to a new one, and
//! none for longer than [`GREETING_TIME`]; each address is complained about once; a door that nobody waits behind is shut.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use crate::connection::ends::Listen;

/// Most connections at an address that have not said who they are; for one more the oldest is closed.
pub(crate) const GREETINGS: usize = 32;
/// Pause between two complaints that they were too many.
const CROWD_PAUSE: Duration = Duration::from_secs(300);
/// Longest wait for an id.
const GREETING_TIME: Duration = Duration::from_secs(10);
/// An id ends with a silence this long, so that no longer id is taken for a shorter one.
const GREETING_END: Duration = Duration::from_millis(200);
/// Most bytes of a greeting.
const MOST_GREETING_BYTES: usize = 256;
/// Strangers that are remembered; past that, all are forgotten and complained about anew.
const STRANGERS: usize = 256;
/// Pause after an accept that failed: no file descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The doors of this process, by address. A lock and not a task, because the connections that share a door
/// know nothing of each other and come and go on their own; it is held for moments.
static DOORS: LazyLock<Mutex<BTreeMap<SocketAddr, Door>>> = LazyLock::new(Mutex::default);

/// A listening address.
struct Door {
    waiting: Places,
    task: JoinHandle<()>,
}

/// Who waits behind a door, by id.
type Places = Arc<Mutex<BTreeMap<Vec<u8>, Arc<Slot>>>>;

/// Where the newest stream of an id is put. A lock, because a channel would keep the oldest.
#[derive(Debug, Default)]
struct Slot {
    stream: Mutex<Option<TcpStream>>,
    news: Notify,
}

/// The place of one connection behind a door; given up when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    listen: Listen,
    slot: Arc<Slot>,
}

impl Place {
    /// Opens the door, if nobody has, and waits behind it.
    pub(super) fn take(listen: &Listen) -> io::Result<Self> {
        let mut doors = locked(&DOORS);
        let door = match doors.get(&listen.address) {
            // One whose runtime has ended is none.
            Some(door) if !door.task.is_finished() => door,
            _ => {
                let door = Door::open(listen.address)?;
                doors.insert(listen.address, door);
                doors.get(&listen.address).expect("it was put there just now")
            }
        };
        let slot = Arc::new(Slot::default());
        let mut waiting = locked(&door.waiting);
        if waiting.contains_key(&listen.id) {
            let told = format!("another connection waits for {} there", told(&listen.id));
            return Err(io::Error::new(io::ErrorKind::AddrInUse, told));
        }
        waiting.insert(listen.id.clone(), slot.clone());
        drop(waiting);
        Ok(Self { listen: listen.clone(), slot })
    }

    /// Whether a stream has come that nobody has taken.
    pub(super) fn has_news(&self) -> bool {
        locked(&self.slot.stream).is_some()
    }

    /// The newest stream; none when the device does not dial in for so long.
    pub(super) async fn wait(&self, wait: Duration) -> Option<TcpStream> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(stream) = locked(&self.slot.stream).take() {
                return Some(stream);
            }
            timeout_at(deadline, self.slot.news.notified()).await.ok()?;
        }
    }
}

impl Place {
    /// Gives it up; the address is free again when nobody else waits there.
    pub(super) async fn leave(self) {
        if let Some(task) = self.give_up() {
            // It was told to end, and does so at its next breath.
            let _ = task.await;
        }
    }

    /// The task of the door, told to end, when nobody else waits behind it.
    fn give_up(&self) -> Option<JoinHandle<()>> {
        let mut doors = locked(&DOORS);
        let door = doors.get(&self.listen.address)?;
        let mut waiting = locked(&door.waiting);
        if !waiting.get(&self.listen.id).is_some_and(|slot| Arc::ptr_eq(slot, &self.slot)) {
            return None;
        }
        waiting.remove(&self.listen.id);
        let is_empty = waiting.is_empty();
        drop(waiting);
        let task = is_empty.then(|| doors.remove(&self.listen.address))??.task;
        task.abort();
        Some(task)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Door {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let waiting = Places::default();
        let task = tokio::spawn(keep(listener, address, waiting.clone()));
        Ok(Self { waiting, task })
    }
}

/// Accepts until it is shut.
async fn keep(listener: TcpListener, address: SocketAddr, waiting: Places) {
    let mut crowd = Crowd::default();
    let strangers = Arc::new(Mutex::new(BTreeSet::new()));
    info!(%address, "devices may dial in");
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%address, %error, "a device that dials in cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        crowd.make_room(address);
        let (waiting, strangers) = (waiting.clone(), strangers.clone());
        let greeting = tokio::spawn(async move { greet(stream, from, &waiting, &strangers).await });
        crowd.greetings.push_back(greeting.abort_handle());
    }
}

/// Who has not said who they are, the oldest first.
#[derive(Default)]
struct Crowd {
    greetings: VecDeque<AbortHandle>,
    /// How many had to give way since it was last said.
    gone: u64,
    said: Option<Instant>,
}

impl Crowd {
    /// Has a place for one more: whoever fills the door with silence shuts no device out.
    fn make_room(&mut self, address: SocketAddr) {
        self.greetings.retain(|greeting| !greeting.is_finished());
        while self.greetings.len() >= GREETINGS
            && let Some(oldest) = self.greetings.pop_front()
        {
            oldest.abort();
            self.gone += 1;
        }
        if self.gone > 0 && self.said.is_none_or(|said| said.elapsed() >= CROWD_PAUSE) {
            let closed = std::mem::take(&mut self.gone);
            warn!(%address, closed, "too many connections do not say who they are, the oldest are closed");
            self.said = Some(Instant::now());
        }
    }
}

/// Listens to whoever dialled in until it has said its id.
async fn greet(
    mut stream: TcpStream,
    from: SocketAddr,
    waiting: &Places,
    strangers: &Mutex<BTreeSet<IpAddr>>,
) {
    let packet = packet(&mut stream).await;
    let ends = |byte: &u8| matches!(byte, b'\r' | b'\n' | 0 | b' ');
    let end = packet.iter().rposition(|byte| !ends(byte)).map_or(0, |last| last + 1);
    let slot = {
        let waiting = locked(waiting);
        waiting.get(&packet).or_else(|| waiting.get(&packet[..end])).cloned()
    };
    match slot {
        Some(slot) => {
            info!(%from, id = told(&packet), "a device has dialled in");
            // Requests are small and waited for: none may be held back to be joined with the next one.
            let _ = stream.set_nodelay(true);
            *locked(&slot.stream) = Some(stream);
            slot.news.notify_one();
        }
        None => {
            let mut strangers = locked(strangers);
            if strangers.len() >= STRANGERS {
                strangers.clear();
            }
            if strangers.insert(from.ip()) {
                let said = told(&packet);
                warn!(%from, said, "closed, no connection has this id; listen.id names it");
            }
        }
    }
}

/// What comes until a short silence.
async fn packet(stream: &mut TcpStream) -> Vec<u8> {
    let (mut packet, mut bytes) = (Vec::new(), [0; MOST_GREETING_BYTES]);
    let mut wait = GREETING_TIME;
    while packet.len() < MOST_GREETING_BYTES {
        match timeout(wait, stream.read(&mut bytes[packet.len()..])).await {
            Ok(Ok(count @ 1..)) => {
                let place = packet.len();
                packet.extend_from_slice(&bytes[place..place + count]);
                wait = GREETING_END;
            }
            _ => break,
        }
    }
    packet
}

/// Bytes for people: as text where they are text.
pub(super) fn told(bytes: &[u8]) -> String {
    if !bytes.is_empty() && bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return format!("{:?}", String::from_utf8_lossy(bytes));
    }
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("hex:{}", hex.join(" "))
}

/// A panic elsewhere while it was held leaves nothing half done: each holder does one step.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
