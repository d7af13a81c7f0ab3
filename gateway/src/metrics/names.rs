//! Every metric there is: its name, what kind of number it is, and what it says.
//!
//! Always true: counters end in `_total` and never fall while the process lives; units are in the name. A
//! number that may be taken back is a gauge.

/// What Prometheus may do with the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only rises, from zero at a start of the process or from what was kept.
    Counter,
    /// Goes up and down.
    Gauge,
}

macro_rules! metrics {
    ($($variant:ident = $kind:ident $name:literal $help:literal,)*) => {
        /// All of them, in the order of the page.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Metric {
            $(#[doc = $help] $variant,)*
        }

        impl Metric {
            /// For the tests.
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$variant),*];

            /// Name, kind, and what it says.
            pub(super) fn about(self) -> (&'static str, Kind, &'static str) {
                match self {
                    $(Self::$variant => ($name, Kind::$kind, $help),)*
                }
            }
        }
    };
}

metrics! {
    BuildInfo = Gauge "sagoo_edge_build_info" "Always 1, with the version of the gateway.",
    SamplesRead = Counter "sagoo_edge_samples_read_total" "Samples read from the device.",
    SamplesSuppressed = Counter "sagoo_edge_samples_suppressed_total" "Samples not worth a row: unchanged within the deadband, or bad without news.",
    SamplesDropped = Counter "sagoo_edge_samples_dropped_by_driver_total" "Samples the driver could not keep while the gateway was away.",
    SamplesStored = Counter "sagoo_edge_samples_stored_total" "Samples taken for the platform.",
    SamplesAcknowledged = Counter "sagoo_edge_samples_acknowledged_total" "Samples the platform has answered for.",
    SamplesWaiting = Gauge "sagoo_edge_samples_waiting" "Samples in the buffer.",
    SamplesEvicted = Gauge "sagoo_edge_samples_evicted" "Samples lost on this side of the platform, by reason; a late answer takes some back.",
    SamplesParked = Gauge "sagoo_edge_samples_parked" "Samples given up, because the platform answers others and never these.",
    SamplesMerged = Counter "sagoo_edge_samples_merged_total" "Samples that went as a newer value of the same point.",
    LedgerOff = Gauge "sagoo_edge_ledger_off_samples" "What an identity of the ledger is off by; anything but 0 is an error.",
    DeviceOnline = Gauge "sagoo_edge_device_online" "1 while the device answers.",
    DriverUp = Gauge "sagoo_edge_driver_up" "1 while the driver runs and reads.",
    DriverRestarts = Counter "sagoo_edge_driver_restarts_total" "Restarts of the driver since the start of the gateway.",
    DriverMemory = Gauge "sagoo_edge_driver_resident_memory_bytes" "Memory of the driver's process.",
    ConnectionOpen = Gauge "sagoo_edge_connection_open" "1 while requests can be made on the connection.",
    ConnectionBusy = Counter "sagoo_edge_connection_busy_seconds_total" "Time spent in requests since the start of the driver.",
    PollsSkipped = Counter "sagoo_edge_polls_skipped_total" "Due polls left out because the line was busy, since the start of the driver.",
    BufferBytes = Gauge "sagoo_edge_buffer_bytes" "What the buffer takes of the disk.",
    BufferLimit = Gauge "sagoo_edge_buffer_limit_bytes" "What it may take.",
    BufferRecords = Gauge "sagoo_edge_buffer_records" "Records in the buffer, answered ones in the oldest segment included.",
    RecordsEvicted = Counter "sagoo_edge_records_evicted_total" "Records dropped because the buffer was full, since the start of the gateway.",
    RecordsDamaged = Counter "sagoo_edge_records_damaged_total" "Records set aside because they were damaged, since the start of the gateway.",
    BufferTrouble = Gauge "sagoo_edge_buffer_in_trouble" "1 while the disk takes or gives no data.",
    PlatformConnected = Gauge "sagoo_edge_platform_connected" "1 while the broker is connected.",
    MessagesInFlight = Gauge "sagoo_edge_messages_in_flight" "Messages waiting for the platform's answer.",
    MessagesSent = Counter "sagoo_edge_messages_sent_total" "Messages handed to the broker the first time.",
    MessagesResent = Counter "sagoo_edge_messages_resent_total" "Messages sent again, with the same id and bytes.",
    MessagesAcknowledged = Counter "sagoo_edge_messages_acknowledged_total" "Messages the platform has answered.",
    CommandsReceived = Counter "sagoo_edge_commands_received_total" "Commands of the platform.",
    ProcessMemory = Gauge "process_resident_memory_bytes" "Memory of the gateway's process.",
    ProcessCpu = Counter "process_cpu_seconds_total" "Processor time of the gateway's process.",
    ProcessStart = Gauge "process_start_time_seconds" "Start of the gateway's process, Unix time.",
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_say_what_kind_of_number_they_are() {
        let names: BTreeSet<&str> = Metric::ALL.iter().map(|metric| metric.about().0).collect();
        assert_eq!(names.len(), Metric::ALL.len());
        for (name, kind, help) in Metric::ALL.iter().map(|metric| metric.about()) {
            assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
            assert!(help.ends_with('.'), "{help}");
        }
    }
}
