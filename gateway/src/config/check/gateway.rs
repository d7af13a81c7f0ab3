//! `[gateway]`, `[buffer]`, `[drivers]`, `[control]` and `[metrics]`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use sagoo_edge_buffer::WhenFull;

use crate::class::PerClass;
use crate::config::defaults;
use crate::config::problem::Report;
use crate::config::raw::fields::Fields;
use crate::config::raw::read;
use crate::config::raw::tree::{Kind, Node};
use crate::config::types::{
    BufferConfig, ControlConfig, DriversConfig, GatewayConfig, GatewayProperty, MetricsConfig, Sync,
};

use super::{identity, names};

/// What a gateway can say of itself, by the word in the file.
const PROPERTIES: [(&str, GatewayProperty); 7] = [
    ("version", GatewayProperty::Version),
    ("uptime_s", GatewayProperty::UptimeS),
    ("devices", GatewayProperty::Devices),
    ("devices_online", GatewayProperty::DevicesOnline),
    ("waiting_samples", GatewayProperty::WaitingSamples),
    ("buffer_bytes", GatewayProperty::BufferBytes),
    ("evicted_samples", GatewayProperty::EvictedSamples),
];

/// What a full buffer drops, by the word in the file.
const WHEN_FULL: [(&str, WhenFull); 2] =
    [("drop-oldest", WhenFull::DropOldest), ("drop-newest", WhenFull::DropNewest)];

/// Longest path the kernel takes for a unix socket.
const MAX_SOCKET_PATH: usize = 107;
/// `[gateway]`
pub(super) fn gateway(mut fields: Fields<'_>, report: &mut Report) -> GatewayConfig {
    let identity = identity(&mut fields, ["\"edge-gw\"", "\"gw-0001\""], report);
    let properties = fields.get(report, "properties", properties).unwrap_or_default();
    let interval = fields.get(report, "report", read::duration(defaults::REPORT_RANGE));
    let clock_wait = fields.get(report, "clock_wait", read::duration(defaults::CLOCK_WAIT_RANGE));
    fields.finish(report);
    GatewayConfig {
        identity,
        properties,
        report: interval.unwrap_or(defaults::REPORT),
        clock_wait: clock_wait.unwrap_or(defaults::CLOCK_WAIT),
    }
}

fn properties(node: &Node, report: &mut Report) -> Option<BTreeMap<String, GatewayProperty>> {
    let table = read::table(node, report)?;
    let keys: Vec<_> = table.iter().map(|(key, entry)| ("", key.as_str(), entry.key)).collect();
    names::property_keys(&keys, report);
    let word = read::word(&PROPERTIES);
    let read = table.iter().filter_map(|(key, entry)| Some((key.clone(), word(&entry.value, report)?)));
    Some(read.collect())
}

/// `[buffer]`
pub(super) fn buffer(mut fields: Fields<'_>, dir: &Path, report: &mut Report) -> BufferConfig {
    let place = fields.get(report, "dir", read::path(dir));
    let max_size = fields.get(report, "max_size", read::size(defaults::BUFFER_SIZE_RANGE));
    let reserve = fields.get(report, "reserve", read::size(defaults::BUFFER_RESERVE_RANGE));
    let sync = fields.get(report, "sync", sync);
    let events = fields.get(report, "events_when_full", read::word(&WHEN_FULL)).unwrap_or_default();
    let telemetry = fields.get(report, "telemetry_when_full", read::word(&WHEN_FULL)).unwrap_or_default();
    fields.finish(report);
    BufferConfig {
        dir: place.unwrap_or_else(|| defaults::BUFFER_DIR.into()),
        max_size: max_size.unwrap_or(defaults::BUFFER_MAX_SIZE),
        reserve: reserve.unwrap_or(defaults::BUFFER_RESERVE),
        sync: sync.unwrap_or(Sync::Interval(defaults::BUFFER_SYNC)),
        when_full: PerClass { events, telemetry },
    }
}

fn sync(node: &Node, report: &mut Report) -> Option<Sync> {
    match &node.kind {
        Kind::Text(word) if word == "each" => Some(Sync::Each),
        _ => read::duration(defaults::SYNC_RANGE)(node, report).map(Sync::Interval),
    }
}

/// `[drivers]`
pub(super) fn drivers(mut fields: Fields<'_>, dir: &Path, report: &mut Report) -> DriversConfig {
    let dirs = fields.get(report, "dirs", read::list(read::path(dir)));
    let trusted_keys = fields.get(report, "trusted_keys", read::path(dir));
    let allow_unsigned = fields.get(report, "allow_unsigned", read::list(names::driver));
    let run_dir = fields.get(report, "run_dir", |node, report| run_dir(node, dir, report));
    let orphan_grace = fields.get(report, "orphan_grace", read::duration(defaults::ORPHAN_GRACE_RANGE));
    let user = fields.get(report, "user", names::system_user);
    let memory_max = fields.get(report, "memory_max", read::size(defaults::MEMORY_RANGE));
    let cpu_max = fields.get(report, "cpu_max", read::percent(defaults::CPU_RANGE));
    fields.finish(report);
    DriversConfig {
        dirs: dirs.unwrap_or_else(|| defaults::DRIVER_DIRS.map(Into::into).into()),
        trusted_keys: trusted_keys.unwrap_or_else(|| defaults::TRUSTED_KEYS.into()),
        allow_unsigned: allow_unsigned.unwrap_or_default(),
        run_dir: run_dir.unwrap_or_else(|| defaults::DRIVERS_RUN_DIR.into()),
        orphan_grace: orphan_grace.unwrap_or(defaults::ORPHAN_GRACE),
        user,
        memory_max,
        cpu_max,
    }
}

/// A driver works in a directory of its own, so that it must be told an absolute path.
fn run_dir(node: &Node, dir: &Path, report: &mut Report) -> Option<PathBuf> {
    let path = read::path(dir)(node, report)?;
    match std::path::absolute(&path) {
        Ok(path) => Some(path),
        Err(error) => {
            let found = report.error(node.span, format!("{} cannot be found: {error}", path.display()));
            found.hint("write the whole path, from / on");
            None
        }
    }
}

/// `[control]`
pub(super) fn control(mut fields: Fields<'_>, dir: &Path, report: &mut Report) -> ControlConfig {
    let socket = fields.get(report, "socket", |node, report| {
        let path = read::path(dir)(node, report)?;
        if path.as_os_str().len() > MAX_SOCKET_PATH {
            report
                .error(node.span, format!("a socket path of {} bytes", path.as_os_str().len()))
                .hint(format!("the kernel takes at most {MAX_SOCKET_PATH}"));
        }
        Some(path)
    });
    fields.finish(report);
    ControlConfig { socket: socket.unwrap_or_else(|| defaults::CONTROL_SOCKET.into()) }
}

/// `[metrics]`
pub(super) fn metrics(mut fields: Fields<'_>, report: &mut Report) -> MetricsConfig {
    let listen = fields.get(report, "listen", |node, report| {
        let Kind::Text(text) = &node.kind else {
            read::expected("an address like \"127.0.0.1:9464\"", node, report);
            return None;
        };
        let Ok(address) = text.parse::<SocketAddr>() else {
            report
                .error(node.span, format!("{text:?} is no address with a port"))
                .hint("write numbers, like \"127.0.0.1:9464\" or \"[::1]:9464\"");
            return None;
        };
        if !address.ip().is_loopback() {
            report
                .warn(node.span, "metrics are given to everybody who reaches this address, unencrypted")
                .hint("127.0.0.1 is for this machine only; elsewhere let a firewall say who may come");
        }
        Some(address)
    });
    fields.finish(report);
    MetricsConfig { listen }
}
