//! The talk with one running driver: configuration down, batches up, commands and their results.
//!
//! Always true: an Ack is sent only after the pipeline has the batch in the buffer; a released line is
//! told of only after everything read on it is there, too; a command's result reaches its asker exactly
//! once, and when the session ends every open one is told; only the devices on lines this process was
//! given are spoken for.
//!
//! `hear` is what the driver says, [`store`] the way of its batches into the buffer.

mod hear;
mod store;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
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
use tonic::Streaming;
use tonic::transport::Channel;

use self::store::{Item, store};
use super::instance::{Context, Order, Report};
use super::life::seat::Lines;
use super::life::{How, News, Number, Role};
use crate::commands::{Dispatch, Outcome, Verdict};
use crate::pipeline::handle::Numbers;
use crate::southbound::convert;

/// Messages on their way to the driver.
const DOWN: usize = 64;
/// Batches on their way to the buffer.
const BATCHES: usize = 16;
/// A driver says something at least every 5 s (contract); three times that is silence.
pub const SILENCE: Duration = Duration::from_secs(15);
/// The driver must open the session and say who it is within this.
const OPENING: Duration = Duration::from_secs(10);
/// What a driver gets to release its lines and send what is left.
const FAREWELL: Duration = Duration::from_secs(2);
/// What has arrived when a session ends still gets this long to reach the buffer.
const DRAIN: Duration = Duration::from_secs(1);
/// The buffer takes nothing for this long: the session is opened anew, the driver sends again.
const STALL: Duration = Duration::from_secs(5);
/// What a driver that goes on without us gets to take the last acknowledgements.
const LAST_ACKS: Duration = Duration::from_millis(500);

/// Devices that answer, by name.
pub type Online = watch::Sender<std::collections::HashSet<String>>;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// We asked for it; the driver said everything.
    #[error("stopped")]
    Stopped,
    /// It is to be killed.
    #[error("killed")]
    Killed,
    /// It goes on without us.
    #[error("left running")]
    Kept,
    /// The driver keeps the wire but does nothing.
    #[error("no sign of life for {} s", SILENCE.as_secs())]
    Hang,
    /// The driver takes none of our messages.
    #[error("it reads none of the gateway's messages")]
    Deaf,
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

/// What a process was told, over all its sessions.
#[derive(Debug, Default)]
pub struct Told {
    /// Number of the last `Configure`; 0: none.
    turn: u64,
    /// Rises with every `Configure`, whichever gateway says it.
    generation: u64,
    /// Lines it must not open.
    hold: Lines,
}

impl Told {
    /// Milliseconds since boot keep what an earlier gateway said apart from what we say.
    fn next_generation(&mut self) -> u64 {
        self.generation = (self.generation + 1).max(clock::boot_ns() / 1_000_000);
        self.generation
    }
}

/// What a session needs.
pub struct Setup<'a> {
    /// Which process it is with.
    pub number: Number,
    /// What all processes of the driver share.
    pub context: &'a Context,
    /// Whether the process can be left running.
    pub keeps: bool,
    /// Where news go.
    pub news: &'a mpsc::Sender<Report>,
    /// Called when the process becomes something else.
    pub role: &'a (dyn Fn(Role) + Send + Sync),
    /// Called with the instance it says it is; false if it is not the one that was noted before.
    pub known: &'a (dyn Fn([u8; 16]) -> bool + Send + Sync),
    /// Cancelled when the process is to end at once.
    pub kill: &'a CancellationToken,
    /// Cancelled when it is to go on without us.
    pub keep: &'a CancellationToken,
}

/// Runs one session until it ends. Commands that are open then get an outcome.
pub async fn run(
    channel: Channel,
    setup: Setup<'_>,
    orders: &mut mpsc::Receiver<Order>,
    told: &mut Told,
) -> Ended {
    let (down, outgoing) = mpsc::channel(DOWN);
    let opened = tokio::select! {
        opened = open(channel, outgoing) => opened,
        () = setup.kill.cancelled() => Err(Ended::Killed),
        () = setup.keep.cancelled() => Err(Ended::Kept),
    };
    let (mut up, hello) = match opened {
        Ok(opened) => opened,
        Err(ended) => return ended,
    };
    let Ok(instance) = <[u8; 16]>::try_from(hello.instance.as_slice()) else {
        return Ended::Contract("its instance does not have 16 bytes");
    };
    if !(setup.known)(instance) {
        return Ended::Contract("its instance is not the one it had before");
    }
    let (items, arriving) = mpsc::channel(BATCHES);
    let mut session = Session {
        instance,
        boot_id: hello.boot_id.as_str().into(),
        down,
        items,
        turns: BTreeMap::new(),
        numbers: BTreeMap::new(),
        pending: HashMap::new(),
        given_at: Instant::now(),
        told,
        setup: &setup,
    };
    let opened = News::Opened { number: setup.number, keeps: setup.keeps };
    session.report(Report::News(opened)).await;
    if session.told.turn > 0 {
        let (turn, hold) = (session.told.turn, session.told.hold.clone());
        let _ = session.configure(turn, hold);
    }
    let storing = store(arriving, &setup, session.down.clone());
    let mut storing = pin!(storing);
    let ended = tokio::select! {
        ended = session.talk(&mut up, orders) => ended,
        ended = &mut storing => ended,
    };
    session.close(&ended).await;
    if !matches!(ended, Ended::Gone) && timeout(DRAIN, storing).await.is_err() {
        tracing::warn!(driver = %setup.context.driver, "buffer takes no data; what the driver sent last is lost if it ends now");
    }
    if matches!(ended, Ended::Kept) {
        // our half is closed by now; the driver closes its own when it has read the last Ack
        let _ = timeout(LAST_ACKS, last_words(&mut up, &hello.boot_id, setup.context)).await;
    }
    ended
}

async fn open(
    channel: Channel,
    outgoing: mpsc::Receiver<wire::HostMessage>,
) -> Result<(Streaming<wire::DriverMessage>, wire::Hello), Ended> {
    let mut client = DriverClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let opening = async {
        let mut up = client.session(ReceiverStream::new(outgoing)).await?.into_inner();
        let hello = up.next().await.transpose()?;
        Ok::<_, tonic::Status>((up, hello))
    };
    let (up, hello) = match timeout(OPENING, opening).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(status)) => return Err(Ended::Broken(status.message().to_owned())),
        Err(_) => return Err(Ended::NoSession),
    };
    match hello.and_then(|message| message.message) {
        Some(Up::Hello(hello)) => Ok((up, hello)),
        _ => Err(Ended::Contract("its first message is not Hello")),
    }
}

/// Batches that were on their way come again in the next session, events do not.
async fn last_words(up: &mut Streaming<wire::DriverMessage>, boot_id: &str, context: &Context) {
    while let Some(Ok(message)) = up.next().await {
        if let Some(Up::Event(event)) = message.message
            && hear::keep_event(context, boot_id, event).await.is_err()
        {
            return;
        }
    }
}

fn host(message: Down) -> wire::HostMessage {
    wire::HostMessage { message: Some(message) }
}

struct Session<'a> {
    instance: [u8; 16],
    boot_id: Arc<str>,
    down: mpsc::Sender<wire::HostMessage>,
    items: mpsc::Sender<Item>,
    /// Generation → turn, of what was not answered yet.
    turns: BTreeMap<u64, u64>,
    /// Per generation: batches may still use the numbers of earlier ones.
    numbers: BTreeMap<u64, Arc<Numbers>>,
    pending: HashMap<String, oneshot::Sender<Outcome>>,
    /// When a line was given last.
    given_at: Instant,
    told: &'a mut Told,
    setup: &'a Setup<'a>,
}

impl Session<'_> {
    async fn talk(
        &mut self,
        up: &mut Streaming<wire::DriverMessage>,
        orders: &mut mpsc::Receiver<Order>,
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
                order = orders.recv(), if farewell.is_none() => {
                    // nobody is left to give orders: the supervisor was cut off, and so are we
                    let Some(order) = order else { return Ended::Killed };
                    let done = match order {
                        Order::Configure { turn, hold } => self.configure(turn, hold),
                        Order::Release(lines) => self.release(lines),
                        Order::Command(dispatch) => self.command(dispatch),
                        Order::Role(role) => {
                            (self.setup.role)(role);
                            Ok(())
                        }
                        Order::End(How::Kill) => return Ended::Killed,
                        Order::End(How::Keep) => return Ended::Kept,
                        Order::End(How::Stop) => {
                            farewell = Some(Instant::now() + FAREWELL);
                            // one that does not read is killed when its time is over
                            let _ = self.tell(Down::Stop(wire::Stop {}));
                            Ok(())
                        }
                    };
                    if let Err(ended) = done {
                        return ended;
                    }
                }
                () = self.setup.kill.cancelled() => return Ended::Killed,
                () = self.setup.keep.cancelled() => return Ended::Kept,
                () = sleep_until(deadline) => {
                    return if farewell.is_some() { Ended::Stopped } else { Ended::Hang };
                }
            }
        }
    }

    fn configure(&mut self, turn: u64, hold: Lines) -> Result<(), Ended> {
        let generation = self.told.next_generation();
        self.turns.insert(generation, turn);
        self.told.turn = turn;
        if self.told.hold != hold || self.numbers.is_empty() {
            self.given_at = Instant::now();
        }
        self.told.hold.clone_from(&hold);
        let configuration = Some((*self.setup.context.configuration).clone());
        let hold = hold.into_iter().collect();
        self.tell(Down::Configure(wire::Configure { generation, configuration, hold }))
    }

    fn release(&mut self, lines: Lines) -> Result<(), Ended> {
        // should the session break before it answers, the next one has them on hold
        self.told.hold.extend(lines.iter().cloned());
        self.tell(Down::Release(wire::Release { connections: lines.into_iter().collect() }))
    }

    fn command(&mut self, dispatch: Dispatch) -> Result<(), Ended> {
        let Dispatch { request, reply } = dispatch;
        let id = request.id.clone();
        self.pending.retain(|_, waiting| !waiting.is_closed());
        match self.down.try_reserve() {
            Ok(place) => {
                place.send(host(Down::Command(convert::command(request))));
                self.pending.insert(id, reply);
                Ok(())
            }
            Err(_) => {
                let message = "the driver takes no commands now; try again";
                let _ = reply.send(Outcome::failed(Verdict::Refused, message));
                Ok(())
            }
        }
    }

    /// A driver that leaves [`DOWN`] messages unread is no good.
    fn tell(&self, message: Down) -> Result<(), Ended> {
        self.down.try_send(host(message)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Ended::Deaf,
            mpsc::error::TrySendError::Closed(_) => Ended::Broken("the stream is closed".to_owned()),
        })
    }

    async fn report(&self, report: Report) {
        // a supervisor that is gone ends us by itself
        let _ = self.setup.news.send(report).await;
    }

    /// Whether this process has the line the device is on.
    fn speaks_for(&self, device: &str) -> bool {
        self.setup.context.owners.get(device).is_some_and(|line| self.has(line))
    }

    fn has(&self, line: &str) -> bool {
        self.told.turn > 0 && !self.told.hold.contains(line)
    }

    /// Devices spoken for no longer answer; open commands may have happened.
    async fn close(self, ended: &Ended) {
        let context = self.setup.context;
        let ours: Vec<&String> = context.owners.keys().filter(|device| self.speaks_for(device)).collect();
        if !matches!(ended, Ended::Kept) {
            context.online.send_if_modified(|online| {
                let before = online.len();
                for device in &ours {
                    online.remove(*device);
                }
                online.len() != before
            });
            for device in &ours {
                let reason = format!("driver {} is not connected", context.driver);
                let _ = context.pipeline.link(device.as_str().into(), false, reason).await;
            }
        }
        let why = match ended {
            Ended::Kept => "the gateway let go of the driver before it answered",
            _ => "the driver ended before it answered",
        };
        for (_, reply) in self.pending {
            let _ = reply.send(Outcome::failed(Verdict::Unknown, why));
        }
    }
}
