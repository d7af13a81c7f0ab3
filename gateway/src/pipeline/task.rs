//! The thread that owns the buffers: writes batches, serves the forwarder, keeps the book.
//!
//! Always true: a batch is answered only after its record is in the buffer (or was there already), in its
//! memory if the disk takes no data;
//! syncing never makes a batch wait; a full or broken disk is said once and retried, never fatal.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use sagoo_edge_proto::clock;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use super::boots::Seen;
use super::flow::Flow;
use super::handle::{Ask, Handle, QUEUE};
use super::latest::Latest;
use super::layout::Layout;
use super::left_out::LeftOut;
use super::points::Device;
use super::timekeeper::{LOOK_INTERVAL, Timekeeper};
use super::unwritten::Unwritten;
use super::writer::Writer;
use crate::class::{Class, PerClass};
use crate::config::alike::Alike;
use crate::config::types::{Config, Sync};
use crate::row::{Cell, Event, GATEWAY, Identity, Row, Value};

/// How often settled rows are written to the cursor: what a kill may make us send twice.
const CURSOR_INTERVAL: Duration = Duration::from_millis(100);
/// How often a disk that takes no data is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Opens the buffer, counts what waits in it and starts the thread. Blocks for as long as that takes.
pub fn start(config: &Config) -> Result<(Handle, thread::JoinHandle<()>), sagoo_edge_buffer::Error> {
    let configured = |name: &str| name == GATEWAY || config.devices.contains_key(name);
    let (events, _, events_seen) = Writer::open(&config.buffer, Class::Event, configured)?;
    let (telemetry, mut last, seen) = Writer::open(&config.buffer, Class::Telemetry, configured)?;
    let timekeeper = Timekeeper::open(config, &seen.with(&events_seen));
    last.values_mut().for_each(|row| timekeeper.wall.boots().tell(row));
    let mut writers = PerClass { events, telemetry };
    if timekeeper.wall.is_waiting() {
        let from = |seen: &Seen| seen.boots.get(&timekeeper.wall.boot()).map(|found| found.first_seq);
        writers.events.head.hold(from(&events_seen));
        writers.telemetry.head.hold(from(&seen));
    }
    let (queue, asks) = mpsc::channel(QUEUE);
    let heads = PerClass::new(|class| writers[class].head.subscribe());
    let boots = timekeeper.boots();
    let mut layouts = Alike::default();
    let devices = config.devices.iter().map(|(name, device)| {
        let name: Arc<str> = name.as_str().into();
        let layout = layouts.of(&device.points, Layout::new);
        let mut device = Device::new(name.clone(), device.identity.clone(), layout, last.get(&name));
        if writers.events.book.is_doubted(&name) {
            device.doubt();
        }
        (name, device)
    });
    let mut pipeline = Pipeline {
        devices: devices.collect(),
        shown: config.devices.keys().map(|name| (name.as_str().into(), Shown::default())).collect(),
        gateway: config.gateway.identity.clone(),
        writers,
        timekeeper,
        left_out: LeftOut::default(),
        flow: Flow::new(now_s()),
        latest: None,
    };
    pipeline.look();
    pipeline.timekeeper.say_waiting();
    let sync_every = match config.buffer.sync {
        Sync::Interval(every) => every,
        Sync::Each => Duration::from_secs(1),
    };
    let runtime = runtime::Handle::current();
    let thread = thread::Builder::new()
        .name("pipeline".to_owned())
        .spawn(move || runtime.block_on(pipeline.run(asks, sync_every)))
        .expect("a thread can be started at start-up");
    Ok((Handle { queue, heads, boots }, thread))
}

struct Pipeline {
    writers: PerClass<Writer>,
    devices: HashMap<Arc<str>, Device>,
    shown: HashMap<Arc<str>, Shown>,
    gateway: Identity,
    timekeeper: Timekeeper,
    left_out: LeftOut,
    flow: Flow,
    /// Nobody said yet where.
    latest: Option<Latest>,
}

#[derive(Debug, Default)]
struct Shown {
    online: bool,
    reason: String,
}

impl Pipeline {
    async fn run(mut self, mut asks: mpsc::Receiver<Ask>, sync_every: Duration) {
        let (mut sync, mut cursor) = (unhurried(sync_every), unhurried(CURSOR_INTERVAL));
        let (mut retry, mut look) = (unhurried(RETRY_INTERVAL), unhurried(LOOK_INTERVAL));
        loop {
            let drops = self.writers.iter().filter_map(|(_, writer)| writer.drops.due()).min();
            tokio::select! {
                ask = asks.recv() => match ask {
                    Some(Ask::Stop(done)) => {
                        self.tell_drops(None);
                        self.timekeeper.keep(false);
                        self.finish().await;
                        let _ = done.send(());
                        return;
                    }
                    Some(ask) => {
                        self.answer(ask);
                        self.say_off_balance();
                    }
                    None => return self.finish().await,
                },
                _ = sync.tick() => {
                    self.each(Writer::begin_sync);
                    self.left_out.say();
                    self.save_latest();
                    self.each(Writer::check_all);
                    self.say_off_balance();
                }
                () = self.writers.events.synced() => {}
                () = self.writers.telemetry.synced() => {}
                _ = retry.tick(), if self.any(Writer::in_memory) || self.timekeeper.is_unkept() => self.retry(),
                () = sleep_until(drops.unwrap_or_else(Instant::now)), if drops.is_some() => {
                    self.tell_drops(Some(Instant::now()));
                }
                _ = look.tick(), if self.timekeeper.wall.is_waiting() => self.look(),
                _ = cursor.tick(), if self.any(|writer| writer.unwritten_cursor) => {
                    self.each(Writer::write_unwritten_cursor);
                }
            }
        }
    }

    /// What the disk did not take.
    fn retry(&mut self) {
        self.each(|writer| {
            if writer.in_memory() {
                writer.retry();
            }
        });
        if self.timekeeper.is_unkept() {
            self.timekeeper.keep(true);
        }
    }

    fn any(&self, is: impl Fn(&Writer) -> bool) -> bool {
        self.writers.iter().any(|(_, writer)| is(writer))
    }

    fn each(&mut self, act: impl Fn(&mut Writer)) {
        self.writers.iter_mut().for_each(|(_, writer)| act(writer));
    }

    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Batch(arrived, reply) => self.batch(arrived, reply),
            Ask::Link { device, online, reason } => {
                let shown = self.shown.entry(device).or_default();
                (shown.online, shown.reason) = (online, reason);
            }
            Ask::Dropped { device, instance, total } => self.dropped(device, instance, total),
            Ask::Event { device, name, value, boot_ns } => {
                // a time to come is a mistake of who says it
                self.look();
                let time_ms = self.timekeeper.at(boot_ns);
                self.event(&device, Event { name, value }, time_ms);
            }
            Ask::Own(values) => self.own(values),
            Ask::Read { class, from, max_bytes, reply } => {
                let _ = reply.send(self.writers[class].read(from, max_bytes));
            }
            Ask::Begins { class, seq, reply } => {
                let _ = reply.send(self.writers[class].begins(seq));
            }
            Ask::Remember(loaded) => {
                let mut rows = loaded.rows;
                for row in &mut rows {
                    self.timekeeper.wall.boots().tell(row);
                    if let Some(device) = self.devices.get_mut(&row.device) {
                        device.remember(row);
                    }
                }
                self.latest = Some(loaded.latest);
            }
            Ask::Resume(reply) => {
                let _ = reply.send(PerClass::new(|class| self.writers[class].resume()));
            }
            Ask::Settle(settled) => {
                let samples = settled.iter().map(|one| u64::from(one.samples)).sum();
                self.flow.settled(samples, now_s());
                settled.into_iter().for_each(|one| self.writers[one.class].settle(&one));
            }
            Ask::SaidAhead(said) => said.iter().for_each(|one| self.writers[one.class].said_ahead(one)),
            // of an event there are no samples
            Ask::Redeemed { device, samples, reply } => {
                self.writers.telemetry.book.redeemed(&device, samples);
                self.writers.telemetry.write_cursor();
                let _ = reply.send(());
            }
            Ask::Snapshot(reply) => {
                let _ = reply.send(self.snapshot());
            }
            Ask::Stop(_) => unreachable!("handled by the loop"),
        }
    }

    /// Saves what the buffer may not have at the next start: its newest segment stays, whatever is settled.
    fn save_latest(&mut self) {
        let Some(latest) = &mut self.latest else { return };
        if !latest.is_due() {
            return;
        }
        let writer = &self.writers.telemetry;
        let devices = self.devices.iter_mut().filter(|(name, _)| !writer.holds(name));
        let rows: Vec<Row> = devices.filter_map(|(_, device)| device.news()).collect();
        latest.save(&rows);
    }

    async fn finish(&mut self) {
        self.left_out.say();
        self.writers.events.finish().await;
        self.writers.telemetry.finish().await;
        if let Some(latest) = self.latest.take() {
            let rows: Vec<Row> = self.devices.values_mut().filter_map(Device::news).collect();
            latest.finish(&rows).await;
        }
    }

    fn event(&mut self, device: &Arc<str>, event: Event, time_ms: i64) {
        let row = match self.devices.get(device) {
            Some(known) => known.event(event, time_ms),
            None => {
                let (device, identity) = (GATEWAY.into(), self.gateway.clone());
                Row { device, identity, time_ms, cells: Vec::new(), event: Some(event), samples: 0 }
            }
        };
        let (origin, rows) = (None, vec![row]);
        self.writers.events.submit(Unwritten { origin, rows, read: Vec::new(), replies: Vec::new() });
    }

    /// Each flood of drops that is over is one event; with `None` also one that is not.
    fn tell_drops(&mut self, now: Option<Instant>) {
        for class in Class::ALL {
            if let Some(value) = self.writers[class].drops.take(class.word(), now) {
                tracing::error!(dropped = %value, "rows were dropped");
                let (name, time_ms) = ("rowsDropped".to_owned(), self.timekeeper.at(clock::boot_ns()));
                self.event(&GATEWAY.into(), Event { name, value: value.to_string() }, time_ms);
            }
        }
    }

    /// The gateway's own properties, one row.
    fn own(&mut self, values: Vec<(Arc<str>, Value)>) {
        self.look();
        let time_ms = self.timekeeper.at(clock::boot_ns());
        let samples = values.len() as u32;
        let read = vec![(Arc::from(GATEWAY), values.len() as u64)];
        self.flow.stored(u64::from(samples), now_s());
        let cells = values.into_iter().map(|(key, value)| Cell { key, value, time_ms });
        let mut cells: Vec<Cell> = cells.collect();
        cells.sort_by(|a, b| a.key.cmp(&b.key));
        let (device, identity) = (GATEWAY.into(), self.gateway.clone());
        let row = Row { device, identity, time_ms, cells, event: None, samples };
        let (origin, rows) = (None, vec![row]);
        self.writers.telemetry.submit(Unwritten { origin, rows, read, replies: Vec::new() });
    }

    /// A driver's running total of dropped samples.
    fn dropped(&mut self, device: Arc<str>, instance: [u8; 16], total: u64) {
        let writer = &mut self.writers.telemetry;
        let samples = writer.book.dropped_by_driver(&device, instance, total);
        if samples > 0 {
            tracing::error!(%device, samples, "driver dropped samples while the gateway did not take them");
            writer.write_cursor();
        }
    }

    /// Each account that does not balance is said once, to the log and to the platform.
    fn say_off_balance(&mut self) {
        for (device, ledger) in self.writers.telemetry.off_balance() {
            let (read_off, stored_off) = (ledger.read_off(), ledger.stored_off());
            tracing::error!(
                %device,
                read_off,
                stored_off,
                ?ledger,
                "the ledger does not balance: samples were lost or invented; please report this with the log"
            );
            let value =
                serde_json::json!({ "device": &*device, "read_off": read_off, "stored_off": stored_off });
            let name = "ledgerViolated".to_owned();
            let time_ms = self.timekeeper.at(clock::boot_ns());
            self.event(&GATEWAY.into(), Event { name, value: value.to_string() }, time_ms);
        }
    }
}

/// Since boot.
fn now_s() -> u64 {
    clock::boot_ns() / 1_000_000_000
}

/// Ticks that do not hurry to catch up.
fn unhurried(every: Duration) -> Interval {
    let mut interval = interval(every);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

impl Handle {
    /// Flushes, syncs and ends the thread.
    pub async fn stop(&self) {
        let (done, finished) = oneshot::channel();
        if self.queue.send(Ask::Stop(done)).await.is_ok() {
            let _ = finished.await;
        }
    }
}

mod batch;
mod looks;
#[cfg(test)]
mod tests;
