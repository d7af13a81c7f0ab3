//! The gateway's side of a session in the same process, for an author's tests.
//!
//! Always true: what is tested is the real session and the real schedule, only gRPC is left out;
//! every wait has the limit [`WAIT`] and panics with what was waited for, so a test fails instead
//! of hanging. With tokio's clock paused the schedule runs as fast as the driver answers.
//!
//! ```no_run
//! # async fn test(driver: impl sagoo_driver_sdk::Driver) {
//! use sagoo_driver_sdk::serde_json::json;
//! use sagoo_driver_sdk::testing::{TestHost, tables};
//! use sagoo_driver_sdk::Value;
//!
//! let mut host = TestHost::new(driver).await;
//! let problems = host.configure(&tables(json!({
//!     "connection": { "hall": { "tcp": { "host": "127.0.0.1", "port": 502 } } },
//!     "model": { "em24": { "poll": { "fast": "1s" }, "points": {} } },
//!     "device": { "meter": { "connection": "hall", "model": "em24@3", "unit": 11 } },
//! }))).await;
//! assert!(problems.is_empty());
//! assert_eq!(host.sample_of("meter", "voltage").await.value, Some(Value::Float(230.1)));
//! host.write("meter", &[("limit", Value::Uint(16))]).await;
//! host.stop().await;
//! # }
//! ```

#[cfg(test)]
mod inside;
mod looks;
mod platform;
mod tables;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sagoo_edge_proto::clock;
use sagoo_edge_proto::driver::{
    Ack, Batch, Configure, DeviceNumbers, DriverMessage, Hello, HostMessage, Invoke, PointValue, Read,
    Release, Stop, Write, command::Action, driver_message::Message, host_message,
};
pub use sagoo_edge_proto::driver::{Command, CommandResult, Configured, Heartbeat, PointResult, Status};
use sagoo_edge_proto::sample::{self, Quality, Value};
use serde_json::Value as Json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use self::looks::{ScanFound, ScanProgress, TestCapture, TestScan};
use self::platform::Platform;
pub use self::tables::tables;
use crate::driver::{Configuration, Driver, Problem};
use crate::session::{self, Ended, INBOUND, Incoming, OUTBOUND, Open, Patience};
use crate::wire;

/// Longest wait for anything.
pub const WAIT: Duration = Duration::from_secs(60);
/// Deadline given to commands.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// A gateway for one driver, in the same process.
#[derive(Debug)]
pub struct TestHost {
    sessions: mpsc::Sender<Incoming>,
    to_driver: mpsc::Sender<HostMessage>,
    from_driver: mpsc::Receiver<DriverMessage>,
    driver: JoinHandle<Ended>,
    end: CancellationToken,
    acknowledges: bool,
    generation: u64,
    commands: u64,
    numbers: HashMap<u32, DeviceNumbers>,
    samples: VecDeque<Arrived>,
    platform: Platform,
}

/// A sample as the gateway gets it, with names.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrived {
    /// Number of its batch.
    pub seq: u64,
    /// Name of the device.
    pub device: String,
    /// Name of the point.
    pub point: String,
    /// `None` when the quality is bad.
    pub value: Option<Value>,
    /// How far to believe it.
    pub quality: Quality,
    /// When it was read, nanoseconds since boot.
    pub boot_ns: u64,
}

impl TestHost {
    /// Starts the driver and opens a session.
    pub async fn new<D: Driver>(driver: D) -> Self {
        Self::start(driver, Patience::GatewayIsAll).await
    }

    pub(crate) async fn start<D: Driver>(driver: D, patience: Patience) -> Self {
        let (sessions, opens) = mpsc::channel(4);
        let end = CancellationToken::new();
        let driver = tokio::spawn(session::run(Arc::new(driver), opens, patience, end.clone()));
        let (to_driver, _) = mpsc::channel(1);
        let (_, from_driver) = mpsc::channel(1);
        let mut host = Self {
            sessions,
            to_driver,
            from_driver,
            driver,
            end,
            acknowledges: true,
            generation: 0,
            commands: 0,
            numbers: HashMap::new(),
            samples: VecDeque::new(),
            platform: Platform::default(),
        };
        host.reopen().await;
        host
    }

    /// Opens another session, as a gateway that was restarted does; it supersedes the one before.
    /// Gives back the driver's instance. Samples that wait without an acknowledgement are forgotten:
    /// they come again.
    pub async fn reopen(&mut self) -> Vec<u8> {
        if !self.acknowledges {
            self.samples.clear();
        }
        let (outbound, from_driver) = mpsc::channel(OUTBOUND);
        let (to_driver, inbound) = mpsc::channel(INBOUND);
        self.sessions.send(Incoming::Session(Open { outbound, inbound })).await.expect("the driver runs");
        self.to_driver = to_driver;
        self.from_driver = from_driver;
        match self.next("hello").await {
            Some(Message::Hello(Hello { instance, .. })) => instance,
            other => panic!("a session must begin with hello, not {other:?}"),
        }
    }

    /// Sends a configuration; gives back what could not be applied.
    pub async fn configure(&mut self, tables: &Configuration) -> Vec<Problem> {
        self.configure_holding(tables, &[]).await
    }

    /// Sends a configuration in which the lines of these connections stay closed.
    pub async fn configure_holding(&mut self, tables: &Configuration, hold: &[&str]) -> Vec<Problem> {
        self.generation += 1;
        let configuration = Some(wire::configuration_message(tables));
        let hold = hold.iter().map(|name| (*name).to_owned()).collect();
        let configure = Configure { generation: self.generation, configuration, hold };
        self.send(host_message::Message::Configure(configure)).await;
        let generation = self.generation;
        let wanted = |message| match message {
            Message::Configured(configured) if configured.generation == generation => {
                Some(configured.problems)
            }
            _ => None,
        };
        self.wait_for("configured", wanted).await.into_iter().map(Into::into).collect()
    }

    /// The next sample of any device.
    pub async fn sample(&mut self) -> Arrived {
        if self.samples.is_empty() {
            self.wait_for("a sample", |message| matches!(message, Message::Batch(_)).then_some(())).await;
        }
        self.samples.pop_front().expect("a batch is never empty")
    }

    /// The next sample of this point; those of others before it are thrown away.
    pub async fn sample_of(&mut self, device: &str, point: &str) -> Arrived {
        let search = async {
            loop {
                let sample = self.sample().await;
                if sample.device == device && sample.point == point {
                    return sample;
                }
            }
        };
        timeout(WAIT, search).await.unwrap_or_else(|_| panic!("no sample of {device}.{point} came"))
    }

    /// The next heartbeat.
    pub async fn heartbeat(&mut self) -> Heartbeat {
        let wanted = |message| match message {
            Message::Heartbeat(heartbeat) => Some(heartbeat),
            _ => None,
        };
        self.wait_for("a heartbeat", wanted).await
    }

    /// Writes points of a device.
    pub async fn write(&mut self, device: &str, values: &[(&str, Value)]) -> CommandResult {
        let values = values
            .iter()
            .map(|(point, value)| PointValue {
                point: (*point).to_owned(),
                value: Some(value.clone().into()),
            })
            .collect();
        self.run(device, Action::Write(Write { values })).await
    }

    /// Reads points of a device now; none named: all.
    pub async fn read(&mut self, device: &str, points: &[&str]) -> CommandResult {
        let points = points.iter().map(|point| (*point).to_owned()).collect();
        self.run(device, Action::Read(Read { points })).await
    }

    /// Calls a function of a device.
    pub async fn invoke(&mut self, device: &str, function: &str, input: &Json) -> CommandResult {
        let invoke = Invoke { function: function.to_owned(), input: input.to_string() };
        self.run(device, Action::Invoke(invoke)).await
    }

    /// Sends a command as it is and waits for a result of its id.
    pub async fn command(&mut self, command: Command) -> CommandResult {
        let id = command.id.clone();
        self.send(host_message::Message::Command(command)).await;
        self.result(&id).await
    }

    /// Sends a command and waits for nothing.
    pub async fn send_command(&mut self, command: Command) {
        self.send(host_message::Message::Command(command)).await;
    }

    /// Waits for a result of this id.
    pub async fn result(&mut self, id: &str) -> CommandResult {
        let wanted = |message| match message {
            Message::CommandResult(result) if result.id == id => Some(result),
            _ => None,
        };
        self.wait_for("a command's result", wanted).await
    }

    /// Wants lines given up (none named: all); gives back those that are.
    pub async fn release(&mut self, connections: &[&str]) -> Vec<String> {
        let connections = connections.iter().map(|name| (*name).to_owned()).collect();
        self.send(host_message::Message::Release(Release { connections })).await;
        let wanted = |message| match message {
            Message::Released(released) => Some(released.connections),
            _ => None,
        };
        self.wait_for("released", wanted).await
    }

    /// Stops the driver's lines and waits for the end of the session; gives back the samples that
    /// were not taken yet.
    pub async fn stop(&mut self) -> Vec<Arrived> {
        self.send(host_message::Message::Stop(Stop {})).await;
        while self.next("the end of the session").await.is_some() {}
        self.samples.drain(..).collect()
    }

    /// Ends the driver as its process would end.
    pub async fn end(self) {
        self.end.cancel();
        if let Err(error) = self.driver.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }

    /// Whether batches are acknowledged as they arrive; they are at first.
    pub fn acknowledge_batches(&mut self, acknowledges: bool) {
        self.acknowledges = acknowledges;
    }

    /// Acknowledges every batch up to `seq`.
    pub async fn acknowledge(&mut self, seq: u64) {
        self.send(host_message::Message::Ack(Ack { seq })).await;
    }

    /// Gives the driver a secret to ask for.
    pub fn secret(&mut self, name: &str, secret: &[u8]) {
        self.platform.secrets.insert(name.to_owned(), secret.to_vec());
    }

    /// A command with a fresh id and [`COMMAND_TIMEOUT`].
    pub fn new_command(&mut self, device: &str, action: Action) -> Command {
        self.commands += 1;
        Command {
            id: format!("test-{}", self.commands),
            deadline_boot_ns: clock::boot_ns() + COMMAND_TIMEOUT.as_nanos() as u64,
            device: device.to_owned(),
            action: Some(action),
        }
    }

    async fn run(&mut self, device: &str, action: Action) -> CommandResult {
        let command = self.new_command(device, action);
        self.command(command).await
    }

    async fn send(&self, message: host_message::Message) {
        let message = HostMessage { message: Some(message) };
        self.to_driver.send(message).await.expect("the session is open");
    }

    /// The first message that `wanted` takes, within [`WAIT`] altogether.
    async fn wait_for<T>(&mut self, what: &str, wanted: impl Fn(Message) -> Option<T>) -> T {
        let search = async {
            loop {
                let message = self.next(what).await;
                let message = message.unwrap_or_else(|| panic!("the session ended while waiting for {what}"));
                if let Some(found) = wanted(message) {
                    return found;
                }
            }
        };
        timeout(WAIT, search).await.unwrap_or_else(|_| panic!("{what} did not come within {WAIT:?}"))
    }

    /// The next message, `None` at the end of the session. Batches are taken in, calls are answered.
    pub(crate) async fn next(&mut self, what: &str) -> Option<Message> {
        let message = timeout(WAIT, self.from_driver.recv())
            .await
            .unwrap_or_else(|_| panic!("nothing came while waiting for {what}"))?
            .message
            .expect("a driver sends no empty message");
        match &message {
            Message::Configured(configured) => {
                self.numbers.extend(configured.devices.iter().map(|one| (one.number, one.clone())));
            }
            Message::Batch(batch) => {
                self.take_batch(batch.clone());
                if self.acknowledges {
                    let ack = host_message::Message::Ack(Ack { seq: batch.seq });
                    // At the end of a session nobody takes it any more.
                    let _ = self.to_driver.send(HostMessage { message: Some(ack) }).await;
                }
            }
            Message::HostCall(call) => {
                let reply = self.platform.answer(call.clone());
                self.send(host_message::Message::HostReply(reply)).await;
            }
            Message::Hello(_)
            | Message::CommandResult(_)
            | Message::Released(_)
            | Message::Heartbeat(_)
            | Message::Event(_) => {}
        }
        Some(message)
    }

    fn take_batch(&mut self, batch: Batch) {
        for packed in batch.devices {
            let numbers = self.numbers.get(&packed.device).expect("numbers come before batches").clone();
            for sample in sample::unpack(packed).expect("a driver packs truthfully") {
                self.samples.push_back(Arrived {
                    seq: batch.seq,
                    device: numbers.device.clone(),
                    point: numbers.points[sample.point as usize].clone(),
                    value: sample.value,
                    quality: sample.quality,
                    boot_ns: sample.boot_ns,
                });
            }
        }
    }
}
