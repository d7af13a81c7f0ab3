//! The platform's MQTT client: the one thin file that touches the socket.
//!
//! Always true: a random client id and a clean session, so what is published while it is away is
//! lost; exactly the four filters, and beside them what the broker tells of connections, for the judge;
//! everything it publishes is QoS 2 and not retained.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rumqttc::{Client, Connection, Event, MqttOptions, Outgoing, Packet, QoS, SubscribeFilter};

use super::calls::Publish;
use super::core::Core;
use super::judge::Message;
use super::topic::FILTERS;

/// Requests waiting for the socket; more is a mistake of the case.
const QUEUE: usize = 10_000;
/// Largest packet taken, EMQX's default.
const LARGEST_PACKET: usize = 1024 * 1024;
/// QoS 2 messages on their way at once; mosquitto forgets what comes beyond its own limit of 20.
const IN_FLIGHT: u16 = 10;
/// Where a broker tells who connects and whose connection ends, if it does; in order with what they publish.
const CONNECTIONS: &str = "$SYS/broker/log/N";
/// Pause before the next try to connect: so short that the platform is there when its broker is.
const RECONNECT_PAUSE: Duration = Duration::from_millis(5);

/// Where the broker is and who we are to it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// User and password.
    pub credentials: Option<(String, String)>,
    /// Whether it tells who connects, as mosquitto does; others close the connection that asks for it.
    pub tells_connections: bool,
}

impl Endpoint {
    /// A mosquitto on the loopback that lets everybody in.
    pub fn local(port: u16) -> Self {
        Self { host: "127.0.0.1".to_owned(), port, credentials: None, tells_connections: true }
    }
}

/// What the link's thread should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Here,
    Away,
    Ended,
}

pub(super) struct State {
    pub(super) core: Core,
    pub(super) wanted: Wanted,
    pub(super) subscribed: bool,
    pub(super) last_error: String,
    pub(super) client: Option<Client>,
}

impl State {
    /// Whoever is connected may connect anew without our hearing of it.
    fn gone(&mut self) {
        self.subscribed = false;
        self.core.connection_changed();
    }
}

/// State between the link's thread and the callers. A mutex and not a channel, because cases ask
/// questions and want the answer on the spot, from threads that are not tasks.
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    pub(super) fn new(core: Core) -> Arc<Self> {
        let state =
            State { core, wanted: Wanted::Here, subscribed: false, last_error: String::new(), client: None };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new() })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A failed assertion of one thread must not hide what the others have to say.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn notify(&self) {
        self.changed.notify_all();
    }

    /// Waits until `done` gives something or `within` is over.
    pub(super) fn wait<T>(
        &self,
        within: Duration,
        mut done: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        /// Time passes without messages too: deadlines and windows are looked at this often.
        const LOOK: Duration = Duration::from_millis(10);
        let deadline = Instant::now() + within;
        let mut state = self.lock();
        loop {
            if let Some(found) = done(&mut state) {
                return Some(found);
            }
            if Instant::now() >= deadline {
                return None;
            }
            state =
                self.changed.wait_timeout(state, LOOK).unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }
}

/// The link's thread.
pub(super) fn run(shared: &Arc<Shared>, endpoint: &Endpoint) {
    loop {
        let wanted = shared.wait(RECONNECT_PAUSE, |state| match state.wanted {
            Wanted::Away => None,
            other => Some(other),
        });
        match wanted {
            Some(Wanted::Ended) => return,
            Some(_) => session(shared, endpoint),
            None => {}
        }
    }
}

fn session(shared: &Arc<Shared>, endpoint: &Endpoint) {
    let id = format!("sagoo-platform-{:08x}", fastrand::u32(..));
    let mut options = MqttOptions::new(id, &endpoint.host, endpoint.port);
    options.set_keep_alive(Duration::from_secs(30)).set_clean_session(true);
    options.set_max_packet_size(LARGEST_PACKET, LARGEST_PACKET).set_inflight(IN_FLIGHT);
    if let Some((user, password)) = &endpoint.credentials {
        options.set_credentials(user, password);
    }
    let (client, mut connection) = Client::new(options, QUEUE);
    shared.lock().client = Some(client.clone());
    serve(shared, endpoint.tells_connections, &client, &mut connection);
    let mut state = shared.lock();
    state.gone();
    state.client = None;
    drop(state);
    shared.notify();
}

fn serve(shared: &Arc<Shared>, tells_connections: bool, client: &Client, connection: &mut Connection) {
    for event in connection.iter() {
        match event {
            Ok(Event::Incoming(Packet::ConnAck(_))) => subscribe(client, tells_connections),
            Ok(Event::Incoming(Packet::SubAck(_))) => {
                shared.lock().subscribed = true;
                shared.notify();
            }
            Ok(Event::Incoming(Packet::Publish(publish))) if publish.topic == CONNECTIONS => {
                let line = String::from_utf8_lossy(&publish.payload);
                let core = &mut shared.lock().core;
                if core.is_of_gateway(&line) {
                    core.connection_changed();
                }
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => receive(shared, client, publish),
            Ok(Event::Outgoing(Outgoing::Disconnect)) => return,
            Ok(_) => {}
            Err(error) => {
                let mut state = shared.lock();
                state.gone();
                state.last_error = error.to_string();
                drop(state);
                shared.notify();
                let leaving = |state: &mut State| (state.wanted != Wanted::Here).then_some(());
                if shared.wait(RECONNECT_PAUSE, leaving).is_some() {
                    return;
                }
            }
        }
        if shared.lock().wanted != Wanted::Here && client.try_disconnect().is_err() {
            return;
        }
    }
}

/// QoS 2 as the real platform has it after a reconnect: it also shows a publisher's true QoS.
fn subscribe(client: &Client, tells_connections: bool) {
    let filters = FILTERS.iter().chain(tells_connections.then_some(&CONNECTIONS));
    let filters = filters.map(|filter| SubscribeFilter::new((*filter).to_owned(), QoS::ExactlyOnce));
    client.try_subscribe_many(filters).expect("the queue is empty right after a connect");
}

fn receive(shared: &Arc<Shared>, client: &Client, publish: rumqttc::Publish) {
    let now = Instant::now();
    let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let message = Message {
        topic: publish.topic,
        payload: publish.payload.to_vec(),
        qos: publish.qos as u8,
        retain: publish.retain,
    };
    let answers = shared.lock().core.receive(message, now, unix_s);
    for (after, answer) in answers {
        if after.is_zero() {
            say(shared, client, answer);
        } else {
            let (shared, client) = (Arc::clone(shared), client.clone());
            // Few are late, and by little: a thread each is the least to keep.
            std::thread::spawn(move || {
                std::thread::sleep(after);
                say(&shared, &client, answer);
            });
        }
    }
    shared.notify();
}

/// Full means the broker is gone; the real platform loses its acknowledgements then, too.
fn say(shared: &Shared, client: &Client, answer: Publish) {
    if let Err(error) = client.try_publish(answer.topic, QoS::ExactlyOnce, false, answer.body) {
        shared.lock().last_error = error.to_string();
    }
}
