//! A plugin that is no driver: a small store for any go-plugin host, which can call its host back.
//!
//! The tests with Go run it under HashiCorp's own host. It has two versions: 3 is the store of
//! `tests/interop/interop.proto`, 2 is what is left of an older one.

#[path = "../../../tests/interop/kv.rs"]
mod kv;

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use kv::{Addition, Client, Empty, Entry, Id, Key, Number, Pair, Store, StoreServer, Sum, Talk, pattern};
use sagoo_driver_sdk::plugin::{Broker, Output, Plug, Plugin, Serving};
use sagoo_driver_sdk::tracing::{debug, error, info, trace, warn};
use tonic::Status;
use tonic::service::Routes;
use tonic::transport::Server;

/// Bytes printed at a time.
const PIECE: u64 = 4096;

fn main() -> ExitCode {
    Plugin::new("SAGOO_EDGE_PLUGIN", "sagoo_edge_driver")
        .version(2, |_plug| Routes::default())
        .version(3, |plug| Routes::new(StoreServer(Arc::new(Kept::new(plug)))))
        .log_variable("KV_LOG")
        .serve()
}

struct Kept {
    /// Locks and no messages: both are held for a moment only, never while something is awaited.
    entries: Mutex<HashMap<String, Vec<u8>>>,
    adders: Mutex<Vec<Serving>>,
    broker: Broker,
    stdout: Output,
    stderr: Output,
}

impl Kept {
    fn new(plug: &Plug) -> Self {
        Self {
            entries: Mutex::default(),
            adders: Mutex::default(),
            broker: plug.broker(),
            stdout: plug.stdout(),
            stderr: plug.stderr(),
        }
    }
}

impl Store for Kept {
    async fn put(&self, entry: Entry) -> Result<Empty, Status> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.insert(entry.key, entry.value);
        Ok(Empty {})
    }

    async fn get(&self, Key { key }: Key) -> Result<Entry, Status> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let value = entries.get(&key).cloned().unwrap_or_default();
        Ok(Entry { key, value })
    }

    async fn add_for(&self, Sum { pair, adder }: Sum) -> Result<Number, Status> {
        let host = self.broker.dial(adder).await.map_err(|error| Status::unavailable(error.to_string()))?;
        Client(host).add(pair.unwrap_or(Pair { a: 0, b: 0 })).await
    }

    async fn serve(&self) -> Result<Id, Status> {
        let id = self.broker.next_id();
        let services = Server::builder().add_service(Addition);
        let serving = self.broker.serve(id, services).await;
        let serving = serving.map_err(|error| Status::unavailable(error.to_string()))?;
        self.adders.lock().unwrap_or_else(PoisonError::into_inner).push(serving);
        Ok(Id { id })
    }

    async fn say(&self, Talk { what, bytes }: Talk) -> Result<Empty, Status> {
        match what.as_str() {
            "stdout" => print(&self.stdout, bytes).await,
            "stderr" => print(&self.stderr, bytes).await,
            "log" => talk(),
            "panic" => panic!("out of cheese"),
            _ => return Err(Status::invalid_argument(format!("cannot say {what:?}"))),
        }
        Ok(Empty {})
    }
}

fn talk() {
    trace!(count = 1, "at trace");
    debug!(duration_ms = 1_500, list = ?[1, 2], "at debug");
    info!(nested = ?HashMap::from([("a", 1)]), "at info");
    warn!(error = "a <wrapped> error", ratio = 0.5, "at warn");
    error!(odd = true, "at error");
}

async fn print(output: &Output, bytes: u64) {
    let mut from = 0;
    while from < bytes {
        let to = (from + PIECE).min(bytes);
        let piece: Vec<u8> = (from..to).map(pattern).collect();
        output.send(&piece).await;
        from = to;
    }
}
