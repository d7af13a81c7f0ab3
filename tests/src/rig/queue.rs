//! mosquitto's persistent queue: what a gateway without a store of its own leaves an outage to.
//!
//! Always true: the subscriber has a session that outlives its connection, so what is published while it is
//! away is kept, QoS 1, without a limit; what the broker holds it saves every second.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rumqttc::{Client, Connection, Event, MqttOptions, Packet, QoS};
use rustix::process::Signal;

use super::broker::program;
use super::{Process, eventually, free_port};

/// Longest wait for the broker or for a message.
const PATIENCE: Duration = Duration::from_secs(120);
/// Messages handed to the client ahead of the socket.
const AHEAD: usize = 1_000;
/// Messages without an answer.
const IN_FLIGHT: u16 = 100;
const TOPIC: &str = "queue";
/// Client id of the subscriber.
const READER: &str = "reader";

/// The broker; ends with its value.
#[derive(Debug)]
pub struct Queue {
    port: u16,
    dir: PathBuf,
    process: Process,
}

impl Queue {
    /// With a subscriber that has been there once.
    pub fn start(dir: &Path) -> Self {
        let port = free_port();
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\npersistence true\n\
             persistence_location {}/\nautosave_interval 1\nmax_queued_messages 0\nlog_type error\n",
            dir.display()
        );
        fs::write(dir.join("queue.conf"), text).expect("the folder takes files");
        let queue = Self { port, dir: dir.to_owned(), process: spawn(dir) };
        queue.await_up();
        let (client, mut connection) = queue.reader();
        client.try_subscribe(TOPIC, QoS::AtLeastOnce).expect("the queue is empty");
        await_packet(&mut connection, |packet| matches!(packet, Packet::SubAck(_)));
        client.try_disconnect().expect("the queue has room");
        connection.iter().take_while(Result::is_ok).for_each(drop);
        queue
    }

    /// The broker's process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Publishes all; returns how long it took until the broker had answered for each.
    pub fn fill(&self, records: Vec<Vec<u8>>) -> Duration {
        let (client, mut connection) = Client::new(self.options("writer"), AHEAD);
        let (began, count) = (Instant::now(), records.len());
        let writer = std::thread::spawn(move || {
            for record in records {
                client.publish(TOPIC, QoS::AtLeastOnce, false, record).expect("the connection is read");
            }
        });
        for _ in 0..count {
            await_packet(&mut connection, |packet| matches!(packet, Packet::PubAck(_)));
        }
        writer.join().expect("it only publishes");
        began.elapsed()
    }

    /// Ends it as a service manager does; returns how long the next one takes until it answers.
    pub fn restart(&mut self) -> Duration {
        self.process.signal(Signal::TERM);
        self.process.await_exit(PATIENCE);
        let began = Instant::now();
        self.process = spawn(&self.dir);
        self.await_up();
        began.elapsed()
    }

    /// The subscriber is back; returns how long it takes until it has so many.
    pub fn empty(&self, count: usize) -> Duration {
        let (_client, mut connection) = self.reader();
        let began = Instant::now();
        for _ in 0..count {
            await_packet(&mut connection, |packet| matches!(packet, Packet::Publish(_)));
        }
        began.elapsed()
    }

    fn reader(&self) -> (Client, Connection) {
        let mut options = self.options(READER);
        options.set_clean_session(false);
        Client::new(options, AHEAD)
    }

    fn options(&self, id: &str) -> MqttOptions {
        let mut options = MqttOptions::new(id, "127.0.0.1", self.port);
        options.set_inflight(IN_FLIGHT);
        options
    }

    fn await_up(&self) {
        eventually("mosquitto answers", PATIENCE, || {
            let (_client, mut connection) = Client::new(self.options("look"), AHEAD);
            matches!(connection.recv(), Ok(Ok(Event::Incoming(Packet::ConnAck(_)))))
        });
    }
}

fn spawn(dir: &Path) -> Process {
    let mut command = Command::new(program());
    command.arg("-c").arg(dir.join("queue.conf"));
    Process::spawn("mosquitto", &mut command, &dir.join("queue.log"))
}

/// Waits for the next packet of this kind.
fn await_packet(connection: &mut Connection, wanted: impl Fn(&Packet) -> bool) {
    for event in connection.iter() {
        match event.expect("the broker stays") {
            Event::Incoming(packet) if wanted(&packet) => return,
            _ => {}
        }
    }
    panic!("the connection ended by itself");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_while_the_subscriber_is_away_outlives_the_broker() {
        let dir = tempfile::tempdir().unwrap();
        let mut queue = Queue::start(dir.path());
        assert!(queue.fill(vec![vec![7; 100]; 50]) > Duration::ZERO);
        queue.restart();
        assert!(queue.empty(50) < PATIENCE);
    }
}
