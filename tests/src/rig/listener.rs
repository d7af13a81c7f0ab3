//! An MQTT client that hears what is published, notes when, and may answer.
//!
//! Always true: a time is taken when a message is read from the socket, before anything is done with
//! it; it is subscribed when it is there; it ends with its value.

use std::fmt;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rumqttc::{Client, Connection, Event, MqttOptions, Packet, QoS, SubscribeFilter};

/// Longest wait for the broker's word that it is subscribed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests waiting for the socket.
const QUEUE: usize = 1_000;
/// Largest packet taken.
const LARGEST_PACKET: usize = 4 * 1024 * 1024;

/// A message as it was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// When.
    pub at: Instant,
    /// Where it was published.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
}

/// What is published in answer to a message: topic and payload.
pub type Answer = fn(topic: &str, payload: &[u8]) -> Option<(String, String)>;

/// Hears all that is published under its filters.
pub struct Listener {
    client: Client,
    heard: mpsc::Receiver<Heard>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Connects to the broker on this port and returns once it is subscribed.
    #[track_caller]
    pub fn start(port: u16, filters: &[&str], answer: Answer) -> Self {
        let id = format!("listener-{:08x}", fastrand::u32(..));
        let mut options = MqttOptions::new(id, "127.0.0.1", port);
        options.set_max_packet_size(LARGEST_PACKET, LARGEST_PACKET);
        let (client, connection) = Client::new(options, QUEUE);
        let filters =
            filters.iter().map(|filter| SubscribeFilter::new((*filter).to_owned(), QoS::AtMostOnce));
        client.try_subscribe_many(filters).expect("the queue is empty before the start");
        let (subscribed, is_subscribed) = mpsc::channel();
        let (tell, heard) = mpsc::channel();
        let answering = client.clone();
        let thread = std::thread::spawn(move || listen(connection, &answering, answer, &subscribed, &tell));
        let there = is_subscribed.recv_timeout(PATIENCE);
        assert!(there.is_ok(), "the broker on port {port} does not let a listener subscribe");
        Self { client, heard, thread: Some(thread) }
    }

    /// What was heard since it was asked last, in order.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.try_iter().collect()
    }
}

fn listen(
    mut connection: Connection,
    client: &Client,
    answer: Answer,
    subscribed: &mpsc::Sender<()>,
    tell: &mpsc::Sender<Heard>,
) {
    for event in connection.iter() {
        let at = Instant::now();
        match event {
            Ok(Event::Incoming(Packet::SubAck(_))) => {
                // Nobody waits for it any more after the first.
                let _ = subscribed.send(());
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                if let Some((topic, payload)) = answer(&publish.topic, &publish.payload) {
                    // A full queue means that the broker is gone.
                    let _ = client.try_publish(topic, QoS::AtLeastOnce, false, payload);
                }
                let heard = Heard { at, topic: publish.topic, payload: publish.payload.to_vec() };
                if tell.send(heard).is_err() {
                    return;
                }
            }
            Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect)) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // An error means that its thread has ended already.
        let _ = self.client.try_disconnect();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Broker, eventually};
    use super::*;

    #[test]
    fn a_listener_hears_what_is_published_and_what_another_answers() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path());
        let silent: Answer = |_, _| None;
        let hearer = Listener::start(broker.port, &["a/#"], silent);
        let before = Instant::now();
        let answering: Answer = |topic, payload| {
            (topic == "a/question")
                .then(|| ("a/answer".to_owned(), String::from_utf8(payload.to_vec()).unwrap()))
        };
        let other = Listener::start(broker.port, &["a/question"], answering);
        other.client.publish("a/question", QoS::AtLeastOnce, false, "x").unwrap();
        let mut heard = Vec::new();
        eventually("both messages are heard", PATIENCE, || {
            heard.extend(hearer.heard());
            heard.len() == 2
        });
        let topics: Vec<&str> = heard.iter().map(|heard| heard.topic.as_str()).collect();
        assert_eq!(topics, ["a/question", "a/answer"]);
        assert!(heard.iter().all(|heard| heard.payload == b"x" && heard.at >= before));
    }
}
