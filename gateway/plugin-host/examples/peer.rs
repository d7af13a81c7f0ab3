//! The other side of this crate's tests: a small plugin, with bad habits on request (its first
//! argument). It is made from the protocol alone and knows nothing of the driver SDK.

#[path = "peer/alone.rs"]
mod alone;
#[path = "peer/probe.rs"]
mod probe;
#[path = "peer/talk.rs"]
mod talk;
#[path = "peer/tls.rs"]
mod tls;

use std::env;
use std::error::Error;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Command;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use sagoo_edge_proto::handshake::{
    Address, CORE_VERSION, Handshake, PLUGIN_PROTOCOL_VERSIONS, PROTOCOL_GRPC, negotiate,
};
use sagoo_edge_proto::plugin::Empty;
use sagoo_edge_proto::plugin::grpc_controller_server::{GrpcController, GrpcControllerServer};
use sagoo_edge_proto::plugin::grpc_stdio_server::GrpcStdioServer;
use talk::Stdio;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;

const FLOOD_BYTES: usize = 10 << 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let habit = env::args().nth(1).unwrap_or_default();
    let number = env::args().nth(2).filter(|_| habit != "probe");
    let bytes = number.map_or(Ok(FLOOD_BYTES), |bytes| bytes.parse())?;
    match habit.as_str() {
        "flood" => talk::flood(&mut io::stderr(), bytes)?,
        "grandchildren" => grandchildren()?,
        "silent" => alone::say_nothing(),
        "probe" => probe::all(),
        _ => {}
    }
    let (server_cert, tls) = tls::of(&habit)?;
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
        app: negotiate(env::var(PLUGIN_PROTOCOL_VERSIONS).ok().as_deref(), &versions()?),
        address,
        protocol: PROTOCOL_GRPC.into(),
        server_cert,
        multiplex: None,
    };
    let mut stdout = io::stdout();
    writeln!(stdout, "{handshake}")?;
    match habit.as_str() {
        "frozen" => kill_process(getpid(), Signal::STOP)?,
        "panic" => {
            let panicked = std::thread::spawn(|| panic!("out of cheese\nand out of crackers")).join();
            panicked.expect_err("it does");
        }
        "count" => alone::count()?,
        "terminal" => probe::read_terminal()?,
        "flood" => talk::flood(&mut stdout, bytes)?,
        "flood-of-lines" => {
            talk::flood_of_lines(&mut stdout, bytes)?;
            talk::flood_of_lines(&mut io::stderr(), bytes)?;
        }
        "noise" => {
            let noise = |stream| talk::noise(stream, bytes as u32).collect::<Vec<u8>>();
            stdout.write_all(&noise(0))?;
            stdout.flush()?;
            io::stderr().write_all(&noise(1))?;
        }
        _ => {}
    }
    if habit.starts_with("flood") || habit.starts_with("giant") {
        eprintln!("flood is over");
    }
    serve(&habit, bytes, incoming, tls).await
}

/// The versions it speaks: those of `PEER_VERSIONS`, or 1.
fn versions() -> Result<Vec<u32>, Box<dyn Error>> {
    let Ok(list) = env::var("PEER_VERSIONS") else { return Ok(vec![1]) };
    Ok(list.split(',').map(str::parse).collect::<Result<_, _>>()?)
}

/// One that stays in our group, one that leaves it; both keep our pipes open.
fn grandchildren() -> io::Result<()> {
    let stays = Command::new("sleep").arg("1000").spawn()?;
    let leaves = Command::new("setsid").args(["sleep", "1000"]).spawn()?;
    eprintln!("grandchild {}", stays.id());
    eprintln!("grandchild {}", leaves.id());
    Ok(())
}

async fn serve(
    habit: &str,
    bytes: usize,
    incoming: Incoming,
    tls: Option<TlsAcceptor>,
) -> Result<(), Box<dyn Error>> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let status = if habit == "sick" { ServingStatus::NotServing } else { ServingStatus::Serving };
    reporter.set_service_status("plugin", status).await;
    let (stop, stopping) = watch::channel(false);
    let mut stopped = stopping.clone();
    let controller = Controller { stop: stop.clone(), deaf: habit == "deaf" };
    let controller = (habit != "uncontrolled").then(|| GrpcControllerServer::new(controller));
    let stdio = Stdio { habit: habit.to_owned(), bytes: bytes as u32, stopping };
    let giant_health = (habit == "giant-health").then_some(talk::Giant::<true>);
    let giant_stdio = (habit == "giant-stdio").then_some(talk::Giant::<false>);
    let connections = incoming.then(move |raw| encrypted(raw, tls.clone()));
    Server::builder()
        .add_optional_service(giant_health.is_none().then_some(health))
        .add_optional_service(giant_stdio.is_none().then(|| GrpcStdioServer::new(stdio)))
        .add_optional_service(giant_health)
        .add_optional_service(giant_stdio)
        .add_optional_service(controller)
        .serve_with_incoming_shutdown(connections, async move {
            let _ = stopped.wait_for(|stopping| *stopping).await;
        })
        .await?;
    Ok(())
}

struct Controller {
    stop: watch::Sender<bool>,
    /// Hears what it is asked, and goes on.
    deaf: bool,
}

#[tonic::async_trait]
impl GrpcController for Controller {
    async fn shutdown(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.stop.send_replace(!self.deaf);
        Ok(Response::new(Empty {}))
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
