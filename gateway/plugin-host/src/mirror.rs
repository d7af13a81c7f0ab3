//! A plugin's output, byte for byte, for a caller that wants it besides the log.
//!
//! Always true: what a [`Sink`] gets is the whole stream up to some byte, never one with a gap. A
//! sink that is full makes the plugin wait, and when it takes nothing for [`PATIENCE`] it gets no
//! more: one event says so, its receiver sees the end, and the plugin goes on. The end of a plugin
//! waits for a full sink at most [`LAST_PATIENCE`].

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Longest time a plugin waits for a sink that takes nothing.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same once the plugin is dead.
const LAST_PATIENCE: Duration = Duration::from_millis(500);

/// Takes a stream in pieces of any size; its channel's capacity is how many may wait.
pub type Sink = mpsc::Sender<Vec<u8>>;

/// Who gets what a plugin writes. Each stream is as the plugin wrote it; how they interleave is not
/// told.
#[derive(Debug, Clone, Default)]
pub struct Mirror {
    /// Its stdout from the byte after the handshake line on.
    pub stdout: Option<Sink>,
    /// Its stderr from the first byte on.
    pub stderr: Option<Sink>,
    /// What a plugin that catches its own stdout sends through go-plugin's stdio service.
    pub stdio_stdout: Option<Sink>,
    /// The same of its stderr.
    pub stdio_stderr: Option<Sink>,
}

/// One stream on its way to a sink, if somebody wants it.
#[derive(Debug)]
pub(crate) struct Copied {
    driver: String,
    stream: &'static str,
    sink: Option<Sink>,
    died: CancellationToken,
}

impl Copied {
    pub(crate) fn new(driver: &str, stream: &'static str, sink: Option<Sink>) -> Self {
        Self { driver: driver.to_owned(), stream, sink, died: CancellationToken::new() }
    }

    /// With a token that is cancelled when the plugin is dead.
    pub(crate) fn until_death(self, died: &CancellationToken) -> Self {
        Self { died: died.clone(), ..self }
    }

    /// Whether anybody takes the bytes.
    pub(crate) fn is_wanted(&self) -> bool {
        self.sink.is_some()
    }

    /// Hands the next bytes on, and waits for room as long as is allowed.
    pub(crate) async fn give(&mut self, bytes: Vec<u8>) {
        let Some(sink) = &self.sink else { return };
        if bytes.is_empty() {
            return;
        }
        let full = match sink.try_send(bytes) {
            Ok(()) => return,
            Err(mpsc::error::TrySendError::Closed(_)) => {
                self.sink = None;
                return;
            }
            Err(mpsc::error::TrySendError::Full(bytes)) => bytes,
        };
        let patience = async {
            let alive = tokio::time::timeout(PATIENCE, self.died.cancelled());
            if alive.await.is_ok() {
                tokio::time::sleep(LAST_PATIENCE).await;
            }
        };
        tokio::select! {
            biased;
            sent = sink.send(full) => if sent.is_err() { self.sink = None },
            () = patience => {
                let Self { driver, stream, .. } = &*self;
                tracing::warn!(driver, stream, "sink of the plugin's output is stuck, it gets no more");
                self.sink = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stuck_sink_is_given_up_and_has_no_gap() {
        let (sink, mut output) = mpsc::channel(2);
        let mut copied = Copied::new("d", "stdout", Some(sink));
        let begun = Instant::now();
        for piece in [b"one", b"two", b"off"] {
            copied.give(piece.to_vec()).await;
        }
        assert_eq!(begun.elapsed(), PATIENCE);
        assert!(!copied.is_wanted());
        copied.give(b"more".to_vec()).await;
        assert_eq!(begun.elapsed(), PATIENCE);
        let mut seen = Vec::new();
        while let Some(piece) = output.recv().await {
            seen.extend(piece);
        }
        assert_eq!(seen, b"onetwo");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_sink_loses_nothing() {
        let (sink, mut output) = mpsc::channel(1);
        let mut copied = Copied::new("d", "stdout", Some(sink));
        let reader = tokio::spawn(async move {
            let mut seen = Vec::new();
            while let Some(piece) = output.recv().await {
                tokio::time::sleep(PATIENCE / 2).await;
                seen.extend(piece);
            }
            seen
        });
        for n in 0..20 {
            copied.give(vec![n; 3]).await;
        }
        drop(copied);
        assert_eq!(reader.await.unwrap(), (0..20).flat_map(|n| [n; 3]).collect::<Vec<u8>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_plugin_waits_for_a_stuck_sink_only_a_moment() {
        let (sink, _output) = mpsc::channel(1);
        let died = CancellationToken::new();
        let mut copied = Copied::new("d", "stdout", Some(sink)).until_death(&died);
        copied.give(b"one".to_vec()).await;
        died.cancel();
        let begun = Instant::now();
        copied.give(b"two".to_vec()).await;
        assert_eq!(begun.elapsed(), LAST_PATIENCE);
    }

    #[tokio::test]
    async fn a_sink_nobody_reads_any_more_is_forgotten() {
        let (sink, output) = mpsc::channel(1);
        drop(output);
        let mut copied = Copied::new("d", "stdout", Some(sink));
        copied.give(b"one".to_vec()).await;
        assert!(!copied.is_wanted());
    }
}
