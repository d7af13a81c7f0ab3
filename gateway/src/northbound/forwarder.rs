//! The task that forwards: reads, lets the flight decide, hands messages to the link, and reports
//! what became of rows.
//!
//! Always true: it sleeps unless something happened (a buffer's head, a message, a timer); events are
//! read before telemetry, whose backlog never keeps them waiting for longer than one read; the
//! flight is asked for no more than the link has room for, so handing over never fails.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::deadletter;
use super::reader::Reader;
use super::reading::{self, Reading};
use super::replies::Replies;
use super::report::Report;
use super::sagoo::downlink::Downlink;
use super::sagoo::flight::{Flight, GivenUp, Kind, Note, Options, Outgoing, Plan, READ_AHEAD_BYTES};
use super::sagoo::link::{self, Ends, Incoming, Link};
use super::sagoo::payload::parse;
use super::sagoo::topic::{self, Inbound};
use super::{Announcement, Setup};
use crate::class::{Class, PerClass};
use crate::pipeline;
use crate::row::GATEWAY;

/// Time for acknowledgements still on their way when stopping.
pub const LAST_ACKS: Duration = Duration::from_millis(600);
/// Time for the link to say goodbye when stopping.
const LINK_STOP: Duration = Duration::from_millis(400);
/// Messages looked at before the flight gets its turn.
const MESSAGES_PER_TURN: usize = 64;

struct Forwarder {
    flight: Flight,
    readers: PerClass<Reader>,
    downlink: Downlink,
    ends: Ends,
    session: Option<u64>,
    pipeline: pipeline::Handle,
    heads: PerClass<watch::Receiver<u64>>,
    reading: Option<Reading>,
    replies: Replies,
    dead_letters: deadletter::Desk,
    report: Report,
    device_key: String,
}

/// Forwards until `stop`. Ends with an error only if the pipeline or the link has ended by itself.
pub async fn run(setup: Setup, stop: CancellationToken) -> anyhow::Result<()> {
    let resume = setup.pipeline.resume().await.context("asking where to begin forwarding")?;
    let heads = PerClass::new(|class| setup.pipeline.head(class));
    let readers = PerClass::new(|class| Reader::new(class, resume[class].from, setup.pipeline.boots()));
    let own_key = setup.gateway.identity.device_key.clone();
    let options = Options {
        gateway: setup.gateway.identity.clone(),
        devices: setup.devices.iter().map(|device| (device.name.clone(), device.identity.clone())).collect(),
        resume,
        written_before: PerClass::new(|class| *heads[class].borrow()),
        heartbeat: setup.config.heartbeat,
        ack_timeout: setup.config.ack_timeout,
        row_spacing: setup.config.row_spacing,
        drain: setup.config.drain,
        read_ahead_bytes: READ_AHEAD_BYTES,
        run: fastrand::u64(..),
        said: setup.said.borrow().clone(),
    };
    let mut flight = Flight::new(options, Instant::now().into_std());
    let keys =
        std::iter::once(&*own_key).chain(setup.devices.iter().map(|device| &*device.identity.device_key));
    let filters =
        keys.flat_map(|key| topic::reply_filters(key).into_iter().chain(topic::command_filters(key)));
    let report = Report::new(setup.status, link::name(&setup.config.broker));
    let (link, ends) = Link::new(setup.config, filters.collect());
    let (answers, replies) = Replies::new();
    let devices = setup.devices.into_iter().map(|device| (device.name, device.identity, device.points));
    let downlink =
        Downlink::new(&setup.gateway.identity, devices, setup.commands, setup.pipeline.clone(), answers);
    let mut dead_letters =
        deadletter::Desk::open(setup.dead_letters, setup.state, setup.pipeline.clone(), setup.asked).await;
    dead_letters.resume(&mut flight).await;
    report.dead_letters(dead_letters.status());
    let link_stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(link.run(link_stop.clone()));
    let (mut online, said) = (setup.online, setup.said);
    flight.set_online(&online.borrow_and_update());
    let mut forwarder = Forwarder {
        flight,
        readers,
        downlink,
        ends,
        session: None,
        heads,
        pipeline: setup.pipeline,
        reading: None,
        replies,
        dead_letters,
        report,
        device_key: own_key.to_string(),
    };
    let result = forwarder.forward(&mut online, &stop).await;
    if result.is_ok() {
        forwarder.last_acks().await;
    }
    link_stop.cancel();
    said.send_replace(forwarder.flight.said(Instant::now().into_std()));
    drop(forwarder);
    if timeout(LINK_STOP, tasks.join_next()).await.is_err() {
        tracing::warn!("the connection to the broker did not end in time");
    }
    result
}

impl Forwarder {
    async fn forward(
        &mut self,
        online: &mut watch::Receiver<HashSet<String>>,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let mut online_open = true;
        while !stop.is_cancelled() {
            let now = Instant::now();
            let busy = self.read(now);
            let (plan, wake) = self.send(now);
            self.tell().await?;
            self.give_up_replies(now).await?;
            let waiting = plan.more || (self.session.is_some() && !self.replies.is_empty());
            let reads = self.reading.is_some();
            let hears = self.flight.is_alive() && !reads;
            tokio::select! {
                () = stop.cancelled() => {}
                message = self.ends.incoming.recv() => self.incoming(message)?,
                ((class, who), head, read) = reading::end(&mut self.reading), if reads => {
                    self.reading = None;
                    let (from, records) = read.context("reading from the buffer")?;
                    self.readers[class].arrived(who, from, head, records, Instant::now().into_std());
                }
                changed = self.heads.events.changed(), if hears => changed.context("the pipeline has ended")?,
                changed = self.heads.telemetry.changed(), if hears => {
                    changed.context("the pipeline has ended")?;
                }
                changed = online.changed(), if online_open => {
                    online_open = changed.is_ok();
                    self.flight.set_online(&online.borrow_and_update());
                }
                () = self.replies.hear() => {}
                ask = self.dead_letters.hear() => {
                    self.dead_letters.answer(ask, &mut self.flight).await;
                    self.report.dead_letters(self.dead_letters.status());
                }
                () = room(&self.ends.outgoing), if waiting => {}
                () = wake_up(wake) => {}
                () = tokio::task::yield_now(), if busy => {}
            }
        }
        Ok(())
    }

    /// Feeds the flight and begins the next read; `true`: there is more to feed at once.
    fn read(&mut self, now: Instant) -> bool {
        if !self.flight.is_alive() {
            return false;
        }
        let mut busy = false;
        for class in Class::ALL {
            busy |= self.readers[class].feed(&mut self.flight, now.into_std());
            if self.reading.is_some() {
                continue;
            }
            let head = *self.heads[class].borrow_and_update();
            if let Some((who, from)) = self.readers[class].wants(head, &mut self.flight, now.into_std()) {
                self.reading = Some(reading::begin(self.pipeline.clone(), (class, who), from, head));
            }
        }
        busy
    }

    fn send(&mut self, now: Instant) -> (Plan, Option<Instant>) {
        let foreign = self.flight.take_foreign_keys();
        if !foreign.is_empty() {
            let filters = foreign.iter().flat_map(|key| topic::reply_filters(key));
            self.ends.filters.send_modify(|held| held.extend(filters));
        }
        if let Some(session) = self.session {
            while self.ends.outgoing.capacity() > 0
                && let Some(reply) = self.replies.next(now)
            {
                self.hand_over(session, reply);
            }
        }
        let mut plan = self.flight.poll(now.into_std(), self.ends.outgoing.capacity());
        if let Some(session) = self.session {
            for outgoing in std::mem::take(&mut plan.send) {
                self.hand_over(session, outgoing);
            }
        }
        let wake = plan.wake.map(Instant::from_std);
        let status = self.report.update(&self.flight, self.downlink.received(), now);
        let retries = self.readers.iter().filter_map(|(_, reader)| reader.retry_at(now.into_std()));
        let retry = retries.min().filter(|_| self.flight.is_alive()).map(Instant::from_std);
        let wake = [wake, status, retry, self.replies.wake()].into_iter().flatten().min();
        (plan, wake)
    }

    /// Only as much as there is room for was asked for; the link itself may have ended, which
    /// [`Forwarder::incoming`] notices.
    fn hand_over(&self, session: u64, outgoing: Outgoing) {
        if let Err(error) = self.ends.outgoing.try_send((session, outgoing)) {
            tracing::debug!(%error, "the link does not take a message; it will be sent again");
        }
    }

    /// Reports what became of rows, and says what people should hear. Notes come first: what is given up is
    /// kept before it is settled.
    async fn tell(&mut self) -> anyhow::Result<()> {
        let settled = self.flight.take_settled();
        for note in self.flight.take_notes() {
            self.note(note).await?;
        }
        if !settled.is_empty() {
            self.pipeline.settle(settled).await.context("reporting settled rows")?;
        }
        let ahead = self.flight.take_said_ahead();
        self.pipeline.said_ahead(ahead).await.context("reporting rows answered before their turn")?;
        let returned = self.flight.take_returned();
        if !returned.is_empty() {
            self.dead_letters.returned(returned).await.context("reporting answered dead letters")?;
            self.report.dead_letters(self.dead_letters.status());
        }
        Ok(())
    }

    /// Nobody waits for these answers any more.
    async fn give_up_replies(&mut self, now: Instant) -> anyhow::Result<()> {
        for answer in self.replies.overdue(now) {
            tracing::warn!(
                topic = answer.outgoing.topic,
                "an answer to a command could not leave in time and is not sent"
            );
            if let Some((device, event)) = answer.instead {
                event.store(&device, &self.pipeline).await.context("storing an event")?;
            }
        }
        Ok(())
    }

    async fn note(&mut self, note: Note) -> anyhow::Result<()> {
        match note {
            Note::Unanswered(id) => {
                tracing::warn!(id, "a message is not answered; the platform is asked whether it is there");
            }
            Note::Silent => {
                self.report.silent(&self.device_key);
                tracing::warn!(
                    device_key = self.device_key,
                    remedy = "check that the platform runs on the same broker and that the gateway is enabled there under this device key",
                    "the platform does not answer; rows are kept"
                );
            }
            Note::Answering => tracing::info!("the platform answers"),
            Note::Unknown(device_key) => tracing::warn!(
                device_key = &*device_key,
                remedy = "create and enable the device on the platform, or correct sagoo.device_key",
                "the platform does not answer for a device; its rows are kept"
            ),
            Note::Lossy(device_key, losses) => tracing::warn!(
                device_key = &*device_key,
                left_out = losses.left_out,
                cut = losses.cut,
                rounded = losses.rounded,
                "values do not fit the platform's columns and are cut, left out or rounded there; told once per device"
            ),
            Note::Damaged { device, first_seq, last_seq, samples } => tracing::error!(
                device = &*device,
                first_seq,
                last_seq,
                samples,
                "rows refer to damaged ones and cannot be rebuilt; they are dropped and counted as evicted"
            ),
            Note::GivenUp(row) => self.given_up(row).await?,
        }
        Ok(())
    }

    async fn given_up(&mut self, row: GivenUp) -> anyhow::Result<()> {
        self.dead_letters.keep(&row).await;
        self.report.dead_letters(self.dead_letters.status());
        let GivenUp { id, device, samples, tries, .. } = row;
        // An event about a parked event could be parked as well, and so on for ever.
        if *device != *GATEWAY {
            let value =
                serde_json::json!({ "device": &*device, "id": id, "samples": samples, "tries": tries });
            let parked = Announcement::now("rowParked", &value);
            parked.store(GATEWAY, &self.pipeline).await.context("storing an event")?;
        }
        Ok(())
    }

    fn incoming(&mut self, first: Option<Incoming>) -> anyhow::Result<()> {
        let mut next = Some(first.context("the link to the broker has ended by itself")?);
        let mut turns = MESSAGES_PER_TURN;
        while let Some(message) = next {
            let now = Instant::now();
            match message {
                Incoming::Connected { session } => {
                    tracing::info!("connected to the broker");
                    self.session = Some(session);
                    self.flight.connected(now.into_std());
                    self.report.connected();
                }
                Incoming::Disconnected { reason } => {
                    self.session = None;
                    self.flight.disconnected(now.into_std());
                    self.report.disconnected(reason);
                }
                Incoming::Message { topic, payload, received } => {
                    self.message(&topic, &payload, received, now);
                }
            }
            turns -= 1;
            next = (turns > 0).then(|| self.ends.incoming.try_recv().ok()).flatten();
        }
        Ok(())
    }

    fn message(&mut self, topic: &str, payload: &[u8], received: Instant, now: Instant) {
        let (kind, device) = match topic::parse(topic) {
            Some(Inbound::PropertyReply { device }) => (Kind::Property, device),
            Some(Inbound::PackReply { device }) => (Kind::Pack, device),
            Some(command) => return self.downlink.handle(topic, command, payload, received),
            None => return,
        };
        match parse::reply(payload) {
            Ok(reply) if reply.code == 200 => {
                self.flight.acknowledged(kind, device, &reply.id, now.into_std());
            }
            Ok(reply) => {
                tracing::warn!(topic, id = reply.id, code = reply.code, "the platform refused a message")
            }
            Err(odd) => {
                tracing::warn!(topic, reason = %odd, "a message from the platform cannot be understood and is ignored");
            }
        }
    }

    /// Sends nothing more, but hears what is still on its way.
    async fn last_acks(&mut self) {
        let hear = async {
            while self.flight.in_flight() > 0 && self.session.is_some() {
                let message = self.ends.incoming.recv().await;
                if self.incoming(message).is_err() {
                    break;
                }
            }
        };
        let _ = timeout(LAST_ACKS, hear).await;
        if let Err(error) = self.tell().await {
            tracing::debug!(%error, "the pipeline ended first; what it did not hear will be sent again");
        }
    }
}

/// Waits until the link takes another message.
async fn room(outgoing: &mpsc::Sender<(u64, Outgoing)>) {
    if outgoing.reserve().await.is_err() {
        // The link has ended; its other end says so.
        std::future::pending::<()>().await;
    }
}

async fn wake_up(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
