//! A real mosquitto on the loopback, which can die and come back on its port.
//!
//! Always true: the open port lets everybody in (the platform uses it); a guarded port, if asked
//! for, wants a password or TLS (the gateway uses that); nothing is kept on disk.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::{Process, eventually, free_port};

/// Another process may take a port between the look and the start.
const TRIES: usize = 5;
/// Longest start and stop.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where Debian keeps daemons, which a user's path does not name.
const SBIN: &str = "/usr/sbin/mosquitto";

/// What the guarded port asks for.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// User and password; `None`: everybody.
    pub user: Option<(String, String)>,
    /// Certificate chain and key, PEM files; `None`: plain TCP.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// A broker; ends with its value.
#[derive(Debug)]
pub struct Broker {
    /// The port that lets everybody in.
    pub port: u16,
    /// The guarded port, if there is one.
    pub guarded_port: Option<u16>,
    dir: PathBuf,
    process: Option<Process>,
}

impl Broker {
    /// Starts with the open port only, its files in `dir`.
    pub fn start(dir: &Path) -> Self {
        Self::start_guarded(dir, None)
    }

    /// Starts with a second, guarded port.
    pub fn start_guarded(dir: &Path, guard: Option<&Guard>) -> Self {
        for _ in 0..TRIES {
            let (port, guarded_port) = (free_port(), guard.map(|_| free_port()));
            let mut broker = Self { port, guarded_port, dir: dir.to_owned(), process: None };
            fs::write(broker.config(), broker.configuration(guard))
                .expect("the case's directory takes files");
            if broker.try_up() {
                return broker;
            }
        }
        panic!("mosquitto did not start on {TRIES} free ports:\n{}", read(&dir.join("mosquitto.out")));
    }

    /// Ends it the hard way: clients see a broken connection.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Ends it as a service manager does.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::TERM);
            process.await_exit(PATIENCE);
        }
    }

    /// Starts it again on the same ports.
    pub fn restart(&mut self) {
        self.stop();
        assert!(self.try_up(), "mosquitto did not come back on port {}:\n{}", self.port, self.log());
    }

    /// Its log: who connected, how connections ended, what was subscribed to, every packet. It publishes the
    /// rarer lines, too, in order with what others publish.
    pub fn log(&self) -> String {
        format!("{}{}", read(&self.dir.join("mosquitto.log")), read(&self.dir.join("mosquitto.out")))
    }

    /// How it is: a case that fails because somebody else ended the broker should say so.
    pub fn state(&mut self) -> String {
        match self.process.as_mut().map(Process::exited) {
            None => "stopped by the case".to_owned(),
            Some(None) => "running".to_owned(),
            Some(Some(exit)) => format!("ended by itself or by a stranger: {exit}"),
        }
    }

    fn try_up(&mut self) -> bool {
        let program = program();
        let mut command = Command::new(&program);
        command.arg("-c").arg(self.config());
        let mut process = Process::spawn("mosquitto", &mut command, &self.dir.join("mosquitto.out"));
        let ports = [Some(self.port), self.guarded_port];
        let up = eventually("mosquitto listens or gives up", PATIENCE, || {
            if process.exited().is_some() {
                return Some(false);
            }
            let open = |port: &u16| TcpStream::connect(("127.0.0.1", *port)).is_ok();
            ports.iter().flatten().all(open).then_some(true)
        });
        self.process = up.then_some(process);
        up
    }

    fn config(&self) -> PathBuf {
        self.dir.join("mosquitto.conf")
    }

    fn configuration(&self, guard: Option<&Guard>) -> String {
        let log = self.dir.join("mosquitto.log");
        // As root it would become another user, who may not read the case's directory. Without nodelay each of its
        // small packets may wait 40 ms for whoever receives to acknowledge the one before.
        let mut text = format!(
            "per_listener_settings true\nuser root\nset_tcp_nodelay true\npersistence false\nlog_dest file {}\nlog_dest topic\n\
             log_type all\nconnection_messages true\nlistener {} 127.0.0.1\nallow_anonymous true\n",
            log.display(),
            self.port,
        );
        let (Some(guard), Some(port)) = (guard, self.guarded_port) else {
            return text;
        };
        text.push_str(&format!("listener {port} 127.0.0.1\n"));
        match &guard.user {
            None => text.push_str("allow_anonymous true\n"),
            Some((user, password)) => {
                let file = self.dir.join("passwords");
                write_password(&file, user, password);
                text.push_str(&format!("allow_anonymous false\npassword_file {}\n", file.display()));
            }
        }
        if let Some((certificate, key)) = &guard.tls {
            text.push_str(&format!("certfile {}\nkeyfile {}\n", certificate.display(), key.display()));
        }
        text
    }
}

fn write_password(file: &Path, user: &str, password: &str) {
    let output =
        Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(file).args([user, password]).output();
    let output = output.unwrap_or_else(|error| {
        panic!("mosquitto_passwd does not run ({error}); type: sudo apt-get install mosquitto")
    });
    assert!(output.status.success(), "mosquitto_passwd: {}", String::from_utf8_lossy(&output.stderr));
}

pub(super) fn program() -> PathBuf {
    let named = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&named)
        .map(|dir| dir.join("mosquitto"))
        .chain([PathBuf::from(SBIN)])
        .find(|path| path.is_file());
    found.expect("mosquitto is not installed; type: sudo apt-get install mosquitto")
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::platform::{Endpoint, KnownDevice, Platform, Sender, Timing, Tsl};

    fn publisher(port: u16) -> (rumqttc::Client, std::sync::mpsc::Receiver<(String, String)>) {
        let options = rumqttc::MqttOptions::new("by-hand", "127.0.0.1", port);
        let (client, mut connection) = rumqttc::Client::new(options, 10);
        client.subscribe("/sys/+/+/thing/event/property/+/post_reply", rumqttc::QoS::AtLeastOnce).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for event in connection.iter() {
                let Ok(rumqttc::Event::Incoming(packet)) = event else { continue };
                let heard = match packet {
                    rumqttc::Packet::SubAck(_) => (String::new(), String::new()),
                    rumqttc::Packet::Publish(publish) => {
                        (publish.topic, String::from_utf8(publish.payload.to_vec()).unwrap())
                    }
                    _ => continue,
                };
                if tell.send(heard).is_err() {
                    return;
                }
            }
        });
        (client, told)
    }

    fn probe(id: &str) -> String {
        json!({"id": id, "version": "1.0", "sys": {"ack": 1}, "method": "thing.event.property.pack.post",
            "params": {"properties": {}, "events": {}, "subDevices": []}})
        .to_string()
    }

    fn pack(id: &str, value: u32) -> String {
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        json!({"id": id, "version": "1.0", "sys": {"ack": 1}, "method": "thing.event.property.pack.post",
            "params": {"properties": {}, "events": {}, "subDevices": [{
                "identity": {"productKey": "em24", "deviceKey": "a"},
                "properties": {"volt": {"value": value, "time": time}}, "events": {}}]}})
        .to_string()
    }

    #[test]
    fn the_platform_stores_and_acknowledges_over_a_real_broker_and_loses_what_came_while_away() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path());
        let known =
            [KnownDevice::new("edge", "gw"), KnownDevice::new("em24", "a").property("volt", Tsl::Int)];
        let platform = Arc::new(Platform::start(Endpoint::local(broker.port), Timing::default(), known));
        let (client, told) = publisher(broker.port);
        let wait = Duration::from_secs(10);
        assert_eq!(told.recv_timeout(wait).unwrap().0, "", "subscribed");
        let own = "/sys/em24/a/thing/event/property/pack/post";
        client.publish(own, rumqttc::QoS::AtLeastOnce, false, probe("p")).unwrap();
        assert_eq!(told.recv_timeout(wait).unwrap().0, format!("{own}_reply"), "it is known");
        let topic = "/sys/edge/gw/thing/event/property/pack/post";
        let post = |id: &str, value| {
            client.publish(topic, rumqttc::QoS::AtLeastOnce, false, pack(id, value)).unwrap();
        };

        post("1", 1);
        let (reply_topic, reply) = told.recv_timeout(wait).unwrap();
        // Its answer shows that it has arrived.
        let begun = std::time::Instant::now();
        assert_eq!(reply_topic, format!("{topic}_reply"));
        assert!(reply.contains(r#""id":"1""#) && reply.contains("200"), "{reply}");

        platform.pause();
        post("2", 2);
        eventually("the broker got the message nobody is there for", wait, || {
            broker.log().matches("Received PUBLISH from by-hand").count() == 3
        });
        platform.resume();
        eventually("rows of one device are far enough apart", wait, || {
            begun.elapsed() >= Duration::from_millis(250)
        });
        post("3", 3);
        assert!(told.recv_timeout(wait).unwrap().1.contains(r#""id":"3""#));
        eventually("both rows are stored", wait, || platform.values("a", "volt") == [json!(1), json!(3)]);
        platform.assert_unharmed();
    }

    #[test]
    fn a_hasty_repetition_is_seen_on_one_connection_and_is_none_on_another() {
        const CLIENT: &str = "gw-1";
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path());
        let second = Duration::from_secs(1);
        let gateway = Some(Sender { device_key: CLIENT, ack_timeout: 5 * second, heartbeat: None });
        let timing = Timing { gateway, ..Timing::default() };
        let known = [KnownDevice::new("edge", CLIENT)];
        let platform = Platform::start(Endpoint::local(broker.port), timing, known);
        let arrived = |count: usize| {
            eventually("it arrived", 10 * second, || platform.arrivals().len() == count);
            platform.violations().len()
        };
        let topic = format!("/sys/edge/{CLIENT}/thing/event/property/pack/post");
        let publish = |times: usize| {
            let options = rumqttc::MqttOptions::new(CLIENT, "127.0.0.1", broker.port);
            let (client, mut connection) = rumqttc::Client::new(options, 10);
            for _ in 0..times {
                client.publish(&topic, rumqttc::QoS::AtLeastOnce, false, probe("p")).unwrap();
            }
            let confirmed = connection
                .iter()
                .map(Result::unwrap)
                .filter(|event| matches!(event, rumqttc::Event::Incoming(rumqttc::Packet::PubAck(_))));
            assert_eq!(confirmed.take(times).count(), times);
        };
        publish(1);
        assert_eq!(arrived(1), 0);
        publish(1);
        assert_eq!(arrived(2), 0, "another connection may belong to another process");
        publish(2);
        assert_eq!(arrived(4), 1, "{:?}", platform.violations());
    }

    #[test]
    fn a_broker_that_was_killed_comes_back_on_its_port_and_the_platform_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut broker = Broker::start(dir.path());
        let platform = Platform::start(Endpoint::local(broker.port), Timing::default(), []);
        broker.kill();
        eventually("the platform notices", PATIENCE, || !platform.is_here());
        broker.restart();
        platform.await_subscribed();
    }
}
