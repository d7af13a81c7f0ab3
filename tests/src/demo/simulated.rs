//! The device of the demo that comes from `driver-modbus simulate`, as anybody without a device has one.
//!
//! Always true: it is served from the site's own model, in a process of its own that ends with its value.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio_modbus::client::{Client, Context, tcp};
use tokio_modbus::{ExceptionCode, Request, Response};

/// It says that it serves within this, on a loaded machine as well.
const UP_WITHIN: Duration = Duration::from_secs(10);

/// The process and a connection to it.
pub(super) struct Simulated {
    // A mutex and not a task: one request at a time is all that a device answers.
    line: Mutex<Context>,
    _process: Child,
    _files: TempDir,
}

impl Simulated {
    /// Serves the only device of `model`, with these values, by the driver in `programs`.
    pub(super) async fn start(programs: &Path, model: &str, values: &str) -> anyhow::Result<Self> {
        let files = TempDir::with_prefix("sagoo-edge-demo-device-").context("no temporary folder")?;
        let write = |name: &str, text: &str| {
            let path = files.path().join(name);
            std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
            anyhow::Ok(path)
        };
        let program = programs.join("driver-modbus");
        let mut process = Command::new(&program)
            .args(["simulate", "--json", "--listen", "127.0.0.1:0", "--values"])
            .arg(write("values.toml", values)?)
            .arg(write("model.toml", model)?)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // Ctrl-C is for the demo, which decides what ends first.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let mut lines = BufReader::new(process.stdout.take().expect("piped above")).lines();
        let said = tokio::time::timeout(UP_WITHIN, lines.next_line()).await;
        let said = said.context("driver-modbus simulate does not serve")?.context("its first line")?;
        let said = said.context("driver-modbus simulate ended, see above")?;
        let said: Json = serde_json::from_str(&said).context("its first line is not JSON")?;
        let address: SocketAddr =
            said["on"].as_str().unwrap_or_default().parse().context("it names no address")?;
        let line = tcp::connect_slave(address, tokio_modbus::Slave(1));
        let line = line.await.with_context(|| format!("connecting to {address}"))?;
        Ok(Self { line: Mutex::new(line), _process: process, _files: files })
    }

    /// What it says to a request.
    pub(super) async fn call(&self, request: Request<'_>) -> Result<Response, ExceptionCode> {
        match self.line.lock().await.call(request).await {
            Ok(said) => said,
            // It is gone: what a gateway in front of a device says then.
            Err(_) => Err(ExceptionCode::GatewayTargetDevice),
        }
    }
}
