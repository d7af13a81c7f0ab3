//! The plainest loop that keeps to the contract: batches as fast as it is configured to, or as they are
//! acknowledged, and an answer to every command. `go/plugin/main.go` is the same loop in Go.
//!
//! Always true: at most [`UNACKED`] batches are on their way; then production waits.

use std::time::Duration;

use sagoo_edge_proto::clock;
use sagoo_edge_proto::driver::{
    CommandResult, Configure, Configured, DeviceNumbers, DriverMessage, Hello, HostMessage, Status,
    driver_message::Message, host_message,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::load::{BATCH_DEVICES, Settings, batch};

/// Batches on their way without an acknowledgement.
pub const UNACKED: u64 = 256;
/// Messages handed to the transport ahead of it, as many as the SDK does.
pub const OUTBOUND: usize = 16;
/// Messages of the host read ahead, as many as the SDK does.
pub const INBOUND: usize = 64;

/// What it was told to make.
#[derive(Debug)]
struct Work {
    generation: u64,
    devices: u32,
    points: u32,
    /// Between two batches; zero: none.
    every: Duration,
    due: Instant,
    first: u32,
}

/// Serves one session; ends with the host, or when it says stop.
pub async fn serve(mut inbound: mpsc::Receiver<HostMessage>, outbound: mpsc::Sender<DriverMessage>) {
    let say = async |message| outbound.send(DriverMessage { message: Some(message) }).await.is_ok();
    let hello = Hello { instance: vec![7; 16], boot_id: clock::boot_id().to_owned() };
    if !say(Message::Hello(hello)).await {
        return;
    }
    let mut work: Option<Work> = None;
    let (mut made, mut acknowledged) = (0, 0);
    loop {
        let due = work.as_ref().filter(|_| made < acknowledged + UNACKED).map(|work| work.due);
        let wait = async |due: Instant| {
            if due > Instant::now() {
                sleep_until(due).await;
            }
            outbound.reserve().await
        };
        tokio::select! {
            biased;
            message = inbound.recv() => match message.and_then(|message| message.message) {
                Some(host_message::Message::Configure(configure)) => {
                    let (next, configured) = configured(configure);
                    work = next;
                    if !say(Message::Configured(configured)).await {
                        return;
                    }
                }
                Some(host_message::Message::Ack(ack)) => acknowledged = ack.seq,
                Some(host_message::Message::Command(command)) => {
                    let applied = Status::Applied as i32;
                    let result = CommandResult { id: command.id, status: applied, ..CommandResult::default() };
                    if !say(Message::CommandResult(result)).await {
                        return;
                    }
                }
                Some(_) | None => return,
            },
            room = wait(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let (Ok(room), Some(work)) = (room, &mut work) else { return };
                made += 1;
                room.send(DriverMessage { message: Some(Message::Batch(work.next(made))) });
            }
        }
    }
}

impl Work {
    fn next(&mut self, seq: u64) -> sagoo_edge_proto::driver::Batch {
        let made = batch(seq, self.generation, self.first, self.devices, self.points);
        self.first = (self.first + made.devices.len() as u32) % self.devices;
        self.due += self.every;
        made
    }
}

/// What a configuration asks for, and the answer to it.
fn configured(configure: Configure) -> (Option<Work>, Configured) {
    let Configure { generation, configuration, .. } = configure;
    let devices = configuration.unwrap_or_default().devices;
    let numbers = devices.iter().zip(0..).map(|(device, number)| DeviceNumbers {
        number,
        device: device.name.clone(),
        ..DeviceNumbers::default()
    });
    let answer = Configured { generation, problems: Vec::new(), devices: numbers.collect() };
    let settings = devices.first().and_then(|device| serde_json::from_str::<Settings>(&device.settings).ok());
    let work = settings.map(|Settings { width: points, period_ms, .. }| {
        let count = devices.len() as u32;
        let every = Duration::from_millis(period_ms) / count.div_ceil(BATCH_DEVICES);
        Work { generation, devices: count, points, every, due: Instant::now() + every, first: 0 }
    });
    (work, answer)
}

#[cfg(test)]
mod tests {
    use sagoo_edge_proto::driver::Ack;

    use super::*;
    use crate::load::Load;

    fn host(message: host_message::Message) -> HostMessage {
        HostMessage { message: Some(message) }
    }

    async fn next(from: &mut mpsc::Receiver<DriverMessage>) -> Message {
        from.recv().await.unwrap().message.unwrap()
    }

    #[tokio::test]
    async fn it_makes_batches_until_so_many_wait_for_an_acknowledgement() {
        let (to, inbound) = mpsc::channel(INBOUND);
        let (outbound, mut from) = mpsc::channel(OUTBOUND);
        tokio::spawn(serve(inbound, outbound));
        assert!(matches!(next(&mut from).await, Message::Hello(_)));
        let configuration = Some(Load::FLAT_OUT.configuration());
        let configure = Configure { generation: 1, configuration, hold: Vec::new() };
        to.send(host(host_message::Message::Configure(configure))).await.unwrap();
        assert!(matches!(next(&mut from).await, Message::Configured(told) if told.devices.len() == 600));
        for seq in 1..=UNACKED {
            assert!(matches!(next(&mut from).await, Message::Batch(batch) if batch.seq == seq));
        }
        // Nothing more comes of its own accord: the next message is the answer to a command.
        let command = sagoo_edge_proto::driver::Command { id: "1".to_owned(), ..Default::default() };
        to.send(host(host_message::Message::Command(command))).await.unwrap();
        assert!(matches!(next(&mut from).await, Message::CommandResult(result) if result.id == "1"));
        to.send(host(host_message::Message::Ack(Ack { seq: 1 }))).await.unwrap();
        assert!(matches!(next(&mut from).await, Message::Batch(batch) if batch.seq == UNACKED + 1));
    }
}
