//! The demo's MQTT broker: rumqttd inside this process, so that nothing has to be installed.
//!
//! Always true: it listens on the loopback only, and lives as long as the process.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

/// A platform's broker takes 1 MiB; so does this one.
const LARGEST_PAYLOAD: usize = 1 << 20;
/// The log rumqttd keeps per filter, bounded: two segments of 1 MiB.
const SEGMENT_BYTES: usize = 1 << 20;
const SEGMENTS: usize = 2;
/// Gateway, platform, and whoever looks on with a client of their own.
const MOST_CONNECTIONS: usize = 16;
/// Longest wait until it listens.
const START_WAIT: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Starts it and returns its port once it listens.
pub(super) async fn start() -> anyhow::Result<u16> {
    let address = free_address()?;
    let mut broker = Broker::new(configuration(address));
    std::thread::Builder::new()
        .name("broker".to_owned())
        .spawn(move || drop(broker.start())) // it ends with the process; that it listens is checked below
        .context("no thread for the broker")?;
    let deadline = Instant::now() + START_WAIT;
    while TcpStream::connect(address).is_err() {
        if Instant::now() > deadline {
            bail!("the demo's broker does not listen on {address} after {START_WAIT:?}");
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(address.port())
}

/// A port that was free a moment ago: rumqttd binds by itself and cannot say which one it got.
fn free_address() -> anyhow::Result<SocketAddr> {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on the loopback")?;
    probe.local_addr().context("the address of a bound socket")
}

fn configuration(listen: SocketAddr) -> Config {
    let server = ServerSettings {
        name: "demo".to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 0,
        connections: ConnectionSettings {
            connection_timeout_ms: 5_000,
            max_payload_size: LARGEST_PAYLOAD,
            max_inflight_count: 100,
            auth: None,
            external_auth: None,
            dynamic_filters: true, // publishing where nobody listens is no error
        },
    };
    Config {
        router: RouterConfig {
            max_connections: MOST_CONNECTIONS,
            max_outgoing_packet_count: 200,
            max_segment_size: SEGMENT_BYTES,
            max_segment_count: SEGMENTS,
            ..RouterConfig::default()
        },
        v4: Some(HashMap::from([("demo".to_owned(), server)])),
        ..Config::default()
    }
}
