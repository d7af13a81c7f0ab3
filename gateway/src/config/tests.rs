//! Tests over whole configurations: the cases, the sample, and any text at all.
//!
//! A case is a folder of files and `expected.txt`: every problem in its one-line form, or the summary
//! of a valid configuration.

use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::types::{Broker, Deadband, Profile, Sync};
use super::*;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config")
}

fn write_all(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("conf.d")).unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn outcome(loaded: &Loaded) -> String {
    let mut lines: Vec<_> = loaded.problems.iter().map(ToString::to_string).collect();
    if let Some(config) = &loaded.config {
        lines.push(format!("valid: {}", config.summary()));
    }
    lines.join("\n") + "\n"
}

#[test]
fn every_case_gives_the_problems_it_expects() {
    let mut cases: Vec<_> =
        fs::read_dir(folder().join("cases")).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 12, "{} cases found", cases.len());
    let mut wrong = String::new();
    for case in cases {
        let expected = fs::read_to_string(case.join("expected.txt")).unwrap_or_default();
        let found = outcome(&load(&case));
        if found != expected {
            wrong += &format!("--- {}\nexpected:\n{expected}\nfound:\n{found}\n", case.display());
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// The sample with the lines that begin with one of `marks` put in force.
fn sample(marks: &[&str]) -> String {
    let text = fs::read_to_string(folder().join("sample.toml")).unwrap();
    let lines =
        text.lines().map(|line| marks.iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

fn valid(text: &str) -> Config {
    let dir = write_all(&[("gateway.toml", text)]);
    let loaded = load(dir.path());
    assert!(loaded.problems.is_empty(), "{}", outcome(&loaded));
    loaded.config.unwrap()
}

#[test]
fn the_sample_is_valid_as_it_is() {
    valid(&sample(&[]));
}

#[test]
fn the_sample_shows_the_defaults() {
    let as_is = valid(&sample(&[]));
    let spelled_out = valid(&sample(&["# "]));
    assert_eq!(format!("{as_is:#?}"), format!("{spelled_out:#?}"));
    let shown = sample(&[]).lines().filter(|line| line.starts_with("# ")).count();
    assert_eq!(shown, 21, "every default is shown once");
    assert_eq!(as_is.sagoo.heartbeat, defaults::HEARTBEAT);
    assert_eq!(as_is.buffer.sync, Sync::Interval(Duration::from_secs(1)));
    assert_eq!(as_is.sagoo.client_id, "gw-0001");
}

fn parsed(settings: &str) -> serde_json::Value {
    serde_json::from_str(settings).unwrap()
}

#[test]
fn the_samples_example_is_read_key_by_key() {
    let config = valid(&sample(&["#> "]));
    assert_eq!(config.sagoo.broker, Broker { host: "broker.example".into(), port: 8883, tls: true });
    assert_eq!(config.sagoo.profile, Profile::Community);
    assert_eq!(config.sagoo.password.as_deref(), Some(Path::new("/etc/sagoo-edge/secrets/mqtt")));
    assert_eq!(
        parsed(&config.connections["hall"].settings),
        json!({"tcp": {"host": "192.168.1.40", "port": 502}})
    );
    assert!(config.connections["hall"].standby);
    let files: Vec<String> =
        config.connections["secure"].files.iter().map(|(place, _)| place.join(".")).collect();
    assert_eq!(files, ["tls.ca", "tls.certificate", "tls.key"], "what the gateway reads for the driver");
    assert_eq!(config.drivers.user.as_deref(), Some("sagoo-driver"));
    assert_eq!((config.drivers.memory_max, config.drivers.cpu_max), (Some(64 << 20), Some(50)));
    let model = &config.models["em24"];
    let settings = parsed(&model.settings);
    assert_eq!(model.version, 3);
    assert_eq!(
        settings["points"]["voltage"],
        json!({"at": "input:0x00", "type": "i32", "scale": 0.1, "poll": "fast"})
    );
    assert_eq!(settings.get("version"), None);
    let device = &config.devices["meter-3a"];
    assert_eq!((device.connection.as_str(), device.model.as_str()), ("hall", "em24"));
    assert_eq!(parsed(&device.settings), json!({"unit": 11, "points": {"voltage": {"scale": 1.0}}}));
    assert_eq!(settings["points"]["phase"]["enum"], json!({"0": "L123", "1": "L132"}));
    assert_eq!(device.points["voltage"].deadband, Some(Deadband::Percent(1.0)));
    assert_eq!(device.points["voltage"].unit, "V");
    assert_eq!(device.points["energy"].deadband, Some(Deadband::Absolute(0.0)));
    assert_eq!(device.points["energy"].heartbeat, Some(Duration::from_secs(900)));
    assert_eq!(device.points["limit"].key, "current_limit");
    assert_eq!(device.points["limit"].deadband, None);
}

#[test]
fn a_driver_problem_is_shown_at_its_place_or_the_nearest_there_is() {
    let field =
        "\n\t[model.em24]\n\t[model.em24.points]\n电压 = { at = \"x\", key = \"u\" }\nholes = [1, [2, 3]]\n";
    let dir = write_all(&[("gateway.toml", ""), ("conf.d/hall.toml", field)]);
    let sources = load(dir.path()).sources;
    let place = |path: &str| {
        let path: Vec<String> = path.split('/').map(str::to_owned).collect();
        let found = DriverProblem { path, message: "m".into(), hint: String::new(), warning: false };
        let [problem] = &sources.problems(vec![found])[..] else { panic!("one problem is one") };
        (problem.place.to_string(), problem.place.width)
    };
    assert_eq!(place("model/em24/points/电压/at"), ("conf.d/hall.toml:4:8".into(), 8));
    assert_eq!(place("model/em24/points/电压/scale"), ("conf.d/hall.toml:4:1".into(), 2));
    assert_eq!(place("model/em24/points/holes/1/0"), ("conf.d/hall.toml:5:14".into(), 1));
    assert_eq!(place("model/em24/points/none/at"), ("conf.d/hall.toml:3:2".into(), 19));
    assert_eq!(place("model/other"), ("conf.d/hall.toml:2:3".into(), 5));
    assert_eq!(place("nothing"), ("gateway.toml:1:1".into(), 1));
}

fn pictures(third_line: &str) -> String {
    let rest = "product_key = \"p\"\ndevice_key = \"d\"\n[sagoo]\nbroker = \"mqtts://b\"\n";
    let dir = write_all(&[("gateway.toml", &format!("[gateway]\n{third_line}\n{rest}"))]);
    let loaded = load(dir.path());
    loaded.problems.iter().map(|problem| problem.picture(&loaded.sources, false)).collect()
}

#[test]
fn a_picture_marks_the_place_below_its_line() {
    let picture = pictures("\t\treprot = \"1s\" # 电");
    let expected = "gateway.toml:2:3: unknown key \"reprot\"; did you mean \"report\"?\n  |\n\
        2 | \t\treprot = \"1s\" # 电\n  | \t\t^^^^^^\n";
    assert_eq!(picture, expected);
}

#[test]
fn a_picture_cannot_steer_the_terminal() {
    let picture = pictures("# \x1b[31m");
    assert!(picture.contains("[31m") && !picture.contains('\x1b'), "{picture}");
}

#[test]
fn relative_paths_begin_at_the_configuration() {
    let text = "gateway = { product_key = \"p\", device_key = \"d\" }\n\
        sagoo = { broker = \"mqtts://b\", username = \"u\", password = { file = \"secret\" } }\n\
        buffer = { dir = \"data\", sync = \"each\" }\ndrivers = { run_dir = \"run\" }";
    let dir = write_all(&[("gateway.toml", text)]);
    let config = load(dir.path()).config.unwrap();
    assert_eq!(config.buffer.dir, dir.path().join("data"));
    assert_eq!(config.drivers.run_dir, dir.path().join("run"));
    assert_eq!(config.buffer.sync, Sync::Each);
    assert_eq!(config.sagoo.password, Some(dir.path().join("secret")));
}

#[test]
fn drivers_can_check_their_part_although_the_gateways_has_mistakes() {
    let loaded = load(&folder().join("cases/unknown_references"));
    assert!(loaded.config.is_none());
    let draft = loaded.draft.unwrap();
    assert!(draft.connections.contains_key("bus1") && draft.models.contains_key("em24"));
    let text = sample(&["#> "])
        .replace("product_key = \"em24\",", "")
        .replace("10s", "10")
        .replace("mqtts:", "mqt:");
    let dir = write_all(&[("gateway.toml", &text)]);
    let loaded = load(dir.path());
    assert!(loaded.config.is_none());
    assert_eq!(loaded.draft.unwrap().devices["meter-3a"].points.len(), 7);
    assert!(load(&folder().join("cases/syntax_errors")).draft.is_none());
}

#[test]
fn the_control_socket_is_found_whatever_else_is_wrong() {
    let dir = write_all(&[("conf.d/x.toml", "[control]\nsocket = \"run/s\"\n[gatway]\n")]);
    assert_eq!(control_socket(dir.path()), dir.path().join("run/s"));
    assert_eq!(control_socket(Path::new("/nowhere")), Path::new(defaults::CONTROL_SOCKET));
}

#[test]
fn more_devices_than_one_gateway_carries_are_refused_at_the_first_too_many() {
    let mut text =
        "gateway = { product_key = \"p\", device_key = \"g\" }\nsagoo = { broker = \"mqtts://b\" }\n\
        connection.c = { driver = \"modbus\" }\nmodel.m.points.x = {}\n"
            .to_owned();
    for number in 0..=550 {
        let keys = format!("product_key = \"q\", device_key = \"d{number:03}\"");
        text +=
            &format!("device.d{number:03} = {{ connection = \"c\", model = \"m\", sagoo = {{ {keys} }} }}\n");
    }
    let dir = write_all(&[("gateway.toml", &text)]);
    let loaded = load(dir.path());
    let found: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains(":555:") && found[0].contains("551 devices"), "{found:?}");
    assert!(loaded.config.is_none());
}

#[test]
fn a_missing_file_names_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let loaded = load(&dir.path().join("nowhere"));
    assert!(loaded.config.is_none());
    let [problem] = &loaded.problems[..] else { panic!("{:?}", loaded.problems) };
    assert!(problem.message.contains("nowhere/gateway.toml"), "{problem}");
}

#[test]
fn text_that_is_not_utf8_is_a_problem_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("gateway.toml"), b"[gateway]\nproduct_key = \"\xff\"\n").unwrap();
    let problems = load(dir.path()).problems;
    assert!(
        problems.iter().any(|p| p.to_string().starts_with("gateway.toml:2:16: not UTF-8")),
        "{problems:?}"
    );
}

proptest! {
    #[test]
    fn any_text_is_a_configuration_or_problems(text in "\\PC{0,200}") {
        judge(&text);
    }

    /// Pieces of real configurations in any order reach deeper than random text.
    #[test]
    fn any_pieces_are_a_configuration_or_problems(
        pieces in proptest::collection::vec(prop::sample::select(PIECES), 0..24),
    ) {
        judge(&pieces.concat());
    }

    /// The sample with one piece of it replaced.
    #[test]
    fn a_damaged_sample_is_a_configuration_or_problems(
        at in 0..4000usize, len in 0..40usize, with in "[\\[\\]{}=\"'.,#\n0-9a-z电]{0,6}",
    ) {
        let mut text = sample(&["# ", "#> "]);
        let start = text.floor_char_boundary(at.min(text.len()));
        let end = text.floor_char_boundary((start + len).min(text.len())).max(start);
        text.replace_range(start..end, &with);
        judge(&text);
    }
}

const PIECES: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ",",
    ".",
    "\n",
    " ",
    "\"",
    "'",
    "#",
    "gateway",
    "sagoo",
    "device",
    "model",
    "connection",
    "points",
    ".x",
    "\"em24@3\"",
    "5",
    "-1",
    "0x",
    "1e999",
    "nan",
    "true",
    "1979-05-27",
    "\r\n",
    "\u{feff}",
    "product_key = \"a\"\n",
    "device_key = \"b\"\n",
    "model = \"x\"\n",
    "driver = \"modbus\"\n",
    "\"\"\"",
    "\0",
    "电",
];

fn judge(text: &str) {
    let dir = write_all(&[("gateway.toml", text), ("conf.d/again.toml", text)]);
    let loaded = load(dir.path());
    let mistakes = loaded.problems.iter().filter(|problem| !problem.warning).count();
    assert_eq!(loaded.config.is_some(), mistakes == 0, "{}", outcome(&loaded));
    for problem in &loaded.problems {
        assert!(!problem.message.is_empty());
        let _ = (problem.picture(&loaded.sources, true), problem.to_json());
    }
}
