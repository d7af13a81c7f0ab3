//! The gRPC services of a driver: go-plugin's own, and `sagoo.driver.v1.Driver`.
//!
//! Always true: nothing here decides anything, it carries messages; every open stream ends when the
//! process is to end.

use std::pin::Pin;
use std::sync::Arc;

use sagoo_edge_proto::driver::driver_server::Driver as DriverService;
use sagoo_edge_proto::driver::{
    CheckRequest, CheckResponse, DescribeRequest, DescribeResponse, DriverMessage, HostMessage, ScanRequest,
    ScanResponse,
};
use sagoo_edge_proto::plugin::grpc_broker_server::GrpcBroker;
use sagoo_edge_proto::plugin::grpc_controller_server::GrpcController;
use sagoo_edge_proto::plugin::grpc_stdio_server::GrpcStdio;
use sagoo_edge_proto::plugin::{ConnInfo, Empty, StdioData};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info};

use crate::driver::Driver;
use crate::session::{INBOUND, OUTBOUND, Open};
use crate::wire;

type Outgoing<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// go-plugin's own services.
#[derive(Debug, Clone)]
pub(crate) struct Plugin {
    pub(crate) end: CancellationToken,
}

impl Plugin {
    /// A stream that says nothing and ends with the process.
    fn silence<T: Send + 'static>(&self) -> Outgoing<T> {
        let (open, stream) = mpsc::channel::<Result<T, Status>>(1);
        let end = self.end.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = end.cancelled() => {}
                () = open.closed() => {}
            }
        });
        Box::pin(ReceiverStream::new(stream))
    }
}

#[tonic::async_trait]
impl GrpcController for Plugin {
    async fn shutdown(&self, _request: Request<Empty>) -> Result<Response<Empty>, Status> {
        info!("the host shuts the driver down");
        // The server finishes answering before it stops.
        self.end.cancel();
        Ok(Response::new(Empty {}))
    }
}

#[tonic::async_trait]
impl GrpcStdio for Plugin {
    type StreamStdioStream = Outgoing<StdioData>;

    /// A driver logs to stderr and prints nothing: the stream stays open and silent.
    async fn stream_stdio(&self, _request: Request<()>) -> Result<Response<Self::StreamStdioStream>, Status> {
        Ok(Response::new(self.silence()))
    }
}

#[tonic::async_trait]
impl GrpcBroker for Plugin {
    type StartStreamStream = Outgoing<ConnInfo>;

    /// Nothing is brokered: what a driver asks of its gateway goes through the session.
    async fn start_stream(
        &self,
        request: Request<Streaming<ConnInfo>>,
    ) -> Result<Response<Self::StartStreamStream>, Status> {
        let mut offers = request.into_inner();
        let end = self.end.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = end.cancelled() => return,
                    offer = offers.message() => match offer {
                        Ok(Some(offer)) => debug!(id = offer.service_id, "a brokered connection is ignored"),
                        Ok(None) | Err(_) => return,
                    }
                }
            }
        });
        Ok(Response::new(self.silence()))
    }
}

/// The contract with the gateway.
pub(crate) struct Contract<D: Driver> {
    pub(crate) driver: Arc<D>,
    pub(crate) sessions: mpsc::Sender<Open>,
}

#[tonic::async_trait]
impl<D: Driver> DriverService for Contract<D> {
    type SessionStream = Outgoing<DriverMessage>;
    type ScanStream = Outgoing<ScanResponse>;

    async fn describe(
        &self,
        _request: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(self.driver.describe().into()))
    }

    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let configuration = request.into_inner().configuration.unwrap_or_default();
        let (tables, mut problems) = wire::configuration(configuration);
        let mut checked = self.driver.check(&tables);
        problems.append(&mut checked.problems);
        let plans = wire::plans(&checked);
        let problems = problems.into_iter().map(Into::into).collect();
        Ok(Response::new(CheckResponse { problems, plans, rights: None }))
    }

    async fn session(
        &self,
        request: Request<Streaming<HostMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut messages = request.into_inner();
        let (outbound, stream) = mpsc::channel(OUTBOUND);
        let (forward, inbound) = mpsc::channel(INBOUND);
        let open = Open { outbound, inbound };
        self.sessions.send(open).await.map_err(|_| Status::unavailable("the driver is ending"))?;
        tokio::spawn(async move {
            loop {
                let message = tokio::select! {
                    // The session was superseded or has ended.
                    () = forward.closed() => return,
                    message = messages.message() => message,
                };
                match message {
                    Ok(Some(message)) => {
                        if forward.send(message).await.is_err() {
                            return;
                        }
                    }
                    Ok(None) => return,
                    Err(status) => {
                        debug!(error = %status, "the session's stream broke");
                        return;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream).map(Ok))))
    }

    async fn scan(&self, _request: Request<ScanRequest>) -> Result<Response<Self::ScanStream>, Status> {
        let name = self.driver.describe().name;
        Err(Status::unimplemented(format!("driver {name} cannot look for devices")))
    }
}
