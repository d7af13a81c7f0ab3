//! What holds when a key is left out, and the ranges of what may be set. `sample.toml` shows them to
//! people; a test compares the two.

use std::ops::RangeInclusive;
use std::time::Duration;

/// `[gateway] report`
pub const REPORT: Duration = Duration::from_secs(30);
/// Range of `[gateway] report`.
pub const REPORT_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);
/// `[gateway] clock_wait`
pub const CLOCK_WAIT: Duration = Duration::from_secs(600);
/// Range of `[gateway] clock_wait`.
pub const CLOCK_WAIT_RANGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(24 * 3_600);

/// Port of `mqtt://` brokers.
pub const MQTT_PORT: u16 = 1883;
/// Port of `mqtts://` brokers.
pub const MQTTS_PORT: u16 = 8883;
/// `[sagoo] keep_alive`
pub const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Range of `[sagoo] keep_alive`.
pub const KEEP_ALIVE_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
/// `[sagoo] heartbeat`
pub const HEARTBEAT: Duration = Duration::from_secs(10);
/// Range of `[sagoo] heartbeat`: the platform takes 30 s of silence for offline, so that one lost
/// message must not be enough.
pub const HEARTBEAT_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(15);
/// `[sagoo] ack_timeout`
pub const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// Range of `[sagoo] ack_timeout`: the platform stores a message that is repeated a second time, so
/// that hurry costs more than patience.
pub const ACK_TIMEOUT_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);
/// `[sagoo] row_spacing`
pub const ROW_SPACING: Duration = Duration::from_millis(250);
/// `[sagoo] row_spacing` where the platform keeps rows apart itself: a new row waits no longer for
/// one that was sent just before.
pub const ROW_SPACING_ENTERPRISE: Duration = Duration::from_millis(2);
/// Range of `[sagoo] row_spacing` there.
pub const ROW_SPACING_ENTERPRISE_RANGE: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(60);
/// Range of `[sagoo] row_spacing`: the open-source platform overwrites rows of one device that reach
/// its storage together.
pub const ROW_SPACING_RANGE: RangeInclusive<Duration> = Duration::from_millis(250)..=Duration::from_secs(60);

/// `[buffer] dir`
pub const BUFFER_DIR: &str = "/var/lib/sagoo-edge/buffer";
/// `[buffer] max_size`
pub const BUFFER_MAX_SIZE: u64 = 256 << 20;
/// Least of it that events and telemetry have each.
pub const CLASS_SIZE_MIN: u64 = sagoo_edge_buffer::options::MIN_MAX_BYTES;
/// Range of `[buffer] max_size`.
pub const BUFFER_SIZE_RANGE: RangeInclusive<u64> = 2 * CLASS_SIZE_MIN..=1 << 40;
/// Events have this part of the buffer, telemetry the rest.
pub const EVENTS_PER_BUFFER: u64 = 16;
/// `[buffer] reserve`
pub const BUFFER_RESERVE: u64 = sagoo_edge_buffer::options::DEFAULT_RESERVE_BYTES;
/// Range of `[buffer] reserve`.
pub const BUFFER_RESERVE_RANGE: RangeInclusive<u64> = 0..=1 << 40;
/// `[buffer] sync`
pub const BUFFER_SYNC: Duration = Duration::from_secs(1);
/// Range of `[buffer] sync` when it is an interval.
pub const SYNC_RANGE: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);

/// `[drivers] dirs`: what was installed on this box goes before what came with the gateway.
pub const DRIVER_DIRS: [&str; 2] = ["/var/lib/sagoo-edge/drivers", "/usr/lib/sagoo-edge/drivers"];
/// `[drivers] trusted_keys`
pub const TRUSTED_KEYS: &str = "/etc/sagoo-edge/trusted-keys";
/// `[drivers] run_dir`
pub const DRIVERS_RUN_DIR: &str = "/run/sagoo-edge";
/// `[drivers] orphan_grace`
pub const ORPHAN_GRACE: Duration = Duration::from_secs(600);
/// Range of `[drivers] orphan_grace`: long enough for a restart of the gateway, and short enough that
/// what an orphan keeps in memory is bounded by more than its own limits.
pub const ORPHAN_GRACE_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3_600);
/// Range of `[drivers] memory_max`: no driver starts with less.
pub const MEMORY_RANGE: RangeInclusive<u64> = 8 << 20..=1 << 40;
/// Range of `[drivers] cpu_max`, percent of one core.
pub const CPU_RANGE: RangeInclusive<u32> = 1..=12_800;

/// `[control] socket`
pub const CONTROL_SOCKET: &str = "/run/sagoo-edge/control.sock";

/// `[model.*] version`
pub const MODEL_VERSION: u32 = 1;
/// Range of a point's `heartbeat`.
pub const POINT_HEARTBEAT_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(24 * 3_600);
