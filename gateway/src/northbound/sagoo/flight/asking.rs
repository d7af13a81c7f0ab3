//! Probes and heartbeats: who is asked next. Both are the empty pack, which also keeps its device online.
//!
//! Always true: keys that answer are asked before those that never did, and those that did not answer
//! leave room for the others ([`REFUSED_WINDOW`]); within each group who has been waiting longest goes
//! first, so everybody gets a turn, however many there are.

use std::collections::BTreeSet;
use std::time::Instant;

use super::peers::SELF;
use super::{Flight, Outgoing, PROBE_WINDOW, Plan, Platform, Probe};
use crate::northbound::sagoo::payload::build;
use crate::northbound::sagoo::topic;

/// Of [`PROBE_WINDOW`], this much may wait for keys that did not answer before; each takes its place for
/// the whole time an answer may take.
pub const REFUSED_WINDOW: usize = PROBE_WINDOW / 2;

/// Who is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// The gateway: whether the platform lives hangs on it.
    Own,
    /// It answers.
    Known,
    /// Not asked yet.
    New,
    /// It did not answer.
    Refused,
}

impl Flight {
    /// While nothing is answered only the gateway's own key is asked, with growing pauses. The next time does
    /// not wait until an answer to the last one is too late: a platform that is back a second after its
    /// broker never heard that one, and is found within two more.
    pub(super) fn ask_for_self(&mut self, ask_at: Instant, now: Instant, plan: &mut Plan) {
        if ask_at > now {
            return plan.wake_at(ask_at);
        }
        if plan.has_room() {
            self.send_probe(SELF, now, plan);
            let ask_at = now + self.silent_backoff.wait_half_at_least(&mut self.rng);
            self.platform = Platform::Silent { ask_at };
            plan.wake_at(ask_at);
        }
    }

    /// Asks for keys that have rows waiting, and sends heartbeats.
    pub(super) fn ask(&mut self, wanted: &BTreeSet<usize>, now: Instant, plan: &mut Plan) {
        let mut due: Vec<(Standing, Instant, usize)> = Vec::new();
        for peer in (0..self.peers.len()).filter(|peer| self.peers.get(*peer).probe.is_none()) {
            let standing = self.standing(peer, now);
            match self.ask_at(peer, standing, wanted, now) {
                None => {}
                Some(at) if at > now => plan.wake_at(at),
                Some(at) => due.push((standing, at, peer)),
            }
        }
        due.sort_unstable();
        for (standing, _, peer) in due {
            if self.is_full_for(standing) || !plan.has_room() {
                return;
            }
            self.send_probe(peer, now, plan);
        }
    }

    fn standing(&self, peer: usize, now: Instant) -> Standing {
        if peer == SELF {
            Standing::Own
        } else if self.peers.is_known(peer, now) {
            Standing::Known
        } else if self.peers.get(peer).misses == 0 {
            Standing::New
        } else {
            Standing::Refused
        }
    }

    /// When it is to be asked; `None`: there is no need.
    fn ask_at(
        &self,
        peer: usize,
        standing: Standing,
        wanted: &BTreeSet<usize>,
        now: Instant,
    ) -> Option<Instant> {
        let beat_at = self.peers.beat_at(peer, now);
        if standing == Standing::Own && self.doubting() {
            Some(now)
        } else if self.peers.is_known(peer, now) {
            beat_at
        } else {
            (wanted.contains(&peer) || beat_at.is_some()).then(|| self.peers.get(peer).probe_at)
        }
    }

    fn is_full_for(&self, standing: Standing) -> bool {
        let refused = || self.probes.values().filter(|probe| probe.refused).count();
        self.probes.len() >= PROBE_WINDOW || (standing == Standing::Refused && refused() >= REFUSED_WINDOW)
    }

    fn send_probe(&mut self, peer: usize, now: Instant, plan: &mut Plan) {
        let number = self.next_probe;
        self.next_probe += 1;
        let id = self.probe_id(number);
        let topic = topic::pack_post(&self.peers.get(peer).identity);
        let was_known = self.peers.is_known(peer, now);
        let refused = self.standing(peer, now) == Standing::Refused;
        self.probes.insert(number, Probe { peer, sent: now, was_known, refused });
        self.peers.get_mut(peer).probe = Some(number);
        self.peers.touched(peer, now);
        plan.push(Outgoing { topic, payload: build::probe(&id), before: None });
    }

    pub(super) fn probe_id(&self, number: u64) -> String {
        format!("{}-p{}{number}", self.options.gateway.device_key, self.run())
    }
}
