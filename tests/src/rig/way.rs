//! A way to the broker that can be bad: what is published along it is swallowed, confirmed or not, or the
//! connection breaks off.
//!
//! Always true: packets pass whole and in order; only what the client publishes with QoS 1 is ever
//! touched, by chance out of a seed; what it does to a message is counted; no message is taken more often
//! than [`MOST_TAKEN`] times, so that a row is never given up for nothing but bad luck.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::platform::again::MOST_TIMES;

/// How often the listener looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);
/// A row is parked when it was tried once more than that.
const MOST_TAKEN: u32 = MOST_TIMES - 1;
/// First byte of a PUBLISH with QoS 1, not retained, not sent before.
const PUBLISH: u8 = 0x32;
/// First byte of a PUBACK, and the length of the rest.
const PUBACK: [u8; 2] = [0x40, 2];
/// Most bytes that tell a packet's length.
const LENGTH_BYTES: usize = 4;

/// Shares of the published messages, from 0 to 1; the rest passes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Manners {
    /// Neither confirmed nor delivered.
    pub swallowed: f64,
    /// Confirmed and not delivered.
    pub confirmed: f64,
    /// The connection ends instead.
    pub broken: f64,
}

/// The way; ends with its value.
#[derive(Debug)]
pub struct Way {
    /// Where it begins, on the loopback.
    pub port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    // A mutex and not a channel: connections ask while the case changes it.
    state: Mutex<State>,
    ended: AtomicBool,
}

#[derive(Debug)]
struct State {
    manners: Manners,
    rng: fastrand::Rng,
    taken: u64,
    /// How often by what the message says, whatever its packet's id.
    taken_of: HashMap<u64, u32>,
}

enum Fate {
    Passes,
    Swallowed,
    Confirmed([u8; 2]),
    Broken,
}

impl Way {
    /// To the broker on this port; all passes until told otherwise.
    pub fn to(broker: u16, seed: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the loopback has a free port");
        listener.set_nonblocking(true).expect("a listener need not block");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let rng = fastrand::Rng::with_seed(seed);
        let state = State { manners: Manners::default(), rng, taken: 0, taken_of: HashMap::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), ended: AtomicBool::new(false) });
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || listen(&listener, broker, &of_thread));
        Self { port, shared }
    }

    /// How it treats what is published from now on.
    pub fn set(&self, manners: Manners) {
        self.shared.lock().manners = manners;
    }

    /// Messages that did not arrive.
    pub fn taken(&self) -> u64 {
        self.shared.lock().taken
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fate(&self, packet: &[u8]) -> Fate {
        let Some((id, says)) = published(packet) else { return Fate::Passes };
        let mut state = self.lock();
        let Manners { swallowed, confirmed, broken } = state.manners;
        let drawn = state.rng.f64();
        let fate = match drawn {
            drawn if drawn < swallowed => Fate::Swallowed,
            drawn if drawn < swallowed + confirmed => Fate::Confirmed(id),
            drawn if drawn < swallowed + confirmed + broken => Fate::Broken,
            _ => return Fate::Passes,
        };
        let taken_of = state.taken_of.entry(says).or_default();
        if *taken_of == MOST_TAKEN {
            return Fate::Passes;
        }
        *taken_of += 1;
        state.taken += 1;
        fate
    }
}

fn listen(listener: &TcpListener, broker: u16, shared: &Arc<Shared>) {
    while !shared.ended.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((client, _)) => {
                let shared = Arc::clone(shared);
                // Ends with either side of the connection.
                std::thread::spawn(move || join(&client, broker, &shared));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(LOOK),
            Err(_) => return,
        }
    }
}

fn join(client: &TcpStream, broker: u16, shared: &Shared) {
    let Ok(broker) = TcpStream::connect(("127.0.0.1", broker)) else { return };
    client.set_nonblocking(false).expect("a connection may block");
    // Confirmations of the broker's and of our own.
    let answers = Mutex::new(client);
    std::thread::scope(|both| {
        both.spawn(|| {
            up(client, &broker, &answers, shared);
            end(client, &broker);
        });
        down(&broker, &answers);
        end(client, &broker);
    });
}

fn end(client: &TcpStream, broker: &TcpStream) {
    // One that has ended already need not be ended.
    let _ = client.shutdown(Shutdown::Both);
    let _ = broker.shutdown(Shutdown::Both);
}

fn up(mut client: &TcpStream, mut broker: &TcpStream, answers: &Mutex<&TcpStream>, shared: &Shared) {
    while let Some(packet) = packet(&mut client) {
        let passed = match shared.fate(&packet) {
            Fate::Passes => broker.write_all(&packet),
            Fate::Swallowed => Ok(()),
            Fate::Confirmed([high, low]) => answer(answers, &[PUBACK[0], PUBACK[1], high, low]),
            Fate::Broken => return,
        };
        if passed.is_err() {
            return;
        }
    }
}

fn down(mut broker: &TcpStream, answers: &Mutex<&TcpStream>) {
    while let Some(packet) = packet(&mut broker) {
        if answer(answers, &packet).is_err() {
            return;
        }
    }
}

fn answer(client: &Mutex<&TcpStream>, packet: &[u8]) -> std::io::Result<()> {
    client.lock().unwrap_or_else(PoisonError::into_inner).write_all(packet)
}

/// One whole MQTT packet; `None`: the connection has ended.
fn packet(from: &mut impl Read) -> Option<Vec<u8>> {
    let mut packet = vec![0; 1];
    from.read_exact(&mut packet).ok()?;
    let mut rest = 0;
    for place in 0..LENGTH_BYTES {
        let mut byte = [0];
        from.read_exact(&mut byte).ok()?;
        packet.push(byte[0]);
        rest |= usize::from(byte[0] & 0x7f) << (7 * place);
        if byte[0] < 0x80 {
            break;
        }
    }
    let head = packet.len();
    packet.resize(head + rest, 0);
    from.read_exact(&mut packet[head..]).ok()?;
    Some(packet)
}

/// The packet id of a PUBLISH with QoS 1, and one for what it says and where.
fn published(packet: &[u8]) -> Option<([u8; 2], u64)> {
    if *packet.first()? != PUBLISH {
        return None;
    }
    let head = 2 + packet[1..].iter().position(|byte| *byte < 0x80)?;
    let topic = usize::from(u16::from_be_bytes([*packet.get(head)?, *packet.get(head + 1)?]));
    let id = packet.get(head + 2 + topic..head + 4 + topic)?;
    let mut says = DefaultHasher::new();
    (&packet[head..head + 2 + topic], &packet[head + 4 + topic..]).hash(&mut says);
    Some(([id[0], id[1]], says.finish()))
}

#[cfg(test)]
mod tests {
    use super::super::{Broker, Listener, eventually};
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn packets_are_told_apart_and_messages_by_their_id() {
        let message = [0x32, 7, 0, 1, b'a', 1, 2, b'x', b'y'];
        let bytes = [&message[..], &[0xc0, 0]].concat();
        let mut from = &bytes[..];
        assert_eq!(packet(&mut from).unwrap(), message);
        assert_eq!((packet(&mut from).unwrap(), packet(&mut from)), (vec![0xc0, 0], None));
        let (id, says) = published(&message).unwrap();
        assert_eq!(id, [1, 2]);
        let again = [0x32, 7, 0, 1, b'a', 3, 4, b'x', b'y'];
        assert_eq!(published(&again), Some(([3, 4], says)), "it says the same");
        assert_ne!(published(&[0x32, 7, 0, 1, b'a', 1, 2, b'x', b'z']).unwrap().1, says);
        assert_eq!(published(&[0xc0, 0]), None);
        assert_eq!(published(&[0x32, 2, 0, 9]), None, "cut off");
        let mut long = [&[0x32, 0x80, 1][..], &[0; 128]].concat();
        long[4] = 2;
        long[7..9].copy_from_slice(&[3, 4]);
        assert_eq!((packet(&mut &long[..]).unwrap(), published(&long).unwrap().0), (long.clone(), [3, 4]));
    }

    #[test]
    fn what_is_confirmed_and_swallowed_never_arrives_and_what_breaks_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path());
        let way = Way::to(broker.port, 1);
        let hearer = Listener::start(broker.port, &["a"], |_, _| None);
        let options = rumqttc::MqttOptions::new("by-hand", "127.0.0.1", way.port);
        let (client, mut connection) = rumqttc::Client::new(options, 10);
        let mut publish_until_answered = |payload: &str| {
            client.publish("a", rumqttc::QoS::AtLeastOnce, false, payload).unwrap();
            connection.iter().find_map(|event| match event {
                Ok(rumqttc::Event::Incoming(rumqttc::Packet::PubAck(_))) => Some(true),
                Ok(_) => None,
                Err(_) => Some(false),
            })
        };
        way.set(Manners { confirmed: 1.0, ..Manners::default() });
        assert_eq!((publish_until_answered("dropped"), way.taken()), (Some(true), 1));
        assert_eq!((publish_until_answered("dropped"), way.taken()), (Some(true), 2));
        assert_eq!(
            (publish_until_answered("dropped"), way.taken()),
            (Some(true), 2),
            "the third time it passes"
        );
        way.set(Manners { broken: 1.0, ..Manners::default() });
        assert_eq!((publish_until_answered("broken"), way.taken()), (Some(false), 3));
        way.set(Manners::default());
        let connected = connection.iter().find(|event| event.is_ok());
        assert!(connected.is_some(), "it connects again");
        client.publish("a", rumqttc::QoS::AtLeastOnce, false, "passed").unwrap();
        std::thread::spawn(move || connection.iter().for_each(drop));
        let mut heard = Vec::new();
        eventually("what passes arrives", PATIENCE, || {
            heard.extend(hearer.heard().into_iter().map(|heard| heard.payload));
            heard.len() == 2
        });
        assert_eq!(heard, [&b"dropped"[..], b"passed"]);
    }
}
