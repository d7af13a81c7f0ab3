//! One connection, from CONNECT to its end.
//!
//! Always true: the event loop's future is never dropped half-way, because it would lose what it was
//! writing; messages wait in a slot of one while the event loop's own queue is full.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, NetworkOptions, Packet, Publish, QoS,
    SubscribeFilter, SubscribeReasonCode,
};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::trouble::{Trouble, explain};
use super::unconfirmed::Unconfirmed;
use super::{CONNECT_TIMEOUT_S, Incoming, Link};
use crate::northbound::sagoo::flight::Outgoing;

/// Requests the event loop takes before it must be polled.
const REQUEST_QUEUE: usize = 64;
/// Filters in one SUBSCRIBE packet.
const FILTERS_PER_PACKET: usize = 64;
/// All subscriptions are answered within this time, or the connection is given up.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time to write what is left and DISCONNECT.
const GOODBYE: Duration = Duration::from_millis(350);

/// How a connection ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// By `stop`, or because nobody listens any more.
    Stopped,
    /// By itself.
    Trouble {
        /// Why.
        trouble: Trouble,
        /// It had worked.
        was_connected: bool,
    },
}

/// Subscriptions of this connection.
#[derive(Debug, Default)]
struct Subscriptions {
    held: usize,
    to_send: VecDeque<Vec<String>>,
    /// Handed to the event loop, which has not said their packet id yet.
    handed: VecDeque<Vec<String>>,
    unanswered: HashMap<u16, Vec<String>>,
}

impl Subscriptions {
    /// Takes what came to `filters` since the last time.
    fn update(&mut self, filters: &[String]) {
        self.to_send.extend(
            filters[self.held.min(filters.len())..].chunks(FILTERS_PER_PACKET).map(<[String]>::to_vec),
        );
        self.held = filters.len();
    }

    fn done(&self) -> bool {
        self.to_send.is_empty() && self.handed.is_empty() && self.unanswered.is_empty()
    }

    fn hand_over(&mut self, client: &AsyncClient) {
        while let Some(filters) = self.to_send.front() {
            let wanted = filters.iter().map(|filter| SubscribeFilter::new(filter.clone(), QoS::AtLeastOnce));
            if client.try_subscribe_many(wanted).is_err() {
                return;
            }
            self.handed.extend(self.to_send.pop_front());
        }
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::Outgoing(rumqttc::Outgoing::Subscribe(pkid)) => {
                let filters = self.handed.pop_front().unwrap_or_default();
                self.unanswered.insert(*pkid, filters);
            }
            Event::Incoming(Packet::SubAck(ack)) => self.answered(ack.pkid, &ack.return_codes),
            _ => {}
        }
    }

    fn answered(&mut self, pkid: u16, codes: &[SubscribeReasonCode]) {
        for (filter, code) in self.unanswered.remove(&pkid).unwrap_or_default().iter().zip(codes) {
            if *code == SubscribeReasonCode::Failure {
                tracing::error!(
                    topic = filter,
                    remedy = "allow the gateway's MQTT user to subscribe to it in the broker's access rules",
                    "the broker refused a subscription"
                );
            }
        }
    }
}

/// What a turn of the event loop brought.
enum Turn {
    Event(Box<Result<Event, ConnectionError>>),
    TimedOut,
    Stop,
}

impl Link {
    /// Runs one connection.
    pub(super) async fn session(&mut self, options: MqttOptions, stop: &CancellationToken) -> Ended {
        let (client, mut events) = AsyncClient::new(options, REQUEST_QUEUE);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(CONNECT_TIMEOUT_S);
        events.set_network_options(network);
        let mut subscriptions = Subscriptions::default();
        let mut unconfirmed = Unconfirmed::default();
        let mut slot = None;
        let mut deadline = None;
        let mut connected = false;
        loop {
            let lost_at = unconfirmed.lost_at();
            let until = deadline.into_iter().chain(lost_at).min();
            let event =
                match self.turn(&client, &mut events, &mut subscriptions, &mut slot, until, stop).await {
                    Turn::Event(event) => event,
                    Turn::Stop => {
                        self.goodbye(&client, &mut events, slot, connected).await;
                        return Ended::Stopped;
                    }
                    Turn::TimedOut if until == lost_at => {
                        return Ended::Trouble { trouble: Trouble::Unconfirmed, was_connected: connected };
                    }
                    Turn::TimedOut => {
                        return Ended::Trouble { trouble: Trouble::Subscribe, was_connected: false };
                    }
                };
            let message = match *event {
                Err(error) => return Ended::Trouble { trouble: explain(error), was_connected: connected },
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    subscriptions.update(&self.filters.borrow_and_update());
                    deadline = Some(Instant::now() + SUBSCRIBE_TIMEOUT);
                    None
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => received(publish),
                Ok(event) => {
                    subscriptions.note(&event);
                    unconfirmed.note(&event);
                    None
                }
            };
            if let Some(message) = message
                && !self.pass_on(message, stop).await
            {
                return Ended::Stopped;
            }
            if deadline.is_some() && subscriptions.done() {
                deadline = None;
                if !std::mem::replace(&mut connected, true)
                    && !self.pass_on(Incoming::Connected { session: self.session }, stop).await
                {
                    return Ended::Stopped;
                }
            }
        }
    }

    /// Polls the event loop for one event and feeds it meanwhile.
    async fn turn(
        &mut self,
        client: &AsyncClient,
        events: &mut EventLoop,
        subscriptions: &mut Subscriptions,
        slot: &mut Option<Outgoing>,
        deadline: Option<Instant>,
        stop: &CancellationToken,
    ) -> Turn {
        let mut event = std::pin::pin!(events.poll());
        loop {
            if subscriptions.held > 0 && self.filters.has_changed().unwrap_or(false) {
                subscriptions.update(&self.filters.borrow_and_update());
            }
            subscriptions.hand_over(client);
            // An answer must be subscribed to before it is asked for.
            if subscriptions.to_send.is_empty() {
                publish(client, slot);
            }
            let late = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = &mut event => return Turn::Event(Box::new(event)),
                Some((session, outgoing)) = self.outgoing.recv(), if slot.is_none() => {
                    *slot = (session == self.session).then_some(outgoing);
                }
                Ok(()) = self.filters.changed(), if subscriptions.held > 0 => {
                    subscriptions.update(&self.filters.borrow_and_update());
                }
                () = late => return Turn::TimedOut,
                () = stop.cancelled() => return Turn::Stop,
            }
        }
    }

    /// `false`: it is time to stop.
    async fn pass_on(&self, message: Incoming, stop: &CancellationToken) -> bool {
        tokio::select! {
            sent = self.incoming.send(message) => sent.is_ok(),
            () = stop.cancelled() => false,
        }
    }

    /// Writes what was handed over for this session, then DISCONNECT, within [`GOODBYE`].
    async fn goodbye(
        &mut self,
        client: &AsyncClient,
        events: &mut EventLoop,
        mut slot: Option<Outgoing>,
        connected: bool,
    ) {
        if !connected {
            return;
        }
        let write = async {
            let mut disconnecting = false;
            loop {
                publish(client, &mut slot);
                while slot.is_none()
                    && let Ok((session, outgoing)) = self.outgoing.try_recv()
                {
                    slot = (session == self.session).then_some(outgoing);
                    publish(client, &mut slot);
                }
                disconnecting = disconnecting || (slot.is_none() && client.try_disconnect().is_ok());
                match events.poll().await {
                    Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect)) | Err(_) => return,
                    Ok(_) => {}
                }
            }
        };
        if timeout(GOODBYE, write).await.is_err() {
            tracing::debug!("the broker did not take the goodbye in time");
        }
    }
}

/// Hands the slot's message to the event loop if it has room.
fn publish(client: &AsyncClient, slot: &mut Option<Outgoing>) {
    let Some(outgoing) = slot.take() else { return };
    if outgoing.before.is_some_and(|before| before <= Instant::now().into_std()) {
        tracing::warn!(topic = outgoing.topic, "the broker takes an answer too late, it is not sent");
        return;
    }
    if !rumqttc::valid_topic(&outgoing.topic) {
        tracing::error!(
            topic = outgoing.topic,
            "a topic must not contain + or #; check product_key and device_key"
        );
        return;
    }
    match client.try_publish(&outgoing.topic, QoS::AtLeastOnce, false, outgoing.payload) {
        Ok(()) => {}
        Err(rumqttc::ClientError::TryRequest(rumqttc::Request::Publish(back))) => {
            let payload = String::from_utf8(back.payload.to_vec()).unwrap_or_default();
            *slot = Some(Outgoing { payload, ..outgoing });
        }
        Err(_) => {}
    }
}

/// A retained message says what somebody wanted once; nobody wants it now.
fn received(publish: Publish) -> Option<Incoming> {
    if publish.retain {
        tracing::debug!(topic = publish.topic, "a retained message is ignored");
        return None;
    }
    Some(Incoming::Message { topic: publish.topic, payload: publish.payload, received: Instant::now() })
}
