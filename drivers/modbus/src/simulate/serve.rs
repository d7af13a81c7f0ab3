//! The one file of the simulator at a socket or a port: requests in, answers out, until it is told to end.
//!
//! Always true: a connection that sends no Modbus is closed and costs the others nothing; with a line
//! rate there is one line, and whoever else asks waits until it is free; requests of one connection are
//! answered in their order.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_serial::SerialStream;

use super::field::Field;
use super::framing::{Cutter, Incoming, frame};
use super::replay::Replay;
use super::timing::{Part, Timing};
use crate::connection::Framing;
use crate::connection::serial::Mode;
use crate::transport::open_stream;

/// Bytes taken at a time; the longest frame has 260, in ASCII twice as many.
const READ_BYTES: usize = 1024;
/// After an error of the listener itself, for example when there are no more descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// A pause inside of a frame that is longer than this, and than some characters of a slow line, ends it.
const SILENCE: Duration = Duration::from_millis(60);
const SILENT_CHARACTERS: usize = 20;
/// A timer may be this late; for the rest the thread itself sleeps, which is exact.
const TIMER_TICK: Duration = Duration::from_millis(2);

/// Who says something.
#[derive(Debug)]
pub(crate) enum Source {
    Field(Field),
    Replay(Replay),
}

impl Source {
    /// Units that are served.
    pub(crate) fn units(&self) -> Vec<u8> {
        match self {
            Self::Field(field) => field.units(),
            Self::Replay(replay) => replay.units(),
        }
    }
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// A mutex and not a task: an answer is one short step that waits for nothing.
    source: Mutex<Source>,
    /// Held while bytes are on it. A lock and not a task: whoever waits for it has nothing else to do.
    line: tokio::sync::Mutex<()>,
    framing: Framing,
    timing: Timing,
    started: Instant,
}

impl Shared {
    pub(crate) fn new(source: Source, framing: Framing, timing: Timing) -> Self {
        Self {
            source: Mutex::new(source),
            line: tokio::sync::Mutex::new(()),
            framing,
            timing,
            started: Instant::now(),
        }
    }

    fn answer(&self, request: &Incoming) -> Vec<Part> {
        match &mut *self.source.lock().unwrap_or_else(PoisonError::into_inner) {
            Source::Replay(replay) => replay.hear(request, self.framing, &self.timing),
            Source::Field(field) => match field.hear(request, self.started.elapsed()) {
                Some(pdu) => {
                    let bytes = frame(self.framing, request, &pdu);
                    self.timing.parts(self.framing, request.wire_bytes, bytes)
                }
                None => Vec::new(),
            },
        }
    }

    /// How long a frame may pause.
    fn silence(&self) -> Duration {
        self.timing.rate.map_or(SILENCE, |mode| SILENCE.max(mode.time_of(SILENT_CHARACTERS)))
    }
}

/// Serves everybody who connects.
pub(crate) async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are small and waited for. Without it they are only later.
                let _ = stream.set_nodelay(true);
                tokio::spawn(converse(stream, shared.clone()));
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Serves a port that was opened, and opens it again whenever it goes away.
pub(crate) async fn hold(mut stream: SerialStream, port: &str, mode: Mode, shared: Arc<Shared>) {
    loop {
        // It ends with the port: an adapter that was pulled, or the other end of a pseudo terminal.
        let _ = converse(stream, shared.clone()).await;
        stream = loop {
            sleep(PAUSE).await;
            if let Ok(stream) = open_stream(port, mode) {
                break stream;
            }
        };
    }
}

/// Answers until the other end goes or sends what is no Modbus.
pub(crate) async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    shared: Arc<Shared>,
) -> io::Result<()> {
    let mut cutter = Cutter::new(shared.framing);
    let mut bytes = [0; READ_BYTES];
    // When the first byte of the request came.
    let mut began = None;
    loop {
        let count = if cutter.is_inside() {
            match timeout(shared.silence(), stream.read(&mut bytes)).await {
                Ok(count) => count?,
                Err(_) => {
                    cutter.silence();
                    began = None;
                    continue;
                }
            }
        } else {
            stream.read(&mut bytes).await?
        };
        if count == 0 {
            return Ok(());
        }
        let now = Instant::now();
        cutter.push(&bytes[..count]);
        loop {
            match cutter.next() {
                Ok(Some(request)) => {
                    say(&mut stream, &shared, &request, began.take().unwrap_or(now)).await?;
                }
                Ok(None) => break,
                Err(_) => return Ok(()),
            }
        }
        began = cutter.is_inside().then(|| began.unwrap_or(now));
    }
}

async fn say(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    shared: &Shared,
    request: &Incoming,
    began: Instant,
) -> io::Result<()> {
    let (_line, began) = match shared.line.try_lock() {
        _ if shared.timing.rate.is_none() => (None, began),
        Ok(line) => (Some(line), began),
        // Its request is on the line only after what was on it before.
        Err(_) => (Some(shared.line.lock().await), Instant::now()),
    };
    for (after, bytes) in shared.answer(request) {
        if !after.is_zero() {
            until(began + after).await;
        }
        stream.write_all(&bytes).await?;
        stream.flush().await?;
    }
    Ok(())
}

/// Exactly then: a byte of a fast line is shorter than a tick of the timer.
async fn until(at: Instant) {
    if let Some(early) = at.checked_sub(TIMER_TICK)
        && early > Instant::now()
    {
        sleep_until(early).await;
    }
    let rest = at.saturating_duration_since(Instant::now());
    if !rest.is_zero() {
        std::thread::sleep(rest);
    }
}
