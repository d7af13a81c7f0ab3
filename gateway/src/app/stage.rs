//! Tasks that start and stop together.
//!
//! Always true: a task that ends before it is told to is a failure of the whole stage; stopping is
//! bounded, what does not end in time is cut off and said.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// One group of tasks.
#[derive(Debug, Default)]
pub struct Stage {
    tasks: JoinSet<anyhow::Result<()>>,
    /// Tells them to end.
    pub stop: CancellationToken,
}

impl Stage {
    /// Adds a task; `what` it is, for people.
    pub fn spawn(
        &mut self,
        what: impl Into<String>,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let (what, stop) = (what.into(), self.stop.clone());
        self.tasks.spawn(async move {
            let ended = task.await.with_context(|| what.clone());
            match ended {
                Ok(()) if !stop.is_cancelled() => Err(anyhow!("{what} ended early")),
                ended => ended,
            }
        });
    }

    /// Resolves with the first task that ends without being asked.
    pub async fn failed(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Ok(Ok(()))) => anyhow!("a task ended early"),
            Some(Err(panic)) => anyhow!("a task broke: {panic}"),
            None => std::future::pending().await,
        }
    }

    /// Tells all to end and waits for them.
    pub async fn end(mut self, within: Duration, what: &'static str) {
        self.stop.cancel();
        let ended = timeout(within, async { while self.tasks.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            tracing::warn!(what, within_ms = within.as_millis() as u64, "did not stop in time, cut off");
        }
    }
}
