//! What a driver says, message by message.

use std::sync::Arc;
use std::time::Duration;

use sagoo_edge_proto::clock;
use sagoo_edge_proto::driver as wire;
use sagoo_edge_proto::driver::driver_message::Message as Up;
use sagoo_edge_proto::driver::host_message::Message as Down;
use tokio::time::timeout;

use super::store::Item;
use super::{Ended, STALL, Session, host};
use crate::pipeline::handle::{Arrived, Gone, Numbers, Points};
use crate::southbound::convert;
use crate::southbound::instance::{Context, Report, errors};
use crate::southbound::life::News;

/// A device that was handed over while it answered counts as answering for this long, until the
/// process that has it now knows better.
const FIRST_WORD: Duration = Duration::from_secs(30);
/// Configurations whose numbers are remembered for batches that were read under them.
const GENERATIONS: usize = 8;

/// What the driver says of its devices; `before`: what it said for an earlier configuration.
fn numbers(devices: Vec<wire::DeviceNumbers>, before: Option<&Numbers>) -> Numbers {
    let mut lists: Vec<Points> = Vec::new();
    let mut shared = |number: u32, points: Vec<String>| {
        let is_same =
            |known: &&Points| known.iter().map(|name| &**name).eq(points.iter().map(String::as_str));
        let before = before.and_then(|before| before.get(&number)).map(|(_, points)| points);
        if let Some(same) = before.into_iter().chain(&lists).find(is_same) {
            return same.clone();
        }
        let points: Points = Arc::new(points.iter().map(|point| point.as_str().into()).collect());
        lists.push(points.clone());
        points
    };
    let numbers = devices.into_iter().map(|device| {
        let wire::DeviceNumbers { number, device, points, .. } = device;
        (number, (device.as_str().into(), shared(number, points)))
    });
    numbers.collect()
}

impl Session<'_> {
    pub(super) async fn hear(&mut self, message: wire::DriverMessage) -> Result<(), Ended> {
        match message.message {
            Some(Up::Configured(configured)) => return self.configured(configured).await,
            Some(Up::Batch(batch)) => return self.batch(batch).await,
            Some(Up::CommandResult(result)) => self.result(result),
            Some(Up::HostCall(call)) => {
                let reply = self.setup.context.answers.answer(call).await;
                let told = timeout(STALL, self.down.send(host(Down::HostReply(reply)))).await;
                told.map_err(|_| Ended::Deaf)?
                    .map_err(|_| Ended::Broken("the stream is closed".to_owned()))?;
            }
            Some(Up::Heartbeat(beat)) => return self.heartbeat(beat).await,
            Some(Up::Event(event)) => {
                return keep_event(self.setup.context, &self.boot_id, event).await.map_err(|_| Ended::Gone);
            }
            Some(Up::Released(released)) => {
                return self.pass(Item::Released(released.connections.into_iter().collect())).await;
            }
            Some(Up::Hello(_)) => return Err(Ended::Contract("a second Hello in one session")),
            // a newer driver may say what we do not know
            None => {}
        }
        Ok(())
    }

    async fn configured(&mut self, configured: wire::Configured) -> Result<(), Ended> {
        let Some(turn) = self.turns.remove(&configured.generation) else {
            return Err(Ended::Contract("a Configured nobody asked for"));
        };
        let before = self.numbers.last_key_value().map(|(_, numbers)| &**numbers);
        let numbers = numbers(configured.devices, before);
        let context = self.setup.context;
        if self.numbers.is_empty() {
            tracing::info!(driver = %context.driver, devices = numbers.len(), on_hold = self.told.hold.len(), "driver is configured");
        }
        let taken = |name: &str| numbers.values().any(|(device, _)| **device == *name);
        for left_out in context.owners.keys().filter(|name| self.speaks_for(name) && !taken(name)) {
            let reason = "the driver refuses its configuration; see the log, or sagoo-edge check".to_owned();
            let told = context.pipeline.link(left_out.as_str().into(), false, reason).await;
            told.map_err(|_| Ended::Gone)?;
        }
        self.numbers.insert(configured.generation, Arc::new(numbers));
        while self.numbers.len() > GENERATIONS {
            self.numbers.pop_first();
        }
        let errors = errors(&configured.problems);
        self.report(Report::Problems(configured.problems)).await;
        self.pass(Item::Configured { turn, errors }).await
    }

    async fn batch(&mut self, batch: wire::Batch) -> Result<(), Ended> {
        // a batch of an earlier session comes with its generation; numbers never change their meaning
        let newest = || self.numbers.last_key_value().map(|(_, numbers)| numbers);
        let Some(numbers) = self.numbers.get(&batch.generation).or_else(newest).cloned() else {
            return Err(Ended::Contract("a batch before Configured"));
        };
        let arrived = Arrived {
            driver: self.setup.context.driver.clone(),
            instance: self.instance,
            boot_id: self.boot_id.clone(),
            seq: batch.seq,
            numbers,
            devices: batch.devices,
        };
        self.pass(Item::Batch(arrived)).await
    }

    /// In the order it was said.
    async fn pass(&self, item: Item) -> Result<(), Ended> {
        let passing = timeout(STALL, self.items.send(item));
        match self.setup.keep.run_until_cancelled(passing).await {
            Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(_))) => Err(Ended::Gone),
            Some(Err(_)) => Err(Ended::Stalled),
            // it is said again to whoever comes next
            None => Err(Ended::Kept),
        }
    }

    async fn heartbeat(&mut self, beat: wire::Heartbeat) -> Result<(), Ended> {
        let Some((_, numbers)) = self.numbers.last_key_value() else { return Ok(()) };
        let numbers = numbers.clone();
        let context = self.setup.context;
        let mut answering = std::collections::BTreeSet::new();
        for state in beat.devices {
            let Some((device, _)) = numbers.get(&state.device) else { continue };
            if state.dropped > 0 {
                let dropped = context.pipeline.dropped(device.clone(), self.instance, state.dropped).await;
                dropped.map_err(|_| Ended::Gone)?;
            }
            if !self.speaks_for(device) || (!state.online && self.is_too_early(device, state.read)) {
                continue;
            }
            context.online.send_if_modified(|online| {
                if state.online { online.insert(device.to_string()) } else { online.remove(&**device) }
            });
            if state.online {
                answering.insert(device.to_string());
            }
            let told = context.pipeline.link(device.clone(), state.online, state.reason).await;
            told.map_err(|_| Ended::Gone)?;
        }
        let has = |line: &wire::LineState| self.has(&line.connection);
        let lines: Vec<wire::LineState> = beat.lines.into_iter().filter(has).collect();
        self.report(Report::Lines(self.setup.number, lines)).await;
        let news = News::Beat {
            number: self.setup.number,
            polls: beat.polls,
            overdue: Duration::from_millis(beat.overdue_ms),
            online: answering,
        };
        self.report(Report::News(news)).await;
        Ok(())
    }

    /// It was handed over while it answered, and has not been read here yet.
    fn is_too_early(&self, device: &str, read: u64) -> bool {
        read == 0
            && self.given_at.elapsed() < FIRST_WORD
            && self.setup.context.online.borrow().contains(device)
    }

    fn result(&mut self, result: wire::CommandResult) {
        match self.pending.remove(&result.id) {
            Some(reply) => {
                let _ = reply.send(convert::outcome(result));
            }
            None => {
                let driver = &self.setup.context.driver;
                tracing::debug!(%driver, command_id = result.id, "result of a command nobody waits for");
            }
        }
    }
}

/// Stores what a device announced; it is said once and never again.
pub(super) async fn keep_event(context: &Context, boot_id: &str, event: wire::Event) -> Result<(), Gone> {
    // boot times of another boot, or none at all, say nothing here
    let told = event.boot_ns > 0 && *boot_id == *clock::boot_id();
    let boot_ns = if told { event.boot_ns } else { clock::boot_ns() };
    context.pipeline.event(&event.device, event.name, event.value, boot_ns).await
}
