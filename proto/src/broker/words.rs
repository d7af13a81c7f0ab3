//! What is said on the broker's stream, and what may be believed of it.

use super::error::BrokerError;
use crate::handshake::Address;
use crate::plugin::ConnInfo;
use crate::plugin::conn_info::Knock;

/// How much of the other side's words an error repeats.
const SHOWN_CHARS: usize = 200;

/// Where the other side says it listens, if we may go there.
pub(super) fn checked(info: ConnInfo) -> Result<Address, BrokerError> {
    let ConnInfo { service_id: id, network, address, .. } = info;
    match Address::parse(&network, &address) {
        Ok(Address::Tcp(address)) if !address.ip().is_loopback() => {
            Err(BrokerError::NotLoopback { id, address })
        }
        Ok(Address::Unix(path)) if path.is_relative() => Err(BrokerError::Address { id, network, address }),
        Ok(address) => Ok(address),
        Err(_) => Err(BrokerError::Address { id, network: shown(&network), address: shown(&address) }),
    }
}

/// "This id listens there."
pub(super) fn info(id: u32, address: &Address) -> ConnInfo {
    let (network, address) = match address {
        Address::Unix(path) => ("unix", path.display().to_string()),
        Address::Tcp(address) => ("tcp", address.to_string()),
    };
    ConnInfo { service_id: id, network: network.to_owned(), address, knock: None }
}

/// "The next stream is for this id."
pub(super) fn knock(id: u32) -> ConnInfo {
    signal(id, Knock { knock: true, ack: false, error: String::new() })
}

/// "Send it", or why not.
pub(super) fn answer(id: u32, error: &str) -> ConnInfo {
    signal(id, Knock { knock: true, ack: true, error: error.to_owned() })
}

pub(super) fn signal(id: u32, knock: Knock) -> ConnInfo {
    ConnInfo { service_id: id, knock: Some(knock), ..ConnInfo::default() }
}

/// The beginning of a text.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}
