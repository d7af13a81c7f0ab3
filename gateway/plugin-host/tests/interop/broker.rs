//! Calls in either direction by number.

use std::fs;

use sagoo_edge_plugin_host::Grace;
use sagoo_edge_proto::broker::{Broker, BrokerError};
use tokio::task::JoinSet;
use tonic::transport::Server;

use crate::kv::{Addition, Client, Pair, Sum};
use crate::*;

const ROUNDS: i64 = 20;
const AT_ONCE: i64 = 16;

/// We serve an adder, the plugin calls it.
async fn calls_us(client: &Client, broker: &Broker, a: i64) -> i64 {
    let id = broker.next_id();
    let serving = broker.serve(id, Server::builder().add_service(Addition)).await.unwrap();
    let sum = Sum { pair: Some(Pair { a, b: 1_000 }), adder: id };
    let number = client.add_for(sum).await.unwrap();
    serving.stop().await;
    number.n
}

/// The plugin serves an adder, we call it.
async fn we_call(client: &Client, broker: &Broker, a: i64) -> i64 {
    let id = client.serve().await.unwrap().id;
    let adder = broker.dial(id).await.unwrap_or_else(|error| panic!("{error}"));
    Client(adder).add(Pair { a, b: 2_000 }).await.unwrap().n
}

#[tokio::test]
async fn the_plugin_calls_us_and_we_call_it_back_and_forth() {
    for way in WAYS {
        let dir = tempfile::tempdir().unwrap();
        let (plugin, client) = started(launch(way, dir.path())).await;
        let broker = plugin.broker();
        for a in 0..ROUNDS {
            assert_eq!(calls_us(&client, &broker, a).await, a + 1_000, "{way:?}");
            assert_eq!(we_call(&client, &broker, a).await, a + 2_000, "{way:?}");
        }
        plugin.stop(Grace::default()).await;
        let error = broker.dial(1).await.unwrap_err();
        assert!(matches!(error, BrokerError::Closed), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{way:?} leaves sockets");
    }
}

#[tokio::test]
async fn many_connections_at_once_do_not_take_each_others_place() {
    for way in WAYS {
        let dir = tempfile::tempdir().unwrap();
        let (plugin, client) = started(launch(way, dir.path())).await;
        let mut all = JoinSet::new();
        for a in 0..AT_ONCE {
            let (client, broker) = (client.clone(), plugin.broker());
            all.spawn(async move {
                let us = calls_us(&client, &broker, a).await;
                (us, we_call(&client, &broker, a).await)
            });
        }
        let mut sums = tokio::time::timeout(LONG, all.join_all()).await.expect("nobody waits for ever");
        sums.sort_unstable();
        let expected: Vec<_> = (0..AT_ONCE).map(|a| (a + 1_000, a + 2_000)).collect();
        assert_eq!(sums, expected, "{way:?}");
        plugin.stop(Grace::default()).await;
    }
}

#[tokio::test]
async fn a_number_nobody_accepts_fails_within_its_limit_and_harms_nobody() {
    let mut both = JoinSet::new();
    for multiplex in [false, true] {
        both.spawn(async move {
            let dir = tempfile::tempdir().unwrap();
            let (plugin, client) = started(launch((true, multiplex), dir.path())).await;
            let broker = plugin.broker();
            let started = std::time::Instant::now();
            let (ours, theirs) = tokio::join!(broker.dial(77), client.add_for(Sum { pair: None, adder: 78 }));
            let error = ours.unwrap_err();
            assert!(
                matches!(error, BrokerError::NoInfo { id: 77, .. } | BrokerError::NoAnswer { id: 77, .. }),
                "{error}"
            );
            let error = theirs.unwrap_err();
            assert!(
                error.message().contains(if multiplex { "nobody accepts id 78" } else { "timeout" }),
                "{error}"
            );
            assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
            assert_eq!(we_call(&client, &broker, 1).await, 2_001);
            plugin.stop(Grace::default()).await;
        });
    }
    both.join_all().await;
}
