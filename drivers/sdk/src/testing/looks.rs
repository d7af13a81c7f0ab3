//! Scans and captures of a driver's lines, and what it kept, in an author's tests.

use serde_json::Value as Json;
use tokio::sync::oneshot;

use sagoo_edge_proto::driver::{CaptureResponse, Connection, ScanRequest, scan_response};
pub use sagoo_edge_proto::driver::{ScanFound, ScanProgress};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{TestHost, WAIT};
use crate::capture;
use crate::session::{Incoming, Look, Scanning};

/// A scan that goes on; dropped, it ends.
#[derive(Debug)]
pub struct TestScan {
    answers: Scanning,
    /// The last progress that was told.
    pub progress: ScanProgress,
}

/// A capture that goes on; dropped, it ends.
#[derive(Debug)]
pub struct TestCapture {
    lines: mpsc::Receiver<Result<CaptureResponse, tonic::Status>>,
}

impl TestHost {
    /// Begins to scan a connection that runs; options in the driver's words. Why not, as a gateway
    /// shows it.
    pub async fn scan(&mut self, connection: &str, options: &Json) -> Result<TestScan, String> {
        let connection = Connection { name: connection.to_owned(), settings: String::new() };
        let options = options.to_string();
        self.scan_as(ScanRequest { connection: Some(connection), deadline_ms: 0, options }).await
    }

    /// As [`TestHost::scan`], of a connection that is in no configuration.
    pub async fn scan_with(
        &mut self,
        connection: &str,
        settings: &Json,
        options: &Json,
    ) -> Result<TestScan, String> {
        let connection = Connection { name: connection.to_owned(), settings: settings.to_string() };
        let options = options.to_string();
        self.scan_as(ScanRequest { connection: Some(connection), deadline_ms: 0, options }).await
    }

    pub(crate) async fn scan_as(&mut self, request: ScanRequest) -> Result<TestScan, String> {
        let answers = self.look(|answer| Look::Scan(request, answer)).await?;
        Ok(TestScan { answers, progress: ScanProgress::default() })
    }

    /// Begins to capture what passes on a connection's line.
    pub async fn capture(&mut self, connection: &str) -> Result<TestCapture, String> {
        let connection = connection.to_owned();
        let captured = self.look(|answer| Look::Capture(connection, answer)).await?;
        Ok(TestCapture { lines: capture::stream(captured, None) })
    }

    async fn look<T>(
        &mut self,
        look: impl FnOnce(oneshot::Sender<Result<T, tonic::Status>>) -> Look,
    ) -> Result<T, String> {
        let (answer, answered) = oneshot::channel();
        self.sessions.send(Incoming::Look(look(answer))).await.expect("the driver runs");
        let answer = timeout(WAIT, answered).await.expect("a look is answered at once");
        answer.expect("the driver runs").map_err(|status| status.message().to_owned())
    }

    /// Gives the driver a value that it kept in an earlier life.
    pub fn keep(&mut self, key: &str, value: &[u8]) {
        self.platform.kept.insert(key.to_owned(), value.to_vec());
    }

    /// What the driver keeps under this key.
    pub fn kept(&self, key: &str) -> Option<&[u8]> {
        self.platform.kept.get(key).map(Vec::as_slice)
    }

    /// Every key the driver keeps something under, in order.
    pub fn kept_keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.platform.kept.keys().cloned().collect();
        keys.sort();
        keys
    }
}

impl TestScan {
    /// The next device that was found, `None` at the end of the scan; why it ended early.
    pub async fn found(&mut self) -> Result<Option<ScanFound>, String> {
        loop {
            let answer = timeout(WAIT, self.answers.recv()).await.expect("a scan goes on");
            let Some(answer) = answer else { return Ok(None) };
            match answer.map_err(|status| status.message().to_owned())?.message {
                Some(scan_response::Message::Found(found)) => return Ok(Some(found)),
                Some(scan_response::Message::Progress(progress)) => self.progress = progress,
                None => {}
            }
        }
    }

    /// All that is found until the end.
    pub async fn all(&mut self) -> Result<Vec<ScanFound>, String> {
        let mut all = Vec::new();
        while let Some(found) = self.found().await? {
            all.push(found);
        }
        Ok(all)
    }
}

impl TestCapture {
    /// The next lines; the first is what was captured. Why there are no more.
    pub async fn lines(&mut self) -> Result<Vec<String>, String> {
        let lines = timeout(WAIT, self.lines.recv()).await.expect("something passes on the line");
        let lines = lines.ok_or_else(|| "the capture ended".to_owned())?;
        lines.map(|told| told.lines).map_err(|status| status.message().to_owned())
    }
}
