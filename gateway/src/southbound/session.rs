//! The talk with one running driver: configuration down, batches up, commands and their results.
//!
//! Always true: an Ack is sent only after the pipeline has the batch in the buffer; a command's
//! result reaches its asker exactly once, and when the session ends every open one is told.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sagoo_edge_plugin_host::MAX_MESSAGE_BYTES;
use sagoo_edge_proto::clock;
use sagoo_edge_proto::driver as wire;
use sagoo_edge_proto::driver::driver_client::DriverClient;
use sagoo_edge_proto::driver::driver_message::Message as Up;
use sagoo_edge_proto::driver::host_message::Message as Down;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::answers::Answers;
use crate::commands::{Dispatch, Outcome, Verdict};
use crate::pipeline;
use crate::pipeline::handle::{Arrived, Numbers};
use crate::southbound::convert;

/// Messages on their way to the driver.
const DOWN: usize = 64;
/// Batches on their way to the buffer.
const BATCHES: usize = 16;
/// A driver says something at least every 5 s (contract); three times that is silence.
const SILENCE: Duration = Duration::from_secs(15);
/// The driver must open the session and say who it is within this.
const OPENING: Duration = Duration::from_secs(10);
/// What a driver gets to release its lines and send what is left.
const FAREWELL: Duration = Duration::from_secs(2);
/// What has arrived when a session ends still gets this long to reach the buffer.
const DRAIN: Duration = Duration::from_secs(1);
/// The buffer takes nothing for this long: the session is opened anew, the driver sends again.
const STALL: Duration = Duration::from_secs(5);

/// Devices that answer, by name.
pub type Online = watch::Sender<std::collections::HashSet<String>>;

/// What a session needs.
pub struct Setup<'a> {
    /// Driver id.
    pub driver: Arc<str>,
    /// What it is told.
    pub configuration: wire::Configuration,
    /// Where samples go.
    pub pipeline: &'a pipeline::Handle,
    /// What it may ask.
    pub answers: &'a Answers,
    /// Devices that answer.
    pub online: &'a Online,
    /// Called with what the driver refuses of its configuration.
    pub problems: &'a (dyn Fn(&wire::Problem) + Send + Sync),
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// We asked for it.
    #[error("stopped")]
    Stopped,
    /// The driver keeps the wire but does nothing.
    #[error("no sign of life for {} s", SILENCE.as_secs())]
    Hang,
    /// The driver does not open a session.
    #[error("no session within {} s", OPENING.as_secs())]
    NoSession,
    /// The stream broke; the process has probably ended.
    #[error("session broke: {0}")]
    Broken(String),
    /// It does not keep to the contract.
    #[error("driver broke the contract: {0}")]
    Contract(&'static str),
    /// The buffer takes no data; a new session makes the driver send again.
    #[error("buffer takes no data")]
    Stalled,
    /// The pipeline has ended.
    #[error("the gateway is stopping")]
    Gone,
}

/// Runs one session until it ends. Commands that are open then get an outcome.
pub async fn run(
    channel: Channel,
    setup: Setup<'_>,
    dispatched: &mut mpsc::Receiver<Dispatch>,
    stop: &CancellationToken,
) -> Ended {
    let (down, outgoing) = mpsc::channel(DOWN);
    let mut client = DriverClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let opening = async {
        let mut up = client.session(ReceiverStream::new(outgoing)).await?.into_inner();
        let hello = up.next().await.transpose()?;
        Ok::<_, tonic::Status>((up, hello))
    };
    let (mut up, hello) = match timeout(OPENING, opening).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(status)) => return Ended::Broken(status.message().to_owned()),
        Err(_) => return Ended::NoSession,
    };
    let Some(Up::Hello(hello)) = hello.and_then(|message| message.message) else {
        return Ended::Contract("its first message is not Hello");
    };
    let Ok(instance) = <[u8; 16]>::try_from(hello.instance.as_slice()) else {
        return Ended::Contract("its instance does not have 16 bytes");
    };
    let (batches, arriving) = mpsc::channel(BATCHES);
    let mut session = Session {
        driver: setup.driver.clone(),
        instance,
        boot_id: hello.boot_id.as_str().into(),
        down,
        batches,
        numbers: HashMap::new(),
        pending: HashMap::new(),
        devices: setup.configuration.devices.iter().map(|device| device.name.clone()).collect(),
        setup: &setup,
    };
    let mut storing = pin!(store(arriving, setup.pipeline.clone(), session.down.clone()));
    let configure =
        wire::Configure { generation: 1, configuration: Some(setup.configuration.clone()), hold: Vec::new() };
    let _ = session.down.send(host(Down::Configure(configure))).await;
    let ended = tokio::select! {
        ended = session.talk(&mut up, dispatched, stop) => ended,
        ended = &mut storing => ended,
    };
    session.close().await;
    if !matches!(ended, Ended::Gone) && timeout(DRAIN, storing).await.is_err() {
        tracing::warn!(driver = %setup.driver, "buffer takes no data; what the driver sent last is lost if it ends now");
    }
    ended
}

/// Batches → buffer → acknowledgement, in order.
async fn store(
    mut arriving: mpsc::Receiver<Arrived>,
    pipeline: pipeline::Handle,
    down: mpsc::Sender<wire::HostMessage>,
) -> Ended {
    while let Some(arrived) = arriving.recv().await {
        let seq = arrived.seq;
        if pipeline.batch(arrived).await.is_err() {
            return Ended::Gone;
        }
        // nobody to tell when the stream is closed; what arrived is stored all the same
        let _ = down.send(host(Down::Ack(wire::Ack { seq }))).await;
    }
    Ended::Stopped
}

fn host(message: Down) -> wire::HostMessage {
    wire::HostMessage { message: Some(message) }
}

struct Session<'a> {
    driver: Arc<str>,
    instance: [u8; 16],
    boot_id: Arc<str>,
    down: mpsc::Sender<wire::HostMessage>,
    batches: mpsc::Sender<Arrived>,
    /// Per generation: batches may still use the numbers of the one before.
    numbers: HashMap<u64, Arc<Numbers>>,
    pending: HashMap<String, oneshot::Sender<Outcome>>,
    devices: Vec<String>,
    setup: &'a Setup<'a>,
}

impl Session<'_> {
    async fn talk(
        &mut self,
        up: &mut tonic::Streaming<wire::DriverMessage>,
        dispatched: &mut mpsc::Receiver<Dispatch>,
        stop: &CancellationToken,
    ) -> Ended {
        let mut heard = Instant::now();
        let mut farewell = None;
        loop {
            let deadline = farewell.unwrap_or(heard + SILENCE);
            tokio::select! {
                message = up.next() => {
                    heard = Instant::now();
                    match message {
                        Some(Ok(message)) => {
                            if let Err(ended) = self.hear(message).await {
                                return ended;
                            }
                        }
                        Some(Err(_)) | None if farewell.is_some() => return Ended::Stopped,
                        Some(Err(status)) => return Ended::Broken(status.message().to_owned()),
                        None => return Ended::Broken("the driver ended it".to_owned()),
                    }
                }
                Some(dispatch) = dispatched.recv(), if farewell.is_none() => self.command(dispatch).await,
                () = stop.cancelled(), if farewell.is_none() => {
                    farewell = Some(Instant::now() + FAREWELL);
                    let _ = self.down.try_send(host(Down::Stop(wire::Stop {})));
                }
                () = sleep_until(deadline) => {
                    return if farewell.is_some() { Ended::Stopped } else { Ended::Hang };
                }
            }
        }
    }

    async fn hear(&mut self, message: wire::DriverMessage) -> Result<(), Ended> {
        match message.message {
            Some(Up::Configured(configured)) => return self.configured(configured).await,
            Some(Up::Batch(batch)) => return self.batch(batch).await,
            Some(Up::CommandResult(result)) => self.result(result),
            Some(Up::HostCall(call)) => {
                let reply = self.setup.answers.answer(call).await;
                let _ = self.down.send(host(Down::HostReply(reply))).await;
            }
            Some(Up::Heartbeat(beat)) => return self.heartbeat(beat).await,
            Some(Up::Event(event)) => return self.event(event).await,
            Some(Up::Hello(_)) => return Err(Ended::Contract("a second Hello in one session")),
            // we did not ask it to release anything, and a newer driver may say what we do not know
            Some(Up::Released(_)) | None => {}
        }
        Ok(())
    }

    async fn configured(&mut self, configured: wire::Configured) -> Result<(), Ended> {
        for problem in &configured.problems {
            (self.setup.problems)(problem);
        }
        let numbers = configured.devices.into_iter().map(|device| {
            let points = device.points.iter().map(|point| point.as_str().into()).collect();
            (device.number, (device.device.as_str().into(), points))
        });
        let numbers: Numbers = numbers.collect();
        tracing::info!(driver = %self.driver, devices = numbers.len(), "driver is configured");
        self.numbers.retain(|generation, _| generation + 1 >= configured.generation);
        let taken = |name: &str| numbers.values().any(|(device, _)| **device == *name);
        for left_out in self.devices.iter().filter(|name| !taken(name)) {
            let reason = "the driver refuses its configuration; see the log, or sagoo-edge check".to_owned();
            let told = self.setup.pipeline.link(left_out.as_str().into(), false, reason).await;
            told.map_err(|_| Ended::Gone)?;
        }
        self.numbers.insert(configured.generation, Arc::new(numbers));
        Ok(())
    }

    async fn batch(&mut self, batch: wire::Batch) -> Result<(), Ended> {
        // batches of an earlier session come with its generation; numbers never change their meaning
        let numbers = self.numbers.get(&batch.generation).or_else(|| self.numbers.values().next());
        let Some(numbers) = numbers.cloned() else {
            return Err(Ended::Contract("a batch before Configured"));
        };
        let arrived = Arrived {
            driver: self.driver.clone(),
            instance: self.instance,
            boot_id: self.boot_id.clone(),
            seq: batch.seq,
            numbers,
            devices: batch.devices,
        };
        match timeout(STALL, self.batches.send(arrived)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ended::Gone),
            Err(_) => Err(Ended::Stalled),
        }
    }

    async fn heartbeat(&mut self, beat: wire::Heartbeat) -> Result<(), Ended> {
        let Some(numbers) = self.numbers.values().next().cloned() else { return Ok(()) };
        for state in beat.devices {
            let Some((device, _)) = numbers.get(&state.device) else { continue };
            self.setup.online.send_if_modified(|online| {
                if state.online { online.insert(device.to_string()) } else { online.remove(&**device) }
            });
            let pipeline = self.setup.pipeline;
            pipeline.link(device.clone(), state.online, state.reason).await.map_err(|_| Ended::Gone)?;
            if state.dropped > 0 {
                let dropped = pipeline.dropped(device.clone(), self.instance, state.dropped).await;
                dropped.map_err(|_| Ended::Gone)?;
            }
        }
        Ok(())
    }

    async fn event(&mut self, event: wire::Event) -> Result<(), Ended> {
        // boot times of another boot, or none at all, say nothing here
        let told = event.boot_ns > 0 && *self.boot_id == *clock::boot_id();
        let boot_ns = if told { event.boot_ns } else { clock::boot_ns() };
        let stored = self.setup.pipeline.event(&event.device, event.name, event.value, boot_ns).await;
        stored.map_err(|_| Ended::Gone)
    }

    async fn command(&mut self, dispatch: Dispatch) {
        let Dispatch { request, reply } = dispatch;
        let id = request.id.clone();
        self.pending.retain(|_, waiting| !waiting.is_closed());
        self.pending.insert(id.clone(), reply);
        if self.down.send(host(Down::Command(convert::command(request)))).await.is_err() {
            self.pending.remove(&id);
        }
    }

    fn result(&mut self, result: wire::CommandResult) {
        match self.pending.remove(&result.id) {
            Some(reply) => {
                let _ = reply.send(convert::outcome(result));
            }
            None => {
                tracing::debug!(driver = %self.driver, command_id = result.id, "result of a command nobody waits for")
            }
        }
    }

    /// Devices of this driver no longer answer; open commands may have happened.
    async fn close(mut self) {
        self.setup.online.send_if_modified(|online| {
            let before = online.len();
            online.retain(|device| !self.devices.contains(device));
            online.len() != before
        });
        for device in &self.devices {
            let reason = format!("driver {} is not connected", self.driver);
            let _ = self.setup.pipeline.link(device.as_str().into(), false, reason).await;
        }
        for (_, reply) in self.pending.drain() {
            let _ = reply.send(Outcome::failed(Verdict::Unknown, "the driver ended before it answered"));
        }
    }
}
