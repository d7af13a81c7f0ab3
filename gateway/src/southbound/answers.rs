//! Serves what a driver asks of the platform it runs on: context, its own key-value store, secrets.
//!
//! Always true: a driver sees only its own keys; every call gets exactly one reply.

use std::fs;

use sagoo_edge_proto::clock;
use sagoo_edge_proto::driver::host_call::Call;
use sagoo_edge_proto::driver::host_reply::Reply;
use sagoo_edge_proto::driver::{Context, DeviceIdentity, HostCall, HostReply, Identity, KvValue};

use super::secrets::Secrets;
use crate::config::types::{Config, DeviceConfig};
use crate::{row, state};

/// Longest key a driver may use, bytes.
const MAX_KEY: usize = 256;

/// Answers calls of one driver.
#[derive(Debug, Clone)]
pub struct Answers {
    gateway: Identity,
    devices: Vec<DeviceIdentity>,
    space: String,
    state: state::Handle,
    secrets: Secrets,
}

impl Answers {
    /// For driver `id`.
    pub fn new(config: &Config, id: &str, state: state::Handle) -> Self {
        let of_driver = |device: &&DeviceConfig| {
            config.connections.get(&device.connection).is_some_and(|connection| connection.driver == id)
        };
        let devices = config.devices.iter().filter(|(_, device)| of_driver(device));
        let devices = devices.map(|(name, device)| DeviceIdentity {
            device: name.clone(),
            identity: Some(identity(&device.identity)),
        });
        Self {
            gateway: identity(&config.gateway.identity),
            devices: devices.collect(),
            space: format!("kv/{id}"),
            state,
            secrets: Secrets::new(config, id),
        }
    }

    /// The one reply to a call.
    pub async fn answer(&self, call: HostCall) -> HostReply {
        match self.reply(call.call).await {
            Ok(reply) => HostReply { id: call.id, error: String::new(), reply },
            Err(error) => HostReply { id: call.id, error, reply: None },
        }
    }

    async fn reply(&self, call: Option<Call>) -> Result<Option<Reply>, String> {
        let said = |error: state::StateError| error.to_string();
        match call {
            Some(Call::Context(_)) => Ok(Some(Reply::Context(Context {
                gateway: Some(self.gateway.clone()),
                devices: self.devices.clone(),
                board: board(),
                clock_trusted: clock::trusted_wall_ms().is_some(),
            }))),
            Some(Call::KvGet(get)) => {
                let value = self.state.get(&self.space, key(&get.key)?).await.map_err(said)?;
                Ok(Some(Reply::Kv(KvValue { value })))
            }
            Some(Call::KvPut(put)) => {
                self.state.put(&self.space, key(&put.key)?, &put.value).await.map_err(said)?;
                Ok(None)
            }
            Some(Call::KvDelete(delete)) => {
                self.state.delete(&self.space, key(&delete.key)?).await.map_err(said)?;
                Ok(None)
            }
            Some(Call::Secret(secret)) => Ok(Some(Reply::Secret(self.secrets.read(&secret.name).await?))),
            None => Err("this gateway does not know the call".to_owned()),
        }
    }
}

fn identity(keys: &row::Identity) -> Identity {
    Identity { product_key: keys.product_key.to_string(), device_key: keys.device_key.to_string() }
}

fn key(key: &str) -> Result<&[u8], String> {
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(format!("a key has 1 to {MAX_KEY} bytes, this one has {}", key.len()));
    }
    Ok(key.as_bytes())
}

/// The board's name as its device tree tells it.
fn board() -> String {
    fs::read_to_string("/proc/device-tree/model")
        .map(|model| model.trim_end_matches('\0').to_owned())
        .unwrap_or_else(|_| std::env::consts::ARCH.to_owned())
}

#[cfg(test)]
mod tests {
    use sagoo_edge_proto::driver::{KvGet, KvPut, SecretGet};

    use super::*;

    fn config() -> Config {
        let dir = tempfile::tempdir().unwrap();
        let text = r#"
            gateway = { product_key = "edge", device_key = "gw" }
            sagoo = { broker = "mqtt://127.0.0.1" }
            connection.a = { driver = "modbus" }
            connection.b = { driver = "serial" }
            model.m.points.x = {}
            device.one = { connection = "a", model = "m", sagoo = { product_key = "m", device_key = "d1" } }
            device.two = { connection = "b", model = "m", sagoo = { product_key = "m", device_key = "d2" } }
        "#;
        std::fs::write(dir.path().join("gateway.toml"), text).unwrap();
        crate::config::load(dir.path()).config.unwrap()
    }

    #[tokio::test]
    async fn a_driver_learns_who_it_works_for_and_only_about_its_own_devices() {
        let dir = tempfile::tempdir().unwrap();
        let (state, _thread) = state::start(dir.path().join("state"));
        let reply =
            Answers::new(&config(), "modbus", state).answer(call(Call::Context(Default::default()))).await;
        let Some(Reply::Context(context)) = reply.reply else { panic!("{reply:?}") };
        assert_eq!(context.gateway.unwrap().device_key, "gw");
        let devices: Vec<&str> = context.devices.iter().map(|device| device.device.as_str()).collect();
        assert_eq!(devices, ["one"]);
    }

    fn call(call: Call) -> HostCall {
        HostCall { id: 9, call: Some(call) }
    }

    #[tokio::test]
    async fn a_driver_sees_only_its_own_keys() {
        let dir = tempfile::tempdir().unwrap();
        let (state, _thread) = state::start(dir.path().join("state"));
        let modbus = Answers::new(&config(), "modbus", state.clone());
        let serial = Answers::new(&config(), "serial", state);
        let put = KvPut { key: "hole".into(), value: b"7".to_vec() };
        assert_eq!(modbus.answer(call(Call::KvPut(put))).await.error, "");
        let get = || call(Call::KvGet(KvGet { key: "hole".into() }));
        let kv = |value: Option<&[u8]>| Some(Reply::Kv(KvValue { value: value.map(<[u8]>::to_vec) }));
        assert_eq!(modbus.answer(get()).await.reply, kv(Some(b"7")));
        assert_eq!(serial.answer(get()).await.reply, kv(None));
    }

    #[tokio::test]
    async fn what_is_not_given_is_refused_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let (state, _thread) = state::start(dir.path().join("state"));
        let answers = Answers::new(&config(), "modbus", state);
        let reply = answers.answer(call(Call::Secret(SecretGet { name: "pin".into() }))).await;
        assert!(reply.error.contains("pin"));
        let long = KvGet { key: "k".repeat(300) };
        assert!(answers.answer(call(Call::KvGet(long))).await.error.contains("300"));
    }
}
