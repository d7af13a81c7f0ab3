//! The MQTT connection: connects, subscribes, hands messages through, connects again.
//!
//! Each connection gets a new `EventLoop`: sessions are clean, and what the old one still held must
//! not be published behind the flight's back. [`tls`] says whom to trust, [`trouble`] what to tell
//! people when it does not work.
//!
//! Always true: [`Incoming::Connected`] comes after every subscription was answered, so no reply can
//! be missed; what was handed over for an earlier session, or must not leave any more, is thrown away;
//! retained messages are not passed on; the queues are bounded, a full one makes the other side wait.

mod session;
#[cfg(test)]
mod tests;
mod tls;
mod trouble;
mod unconfirmed;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::MqttOptions;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::super::backoff::{Backoff, within};
use super::flight::Outgoing;
use crate::config::types::{Broker, SagooConfig};
use session::Ended;
use trouble::Trouble;

/// Messages handed over and not yet taken by the connection.
pub const OUTGOING_QUEUE: usize = 128;
/// Messages received and not yet looked at; a full queue stops reading from the socket.
pub const INCOMING_QUEUE: usize = 256;
/// First wait before connecting again.
pub const RECONNECT_FIRST: Duration = Duration::from_millis(200);
/// Longest wait while the outage is short, so that publishing goes on within 2 s of its end.
pub const RECONNECT_SOON: Duration = Duration::from_millis(1_500);
/// How long an outage counts as short.
pub const SHORT_OUTAGE: Duration = Duration::from_secs(60);
/// Longest wait.
pub const RECONNECT_MOST: Duration = Duration::from_secs(30);
/// The same trouble is told again after this time.
pub const TELL_AGAIN: Duration = Duration::from_secs(300);
/// Resolving, connecting, TLS and CONNACK together.
pub const CONNECT_TIMEOUT_S: u64 = 5;
/// Largest packet either way; a larger one ends the connection.
pub const MAX_PACKET_BYTES: usize = 1024 * 1024 + 64 * 1024;
/// Most MQTT can say.
const MAX_KEEP_ALIVE: Duration = Duration::from_secs(u16::MAX as u64);
/// Publishes the broker may not have acknowledged.
pub const INFLIGHT: u16 = 256;

/// From the connection.
#[derive(Debug)]
pub enum Incoming {
    /// Connected and subscribed.
    Connected {
        /// Counts connections; to be repeated with every message.
        session: u64,
    },
    /// Not (or no longer) connected.
    Disconnected {
        /// For status.
        reason: String,
    },
    /// A message.
    Message {
        /// Its topic.
        topic: String,
        /// Its bytes.
        payload: bytes::Bytes,
        /// When it came off the socket; it may wait for us after that.
        received: Instant,
    },
}

/// The other ends of a link.
#[derive(Debug)]
pub struct Ends {
    /// Messages to publish, with the session they are for.
    pub outgoing: mpsc::Sender<(u64, Outgoing)>,
    /// What happens.
    pub incoming: mpsc::Receiver<Incoming>,
    /// Topic filters to hold; may grow. What is handed over later is published later.
    pub filters: watch::Sender<Vec<String>>,
}

/// One MQTT client.
#[derive(Debug)]
pub struct Link {
    config: SagooConfig,
    outgoing: mpsc::Receiver<(u64, Outgoing)>,
    incoming: mpsc::Sender<Incoming>,
    filters: watch::Receiver<Vec<String>>,
    session: u64,
    rng: fastrand::Rng,
}

impl Link {
    /// Not connected yet; see [`Link::run`].
    pub fn new(config: SagooConfig, filters: Vec<String>) -> (Self, Ends) {
        let (outgoing, outgoing_end) = mpsc::channel(OUTGOING_QUEUE);
        let (incoming_end, incoming) = mpsc::channel(INCOMING_QUEUE);
        let (filters, filters_end) = watch::channel(filters);
        let link = Self {
            config,
            outgoing: outgoing_end,
            incoming: incoming_end,
            filters: filters_end,
            session: 0,
            rng: fastrand::Rng::new(),
        };
        (link, Ends { outgoing, incoming, filters })
    }

    /// Keeps the connection until `stop`, then says goodbye.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut backoff = Backoff::new(RECONNECT_FIRST, RECONNECT_MOST);
        let mut down_since = Instant::now();
        let mut told: Option<(Trouble, Instant)> = None;
        while !stop.is_cancelled() {
            self.session += 1;
            let ended = match self.options().await {
                Ok(options) => self.session(options, &stop).await,
                Err(trouble) => Ended::Trouble { trouble, was_connected: false },
            };
            let Ended::Trouble { trouble, was_connected } = ended else { return };
            if was_connected {
                backoff.reset();
                down_since = Instant::now();
                told = None;
            }
            self.tell(&trouble, &mut told);
            // The queue may be full and nobody reading any more: stopping must not hang here.
            let report = self.incoming.send(Incoming::Disconnected { reason: trouble.to_string() });
            let gone = tokio::select! {
                sent = report => sent.is_err(),
                () = stop.cancelled() => true,
            };
            if gone {
                return;
            }
            let mut wait = backoff.wait(&mut self.rng);
            if down_since.elapsed() < SHORT_OUTAGE {
                wait = wait.min(within(RECONNECT_SOON, &mut self.rng));
            }
            tokio::select! {
                () = sleep(wait) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn tell(&self, trouble: &Trouble, told: &mut Option<(Trouble, Instant)>) {
        let again = told.as_ref().is_none_or(|(last, at)| last != trouble || at.elapsed() >= TELL_AGAIN);
        if again {
            let broker = name(&self.config.broker);
            tracing::warn!(broker, reason = %trouble, remedy = trouble.remedy(), "no connection to the broker");
            *told = Some((trouble.clone(), Instant::now()));
        }
    }

    /// Files are read at each connect, so that a password or certificate can be replaced.
    async fn options(&self) -> Result<MqttOptions, Trouble> {
        let config = &self.config;
        // An IPv6 address without brackets: TLS compares it with the certificate as it is, and the
        // resolver takes what stands before the last colon.
        let mut options = MqttOptions::new(&config.client_id, &config.broker.host, config.broker.port);
        options
            .set_clean_session(true)
            .set_keep_alive(config.keep_alive.clamp(Duration::from_secs(1), MAX_KEEP_ALIVE))
            .set_inflight(INFLIGHT)
            .set_max_packet_size(MAX_PACKET_BYTES, MAX_PACKET_BYTES);
        let password = match &config.password {
            Some(path) => read_secret(path.clone()).await?,
            None => String::new(),
        };
        if let Some(username) = &config.username {
            options.set_credentials(username, password);
        }
        if config.broker.tls {
            let (ca, certificate) = (config.ca.clone(), config.client_certificate.clone());
            let tls = tokio::task::spawn_blocking(move || tls::client_config(ca, certificate))
                .await
                .map_err(|error| Trouble::Other(error.to_string()))??;
            let tls = rumqttc::TlsConfiguration::Rustls(Arc::new(tls));
            options.set_transport(rumqttc::Transport::tls_with_config(tls));
        }
        Ok(options)
    }
}

async fn read_secret(path: PathBuf) -> Result<String, Trouble> {
    let text = tokio::fs::read_to_string(&path)
        .await
        .map_err(|error| Trouble::File { path: path.display().to_string(), error: error.to_string() })?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// `mqtts://host:port`
pub fn name(broker: &Broker) -> String {
    let scheme = if broker.tls { "mqtts" } else { "mqtt" };
    match broker.host.contains(':') {
        true => format!("{scheme}://[{}]:{}", broker.host, broker.port),
        false => format!("{scheme}://{}:{}", broker.host, broker.port),
    }
}
