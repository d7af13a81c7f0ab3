//! The one file of the simulator at the socket: requests in, answers out, until it is told to end.
//!
//! Always true: a connection that sends no Modbus is closed and costs the others nothing; Ctrl-C and
//! SIGTERM end it at once.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use super::field::Field;
use super::framing::{Cutter, Framing, Incoming};

/// Bytes taken at a time; the longest frame has 260, in ASCII twice as many.
const READ_BYTES: usize = 1024;
/// After an error of the listener itself, for example when there are no more descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// A mutex and not a task: an answer is one short step that waits for nothing.
    pub(crate) field: Mutex<Field>,
    pub(crate) framing: Framing,
    pub(crate) started: Instant,
}

impl Shared {
    fn answer(&self, request: &Incoming) -> Option<Vec<u8>> {
        let mut field = self.field.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let pdu = field.hear(request, self.started.elapsed())?;
        Some(self.framing.frame(request, &pdu))
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

/// Answers until the other end goes or sends what is no Modbus.
pub(crate) async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    shared: Arc<Shared>,
) -> io::Result<()> {
    let mut cutter = Cutter::new(shared.framing);
    let mut bytes = [0; READ_BYTES];
    loop {
        let count = stream.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        cutter.push(&bytes[..count]);
        loop {
            match cutter.next() {
                Ok(Some(request)) => {
                    if let Some(answer) = shared.answer(&request) {
                        stream.write_all(&answer).await?;
                    }
                }
                Ok(None) => break,
                Err(_) => return Ok(()),
            }
        }
    }
}
