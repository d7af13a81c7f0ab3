//! The other side of this crate's tests: a small plugin, with bad habits on request (its first
//! argument). It is made from the protocol alone and knows nothing of the driver SDK.

use std::env;
use std::error::Error;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Command, exit};
use std::task::{Context, Poll};
use std::time::Duration;

use sagoo_edge_proto::handshake::{Address, CORE_VERSION, Handshake, PLUGIN_CLIENT_CERT, PROTOCOL_GRPC};
use sagoo_edge_proto::mtls::{self, Identity};
use sagoo_edge_proto::plugin::Empty;
use sagoo_edge_proto::plugin::grpc_controller_server::{GrpcController, GrpcControllerServer};
use sagoo_edge_proto::plugin::grpc_stdio_server::{GrpcStdio, GrpcStdioServer};
use sagoo_edge_proto::plugin::{StdioData, stdio_data::Channel};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;

const FLOOD_BYTES: usize = 10 << 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let habit = env::args().nth(1).unwrap_or_default();
    match habit.as_str() {
        "flood" => flood(&mut io::stderr())?,
        "grandchildren" => grandchildren()?,
        _ => {}
    }
    let (identity, tls) = match env::var(PLUGIN_CLIENT_CERT) {
        Ok(pem) => {
            let spoken = Identity::generate()?;
            let config = mtls::server_config(&spoken, &mtls::cert_from_pem(&pem)?);
            let shown = if habit == "impostor" { Identity::generate()? } else { spoken };
            (Some(shown), Some(TlsAcceptor::from(config)))
        }
        Err(_) => (None, None),
    };
    let (address, incoming): (Address, Incoming) = match habit.as_str() {
        "tcp" => {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            (Address::Tcp(listener.local_addr()?), boxed(TcpListenerStream::new(listener)))
        }
        _ => {
            let path = PathBuf::from(env::var("TMPDIR")?).join("plugin1234567890");
            (Address::Unix(path.clone()), boxed(UnixListenerStream::new(UnixListener::bind(path)?)))
        }
    };
    let handshake = Handshake {
        core: CORE_VERSION,
        app: 1,
        address,
        protocol: PROTOCOL_GRPC.into(),
        server_cert: identity.map(|identity| identity.cert_der().to_vec()),
        multiplex: None,
    };
    let mut stdout = io::stdout();
    writeln!(stdout, "{handshake}")?;
    if habit == "flood" {
        flood(&mut stdout)?;
        eprintln!("flood is over");
    }
    serve(&habit, incoming, tls).await
}

fn flood(out: &mut impl io::Write) -> io::Result<()> {
    let block = vec![b'x'; 1 << 20];
    (0..FLOOD_BYTES / block.len()).try_for_each(|_| out.write_all(&block))?;
    out.write_all(b"\n")
}

/// One that stays in our group, one that leaves it; both keep our pipes open.
fn grandchildren() -> io::Result<()> {
    let stays = Command::new("sleep").arg("1000").spawn()?;
    let leaves = Command::new("setsid").args(["sleep", "1000"]).spawn()?;
    eprintln!("grandchild {}", stays.id());
    eprintln!("grandchild {}", leaves.id());
    Ok(())
}

async fn serve(habit: &str, incoming: Incoming, tls: Option<TlsAcceptor>) -> Result<(), Box<dyn Error>> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let status = if habit == "sick" { ServingStatus::NotServing } else { ServingStatus::Serving };
    reporter.set_service_status("plugin", status).await;
    let (stop, mut stopped) = mpsc::channel(1);
    let controller =
        (habit != "uncontrolled").then(|| GrpcControllerServer::new(Controller { stop: stop.clone() }));
    let stdio = GrpcStdioServer::new(Stdio { crash: habit == "crash" });
    let connections = incoming.then(move |raw| encrypted(raw, tls.clone()));
    Server::builder()
        .add_service(health)
        .add_service(stdio)
        .add_optional_service(controller)
        .serve_with_incoming_shutdown(connections, async move {
            stopped.recv().await;
        })
        .await?;
    Ok(())
}

struct Controller {
    stop: mpsc::Sender<()>,
}

#[tonic::async_trait]
impl GrpcController for Controller {
    async fn shutdown(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.stop.try_send(()).map_err(|_| Status::aborted("stopping already"))?;
        Ok(Response::new(Empty {}))
    }
}

struct Stdio {
    crash: bool,
}

#[tonic::async_trait]
impl GrpcStdio for Stdio {
    type StreamStdioStream = ReceiverStream<Result<StdioData, Status>>;

    async fn stream_stdio(&self, _: Request<()>) -> Result<Response<Self::StreamStdioStream>, Status> {
        if self.crash {
            eprintln!("panic: out of cheese");
            exit(3);
        }
        eprintln!(r#"{{"@level":"warn","@message":"from the log","@timestamp":"-","bus":1}}"#);
        let (sender, stream) = mpsc::channel(4);
        tokio::spawn(async move {
            for piece in ["half a line, ", "and the rest\n"] {
                let data = StdioData { channel: Channel::Stdout.into(), data: piece.into() };
                if sender.send(Ok(data)).await.is_err() {
                    return;
                }
            }
            // Open until the host hangs up.
            sender.closed().await;
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// A connection of any kind, as tonic's server wants it.
struct Io(Box<dyn Bytes>);

type Incoming = Pin<Box<dyn Stream<Item = io::Result<Io>> + Send>>;

fn boxed<S: Bytes + 'static>(incoming: impl Stream<Item = io::Result<S>> + Send + 'static) -> Incoming {
    Box::pin(incoming.map(|raw| raw.map(|raw| Io(Box::new(raw)))))
}

async fn encrypted(raw: io::Result<Io>, tls: Option<TlsAcceptor>) -> io::Result<Io> {
    match tls {
        None => raw,
        Some(tls) => {
            let handshake = tokio::time::timeout(Duration::from_secs(5), tls.accept(raw?));
            Ok(Io(Box::new(handshake.await??)))
        }
    }
}

impl Connected for Io {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
