//! What the plugin printed, mirrored over gRPC: into `tracing`, at debug, and to whoever asked.
//!
//! Always true: the call runs in a task of its own and never on the way to a ready plugin, because
//! a Go plugin answers it only with its first byte. A plugin without the service is a plugin. What
//! it printed before it agreed to stop is still taken, up to a silence of [`QUIET`].

use std::time::Duration;

use sagoo_edge_proto::plugin::StdioData;
use sagoo_edge_proto::plugin::grpc_stdio_client::GrpcStdioClient;
use sagoo_edge_proto::plugin::stdio_data::Channel as From;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::log::Printed;
use crate::mirror::{Copied, Sink};

/// The most one piece may hold. Go's hold 1 KiB.
const MAX_PIECE_BYTES: usize = 4 << 20;
/// How long a plugin that is stopping may pause between its last words.
const QUIET: Duration = Duration::from_millis(50);

/// Who gets what is printed, byte for byte.
pub(crate) struct Sinks {
    pub(crate) stdout: Option<Sink>,
    pub(crate) stderr: Option<Sink>,
}

/// Runs until the plugin ends the stream or the connection is gone, or, once it is `stopping`, until
/// it says nothing more.
pub(crate) async fn forward(driver: String, channel: Channel, sinks: Sinks, stopping: CancellationToken) {
    let mut client = GrpcStdioClient::new(channel).max_decoding_message_size(MAX_PIECE_BYTES);
    let calling = client.stream_stdio(());
    let answer = tokio::select! {
        biased;
        answer = calling => answer,
        () = until_quiet(&stopping) => return,
    };
    let ended = match answer {
        Ok(stream) => copy(&driver, stream.into_inner(), sinks, &stopping).await,
        Err(status) => status,
    };
    match ended.code() {
        Code::Unimplemented => tracing::debug!(driver, "plugin has no stdio service"),
        _ => tracing::debug!(driver, status = ended.message(), "stdio of the plugin ended"),
    }
}

async fn until_quiet(stopping: &CancellationToken) {
    stopping.cancelled().await;
    tokio::time::sleep(QUIET).await;
}

async fn copy(
    driver: &str,
    mut stream: Streaming<StdioData>,
    sinks: Sinks,
    stopping: &CancellationToken,
) -> Status {
    let mut stdout = Printed::new(driver.to_owned(), "stdout");
    let mut stderr = Printed::new(driver.to_owned(), "stderr");
    let mut stdout_copy = Copied::new(driver, "stdio stdout", sinks.stdout);
    let mut stderr_copy = Copied::new(driver, "stdio stderr", sinks.stderr);
    let mut unknown = 0u64;
    let ended = loop {
        let next = tokio::select! {
            biased;
            next = stream.message() => next,
            () = until_quiet(stopping) => break Status::ok("nothing more while stopping"),
        };
        match next {
            Ok(Some(data)) => match data.channel() {
                From::Stdout => {
                    stdout.push(&data.data);
                    stdout_copy.give(data.data).await;
                }
                From::Stderr => {
                    stderr.push(&data.data);
                    stderr_copy.give(data.data).await;
                }
                From::Invalid => unknown += 1,
            },
            Ok(None) => break Status::ok("end of stream"),
            Err(status) => break status,
        }
    };
    if unknown > 0 {
        tracing::warn!(driver, pieces = unknown, "output of the plugin for an unknown channel dropped");
    }
    stdout.finish();
    stderr.finish();
    ended
}
