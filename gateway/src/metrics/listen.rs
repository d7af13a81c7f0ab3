//! Where a page of metrics can be fetched: `GET /metrics`.
//!
//! Always true: at most [`MAX_SCRAPES`] at a time, more wait in the kernel; each has one request and is cut
//! off after [`SCRAPE_TIMEOUT`], so that nobody can hold the others up; a port that cannot be had is said
//! and tried again, and nothing else waits for it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{collect, page};
use crate::status::board::Board;

/// Requests answered at once.
const MAX_SCRAPES: usize = 4;
/// From the connection to the last byte of the answer.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest head of a request.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// How often a port that is not free is tried again.
const BIND_INTERVAL: Duration = Duration::from_secs(5);
/// Pause after the kernel could not give us another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Answers at `address` until `stop`; `shown` is told where that is (a port may be 0 in the configuration).
pub async fn serve(
    address: SocketAddr,
    board: Arc<Board>,
    shown: watch::Sender<Option<SocketAddr>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let listener = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        listener = bind(address) => listener,
    };
    let bound = listener.local_addr().unwrap_or(address);
    tracing::info!(address = %bound, "metrics can be fetched");
    shown.send_replace(Some(bound));
    let mut scrapes = JoinSet::new();
    loop {
        let room = scrapes.len() < MAX_SCRAPES;
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = scrapes.join_next() => {}
            accepted = listener.accept(), if room => match accepted {
                Ok((stream, _)) => drop(scrapes.spawn(scrape(stream, board.clone()))),
                Err(error) => {
                    tracing::warn!(%error, address = %bound, "metrics take no connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    scrapes.shutdown().await;
    Ok(())
}

async fn bind(address: SocketAddr) -> TcpListener {
    let mut told = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) if !std::mem::replace(&mut told, true) => tracing::error!(
                %address,
                %error,
                remedy = "free the port or set [metrics] listen to another one",
                "metrics cannot be served; it is tried again"
            ),
            Err(_) => {}
        }
        sleep(BIND_INTERVAL).await;
    }
}

/// One request; whoever hangs up or breaks the rules of HTTP costs only itself.
async fn scrape(stream: TcpStream, board: Arc<Board>) {
    let service = service_fn(move |request| {
        let board = board.clone();
        async move { Ok::<_, Infallible>(answer(&request, &board).await) }
    });
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_buf_size(MAX_HEAD_BYTES);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = timeout(SCRAPE_TIMEOUT, connection).await {
        tracing::debug!(%error, "a request for metrics broke");
    }
}

async fn answer(request: &Request<Incoming>, board: &Board) -> Response<String> {
    let (status, text) = match (request.uri().path(), request.method()) {
        ("/metrics", &Method::GET) => (StatusCode::OK, collect::page(&board.status().await)),
        ("/metrics", _) => (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "only /metrics\n".to_owned()),
    };
    let mut response = Response::new(text);
    *response.status_mut() = status;
    let kind = if status == StatusCode::OK { page::CONTENT_TYPE } else { "text/plain" };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
    }
    response
}
