//! go-plugin's own services: the end of the process, and what it prints.
//!
//! Always true: nothing here decides anything; every open stream ends when the process is to end.

use sagoo_edge_proto::plugin::Empty;
use sagoo_edge_proto::plugin::grpc_controller_server::GrpcController;
use sagoo_edge_proto::plugin::grpc_stdio_server::GrpcStdio;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::info;

use super::SHUTDOWN_GRACE;
use super::stdio::{Reader, Stdio};

/// Ends the process.
#[derive(Debug)]
pub(crate) struct Controller {
    pub(crate) end: CancellationToken,
    /// All that was printed is on its way.
    pub(crate) printed: CancellationToken,
}

#[tonic::async_trait]
impl GrpcController for Controller {
    async fn shutdown(&self, _request: Request<Empty>) -> Result<Response<Empty>, Status> {
        info!("the host shuts the plugin down");
        // The server finishes answering before it stops. Go's host hangs up with the answer, so the
        // last prints go first.
        self.end.cancel();
        let _ = timeout(SHUTDOWN_GRACE, self.printed.cancelled()).await;
        Ok(Response::new(Empty {}))
    }
}

/// What is printed.
#[derive(Debug)]
pub(crate) struct Mirror {
    pub(crate) stdio: Stdio,
}

#[tonic::async_trait]
impl GrpcStdio for Mirror {
    type StreamStdioStream = Reader;

    async fn stream_stdio(&self, _request: Request<()>) -> Result<Response<Reader>, Status> {
        Ok(Response::new(self.stdio.read()))
    }
}
