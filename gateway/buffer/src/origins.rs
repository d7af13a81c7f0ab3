//! The last number taken from each sender, so that a batch sent twice is stored once.
//!
//! Always true: at most [`MAX_ORIGINS`] senders are known, the ones heard last; every segment header
//! repeats them, so they outlive the records they came with.

use std::collections::HashMap;

use crate::format::{LastOfOrigin, MAX_ORIGINS, Origin};

#[derive(Debug, Default)]
pub(crate) struct Origins {
    /// Instance → its last number, the record that carried it.
    last: HashMap<[u8; 16], (u64, u64)>,
}

impl Origins {
    pub(crate) fn last_seq_of(&self, instance: &[u8; 16]) -> Option<u64> {
        self.last.get(instance).map(|(seq, _)| *seq)
    }

    pub(crate) fn is_double(&self, origin: &Origin) -> bool {
        self.last_seq_of(&origin.instance).is_some_and(|last| origin.seq <= last)
    }

    /// Record `at` carried `origin`; what is older than known changes nothing.
    pub(crate) fn note(&mut self, origin: Origin, at: u64) {
        let known = self.last.entry(origin.instance).or_insert((origin.seq, at));
        *known = (known.0.max(origin.seq), known.1.max(at));
        if self.last.len() > MAX_ORIGINS
            && let Some(oldest) =
                self.last.iter().min_by_key(|(_, (_, at))| *at).map(|(instance, _)| *instance)
        {
            self.last.remove(&oldest);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.last.len()
    }

    pub(crate) fn snapshot(&self) -> Vec<LastOfOrigin> {
        let entry = |(instance, (seq, at)): (&[u8; 16], &(u64, u64))| LastOfOrigin {
            origin: Origin { instance: *instance, seq: *seq },
            at: *at,
        };
        self.last.iter().map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sender_heard_longest_ago_is_forgotten_first() {
        let mut origins = Origins::default();
        let origin = |n: u8| Origin { instance: [n; 16], seq: 10 };
        for n in 0..MAX_ORIGINS as u8 {
            origins.note(origin(n), u64::from(n));
        }
        origins.note(Origin { instance: [0; 16], seq: 11 }, 1000);
        origins.note(origin(200), 1001);
        assert_eq!(origins.len(), MAX_ORIGINS);
        assert!(origins.is_double(&Origin { instance: [0; 16], seq: 11 }));
        assert!(!origins.is_double(&Origin { instance: [0; 16], seq: 12 }));
        assert!(!origins.is_double(&origin(1)), "1 was heard longest ago");
        assert!(origins.is_double(&origin(2)));
    }
}
