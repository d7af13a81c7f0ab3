//! How far the forwarder may read.
//!
//! Always true: what is held back, because its time is not known yet, is not heard of by anybody, nor is
//! anything that was written after it.

use tokio::sync::watch;

/// See the module.
pub struct Head {
    sender: watch::Sender<u64>,
    next_seq: u64,
    held: bool,
}

impl Head {
    /// Up to this record.
    pub fn new(next_seq: u64) -> Self {
        Self { sender: watch::Sender::new(next_seq), next_seq, held: false }
    }

    /// The seq the next record will get, or of the first that is held back.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.sender.subscribe()
    }

    /// Records below it may be read.
    pub fn end(&self) -> u64 {
        *self.sender.borrow()
    }

    /// From this record on, or from the next one, they are held back.
    pub fn hold(&mut self, from: Option<u64>) {
        self.held = true;
        if let Some(from) = from {
            self.sender.send_replace(from);
        }
    }

    /// Records up to this one are written.
    pub fn advance(&mut self, next_seq: u64) {
        self.next_seq = next_seq;
        if !self.held {
            self.sender.send_replace(next_seq);
        }
    }

    /// What was held back may be read.
    pub fn release(&mut self) {
        self.held = false;
        self.sender.send_replace(self.next_seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_back_is_heard_of_when_it_is_released() {
        let mut head = Head::new(5);
        let seen = head.subscribe();
        head.advance(6);
        head.hold(None);
        head.advance(7);
        assert_eq!(*seen.borrow(), 6);
        head.hold(Some(3));
        assert_eq!(*seen.borrow(), 3);
        head.release();
        assert_eq!(*seen.borrow(), 7);
        head.advance(8);
        assert_eq!(*seen.borrow(), 8);
    }
}
