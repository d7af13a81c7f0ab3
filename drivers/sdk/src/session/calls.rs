//! Calls of the driver that wait for the gateway's answer.
//!
//! Always true: at most [`CALLS`](crate::host::CALLS) wait; each is answered once or given up.

use std::collections::HashMap;

use sagoo_edge_proto::driver::{HostCall, HostReply, host_reply::Reply};
use tokio::sync::oneshot;
use tracing::debug;

use crate::host::{Asked, CALLS, HostError};

#[derive(Debug, Default)]
pub(crate) struct Calls {
    last_id: u64,
    waiting: HashMap<u64, oneshot::Sender<Result<Option<Reply>, HostError>>>,
}

impl Calls {
    /// Takes a call in; what is to be sent, or `None` when it was answered with an error at once.
    pub(crate) fn ask(&mut self, asked: Asked, connected: bool) -> Option<HostCall> {
        // Callers that gave up by their timeout make room.
        self.waiting.retain(|_, reply| !reply.is_closed());
        let refusal = if !connected {
            Some(HostError::NoSession)
        } else if self.waiting.len() >= CALLS {
            Some(HostError::Busy)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            let _ = asked.reply.send(Err(refusal));
            return None;
        }
        self.last_id += 1;
        self.waiting.insert(self.last_id, asked.reply);
        Some(HostCall { id: self.last_id, call: Some(asked.call) })
    }

    pub(crate) fn answer(&mut self, reply: HostReply) {
        let Some(waiting) = self.waiting.remove(&reply.id) else {
            debug!(id = reply.id, "the gateway answered a call that nobody waits for");
            return;
        };
        let answer =
            if reply.error.is_empty() { Ok(reply.reply) } else { Err(HostError::Refused(reply.error)) };
        let _ = waiting.send(answer);
    }

    /// The session is gone.
    pub(crate) fn give_up(&mut self) {
        for (_, waiting) in self.waiting.drain() {
            let _ = waiting.send(Err(HostError::NoSession));
        }
    }
}
