//! What the peer says: a little, or, by habit, far too much.

use std::convert::Infallible;
use std::io::{self, Write};
use std::process::exit;
use std::task::{Context, Poll};

use sagoo_edge_proto::plugin::grpc_stdio_server::GrpcStdio;
use sagoo_edge_proto::plugin::{StdioData, stdio_data::Channel};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::{Request, Response, Status};

/// Bytes of one piece on go-plugin's stdio service, as Go sends it.
const PIECE_BYTES: usize = 1024;
const BLOCK_BYTES: usize = 1 << 20;
/// Of a message of 1 GiB, what is sent.
const SENT_BYTES: usize = 100 << 20;

/// One line of so many bytes.
pub fn flood(out: &mut impl Write, bytes: usize) -> io::Result<()> {
    let block = vec![b'x'; BLOCK_BYTES];
    (0..bytes / BLOCK_BYTES).try_for_each(|_| out.write_all(&block))?;
    out.write_all(b"\n")
}

/// So many bytes in lines of the size of this one, and a tenth of it in the shortest there are.
pub fn flood_of_lines(out: &mut impl Write, bytes: usize) -> io::Result<()> {
    let lines = "[WARN] something is not as it should be, and is said again\n".repeat(BLOCK_BYTES / 64);
    (0..bytes / lines.len()).try_for_each(|_| out.write_all(lines.as_bytes()))?;
    let empty = vec![b'\n'; bytes / 10];
    out.write_all(&empty)
}

/// Bytes nobody would confuse, another row of them for each stream. The tests make the same.
pub fn noise(stream: u32, bytes: u32) -> impl Iterator<Item = u8> {
    (0..bytes).map(move |n| (n.wrapping_add(stream).wrapping_mul(2_654_435_761) >> 13) as u8)
}

/// go-plugin's stdio service.
pub struct Stdio {
    pub habit: String,
    /// Of the noise on each channel.
    pub bytes: u32,
    /// Turns true when the host asks it to stop.
    pub stopping: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl GrpcStdio for Stdio {
    type StreamStdioStream = ReceiverStream<Result<StdioData, Status>>;

    async fn stream_stdio(&self, _: Request<()>) -> Result<Response<Self::StreamStdioStream>, Status> {
        if self.habit == "crash" {
            eprintln!("panic: out of cheese");
            exit(3);
        }
        let (sender, stream) = mpsc::channel(4);
        if self.habit == "last-words" {
            let mut stopping = self.stopping.clone();
            tokio::spawn(async move {
                let _ = stopping.wait_for(|stopping| *stopping).await;
                let data = b"goodbye\n".to_vec();
                let _ = sender.send(Ok(StdioData { channel: Channel::Stdout.into(), data })).await;
            });
            return Ok(Response::new(ReceiverStream::new(stream)));
        }
        if self.habit == "noise" {
            let pieces = [(2, Channel::Stdout), (3, Channel::Stderr)].map(|(stream, channel)| {
                let all: Vec<u8> = noise(stream, self.bytes).collect();
                all.chunks(PIECE_BYTES).map(|piece| (channel, piece.to_vec())).collect::<Vec<_>>()
            });
            tokio::spawn(send(sender, pieces.concat()));
            return Ok(Response::new(ReceiverStream::new(stream)));
        }
        eprintln!(r#"{{"@level":"warn","@message":"from the log","@timestamp":"-","bus":1}}"#);
        let pieces = ["half a line, ", "and the rest\n"].map(|piece| (Channel::Stdout, piece.into()));
        tokio::spawn(send(sender, pieces.to_vec()));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

async fn send(sender: mpsc::Sender<Result<StdioData, Status>>, pieces: Vec<(Channel, Vec<u8>)>) {
    for (channel, data) in pieces {
        if sender.send(Ok(StdioData { channel: channel.into(), data })).await.is_err() {
            return;
        }
    }
    // Open until the host hangs up.
    sender.closed().await;
}

/// In place of a service: answers every call with one message that says it is 1 GiB, and begins to
/// send it.
#[derive(Clone)]
pub struct Giant<const HEALTH: bool>;

impl NamedService for Giant<true> {
    const NAME: &'static str = "grpc.health.v1.Health";
}

impl NamedService for Giant<false> {
    const NAME: &'static str = "plugin.GRPCStdio";
}

impl<const HEALTH: bool> Service<http::Request<Body>> for Giant<HEALTH> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        let [a, b, c, d] = (1u32 << 30).to_be_bytes().map(char::from);
        let begun: String =
            ['\0', a, b, c, d].into_iter().chain(std::iter::repeat_n('\0', SENT_BYTES)).collect();
        let mut response = http::Response::new(Body::new(begun));
        let grpc = http::HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
        std::future::ready(Ok(response))
    }
}
