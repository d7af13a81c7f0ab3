//! What can be typed, and what is printed for it.

use clap::{CommandFactory as _, Parser as _};
use serde_json::{Value as Json, json};

use crate::class::PerClass;
use crate::commands::{Quality, Verdict};
use crate::control::message::{LeftRunning, OutcomeReply, PointReply, ReloadReply, Reloaded};
use crate::status::{
    Backlog, BufferStatus, ClassStatus, ClockStatus, ConnectionStatus, DeviceStatus, DriverStatus, Dropped,
    LastReload, Ledger, LineStatus, NorthboundStatus, PointStatus, Restart, StandbyStatus, Status,
};

use super::*;

#[test]
fn the_command_line_contradicts_itself_nowhere() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_teaches_with_examples() {
    for command in Cli::command().get_subcommands_mut() {
        let name = command.get_name().to_owned();
        let help = command.render_long_help().to_string();
        assert!(help.contains("Examples:\n  ") && help.contains(&format!("sagoo-edge {name}")), "{help}");
    }
}

fn typed(line: &str) -> Command {
    Cli::try_parse_from(line.split(' ')).unwrap().command
}

#[test]
fn negative_numbers_are_values_and_not_options() {
    let Command::Write(args) = typed("sagoo-edge write meter limit -2.5 --json") else { panic!() };
    assert_eq!((args.value.as_str(), args.gateway.json, args.text), ("-2.5", true, false));
    let Command::Write(args) = typed("sagoo-edge write panel line --text 42") else { panic!() };
    assert_eq!((args.value.as_str(), args.text), ("42", true));
}

#[test]
fn the_configuration_is_found_where_it_usually_is() {
    let Command::Run(args) = typed("sagoo-edge run") else { panic!() };
    assert_eq!(args.config, PathBuf::from("/etc/sagoo-edge"));
    let Command::Read(args) = typed("sagoo-edge read meter a b --socket /run/s") else { panic!() };
    assert_eq!((args.points.len(), args.gateway.socket), (2, Some(PathBuf::from("/run/s"))));
    assert!(Cli::try_parse_from(["sagoo-edge", "status", "--socket", "s", "--config", "d"]).is_err());
}

#[test]
fn a_value_is_what_it_looks_like() {
    let value = |typed: &str| point::typed_value(typed, false).unwrap();
    assert_eq!(value("true"), json!(true));
    assert_eq!(value("-5"), json!(-5));
    assert_eq!(value("+5"), json!(5));
    assert_eq!(value("18446744073709551615"), json!(u64::MAX));
    assert_eq!(value("5.0"), json!(5.0));
    assert_eq!(value("-.5e3"), json!(-500.0));
    for text in ["", "True", "on", "inf", "nan", "-", "1.2.3", "0x10", "12 V", "."] {
        assert_eq!(value(text), Json::from(text));
    }
    assert_eq!(point::typed_value("5", true).unwrap(), json!("5"));
    assert!(point::typed_value("18446744073709551616", false).is_err());
    assert!(point::typed_value("1e999", false).is_err());
}

#[test]
fn a_command_shows_what_became_of_each_point() {
    let point = |point: &str, verdict, value: Option<Json>, message: &str| PointReply {
        point: point.into(),
        verdict,
        message: message.into(),
        quality: if value.is_some() { Quality::Good } else { Quality::Bad },
        value,
    };
    let mut outcome = OutcomeReply {
        id: "cli-1".into(),
        verdict: Verdict::Refused,
        message: "no answer".into(),
        points: vec![
            point("voltage", Verdict::Applied, Some(json!(230.1)), ""),
            point("energy", Verdict::Refused, None, "no answer"),
        ],
        output: None,
    };
    let expected = "POINT    VALUE  RESULT\nvoltage  230.1  applied\nenergy          refused  no answer\n";
    assert_eq!(point::text(&outcome, false), expected);
    let doubted = PointReply {
        quality: Quality::Uncertain,
        ..point("voltage", Verdict::Applied, Some(json!(230.1)), "its time: no clock")
    };
    outcome.points[0] = doubted;
    assert!(point::text(&outcome, false).contains("applied  uncertain: its time: no clock\n"));
    let alone = OutcomeReply { points: Vec::new(), message: "no device \"x\"".into(), ..outcome };
    assert_eq!(point::text(&alone, false), "refused: no device \"x\"\n");
}

fn sample_status() -> Status {
    let ledger = Ledger {
        read: 12_345,
        suppressed: 345,
        stored: 12_000,
        acknowledged: 11_990,
        waiting: 7,
        evicted: 3,
        evicted_full: 3,
        ..Ledger::default()
    };
    let voltage = PointStatus {
        name: "voltage".into(),
        value: Some(json!(230.1)),
        unit: "V".into(),
        quality: "good".into(),
        reason: String::new(),
        age_ms: Some(340),
    };
    let device = DeviceStatus {
        name: "meter-3a".into(),
        connection: "hall".into(),
        online: true,
        product_key: "em24".into(),
        device_key: "hall3-meter-a".into(),
        platform: "known".into(),
        points: vec![voltage],
        ledger,
        ..DeviceStatus::default()
    };
    let dead = DeviceStatus {
        name: "pump".into(),
        connection: "hall".into(),
        reason: "no answer\x1b[2J".into(),
        platform: "probing".into(),
        ..DeviceStatus::default()
    };
    Status {
        version: "0.1.0".into(),
        uptime_s: 7_380,
        gateway: "gw-0001".into(),
        drivers: vec![DriverStatus {
            id: "modbus".into(),
            state: "running".into(),
            pid: Some(42),
            version: "0.1.0".into(),
            ..DriverStatus::default()
        }],
        connections: Vec::new(),
        devices: vec![device, dead],
        buffer: BufferStatus::of(PerClass {
            events: ClassStatus { bytes: 512, max_bytes: 16 << 20, ..ClassStatus::default() },
            telemetry: ClassStatus {
                bytes: 1_024,
                max_bytes: 240 << 20,
                waiting_rows: 2,
                memory_bytes: 2_048,
                dropped: [("oldest".to_owned(), Dropped { rows: 3, samples: 30 })].into(),
                trouble: "write /b/1.seg: no space".into(),
                ..ClassStatus::default()
            },
        }),
        state_trouble: "small state is not available: open /s".into(),
        clock: ClockStatus { state: "waiting".into(), waits_s: Some(75), remedy: "set it".into() },
        northbound: NorthboundStatus {
            broker: "mqtts://b:8883".into(),
            last_error: "refused".into(),
            ..NorthboundStatus::default()
        },
        totals: ledger,
        restart: None,
        metrics: None,
        backlog: Backlog { waiting: 7, done_in_s: Some(0), ..Backlog::default() },
        last_reload: None,
    }
}

#[test]
fn a_backlog_says_when_it_will_be_done_or_that_it_will_not() {
    let shown = |done_in_s| {
        let backlog = Backlog { waiting: 36_000, done_in_s, ..Backlog::default() };
        status::text(&Status { backlog, ..sample_status() }, false)
    };
    assert!(shown(Some(300)).contains("36 000 samples waiting, done in 5 min 0 s\n"));
    assert!(shown(None).contains("36 000 samples waiting, not done at this rate\n"));
    let json = serde_json::to_value(Backlog { done_in_s: None, ..Backlog::default() }).unwrap();
    assert_eq!(json["done_in_s"], serde_json::Value::Null);
}

#[test]
fn the_status_is_read_at_a_glance() {
    let expected = "\
gw-0001  version 0.1.0, up 2 h 3 min

platform  not connected for 0.0 s, mqtts://b:8883
          refused
          0 samples in 0 messages sent, 0 acknowledged, 0 sent again, 0 in flight; 0 commands
buffer    1.5 KiB of 256 MiB, 7 samples waiting
          events: 512 B of 16 MiB, 0 rows waiting
          telemetry: 1 KiB of 240 MiB, 2 rows waiting
          2 KiB of telemetry in memory, because the disk takes no data
          3 rows of telemetry dropped: the oldest, because it was full
          write /b/1.seg: no space
          small state is not available: open /s
clock     not trusted: rows wait for it, at most 1 min 15 s more
          set it

DRIVER  STATE    VERSION  PID  RESTARTS  SIGNED
modbus  running  0.1.0     42         0  no

DEVICE    CONNECTION  STATE    PLATFORM  WAITING  LOST
meter-3a  hall        online   known           7     3
pump      hall        offline  probing         0     0  no answer\u{fffd}[2J

samples   12 345 read, 12 000 stored, 11 990 acknowledged, 7 waiting, 3 lost
          the ledger balances
";
    assert_eq!(status::text(&sample_status(), false), expected);
}

#[test]
fn the_ledger_shows_each_number_of_both_identities_and_whether_they_hold() {
    let restart =
        Restart { cause: "the power was cut".into(), wall_ms: 1_709_251_199_000, missing_samples: 1_234 };
    let mut status = Status { restart: Some(restart), ..sample_status() };
    let expected = "\
DEVICE      READ  SUPPRESSED  STORED
meter-3a  12 345         345  12 000  balances
pump           0           0       0  balances
all       12 345         345  12 000  balances

DEVICE    STORED   ACKED  WAITING  FULL  MERGED
meter-3a  12 000  11 990        7     3       0  balances
pump           0       0        0     0       0  balances
all       12 000  11 990        7     3       0  balances

2024-02-29 23:59:59 UTC: the power was cut
  1 234 samples that were counted are gone; what was read after the last sync may be, too
";
    assert_eq!(ledger::text(&status, false), expected);
    (status.devices[0].ledger.read, status.devices[0].ledger.merged) = (12_346, 2);
    let shown = ledger::text(&status, false);
    assert!(shown.contains("12 000  1 ARE NOWHERE\n") && shown.contains("       2  2 TOO MANY\n"), "{shown}");
    let expected = "\
meter-3a
                         SAMPLES
read                      12 346  1 ARE NOWHERE
  suppressed                 345
  dropped by the driver        0
  stored                  12 000
stored                    12 000  2 TOO MANY
  acknowledged            11 990
  waiting                      7
  evicted: buffer full         3
  evicted: damaged             0
  evicted: too large           0
  evicted: unwritten           0
  parked                       0
  merged                       2
";
    assert_eq!(ledger::device_text(&status.devices[0], false), expected);
    let json = ledger::document(&status);
    assert_eq!((&json["devices"][0]["read_off"], &json["devices"][0]["stored_off"]), (&json!(1), &json!(-2)));
    assert_eq!(json["devices"][1]["name"], "pump");
    assert_eq!(
        (&json["totals"]["stored"], &json["restart"]["missing_samples"]),
        (&json!(12_000), &json!(1_234))
    );
}

#[test]
fn what_there_is_to_say_about_a_driver_stands_below_its_line() {
    let standby = StandbyStatus { pid: Some(43), state: "ready".into() };
    let mut status = sample_status();
    status.drivers[0].standby = Some(standby);
    status.drivers[0].update = "version 0.2.0 took over; longest gap 0.4 s".into();
    status.drivers[0].lacks = vec!["cgroup: not delegated".into()];
    status.drivers.push(DriverStatus {
        id: "serial".into(),
        state: "quarantined".into(),
        last_error: "it ended 5 times".into(),
        last_lines: vec!["thread panicked\x1b[2J".into()],
        restarts: 5,
        signed: true,
        ..DriverStatus::default()
    });
    let expected = "\
DRIVER  STATE        VERSION  PID  STANDBY   RESTARTS  SIGNED
modbus  running      0.1.0     42  ready 43         0  no
serial  quarantined                                 5  yes     it ended 5 times
modbus: version 0.2.0 took over; longest gap 0.4 s
modbus: not confined by cgroup: not delegated
serial: | thread panicked\u{fffd}[2J
";
    let shown = status::text(&status, false);
    assert!(shown.contains(expected), "{shown}");
}

#[test]
fn a_connection_shows_how_busy_its_line_is_and_polls_that_are_left_out_stand_out() {
    let line = |open, busy_percent, skipped, skipped_last_minute, reason: &str| LineStatus {
        open,
        reason: reason.into(),
        busy_percent,
        busy_ms: 1,
        skipped,
        skipped_last_minute,
    };
    let connection = |name: &str, line| ConnectionStatus { name: name.into(), driver: "fake".into(), line };
    let connections = vec![
        connection("bus1", line(true, Some(97.3), 1_234, 12, "")),
        connection("bus2", line(true, Some(0.0), 7, 0, "")),
        connection("hall", line(false, None, 0, 0, "connection refused\x1b[2J")),
    ];
    let status = Status { connections, ..sample_status() };
    let expected = "
CONNECTION  DRIVER  LINE        BUSY  SKIPPED
bus1        fake    open      97.3 %    1 234  12 polls left out in the last minute: the line is too busy
bus2        fake    open       0.0 %        7
hall        fake    not open                0  connection refused\u{fffd}[2J

DEVICE";
    let shown = status::text(&status, false);
    assert!(shown.contains(expected), "{shown}");
    assert!(status::text(&status, true).contains("\x1b[33m1 234\x1b[0m"));
    let json = json!(status);
    assert_eq!(json["connections"][0]["busy_percent"], 97.3);
    assert_eq!(json["connections"][0]["skipped_last_minute"], 12);
}

#[test]
fn a_reload_that_was_refused_stands_out_in_the_status() {
    let message = "1 mistake; nothing changed, the gateway runs as before".to_owned();
    let last_reload = Some(LastReload { done: false, message, since_s: 75, boot_ns: 0 });
    let shown = status::text(&Status { last_reload, ..sample_status() }, false);
    assert!(shown.contains("\nreload    1 min 15 s ago: 1 mistake; nothing changed"), "{shown}");
}

#[test]
fn a_reload_shows_its_mistakes_its_changes_and_how_it_ended() {
    let reply = ReloadReply {
        result: Reloaded::Applied,
        message: "the new configuration runs: 1 connection, 1 device, 1 point".into(),
        changes: vec!["[device.a] is new".into()],
        problems: Vec::new(),
        text: String::new(),
    };
    let expected = "[device.a] is new\nthe new configuration runs: 1 connection, 1 device, 1 point\n";
    assert_eq!(reload::text(&reply, false), expected);
    let refused = ReloadReply {
        result: Reloaded::Refused,
        text: "gateway.toml:2:1: wrong\n  |\n2 | \tx\x1b[2J\n  | \t^\n".into(),
        changes: Vec::new(),
        message: "1 mistake; nothing changed".into(),
        ..reply
    };
    let expected = "gateway.toml:2:1: wrong\n  |\n2 |  x\u{fffd}[2J\n  |  ^\n\n1 mistake; nothing changed\n";
    assert_eq!(reload::text(&refused, false), expected);
}

#[test]
fn a_handover_says_who_is_left() {
    let left = [LeftRunning { id: "modbus".into(), pid: 42 }, LeftRunning { id: "serial".into(), pid: 43 }];
    let expected = "the gateway has ended; left running: modbus (pid 42), serial (pid 43)\n";
    assert_eq!(handover::text(&left), expected);
    assert_eq!(handover::text(&[]), "the gateway has ended; no driver is left running\n");
}

#[test]
fn one_device_shows_its_points() {
    let shown = status::device_text(&sample_status().devices[0], false);
    let expected = "\
meter-3a  online, on hall, em24/hall3-meter-a on the platform (known)

POINT    VALUE  UNIT    AGE  QUALITY
voltage  230.1  V     0.3 s  good
";
    assert!(shown.starts_with(expected), "{shown}");
}

#[test]
fn colours_change_no_word() {
    let plain = status::text(&sample_status(), false);
    let coloured = status::text(&sample_status(), true);
    let mut stripped = String::new();
    for (i, part) in coloured.split("\x1b[").enumerate() {
        stripped += if i == 0 { part } else { part.split_once('m').unwrap().1 };
    }
    assert_eq!(stripped, plain);
}

#[tokio::test]
async fn a_gateway_that_does_not_run_is_answered_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway { config: dir.path().into(), socket: Some(dir.path().join("s")), json: false };
    let error = gateway.ask(&Request::Status).await.unwrap_err();
    assert!(
        error.starts_with("no gateway answers at ") && error.contains("sagoo-edge run --config"),
        "{error}"
    );
}

#[test]
fn long_last_words_of_a_driver_are_clipped_in_the_text_and_whole_in_json() {
    let mut status = sample_status();
    let long = "ä".repeat(5_000);
    let cause = "a cause of ours ".repeat(20);
    let driver = &mut status.drivers[0];
    (driver.state, driver.last_error, driver.last_lines) = (
        "quarantined".into(),
        format!("{cause}; its last words: {long}"),
        vec![long.clone(), "short".into()],
    );
    let shown = status::text(&status, false);
    let clipped = format!("{}… (--json shows all)\n", "ä".repeat(200));
    assert_eq!(shown.matches(&clipped).count(), 2, "{shown}");
    assert!(shown.contains(&cause), "{shown}");
    assert!(!shown.contains(&"ä".repeat(201)) && shown.contains("| short\n"), "{shown}");
    assert!(serde_json::to_string(&status).unwrap().contains(&long));
}
