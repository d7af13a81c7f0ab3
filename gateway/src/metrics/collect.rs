//! The status tree as a page of metrics.
//!
//! Always true: every device, driver and connection of the configuration has its line in each of its
//! metrics from the first scrape on, so that a rule can tell 0 from nothing.

use std::time::Duration;

use super::names::Metric;
use super::page::Page;
use super::process;
use crate::status::{ClassStatus, ConnectionStatus, DeviceStatus, DriverStatus, Ledger, Status};

/// The whole page.
pub(super) fn page(status: &Status) -> String {
    let mut page = Page::default();
    page.metric(Metric::BuildInfo, [(vec![("version", status.version.as_str())], 1)]);
    ledgers(&mut page, &status.devices);
    drivers(&mut page, &status.drivers);
    connections(&mut page, &status.connections);
    buffer(&mut page, status);
    platform(&mut page, status);
    if let Some(bytes) = process::resident_bytes(std::process::id()) {
        page.number(Metric::ProcessMemory, bytes);
    }
    page.number(Metric::ProcessCpu, process::cpu_seconds());
    page.number(Metric::ProcessStart, process::started_at(Duration::from_secs(status.uptime_s)));
    page.into_text()
}

fn ledgers(page: &mut Page, devices: &[DeviceStatus]) {
    let mut each = |metric, of: fn(&Ledger) -> u64| {
        page.metric(metric, devices.iter().map(|device| (device_label(device), of(&device.ledger))));
    };
    each(Metric::SamplesRead, |ledger| ledger.read);
    each(Metric::SamplesSuppressed, |ledger| ledger.suppressed);
    each(Metric::SamplesDropped, |ledger| ledger.dropped_by_driver);
    each(Metric::SamplesStored, |ledger| ledger.stored);
    each(Metric::SamplesAcknowledged, |ledger| ledger.acknowledged);
    each(Metric::SamplesWaiting, |ledger| ledger.waiting);
    each(Metric::SamplesParked, |ledger| ledger.parked);
    each(Metric::SamplesMerged, |ledger| ledger.merged);
    let evicted = devices.iter().flat_map(|device| {
        device.ledger.reasons().map(|(why, samples)| {
            let labels = vec![("device", device.name.as_str()), ("reason", why.word())];
            (labels, samples)
        })
    });
    page.metric(Metric::SamplesEvicted, evicted);
    let off = devices.iter().flat_map(|device| {
        let labels = |identity| vec![("device", device.name.as_str()), ("identity", identity)];
        [(labels("read"), device.ledger.read_off()), (labels("stored"), device.ledger.stored_off())]
    });
    page.metric(Metric::LedgerOff, off);
    let online = devices.iter().map(|device| (device_label(device), u8::from(device.online)));
    page.metric(Metric::DeviceOnline, online);
}

fn device_label(device: &DeviceStatus) -> Vec<(&'static str, &str)> {
    vec![("device", &device.name)]
}

fn drivers(page: &mut Page, drivers: &[DriverStatus]) {
    fn label(driver: &DriverStatus) -> Vec<(&'static str, &str)> {
        vec![("driver", &driver.id)]
    }
    let up = |driver: &DriverStatus| u8::from(matches!(driver.state.as_str(), "running" | "updating"));
    page.metric(Metric::DriverUp, drivers.iter().map(|driver| (label(driver), up(driver))));
    page.metric(Metric::DriverRestarts, drivers.iter().map(|driver| (label(driver), driver.restarts)));
    let memory = drivers.iter().filter_map(|driver| {
        let bytes = process::resident_bytes(driver.pid?)?;
        Some((label(driver), bytes))
    });
    page.metric(Metric::DriverMemory, memory);
}

fn connections(page: &mut Page, connections: &[ConnectionStatus]) {
    fn label(connection: &ConnectionStatus) -> Vec<(&'static str, &str)> {
        vec![("connection", &connection.name), ("driver", &connection.driver)]
    }
    let open = connections.iter().map(|one| (label(one), u8::from(one.line.open)));
    page.metric(Metric::ConnectionOpen, open);
    let busy = connections.iter().map(|one| (label(one), one.line.busy_ms as f64 / 1e3));
    page.metric(Metric::ConnectionBusy, busy);
    page.metric(Metric::PollsSkipped, connections.iter().map(|one| (label(one), one.line.skipped)));
}

fn buffer(page: &mut Page, status: &Status) {
    let buffer = &status.buffer;
    let of = |number: fn(&ClassStatus) -> u64| {
        buffer.classes.iter().map(move |(class, one)| (vec![("class", class.word())], number(one)))
    };
    page.metric(Metric::BufferBytes, of(|one| one.bytes));
    page.metric(Metric::BufferLimit, of(|one| one.max_bytes));
    page.metric(Metric::BufferRecords, of(|one| one.records));
    page.metric(Metric::RecordsEvicted, of(|one| one.evicted_records));
    page.metric(Metric::RecordsDamaged, of(|one| one.damaged_records));
    page.number(Metric::BufferTrouble, u8::from(!buffer.trouble.is_empty()));
}

fn platform(page: &mut Page, status: &Status) {
    let north = &status.northbound;
    page.number(Metric::PlatformConnected, u8::from(north.connected));
    page.number(Metric::MessagesInFlight, north.in_flight);
    page.number(Metric::MessagesSent, north.sent_messages);
    page.number(Metric::MessagesResent, north.resent_messages);
    page.number(Metric::MessagesAcknowledged, north.acknowledged_messages);
    page.number(Metric::CommandsReceived, north.commands);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::class::PerClass;
    use crate::status::{BufferStatus, Evicted, LineStatus};

    #[test]
    fn every_number_of_the_status_is_on_the_page_under_its_name() {
        let mut ledger = Ledger { read: 12, suppressed: 2, stored: 10, acknowledged: 6, ..Ledger::default() };
        ledger.evict(Evicted::Damaged, 3);
        let device = DeviceStatus { name: "m\"1".into(), online: true, ledger, ..DeviceStatus::default() };
        let line = LineStatus { open: true, busy_ms: 1_250, skipped: 4, ..LineStatus::default() };
        let status = Status {
            version: "0.1.0".into(),
            devices: vec![device],
            drivers: vec![DriverStatus {
                id: "modbus".into(),
                state: "running".into(),
                pid: Some(std::process::id()),
                restarts: 3,
                ..DriverStatus::default()
            }],
            connections: vec![ConnectionStatus { name: "hall".into(), driver: "modbus".into(), line }],
            buffer: BufferStatus {
                classes: PerClass {
                    telemetry: ClassStatus { bytes: 17, ..ClassStatus::default() },
                    ..PerClass::default()
                },
                trouble: "no space".into(),
                ..BufferStatus::default()
            },
            ..Status::default()
        };
        let page = page(&status);
        for line in [
            r#"sagoo_edge_build_info{version="0.1.0"} 1"#,
            r#"sagoo_edge_samples_read_total{device="m\"1"} 12"#,
            r#"sagoo_edge_samples_evicted{device="m\"1",reason="damaged"} 3"#,
            r#"sagoo_edge_samples_evicted{device="m\"1",reason="full"} 0"#,
            r#"sagoo_edge_ledger_off_samples{device="m\"1",identity="stored"} 1"#,
            r#"sagoo_edge_ledger_off_samples{device="m\"1",identity="read"} 0"#,
            r#"sagoo_edge_driver_up{driver="modbus"} 1"#,
            r#"sagoo_edge_driver_restarts_total{driver="modbus"} 3"#,
            r#"sagoo_edge_connection_busy_seconds_total{connection="hall",driver="modbus"} 1.25"#,
            r#"sagoo_edge_polls_skipped_total{connection="hall",driver="modbus"} 4"#,
            "sagoo_edge_buffer_bytes{class=\"telemetry\"} 17",
            "sagoo_edge_buffer_in_trouble 1",
            "sagoo_edge_platform_connected 0",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
        assert!(page.contains("\nsagoo_edge_driver_resident_memory_bytes{driver=\"modbus\"} "), "{page}");
        for metric in Metric::ALL {
            let (name, ..) = metric.about();
            assert_eq!(page.matches(&format!("# TYPE {name} ")).count(), 1, "{name}");
        }
    }
}
