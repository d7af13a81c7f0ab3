//! The demo's site: a folder of its own with the configuration an integrator would write.
//!
//! Always true: the folder goes with its value, and everything the gateway writes is inside it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;

use super::field::Device;

/// Product and device key of the gateway on the simulated platform.
pub(super) const GATEWAY: (&str, &str) = ("edge-gw", "demo-gateway");
/// Product of the three devices.
pub(super) const PRODUCT: &str = "machine";

/// The folder.
pub(super) struct Site {
    folder: TempDir,
}

impl Site {
    /// Writes the configuration for these devices and this broker.
    pub(super) fn build(broker_port: u16, drivers: &Path, devices: &[Device]) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("sagoo-edge-demo-").context("no temporary folder")?;
        let site = Self { folder };
        write(&site.config().join("gateway.toml"), &gateway(site.folder.path(), drivers, broker_port))?;
        write(&site.config().join("conf.d/machine.toml"), MODEL)?;
        for device in devices {
            let file = format!("conf.d/{}.toml", device.character.name);
            write(&site.config().join(file), &on_site(device))?;
        }
        Ok(site)
    }

    /// What `--config` is given.
    pub(super) fn config(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    /// Where the gateway's log goes.
    pub(super) fn log(&self) -> PathBuf {
        self.folder.path().join("gateway.log")
    }

    /// Leaves the folder where it is, for whoever wants to look into it.
    pub(super) fn keep(self) -> PathBuf {
        self.folder.keep()
    }
}

/// The device key of one of the three.
pub(super) fn device_key(name: &str) -> String {
    format!("hall1-{name}")
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let parent = path.parent().expect("a file of the site is in a folder");
    fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

fn gateway(folder: &Path, drivers: &Path, broker_port: u16) -> String {
    let (product_key, device_key) = GATEWAY;
    let (drivers, folder) = (drivers.display(), folder.display());
    format!(
        r#"[gateway]
product_key = "{product_key}"
device_key = "{device_key}"
clock_wait = "0s"

[sagoo]
broker = "mqtt://127.0.0.1:{broker_port}"

[buffer]
dir = "{folder}/buffer"

[drivers]
dirs = ["{drivers}"]
run_dir = "{folder}/run"
allow_unsigned = ["modbus"]

[control]
socket = "{folder}/control.sock"
"#
    )
}

/// What the devices have in common, as an integrator would write it.
pub(super) const MODEL: &str = r#"[model.machine]
version = 1
addresses = "zero-based"
order = "ABCD"
poll = { fast = "1s", slow = "2s" }

[model.machine.points]
counter     = { at = "input:0", type = "u32", poll = "fast" }
temperature = { at = "input:2", type = "f32", unit = "°C", poll = "fast" }
load        = { at = "input:4", type = "f32", unit = "%", poll = "fast" }
setpoint    = { at = "holding:0", type = "u16", scale = 0.1, unit = "°C", poll = "slow", write = { min = 0, max = 300, verify = true } }
"#;

fn on_site(device: &Device) -> String {
    let (name, port) = (device.character.name, device.port);
    let device_key = device_key(name);
    format!(
        r#"[connection.{name}]
driver = "modbus"
tcp = {{ host = "127.0.0.1", port = {port} }}
timeout = "2s"
offline = {{ after = 2, probe = "1s", max_probe = "2s" }}

[device.{name}]
connection = "{name}"
unit = 1
model = "machine@1"
sagoo = {{ product_key = "{PRODUCT}", device_key = "{device_key}" }}
"#
    )
}
