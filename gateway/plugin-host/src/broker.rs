//! The broker of a running plugin: its stream, opened and kept open.
//!
//! Always true: the call runs in a task of its own and never on the way to a ready plugin, because
//! a Go plugin answers it only with its first message. A stream that breaks is opened again while
//! the plugin runs: our own plugins go on with the new one (a Go plugin's broker ends with its
//! first). A plugin without the service is a plugin.

use std::time::Duration;

use sagoo_edge_proto::broker::{Attached, Broker, MAX_INFO_BYTES};
use sagoo_edge_proto::plugin::grpc_broker_client::GrpcBrokerClient;
use tokio::time::sleep;
use tonic::Code;
use tonic::transport::Channel;

/// Pause before a stream that broke is opened again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// A broker that is closed when dropped.
#[derive(Debug)]
pub(crate) struct Brokered(pub(crate) Broker);

impl Drop for Brokered {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Keeps the stream open until the broker is closed, or the plugin turns out to have none.
pub(crate) async fn keep_open(driver: String, broker: Broker, channel: Channel) {
    while let Ok(Attached { outgoing, pump }) = broker.attach().await {
        let mut client = GrpcBrokerClient::new(channel.clone()).max_decoding_message_size(MAX_INFO_BYTES);
        let ended = match client.start_stream(outgoing).await {
            Ok(incoming) => pump.run(incoming.into_inner()).await,
            Err(status) if status.code() == Code::Unimplemented => {
                tracing::debug!(driver, "plugin has no broker service");
                return broker.unsupported().await;
            }
            Err(status) => {
                pump.broken().await;
                status
            }
        };
        tracing::debug!(driver, status = ended.message(), "broker stream of the plugin ended");
        sleep(RESTART_PAUSE).await;
    }
}
