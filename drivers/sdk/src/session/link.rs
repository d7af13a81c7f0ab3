//! One open session: the stream to the gateway and what waits to go into it.
//!
//! Always true: nothing here waits. Messages that are not batches wait in `control`, and while
//! [`CONTROL_WAITING`] of them do, nothing more is taken from the gateway.

use std::collections::VecDeque;

use sagoo_edge_proto::driver::{DriverMessage, HostMessage, driver_message::Message};
use tokio::sync::mpsc;

/// Most answers waiting for a gateway that does not read.
pub(crate) const CONTROL_WAITING: usize = 256;
/// Messages handed to the transport ahead of it; batches beyond that stay in the outbox.
pub(crate) const OUTBOUND: usize = 16;
/// Messages of the gateway read ahead of the session.
pub(crate) const INBOUND: usize = 64;

/// A session a gateway has just opened.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) outbound: mpsc::Sender<DriverMessage>,
    pub(crate) inbound: mpsc::Receiver<HostMessage>,
}

#[derive(Debug)]
pub(crate) struct Link {
    outbound: mpsc::Sender<DriverMessage>,
    pub(crate) inbound: mpsc::Receiver<HostMessage>,
    pub(crate) control: VecDeque<Message>,
    /// Batches may go: the gateway of this session was told the numbers.
    pub(crate) configured: bool,
    pub(crate) heartbeat_due: bool,
}

impl Link {
    pub(crate) fn new(open: Open) -> Self {
        let Open { outbound, inbound } = open;
        Self { outbound, inbound, control: VecDeque::new(), configured: false, heartbeat_due: false }
    }

    pub(crate) fn takes_more(&self) -> bool {
        self.control.len() < CONTROL_WAITING
    }

    /// Whether sending one more message says something now: it is taken, or the gateway is gone.
    pub(crate) fn has_room(&self) -> bool {
        self.outbound.capacity() > 0 || self.outbound.is_closed()
    }

    /// Hands one message over; false when the gateway is gone.
    pub(crate) fn send(&self, message: Message) -> bool {
        self.outbound.try_send(DriverMessage { message: Some(message) }).is_ok()
    }

    /// A way to wait for room without holding the session.
    pub(crate) fn outbound(&self) -> mpsc::Sender<DriverMessage> {
        self.outbound.clone()
    }
}

/// The next message of the gateway, `None` when it is gone; never while it may not send or is not there.
pub(crate) async fn next_message(link: &mut Option<Link>) -> Option<HostMessage> {
    match link {
        Some(link) if link.takes_more() => link.inbound.recv().await,
        _ => std::future::pending().await,
    }
}

/// Comes back when the transport takes a message again, or is gone.
pub(crate) async fn room(outbound: Option<mpsc::Sender<DriverMessage>>) {
    match outbound {
        Some(outbound) => drop(outbound.reserve().await),
        None => std::future::pending().await,
    }
}
