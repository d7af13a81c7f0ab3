//! The stream that carries infos and knocks, from either end of it.
//!
//! ```text
//! host    Broker::attach → StartStream(outgoing) → pump(what comes back)
//! plugin  BrokerService  → Broker::attach → pump(what comes in), answer with outgoing
//! ```
//! Always true: one stream counts at a time, the latest; an earlier one ends when it is replaced.
//! Nothing waits for the call to be answered: a Go plugin answers it only with its first message.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::codegen::tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::hub::Ask;
use super::{Broker, MAX_INFO_BYTES};
use crate::plugin::ConnInfo;
use crate::plugin::grpc_broker_server::{GrpcBroker, GrpcBrokerServer};

/// A broker's end of one stream.
#[derive(Debug)]
pub struct Attached {
    /// What to send on the stream. It ends when the stream is replaced or the broker closed.
    pub outgoing: Outgoing,
    /// Takes what comes in on it.
    pub pump: Pump,
}

/// Messages for the other side, as a stream without errors.
#[derive(Debug)]
pub struct Outgoing(pub(super) mpsc::Receiver<ConnInfo>);

impl Stream for Outgoing {
    type Item = ConnInfo;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

/// Brings what comes in to the broker.
#[derive(Debug)]
pub struct Pump {
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) generation: u64,
    pub(super) replaced: CancellationToken,
}

impl Pump {
    /// Runs until the stream ends, breaks or is replaced, then tells the broker. The status says how.
    pub async fn run(self, mut incoming: Streaming<ConnInfo>) -> Status {
        let ended = loop {
            let message = tokio::select! {
                () = self.replaced.cancelled() => break Status::cancelled("replaced by a later stream"),
                () = self.asks.closed() => break Status::cancelled("broker closed"),
                message = incoming.message() => message,
            };
            match message {
                Ok(Some(info)) => {
                    let generation = self.generation;
                    if self.asks.send(Ask::Received { generation, info }).await.is_err() {
                        break Status::cancelled("broker closed");
                    }
                }
                Ok(None) => break Status::ok("end of stream"),
                Err(status) => break status,
            }
        };
        self.broken().await;
        ended
    }

    /// Tells the broker that this stream is over, for one that never came about.
    pub async fn broken(self) {
        // A closed broker knows.
        let _ = self.asks.send(Ask::Detached { generation: self.generation }).await;
    }
}

/// go-plugin's `GRPCBroker` service, on the plugin's side.
#[derive(Debug, Clone)]
pub struct BrokerService(Broker);

impl Broker {
    /// The service a plugin serves on its main server.
    pub fn service(&self) -> GrpcBrokerServer<BrokerService> {
        GrpcBrokerServer::new(BrokerService(self.clone())).max_decoding_message_size(MAX_INFO_BYTES)
    }
}

#[tonic::async_trait]
impl GrpcBroker for BrokerService {
    type StartStreamStream = Pin<Box<dyn Stream<Item = Result<ConnInfo, Status>> + Send>>;

    async fn start_stream(
        &self,
        request: Request<Streaming<ConnInfo>>,
    ) -> Result<Response<Self::StartStreamStream>, Status> {
        let attached = self.0.attach().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let Attached { outgoing, pump } = attached;
        tokio::spawn(pump.run(request.into_inner()));
        Ok(Response::new(Box::pin(Answers(outgoing))))
    }
}

struct Answers(Outgoing);

impl Stream for Answers {
    type Item = Result<ConnInfo, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(cx).map(|info| info.map(Ok))
    }
}
