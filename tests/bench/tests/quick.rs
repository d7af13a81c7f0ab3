//! Each part of the bench goes through all it measures and says it in well-formed JSON.
//!
//! Always true: nothing here looks at how large a figure is. The gateway and driver-modbus have to be
//! built before (`deploy/check.sh build`), as for the end-to-end tests. The part `thingsboard` is left to
//! `deploy/check.sh --long`: it fetches a release from PyPI, which the gate does not.

use std::process::Command;

use serde_json::Value as Json;

/// A table's key, its columns and rows, and the figures that may be missing (row, column).
type Expected<'e> = (&'e str, &'e [&'e str], &'e [&'e str], &'e [(&'e str, &'e str)]);

const PAIRS: &[&str] = &["channel", "plain", "sdk", "mixed", "go"];

fn check(part: &str, expected: &[Expected<'_>]) {
    let out = tempfile::tempdir().expect("a temporary directory");
    let mut bench = Command::new(env!("CARGO_BIN_EXE_bench"));
    let output =
        bench.args([part, "--quick", "--json", "--out"]).arg(out.path()).output().expect("the bench runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "bench {part}: {}\n{said}", output.status);
    assert!(said.contains(part), "it says what it is doing: {said}");
    let json: Json = serde_json::from_slice(&output.stdout).expect("one JSON document");
    let kept = std::fs::read_to_string(out.path().join("results.json")).expect("results.json is kept");
    assert_eq!(
        serde_json::from_str::<Json>(&kept).expect("results.json is JSON"),
        json,
        "what is kept is what was said"
    );

    let section = &json[part];
    assert_eq!((&section["part"], &section["quick"]), (&Json::from(part), &Json::from(true)));
    for key in ["date", "cores", "cpu", "kernel", "load", "profile", "bench", "rust", "go", "go_plugin"] {
        let value = &section["conditions"][key];
        assert!(value.is_u64() || value.as_str().is_some_and(|text| !text.is_empty()), "{key}: {value}");
    }
    assert!(section["notes"][0].is_string());
    let tables = section["tables"].as_array().expect("a list");
    let names = |list: &Json, key: &dyn Fn(&Json) -> Json| -> Vec<String> {
        list.as_array()
            .expect("a list")
            .iter()
            .map(|one| key(one).as_str().expect("a name").to_owned())
            .collect()
    };
    assert_eq!(tables.len(), expected.len(), "{part}");
    for (table, (key, columns, rows, may_be_missing)) in tables.iter().zip(expected) {
        assert_eq!(table["key"], *key);
        assert_eq!(names(&table["columns"], &|column| column[0].clone()), *columns, "{key}");
        assert_eq!(names(&table["rows"], &|row| row["key"].clone()), *rows, "{key}");
        for row in table["rows"].as_array().expect("a list") {
            for column in *columns {
                let figure = &row["figures"][column];
                let place = (row["key"].as_str().expect("a name"), *column);
                if figure.is_null() && may_be_missing.contains(&place) {
                    continue;
                }
                let value =
                    |name: &str| figure[name].as_f64().unwrap_or_else(|| panic!("{key} {place:?}: {figure}"));
                assert!(value("least") <= value("median") && value("median") <= value("most"), "{figure}");
                assert!(
                    figure["unit"].is_string() && !figure["rounds"].as_array().expect("a list").is_empty()
                );
            }
        }
    }
}

#[test]
fn the_boundary_is_measured_for_every_pair() {
    let carried =
        ["samples_per_s", "batches_per_s", "dropped", "paced_per_s", "cpu_s", "host_cpu_s", "plugin_cpu_s"];
    let no_transport = [("channel", "call_p50"), ("channel", "call_p99")];
    let one_process = [("channel", "host_cpu_s"), ("channel", "plugin_cpu_s")];
    // A quick turn may be too short for the Go pair to use a hundredth of a second.
    let too_short = PAIRS.iter().map(|pair| (*pair, "cpu_s")).chain([no_transport[0]]).collect::<Vec<_>>();
    check(
        "boundary",
        &[
            ("round_trip", &["command_p50", "command_p99", "call_p50", "call_p99"], PAIRS, &no_transport),
            ("carried", &carried, PAIRS, &one_process),
            ("times_go", &["command_p50", "call_p50", "samples_per_s", "cpu_s"], &PAIRS[..4], &too_short),
        ],
    );
}

#[test]
fn a_start_is_measured_confined_and_not_and_beside_a_go_plugin() {
    let rows = ["modbus", "modbus_confined", "go"];
    check("start", &[("start", &["ready", "p95", "times_go"], &rows, &[("go", "times_go")])]);
}

#[test]
fn a_take_over_is_measured_for_a_plugin_and_for_a_gateway() {
    let plugin = ["reattach", "p95", "start", "times_start"];
    check(
        "reattach",
        &[
            ("plugin", &plugin, &["modbus"], &[]),
            (
                "gateway",
                &["first", "all", "pause", "times_stop"],
                &["kill", "stop"],
                &[("stop", "times_stop")],
            ),
        ],
    );
}

#[test]
fn a_hot_update_is_measured_for_every_device() {
    let only_once = [("d0", "served"), ("d1", "served"), ("timer", "served"), ("timer", "periods")];
    let columns = ["pause", "periods", "after", "calm", "served"];
    check("update", &[("every_100ms", &columns, &["d0", "d1", "worst", "timer"], &only_once)]);
}

#[test]
fn the_buffer_is_measured_beside_a_file_and_beside_a_queue() {
    let file = ["in", "out", "times_in", "times_out", "written", "open"];
    let only_ours = [("file", "times_in"), ("file", "times_out"), ("file", "open")];
    let queue = ["in", "out", "written", "rss", "start"];
    check(
        "buffer",
        &[("file", &file, &["file", "buffer"], &only_ours), ("queue", &queue, &["mosquitto"], &[])],
    );
}

#[test]
fn the_whole_gateway_is_measured_idle_starting_busy_and_after_an_outage() {
    let carries = ["offered", "stored", "heard", "waiting", "lost", "gateway_cpu", "driver_cpu", "rss"];
    let flash = ["per_stored", "per_sample", "syncs", "samples"];
    let away =
        ["again", "drained", "before_p50", "before_p99", "beside_p50", "beside_p99", "lost", "doubled"];
    // Too short an outage may leave nothing beside the backlog.
    let no_live = ["ordered", "live_first", "hour"].map(|row| [(row, "beside_p50"), (row, "beside_p99")]);
    // strace may not be there.
    let no_strace = [("slow", "syncs"), ("fast", "syncs")];
    check(
        "gateway",
        &[
            ("idle", &["cpu", "wake_ups", "rss", "start"], &["gateway", "driver"], &[("driver", "start")]),
            ("carries", &carries, &["p80"], &[]),
            ("flash", &flash, &["slow", "fast"], &no_strace),
            ("away", &away, &["ordered", "live_first", "hour"], no_live.as_flattened()),
            ("backlog", &["lying", "answers", "out", "filling", "rss"], &["killed"], &[]),
        ],
    );
}

#[test]
fn modbus_tcp_is_measured_from_the_devices_to_the_broker_and_flat_out() {
    let columns = [
        "points_per_s",
        "gateway_cpu",
        "driver_cpu",
        "gateway_rss",
        "driver_rss",
        "jitter_p50",
        "jitter_p99",
        "latency_p50",
        "latency_p99",
        "lost",
        "merged",
    ];
    let flat_out = ["requests_per_s", "registers_per_s", "cpu_us"];
    check(
        "modbus-tcp",
        &[("devices", &columns, &["d1", "d3"], &[]), ("flat_out", &flat_out, &["f1", "f4", "f16"], &[])],
    );
}

#[test]
fn modbus_rtu_is_measured_against_the_wire() {
    let added = ["driver_p50", "driver_p99", "line_p50", "line_p99", "added_p50", "added_p99"];
    check(
        "modbus-rtu",
        &[
            ("efficiency", &["apart", "gap20"], &["b115200n1", "b115200n125"], &[]),
            ("added", &added, &["b115200n1"], &[]),
            ("dead", &["share"], &["alive", "dead"], &[]),
        ],
    );
}

#[test]
fn without_go_it_says_what_to_do() {
    let out = tempfile::tempdir().unwrap();
    let mut bench = Command::new(env!("CARGO_BIN_EXE_bench"));
    let output =
        bench.args(["boundary", "--quick", "--out"]).arg(out.path()).env("PATH", "").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("go is not installed") && said.contains("deploy/check.sh install"), "{said}");
    assert!(!out.path().join("results.json").exists(), "what was not measured is not kept");
}

#[test]
fn the_help_goes_to_stdout_and_a_mistake_to_stderr() {
    let bench = |argument: &str| Command::new(env!("CARGO_BIN_EXE_bench")).arg(argument).output().unwrap();
    let help = bench("--help");
    assert!(help.status.success() && help.stdout.starts_with(b"usage: bench"));
    let mistake = bench("boundry");
    assert_eq!(mistake.status.code(), Some(2));
    assert!(mistake.stdout.is_empty() && String::from_utf8_lossy(&mistake.stderr).contains("boundry"));
}
