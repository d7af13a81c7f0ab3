//! The plain loop behind our plugin side: the contract without the SDK's schedule, batching and memory.
//!
//! Always true: what this costs is what go-plugin's transport costs in Rust, like for like with the Go
//! plugin.

use std::pin::Pin;
use std::process::ExitCode;

use bench::plain::{INBOUND, OUTBOUND, serve};
use sagoo_driver_sdk::plugin::Plugin;
use sagoo_edge_proto::driver::driver_server::{Driver, DriverServer};
use sagoo_edge_proto::driver::{
    CaptureRequest, CaptureResponse, CheckRequest, CheckResponse, DescribeRequest, DescribeResponse,
    DriverMessage, HostMessage, ScanRequest, ScanResponse,
};
use sagoo_edge_proto::handshake::{APP_VERSION, COOKIE_KEY, COOKIE_VALUE};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

type Outgoing<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

struct Plain;

#[tonic::async_trait]
impl Driver for Plain {
    type SessionStream = Outgoing<DriverMessage>;
    type ScanStream = Outgoing<ScanResponse>;
    type CaptureStream = Outgoing<CaptureResponse>;

    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        let describe = DescribeResponse {
            name: "plain".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            title: "Load in a plain loop".to_owned(),
            ..DescribeResponse::default()
        };
        Ok(Response::new(describe))
    }

    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        Ok(Response::new(CheckResponse::default()))
    }

    async fn session(
        &self,
        request: Request<Streaming<HostMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut messages = request.into_inner();
        let (outbound, stream) = mpsc::channel(OUTBOUND);
        let (forward, inbound) = mpsc::channel(INBOUND);
        tokio::spawn(serve(inbound, outbound));
        tokio::spawn(async move {
            while let Ok(Some(message)) = messages.message().await {
                if forward.send(message).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream).map(Ok))))
    }

    async fn scan(&self, _: Request<ScanRequest>) -> Result<Response<Self::ScanStream>, Status> {
        Err(Status::unimplemented("there is nothing to look for"))
    }

    async fn capture(&self, _: Request<CaptureRequest>) -> Result<Response<Self::CaptureStream>, Status> {
        Err(Status::unimplemented("there is no line"))
    }
}

fn main() -> ExitCode {
    Plugin::new(COOKIE_KEY, COOKIE_VALUE)
        .version(APP_VERSION, |_plug| Routes::new(DriverServer::new(Plain)))
        .serve()
}
