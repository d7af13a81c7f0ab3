//! What the plugin printed, mirrored over gRPC: into `tracing`, at debug.
//!
//! Always true: the call runs in a task of its own and never on the way to a ready plugin, because
//! a Go plugin answers it only with its first byte. A plugin without the service is a plugin.

use sagoo_edge_proto::plugin::StdioData;
use sagoo_edge_proto::plugin::grpc_stdio_client::GrpcStdioClient;
use sagoo_edge_proto::plugin::stdio_data::Channel as From;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::MAX_MESSAGE_BYTES;
use crate::log::{DRIVER, shown};
use crate::pipe::{Lines, Piece};

/// Runs until the plugin ends the stream or the connection is gone.
pub(crate) async fn forward(driver: String, channel: Channel) {
    let mut client = GrpcStdioClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let ended = match client.stream_stdio(()).await {
        Ok(stream) => copy(&driver, stream.into_inner()).await,
        Err(status) => status,
    };
    match ended.code() {
        Code::Unimplemented => tracing::debug!(driver, "plugin has no stdio service"),
        _ => tracing::debug!(driver, status = ended.message(), "stdio of the plugin ended"),
    }
}

async fn copy(driver: &str, mut stream: Streaming<StdioData>) -> Status {
    let (mut stdout, mut stderr) = (Lines::default(), Lines::default());
    let ended = loop {
        match stream.message().await {
            Ok(Some(data)) => match data.channel() {
                From::Stdout => stdout.push(&data.data, |piece| event(driver, "stdout", &piece)),
                From::Stderr => stderr.push(&data.data, |piece| event(driver, "stderr", &piece)),
                From::Invalid => {
                    tracing::warn!(driver, channel = data.channel, "output of an unknown channel dropped");
                }
            },
            Ok(None) => break Status::ok("end of stream"),
            Err(status) => break status,
        }
    };
    stdout.finish(|piece| event(driver, "stdout", &piece));
    stderr.finish(|piece| event(driver, "stderr", &piece));
    ended
}

fn event(driver: &str, stream: &str, piece: &Piece<'_>) {
    let (Piece::Line(text) | Piece::Part(text)) = piece;
    tracing::debug!(target: DRIVER, driver, stream, "{}", shown(text));
}
