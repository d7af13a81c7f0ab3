//! The host's side of one session, the same over a channel in this process and over gRPC.
//!
//! Always true: one command is on its way at a time; every batch is acknowledged as it arrives, as the
//! gateway does; what is counted is what was acknowledged. `go/host/main.go` is the same in Go for what [`crate::boundary`] measures.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use sagoo_edge_plugin_host::MAX_MESSAGE_BYTES;
use sagoo_edge_proto::clock;
use sagoo_edge_proto::driver::driver_client::DriverClient;
use sagoo_edge_proto::driver::{
    Ack, Command, Configuration, Configure, Context, DescribeRequest, DriverMessage, HostCall, HostMessage,
    HostReply, KvValue, Read, Status, command::Action, driver_message::Message, host_call::Call,
    host_message, host_reply::Reply,
};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::cpu;
use crate::load::Load;
use crate::plain::{self, INBOUND, OUTBOUND};

/// Longest wait for a message; a driver that says nothing for so long never will.
const PATIENCE: Duration = Duration::from_secs(20);
/// Messages on their way down, as many as the gateway has.
const DOWN: usize = 64;

/// An open session.
pub struct Talk {
    to: mpsc::Sender<HostMessage>,
    from: From,
    client: Option<DriverClient<Channel>>,
}

enum From {
    Channel(mpsc::Receiver<DriverMessage>),
    Session(Box<Streaming<DriverMessage>>),
}

/// Round trips of one turn, sorted, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
pub struct Calls {
    /// Of a command over the session.
    pub command_us: Vec<f64>,
    /// Of a call of its own; none where there is no transport.
    pub call_us: Vec<f64>,
}

/// What a turn carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Deserialize)]
pub struct Carried {
    /// How long it took.
    pub seconds: f64,
    /// Batches.
    pub batches: u64,
    /// Samples in them.
    pub samples: u64,
    /// Batches the driver made and dropped, because the host did not keep up.
    pub missing: u64,
    /// CPU time of this process, seconds.
    pub host_cpu_s: f64,
    /// CPU time of the driver's.
    pub plugin_cpu_s: f64,
}

impl Talk {
    /// With the plain loop, in this process.
    pub async fn over_channel(load: Load) -> Result<Self> {
        let (to, inbound) = mpsc::channel(INBOUND);
        let (outbound, from) = mpsc::channel(OUTBOUND);
        tokio::spawn(plain::serve(inbound, outbound));
        Self { to, from: From::Channel(from), client: None }.configured(load.configuration()).await
    }

    /// With a plugin.
    pub async fn over_session(channel: Channel, configuration: Configuration) -> Result<Self> {
        let mut client = DriverClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let (to, outgoing) = mpsc::channel(DOWN);
        let opening = timeout(PATIENCE, client.session(ReceiverStream::new(outgoing)));
        let up = opening.await.context("the plugin does not open a session")??.into_inner();
        Self { to, from: From::Session(Box::new(up)), client: Some(client) }.configured(configuration).await
    }

    async fn configured(mut self, configuration: Configuration) -> Result<Self> {
        ensure!(matches!(self.next().await?, Message::Hello(_)), "the first message is not Hello");
        let configuration = Some(configuration);
        let configure = Configure { generation: 1, configuration, hold: Vec::new() };
        self.send(host_message::Message::Configure(configure)).await?;
        loop {
            if let Message::Configured(configured) = self.next().await? {
                ensure!(
                    configured.problems.is_empty(),
                    "the driver refuses its configuration: {:?}",
                    configured.problems
                );
                return Ok(self);
            }
        }
    }

    /// So many commands, then so many calls, one after the other.
    pub async fn calls(&mut self, count: usize) -> Result<Calls> {
        let mut calls = Calls::default();
        for number in 0..count {
            calls.command_us.push(micros(self.command(number.to_string()).await?));
        }
        if let Some(client) = &mut self.client {
            for _ in 0..count {
                let began = Instant::now();
                client.describe(DescribeRequest {}).await.context("calling Describe")?;
                calls.call_us.push(micros(began.elapsed()));
            }
        }
        calls.command_us.sort_by(f64::total_cmp);
        calls.call_us.sort_by(f64::total_cmp);
        Ok(calls)
    }

    /// Counts for so long what arrives and is acknowledged, once it has warmed up. `plugin` is the
    /// other process, if there is one.
    pub async fn carry(
        &mut self,
        warm_up: Duration,
        length: Duration,
        plugin: Option<u32>,
    ) -> Result<Carried> {
        self.count(warm_up).await?;
        let host = std::process::id();
        let of_plugin = |pid: Option<u32>| pid.map_or(Ok(0.0), cpu::used);
        let (host_before, plugin_before) = (cpu::used(host)?, of_plugin(plugin)?);
        let carried = self.count(length).await?;
        Ok(Carried {
            host_cpu_s: cpu::used(host)? - host_before,
            plugin_cpu_s: of_plugin(plugin)? - plugin_before,
            ..carried
        })
    }

    async fn count(&mut self, length: Duration) -> Result<Carried> {
        let mut carried = Carried::default();
        let mut last: Option<u64> = None;
        let mut began = Instant::now();
        loop {
            let Message::Batch(batch) = self.next().await? else { continue };
            self.send(host_message::Message::Ack(Ack { seq: batch.seq })).await?;
            let Some(before) = last.replace(batch.seq) else {
                // The first one only starts the clock.
                began = Instant::now();
                continue;
            };
            ensure!(batch.seq > before, "batch {} came after batch {before}", batch.seq);
            carried.missing += batch.seq - before - 1;
            carried.batches += 1;
            carried.samples += batch.devices.iter().map(|one| u64::from(one.count)).sum::<u64>();
            if began.elapsed() >= length {
                carried.seconds = began.elapsed().as_secs_f64();
                return Ok(carried);
            }
        }
    }

    async fn command(&mut self, id: String) -> Result<Duration> {
        let began = Instant::now();
        let command = Command {
            id: id.clone(),
            deadline_boot_ns: clock::boot_ns() + PATIENCE.as_nanos() as u64,
            device: "d0".to_owned(),
            action: Some(Action::Read(Read { points: vec!["p0".to_owned()] })),
        };
        self.send(host_message::Message::Command(command)).await?;
        loop {
            if let Message::CommandResult(result) = self.next().await?
                && result.id == id
            {
                ensure!(
                    result.status() == Status::Applied,
                    "the command was not applied: {}",
                    result.message
                );
                return Ok(began.elapsed());
            }
        }
    }

    async fn send(&self, message: host_message::Message) -> Result<()> {
        let message = HostMessage { message: Some(message) };
        self.to.send(message).await.ok().context("the driver has ended the session")
    }

    /// The next message that is not a question.
    async fn next(&mut self) -> Result<Message> {
        loop {
            match self.message().await? {
                Message::HostCall(asked) => self.answer(asked).await?,
                message => return Ok(message),
            }
        }
    }

    async fn message(&mut self) -> Result<Message> {
        let next = async {
            match &mut self.from {
                From::Channel(from) => Ok(from.recv().await),
                From::Session(from) => from.message().await,
            }
        };
        let message = timeout(PATIENCE, next).await.context("the driver says nothing any more")??;
        match message.and_then(|message| message.message) {
            Some(message) => Ok(message),
            None => bail!("the driver has ended the session"),
        }
    }

    /// Answers what a driver asks of its platform: nothing is known, everything is taken.
    async fn answer(&self, asked: HostCall) -> Result<()> {
        let (reply, error) = match asked.call {
            Some(Call::Context(_)) => (Some(Reply::Context(Context::default())), String::new()),
            Some(Call::KvGet(_)) => (Some(Reply::Kv(KvValue { value: None })), String::new()),
            Some(Call::KvPut(_) | Call::KvDelete(_)) => (None, String::new()),
            _ => (None, "the bench has no secrets".to_owned()),
        };
        let reply = HostReply { id: asked.id, error, reply };
        self.send(host_message::Message::HostReply(reply)).await
    }
}

fn micros(took: Duration) -> f64 {
    took.as_secs_f64() * 1e6
}
