//! What is known of each device key on the platform, and when it may be sent to.
//!
//! Always true: a key is known only after its own probe was answered since acknowledgements last
//! stopped, and at most [`Peers::known_for`] ago; one row at a time is un-acknowledged per key, and
//! two rows of a key keep their distance as the platform sees it: it is counted from the answer to the
//! first one, however long that was under way (sagooiot.md R2, R3).

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::super::backoff::Backoff;
use super::said::{LastSaid, Said};
use crate::northbound::sagoo::payload::clean;
use crate::row::{Identity, Row};

/// First wait before an unknown device is asked for again.
pub const PROBE_FIRST: Duration = Duration::from_secs(2);
/// Longest wait before an unknown device is asked for again.
pub const PROBE_MOST: Duration = Duration::from_secs(300);
/// Two different property sets of one device keep at least this distance (sagooiot.md R3).
pub const SET_CHANGE_SPACING: Duration = Duration::from_millis(1500);
/// An answer older than this, or than three heartbeats, proves nothing.
pub const KNOWN_FOR_LEAST: Duration = Duration::from_secs(30);

/// The gateway itself.
pub const SELF: usize = 0;

/// A device key on the platform.
#[derive(Debug)]
pub struct Peer {
    /// Its keys.
    pub identity: Identity,
    /// Names in the configuration, for heartbeats.
    device: Arc<str>,
    /// Not configured (any more): it came up in a stored row, is asked for as long as rows wait, and gets
    /// no heartbeats.
    foreign: bool,
    online: bool,
    known: bool,
    answered: Option<Instant>,
    /// Probes unanswered in a row.
    pub misses: u32,
    /// Number of the probe that is out.
    pub probe: Option<u64>,
    /// Not asked again before.
    pub probe_at: Instant,
    backoff: Backoff,
    /// A message with its row is not acknowledged.
    pub busy: bool,
    /// Its rows go alone: it was in a pack that was never answered.
    pub alone: bool,
    said: LastSaid,
    /// Anything that keeps it online.
    last_sent: Option<Instant>,
}

/// All keys.
#[derive(Debug)]
pub struct Peers {
    peers: Vec<Peer>,
    by_key: HashMap<Arc<str>, usize>,
    /// Keys seen in rows that are not configured any more; their replies must be subscribed to.
    foreign: Vec<Arc<str>>,
    /// How long an answer holds.
    pub known_for: Duration,
    row_spacing: Duration,
    heartbeat: Duration,
    /// By whoever spoke before.
    said_before: Said,
}

impl Peers {
    /// The gateway is [`SELF`].
    pub fn new(
        gateway: (Arc<str>, Identity),
        heartbeat: Duration,
        row_spacing: Duration,
        said_before: Said,
        now: Instant,
    ) -> Self {
        let mut peers = Self {
            peers: Vec::new(),
            by_key: HashMap::new(),
            foreign: Vec::new(),
            known_for: KNOWN_FOR_LEAST.max(heartbeat * 3),
            row_spacing,
            heartbeat,
            said_before,
        };
        peers.add(gateway.0, gateway.1, now);
        peers.peers[SELF].online = true;
        peers
    }

    /// The platform answers, for the first time or again.
    pub fn platform_answered(&mut self, now: Instant) {
        self.said_before.platform_answered(now);
    }

    /// A configured device.
    pub fn add(&mut self, device: Arc<str>, identity: Identity, now: Instant) -> usize {
        let (id, said) = (self.peers.len(), self.said_before.of(&identity.device_key));
        self.by_key.insert(identity.device_key.clone(), id);
        self.peers.push(Peer {
            identity,
            device,
            foreign: false,
            online: false,
            known: false,
            answered: None,
            misses: 0,
            probe: None,
            probe_at: now,
            backoff: Backoff::new(PROBE_FIRST, PROBE_MOST),
            busy: false,
            alone: false,
            said,
            last_sent: None,
        });
        id
    }

    /// The key a row of a device is sent under.
    pub fn of(&mut self, device: &Arc<str>, identity: &Identity, now: Instant) -> usize {
        if let Some(id) = self.by_key.get(&identity.device_key) {
            return *id;
        }
        self.foreign.push(identity.device_key.clone());
        let id = self.add(device.clone(), identity.clone(), now);
        self.peers[id].foreign = true;
        id
    }

    /// Keys that came up since the last call and are not configured.
    pub fn foreign(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.foreign)
    }

    /// One of them.
    pub fn get(&self, id: usize) -> &Peer {
        &self.peers[id]
    }

    /// One of them.
    pub fn get_mut(&mut self, id: usize) -> &mut Peer {
        &mut self.peers[id]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Which devices answer; only they get heartbeats. A key a device had before its configuration was
    /// changed stays offline.
    pub fn set_online(&mut self, online: &HashSet<String>) {
        for peer in &mut self.peers[SELF + 1..] {
            peer.online = !peer.foreign && online.contains(&*peer.device);
        }
    }

    /// Whether it may be in a pack.
    pub fn is_known(&self, id: usize, now: Instant) -> bool {
        let peer = &self.peers[id];
        peer.known && peer.answered.is_some_and(|at| now.saturating_duration_since(at) < self.known_for)
    }

    /// Device keys the platform answered for.
    pub fn known_keys(&self, now: Instant) -> Vec<String> {
        let known = (0..self.peers.len()).filter(|id| self.is_known(*id, now));
        known.map(|id| self.peers[id].identity.device_key.to_string()).collect()
    }

    /// Its probe was answered.
    pub fn probe_answered(&mut self, id: usize, now: Instant) {
        let peer = &mut self.peers[id];
        peer.known = true;
        peer.answered = Some(now);
        peer.misses = 0;
        peer.probe = None;
        peer.backoff.reset();
    }

    /// A message with its row was answered: it had arrived by now, and not only left when it was sent. The
    /// next one keeps its distance from this moment.
    pub fn row_answered(&mut self, id: usize, now: Instant) {
        let peer = &mut self.peers[id];
        peer.busy = false;
        peer.said.arrived_by(now);
        if peer.known {
            peer.answered = Some(now);
        }
    }

    /// Its probe was not answered though the platform lives: not known, asked again later.
    pub fn probe_missed(&mut self, id: usize, now: Instant, rng: &mut fastrand::Rng) {
        let peer = &mut self.peers[id];
        peer.known = false;
        peer.misses += 1;
        peer.probe = None;
        peer.probe_at = now + peer.backoff.wait(rng);
    }

    /// The connection is lost: what is un-acknowledged may arrive at any moment until now.
    pub fn disconnected(&mut self, now: Instant) {
        for peer in self.peers.iter_mut().filter(|peer| peer.busy) {
            peer.said.arrived_by(now);
        }
        self.forget(now);
    }

    /// Acknowledgements stopped: whatever was known may have been forgotten.
    pub fn forget(&mut self, now: Instant) {
        for peer in &mut self.peers {
            peer.known = false;
            peer.misses = 0;
            peer.probe = None;
            peer.probe_at = now;
            peer.backoff.reset();
        }
    }

    /// When a row with this set ([`set_of`]) may be sent, spacing considered.
    pub fn ready_at(&self, id: usize, set: Option<u64>) -> Option<Instant> {
        let peer = &self.peers[id];
        let spaced = peer.said.row.map(|at| at + self.row_spacing).max(self.said_before.quiet_until());
        let other_set = match (peer.said.set, set) {
            (Some((at, last)), Some(set)) if set != last => {
                Some(at + SET_CHANGE_SPACING.max(self.row_spacing))
            }
            _ => None,
        };
        spaced.max(other_set)
    }

    /// A row with this set is sent, on its own topic or not.
    pub fn row_sent(&mut self, id: usize, set: Option<u64>, now: Instant) {
        let peer = &mut self.peers[id];
        peer.busy = true;
        peer.said.row = Some(now);
        peer.last_sent = Some(now);
        if let Some(set) = set {
            peer.said.set = Some((now, set));
        }
    }

    /// For whoever speaks next.
    pub fn said(&self, now: Instant) -> Said {
        let keys = self.peers.iter().map(|peer| {
            let mut said = peer.said;
            if peer.busy {
                // it may arrive at any moment
                said.arrived_by(now);
            }
            (peer.identity.device_key.clone(), said)
        });
        self.said_before.clone().and(keys, now)
    }

    /// Something was sent on its topic.
    pub fn touched(&mut self, id: usize, now: Instant) {
        self.peers[id].last_sent = Some(now);
    }

    /// When its next heartbeat is due; `None`: none, because it is offline.
    pub fn beat_at(&self, id: usize, now: Instant) -> Option<Instant> {
        let peer = &self.peers[id];
        peer.online.then(|| peer.last_sent.map_or(now, |at| at + self.heartbeat))
    }
}

/// Fingerprint of the property set as the platform sees it: values that cannot be said are not in it.
/// A row that says no property has none.
pub fn set_of(row: &Row) -> Option<u64> {
    let said = row.cells.iter().filter(|cell| clean::can_be_said(&cell.value));
    fingerprint(said.map(|cell| &*cell.key))
}

/// The same of a message as it was sent.
pub fn set_of_message(payload: &str) -> Option<u64> {
    let message: serde_json::Value = serde_json::from_str(payload).ok()?;
    let params = &message["params"];
    let properties = params["subDevices"].get(0).map_or(params, |entry| &entry["properties"]);
    fingerprint(properties.as_object()?.keys().map(String::as_str))
}

fn fingerprint<'a>(keys: impl Iterator<Item = &'a str>) -> Option<u64> {
    let mut keys = keys.peekable();
    keys.peek()?;
    let mut hasher = DefaultHasher::new();
    keys.for_each(|key| key.hash(&mut hasher));
    Some(hasher.finish())
}
