//! The judge of repetitions (sagooiot.md R5): on one connection the same id goes out neither in a hurry nor
//! after its answer nor for ever, and each pause is longer than the one before.

use super::super::RESEND_FIRST;
use super::*;

/// All that was sent under one id, on the connection it was sent on last.
#[derive(Debug)]
struct Sent {
    at: Instant,
    session: u64,
    times: u32,
    heard: bool,
}

/// Of every id but those of probes.
#[derive(Debug, Default)]
pub struct Again {
    sent: HashMap<String, Sent>,
    /// A message may go once before its turn, which is none of its tries.
    pub ahead: u32,
}

impl Again {
    /// It goes out.
    pub fn sent(&mut self, id: &str, session: u64, now: Instant) {
        let fresh = Sent { at: now, session, times: 0, heard: false };
        let sent = self.sent.entry(id.to_owned()).or_insert(fresh);
        if sent.session != session {
            *sent = Sent { at: now, session, times: 0, heard: false };
        }
        if sent.times > 0 {
            let grown = RESEND_FIRST * (sent.times - 1).saturating_sub(self.ahead);
            let (pause, least) = (now - sent.at, ACK_TIMEOUT + grown);
            assert!(pause >= least, "{id} again after {pause:?}, at least {least:?}: {sent:?}");
            assert!(!sent.heard, "{id} again after its answer");
            assert!(sent.times < ROW_TRIES + self.ahead, "{id} again after {ROW_TRIES} tries");
        }
        (sent.at, sent.times) = (now, sent.times + 1);
    }

    /// Its answer is heard.
    pub fn heard(&mut self, id: &str) {
        if let Some(sent) = self.sent.get_mut(id) {
            sent.heard = true;
        }
    }

    /// Somebody asks for it: it has its tries anew.
    pub fn asked_for(&mut self, id: &str) {
        self.sent.remove(id);
    }
}
