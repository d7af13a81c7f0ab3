//! What a driver may ask of the platform it runs on, as a test gives it.
//!
//! Always true: every call gets exactly one reply.

use std::collections::HashMap;

use sagoo_edge_proto::driver::{
    Context, HostCall, HostReply, Identity, KvValue, host_call::Call, host_reply::Reply,
};

#[derive(Debug, Default)]
pub(super) struct Platform {
    pub(super) kept: HashMap<String, Vec<u8>>,
    pub(super) secrets: HashMap<String, Vec<u8>>,
}

impl Platform {
    pub(super) fn answer(&mut self, call: HostCall) -> HostReply {
        let reply = match call.call {
            Some(Call::Context(_)) => Ok(Some(Reply::Context(Context {
                gateway: Some(Identity {
                    product_key: "test".to_owned(),
                    device_key: "test-gateway".to_owned(),
                }),
                devices: Vec::new(),
                board: "test".to_owned(),
                clock_trusted: true,
            }))),
            Some(Call::KvGet(get)) => {
                Ok(Some(Reply::Kv(KvValue { value: self.kept.get(&get.key).cloned() })))
            }
            Some(Call::KvPut(put)) => {
                self.kept.insert(put.key, put.value);
                Ok(None)
            }
            Some(Call::KvDelete(delete)) => {
                self.kept.remove(&delete.key);
                Ok(None)
            }
            Some(Call::Secret(get)) => self
                .secrets
                .get(&get.name)
                .map(|secret| Some(Reply::Secret(secret.clone())))
                .ok_or_else(|| format!("no secret {:?}", get.name)),
            None => Err("an empty call".to_owned()),
        };
        match reply {
            Ok(reply) => HostReply { id: call.id, error: String::new(), reply },
            Err(error) => HostReply { id: call.id, error, reply: None },
        }
    }
}
