//! The command line's door: a unix socket that only the gateway's user may open.
//!
//! ```text
//! client → {"request":"status"}                                        one JSON object, one line
//! client → {"request":"read","device":"meter-3a","points":["voltage"]}
//! client → {"request":"write","device":"meter-3a","values":{"limit":16}}
//! client → {"request":"deadletter","what":"send","ids":["gw-7-0"]}      what: list, show, send, drop
//! client → {"request":"reload"}                                        also: handover, explain
//! gateway → {"reply":"status","status":{…}}                             one line each, in order
//! gateway → {"reply":"outcome","outcome":{…}}
//! gateway → {"reply":"reload","reload":{…}}
//! gateway → {"reply":"error","error":"…"}
//!
//! client → {"request":"scan","connection":"bus1","options":{…}}        also: capture
//! gateway → {"reply":"progress",…} {"reply":"found",…}                  any number of lines, and then
//! gateway → {"reply":"end"}                                             or an error
//! ```
//!
//! Always true: every line gets one line back, one that asks for a stream gets lines until its end; a
//! client that hangs up, or says anything more, ends its stream; a client that sends rubbish, too much or
//! nothing costs only itself.
//!
//! In reading order: [`message`] (what is said), [`value`] (a point's value as JSON), [`socket`]
//! (opening the door), [`stream`] (answers of many lines), [`client`] (the other side).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sagoo_edge_proto::clock;
use serde_json::Value as Json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::commands::{Action, Asker, Audit, Outcome, Request as Command};
use crate::config::types::ControlConfig;
use crate::status::Status;
use crate::status::letters::{Shown, What};

use self::message::{Explained, LeftRunning, OutcomeReply, ReloadReply, Reply, Request};
pub use self::socket::Socket;
pub use self::stream::Replies;

pub mod client;
pub mod message;
mod socket;
mod stream;
#[cfg(test)]
mod tests;
pub mod value;

/// Longest request line; a longer one is answered with an error and its client let go.
const MAX_LINE_BYTES: u64 = 64 * 1024;
/// Clients at once; one more is told so and let go.
const MAX_CLIENTS: usize = 8;
/// A command from here is never executed later than this.
const COMMAND_DEADLINE: Duration = Duration::from_secs(10);
/// A client that says nothing, or does not take its answer, for this long is let go.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);
/// What is being answered when the door closes gets this long to be said.
const LAST_ANSWERS: Duration = Duration::from_millis(200);
/// Pause after the kernel could not give us another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// An answer on its way.
pub type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What is behind the door.
#[derive(Clone)]
pub struct Door {
    /// Builds the status tree.
    pub status: Asked<(), Status>,
    /// Carries out one command.
    pub execute: Asked<Command, Outcome>,
    /// How devices are read.
    pub explain: Asked<(), Explained>,
    /// Rows that were given up; an error means that nobody answers for them.
    pub dead_letters: Asked<OfLetters, Result<Vec<Shown>, String>>,
    /// Begins a stream; an error says why there is none.
    pub look: Asked<Look, Result<Replies, String>>,
    /// Reads the configuration again; an error means that it could not even be tried.
    pub reload: Asked<(), Result<ReloadReply, String>>,
    /// Ends the gateway without its drivers.
    pub handover: Asked<(), Result<Vec<LeftRunning>, String>>,
}

/// What is to be done with dead letters, and with which; `None`: with all.
pub type OfLetters = (What, Option<Vec<String>>);

/// What gives the answers to one kind of question.
pub type Asked<A, T> = Arc<dyn Fn(A) -> Answer<T> + Send + Sync>;

/// What is answered with a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Look {
    /// Look for devices.
    Scan {
        /// Where.
        connection: String,
        /// JSON object in the driver's words.
        options: String,
        /// 0: until all was tried.
        for_ms: u32,
    },
    /// Listen to what passes.
    Capture {
        /// Where.
        connection: String,
        /// 0: until nobody listens.
        for_ms: u32,
    },
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}

/// Opens the socket; an error says why that could not be done.
pub async fn open(config: &ControlConfig) -> anyhow::Result<Socket> {
    let socket = socket::open(&config.socket).await?;
    tracing::info!(socket = %config.socket.display(), "control socket is open");
    Ok(socket)
}

/// Answers until `stop`; then the socket is gone, and what was being answered is said if it comes soon.
pub async fn serve(socket: Socket, door: Door, stop: CancellationToken) -> anyhow::Result<()> {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = clients.join_next() => {}
            accepted = socket.listener.accept() => match accepted {
                Ok((stream, _)) if clients.len() < MAX_CLIENTS => {
                    clients.spawn(client(stream, door.clone(), stop.clone()));
                }
                Ok((stream, _)) => turn_away(&stream),
                Err(error) => {
                    tracing::warn!(%error, socket = %socket.path.display(), "control socket takes no client");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(socket);
    let _ = timeout(LAST_ANSWERS, async { while clients.join_next().await.is_some() {} }).await;
    clients.shutdown().await;
    Ok(())
}

fn turn_away(stream: &UnixStream) {
    let reply = Reply::error(format!("{MAX_CLIENTS} clients are connected already: try again in a moment"));
    // Its send buffer is empty, so this fits; a client that has left already misses nothing.
    let _ = stream.try_write(&reply.to_line());
}

/// Answers one client, line by line; the door's closing ends it between two lines.
async fn client(stream: UnixStream, door: Door, stop: CancellationToken) {
    let (read, mut write) = stream.into_split();
    let mut in_lines = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut in_lines).take(MAX_LINE_BYTES + 1);
        let read = tokio::select! {
            read = timeout(CLIENT_TIMEOUT, bounded.read_until(b'\n', &mut line)) => read,
            () = stop.cancelled() => return,
        };
        if !matches!(read, Ok(Ok(1..))) {
            return;
        }
        let too_long = line.len() as u64 > MAX_LINE_BYTES;
        let reply = match too_long {
            true => Said::Once(Reply::error(format!("a request is at most {MAX_LINE_BYTES} bytes"))),
            false => answer(&door, &line).await,
        };
        let told = match reply {
            Said::Once(reply) => tell(&mut write, &reply).await,
            Said::Stream(replies) => stream::pass_on(replies, &mut in_lines, &mut write, &stop).await,
        };
        if too_long || !told {
            return;
        }
    }
}

/// Whether the client took it.
async fn tell(write: &mut OwnedWriteHalf, reply: &Reply) -> bool {
    let written = timeout(CLIENT_TIMEOUT, write.write_all(&reply.to_line())).await;
    matches!(written, Ok(Ok(())))
}

/// An answer of one line, or of many.
enum Said {
    Once(Reply),
    Stream(Replies),
}

async fn answer(door: &Door, line: &[u8]) -> Said {
    let request: Request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(error) => return Said::Once(Reply::error(format!("not a request: {error}"))),
    };
    let within = request.answered_within();
    let answer = async {
        Said::Once(match request {
            Request::Scan { connection, options, for_ms } => {
                let options = Json::Object(options).to_string();
                return look(door, Look::Scan { connection, options, for_ms }).await;
            }
            Request::Capture { connection, for_ms } => {
                return look(door, Look::Capture { connection, for_ms }).await;
            }
            Request::Status => Reply::Status { status: Box::new((door.status)(()).await) },
            Request::Explain => Reply::Explain { explained: (door.explain)(()).await },
            Request::Invoke { device, function, input } => {
                let input = Json::Object(input).to_string();
                execute(door, device, Action::Invoke { function, input }).await
            }
            Request::Read { device, points } => execute(door, device, Action::Read(points)).await,
            Request::Write { device, values } => match written(values) {
                Ok(values) => execute(door, device, Action::Write(values)).await,
                Err(error) => Reply::error(error),
            },
            Request::Deadletter { what, ids } => match (door.dead_letters)((what, ids)).await {
                Ok(letters) => Reply::Deadletters { letters },
                Err(error) => Reply::error(error),
            },
            Request::Reload => match (door.reload)(()).await {
                Ok(reload) => Reply::Reload { reload },
                Err(error) => Reply::error(error),
            },
            Request::Handover => match (door.handover)(()).await {
                Ok(drivers) => Reply::Handover { drivers },
                Err(error) => Reply::error(error),
            },
        })
    };
    let answered = timeout(within, answer).await;
    answered.unwrap_or_else(|_| Said::Once(Reply::error(format!("no answer within {} s", within.as_secs()))))
}

async fn look(door: &Door, look: Look) -> Said {
    tracing::info!(target: "audit", ?look, "a look at a line was asked for");
    match (door.look)(look).await {
        Ok(replies) => Said::Stream(replies),
        Err(error) => Said::Once(Reply::error(error)),
    }
}

fn written(
    values: serde_json::Map<String, Json>,
) -> Result<Vec<(String, sagoo_edge_proto::sample::Value)>, String> {
    if values.is_empty() {
        return Err("no values to write".to_owned());
    }
    let read = values.into_iter().map(|(point, json)| match value::from_json(json) {
        Some(value) => Ok((point, value)),
        None => Err(format!("{point}: null is no value")),
    });
    read.collect()
}

async fn execute(door: &Door, device: String, action: Action) -> Reply {
    let deadline_boot_ns = clock::boot_ns().saturating_add(COMMAND_DEADLINE.as_nanos() as u64);
    let id = format!("cli-{:016x}", fastrand::u64(..));
    let began = Instant::now();
    let command =
        Command { id: id.clone(), device: device.clone(), deadline_boot_ns, action: action.clone() };
    let outcome = (door.execute)(command).await;
    let audit =
        Audit { id: &id, device: &device, action: &action, from: Asker::CommandLine, took: began.elapsed() };
    audit.ended(&outcome);
    Reply::Outcome { outcome: OutcomeReply::new(id, outcome) }
}
