//! Stray prints: after the handshake line, what goes to file descriptor 1 goes to the host, too.
//!
//! Always true: the descriptor is a pipe of this process that a thread of its own empties, so a
//! `println!` in a driver, in C code or in a child process never fails and waits for nobody.

use std::fs::File;
use std::io::{self, PipeReader, Read as _, Write as _};
use std::thread;
use std::time::Duration;

use sagoo_edge_proto::plugin::stdio_data::Channel;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Stdio;

/// Memory of the thread, which only copies.
const STACK_BYTES: usize = 64 * 1024;
/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// Longest wait for the pipe's end; a child that holds it may outlive us.
const END_LIMIT: Duration = Duration::from_millis(100);

/// The redirected descriptor.
#[derive(Debug)]
pub(crate) struct Capture {
    stdio: Stdio,
    emptied: oneshot::Receiver<()>,
}

impl Capture {
    /// Redirects from now on.
    pub(crate) fn start(stdio: Stdio) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let (done, emptied) = oneshot::channel();
        let store = stdio.clone();
        let copy = move || {
            empty(reader, &store);
            let _ = done.send(());
        };
        thread::Builder::new().name("stdout".to_owned()).stack_size(STACK_BYTES).spawn(copy)?;
        rustix::stdio::dup2_stdout(&writer)?;
        Ok(Self { stdio, emptied })
    }

    /// Takes in what was printed so far, and ends the mirroring when the host has read it: at most
    /// `limit` after the pipe is empty.
    pub(crate) async fn finish(self, limit: Duration) {
        let _ = io::stdout().flush();
        // The pipe ends when nothing writes to it any more; later prints go nowhere.
        let nowhere = File::options().write(true).open("/dev/null");
        if nowhere.is_ok_and(|nowhere| rustix::stdio::dup2_stdout(nowhere).is_ok()) {
            let _ = timeout(END_LIMIT, self.emptied).await;
        }
        self.stdio.close();
        self.stdio.drained(limit).await;
    }
}

fn empty(mut pipe: PipeReader, stdio: &Stdio) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => stdio.push(Channel::Stdout, &buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
