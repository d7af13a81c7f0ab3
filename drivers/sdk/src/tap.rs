//! What passes on a line, for those who watch it (`sagoo-edge capture`) and for nobody else.
//!
//! Always true: while nobody watches, telling costs one atomic load, and a line that was never watched
//! has no room for transfers; a watcher that is too slow loses transfers, and is told how many; a line
//! is never held up.

use std::sync::{Arc, OnceLock};

use sagoo_edge_proto::clock;
use tokio::sync::broadcast;

/// Transfers kept for a watcher that is slow.
pub(crate) const TRANSFERS: usize = 4096;

/// Which way bytes went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the device.
    Out,
    /// From it.
    In,
}

/// Bytes that passed at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Nanoseconds since boot.
    pub boot_ns: u64,
    /// Which way.
    pub direction: Direction,
    /// The bytes.
    pub bytes: Arc<[u8]>,
}

/// Where a line tells what passes on it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tap {
    // Made by the first watcher: the room for so many transfers is 230 kB, and a gateway has many lines.
    transfers: Arc<OnceLock<broadcast::Sender<Transfer>>>,
}

impl Tap {
    /// These bytes were sent just now.
    pub fn sent(&self, bytes: &[u8]) {
        self.tell(Direction::Out, bytes);
    }

    /// These bytes came just now.
    pub fn received(&self, bytes: &[u8]) {
        self.tell(Direction::In, bytes);
    }

    /// Watches from now on.
    pub fn watch(&self) -> broadcast::Receiver<Transfer> {
        self.transfers.get_or_init(|| broadcast::Sender::new(TRANSFERS)).subscribe()
    }

    /// Whether anybody watches.
    pub fn is_watched(&self) -> bool {
        self.transfers.get().is_some_and(|transfers| transfers.receiver_count() > 0)
    }

    fn tell(&self, direction: Direction, bytes: &[u8]) {
        let Some(transfers) = self.transfers.get() else { return };
        if transfers.receiver_count() == 0 || bytes.is_empty() {
            return;
        }
        // Without a watcher any more nothing is lost.
        let _ = transfers.send(Transfer { boot_ns: clock::boot_ns(), direction, bytes: bytes.into() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_sees_what_passes_from_then_on_in_order() {
        let tap = Tap::default();
        tap.sent(b"nobody looks");
        let mut watcher = tap.watch();
        tap.sent(&[1, 2]);
        tap.received(&[]);
        tap.clone().received(&[3]);
        let seen: Vec<(Direction, Vec<u8>)> = std::iter::from_fn(|| watcher.try_recv().ok())
            .map(|transfer| (transfer.direction, transfer.bytes.to_vec()))
            .collect();
        assert_eq!(seen, [(Direction::Out, vec![1, 2]), (Direction::In, vec![3])]);
    }
}
