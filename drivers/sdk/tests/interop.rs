//! HashiCorp's own plugin library as the host of our plugins: the Go host of `tests/interop/go`
//! runs `examples/kv.rs`, and a driver.

#![allow(clippy::unwrap_used, reason = "a test may; clippy does not see that what tests share is one")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value as Json;

/// What a Go host takes in one message is not limited; this is sent.
const LARGE: u64 = 20 << 20;
const PRINTED: u64 = 10 << 20;
/// Callbacks in either direction.
const ROUNDS: i64 = 20;
/// A Go host looks once a second whether a plugin it attached to is gone.
const GO_LOOKS_MS: i64 = 1_000;
/// The grace a Go host gives a plugin to end; a plugin that needs all of it was killed.
const GO_KILLS_MS: i64 = 2_000;

fn target() -> PathBuf {
    let tests = env::current_exe().expect("this is a program");
    tests.ancestors().nth(3).expect("target/debug/deps/test").to_owned()
}

/// The Go host, which cargo does not build.
fn go_host() -> PathBuf {
    let program = target().join("interop/go-host");
    assert!(program.exists(), "{} is not built: run deploy/check.sh build", program.display());
    program
}

fn example(name: &str) -> PathBuf {
    let tests = env::current_exe().expect("this is a program");
    let program = tests.ancestors().nth(2).expect("target/debug/deps/test").join("examples").join(name);
    assert!(program.exists(), "build the examples too: cargo test without --test");
    program
}

/// Runs the plugin under the Go host and returns what that saw.
fn seen(options: &[&str], plugin: &Path, temp: &Path) -> Json {
    let output = Command::new(go_host())
        .args(options)
        .arg(plugin)
        .env("TMPDIR", temp)
        .env("KV_LOG", "trace")
        .env("SAGOO_LOG", "debug")
        .stdin(Stdio::null())
        .output()
        .expect("the Go host runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// The same for the store, with everything looked at that does not depend on the way.
fn seen_of_the_store(options: &[&str]) -> Json {
    let temp = tempfile::tempdir().unwrap();
    let seen = seen(options, &example("kv"), temp.path());
    assert_eq!(seen["error"], "", "{options:?}");
    assert_eq!(seen["got"], LARGE, "{options:?}");
    let printed = serde_json::json!({"bytes": PRINTED, "wrong": false});
    assert_eq!((&seen["stdout"], &seen["stderr"]), (&printed, &printed), "{options:?}");
    assert_eq!((&seen["exited"], &seen["exit_code"]), (&true.into(), &0.into()), "{options:?}");
    assert_eq!(left(temp.path()), [""; 0], "{options:?}: sockets are left");
    seen
}

fn left(dir: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    fs::read_dir(dir).unwrap().map(|entry| name(entry).to_string_lossy().into_owned()).collect()
}

fn callbacks(seen: &Json, times: usize) {
    let sums = |base: i64| -> Json {
        (0..ROUNDS).map(|i| base + i).cycle().take(times * ROUNDS as usize).collect::<Vec<_>>().into()
    };
    assert_eq!((&seen["called_us"], &seen["called_it"]), (&sums(1_000), &sums(2_000)));
}

/// The line of the plugin's log with this message.
fn logged<'a>(seen: &'a Json, message: &str) -> &'a Json {
    let lines = seen["logs"].as_array().expect("a list");
    let found = lines.iter().find(|line| line["@message"] == message);
    found.unwrap_or_else(|| panic!("no {message:?} in {lines:#?}"))
}

#[test]
fn a_go_host_runs_our_plugin_plain_and_encrypted_normal_and_multiplexed() {
    for options in [&[][..], &["-tls"], &["-mux"], &["-tls", "-mux"]] {
        let seen = seen_of_the_store(options);
        assert_eq!(seen["version"], 3, "of 2 and 3, and 1 and 3, the highest in common");
        callbacks(&seen, 1);
        assert!(seen["killed_ms"].as_i64().unwrap() < GO_KILLS_MS, "{options:?}: {}", seen["killed_ms"]);
    }
}

#[test]
fn what_our_plugin_logs_reaches_a_go_host_at_its_level() {
    let seen = seen_of_the_store(&["-tls"]);
    for (message, level, field, value) in [
        ("at trace", "trace", "count", "1"),
        ("at debug", "debug", "list", "[1, 2]"),
        ("at info", "info", "nested", r#"{"a": 1}"#),
        ("at warn", "warn", "error", "a <wrapped> error"),
        ("at error", "error", "odd", "true"),
    ] {
        let line = logged(&seen, message);
        assert_eq!((&line["@level"], &line[field]), (&level.into(), &value.into()), "{line}");
        let time = line["timestamp"].as_str().unwrap();
        assert!(!time.starts_with("0001"), "the time was read: {time}");
    }
    let raw = seen["raw_stderr"].as_str().unwrap();
    assert!(raw.lines().all(|line| line.starts_with('{')), "stderr is the log and nothing else: {raw}");
}

#[test]
fn a_go_host_attaches_again_and_calls_both_ways() {
    let seen = seen_of_the_store(&["-reattach"]);
    callbacks(&seen, 2);
    let limit = GO_LOOKS_MS + GO_KILLS_MS;
    assert!(seen["killed_ms"].as_i64().unwrap() < limit, "{}", seen["killed_ms"]);
}

#[test]
fn a_go_host_runs_a_driver() {
    for options in [&["-plain-driver"][..], &["-plain-driver", "-tls"], &["-plain-driver", "-tls", "-mux"]] {
        let temp = tempfile::tempdir().unwrap();
        let seen = seen(options, &example("sine"), temp.path());
        assert_eq!(seen["error"], "", "{options:?}");
        assert_eq!(seen["version"], 1);
        assert_eq!((&seen["exited"], &seen["exit_code"]), (&true.into(), &0.into()), "{options:?}");
        assert!(seen["killed_ms"].as_i64().unwrap() < GO_KILLS_MS, "{options:?}: {}", seen["killed_ms"]);
        assert_eq!(left(temp.path()), [""; 0], "{options:?}: sockets are left");
    }
}

#[test]
fn a_go_host_hears_which_version_our_plugin_speaks() {
    let temp = tempfile::tempdir().unwrap();
    let seen = seen(&["-versions", "7"], &example("kv"), temp.path());
    let error = seen["error"].as_str().unwrap();
    assert!(error.contains("Plugin version: 2, Client versions: [7]"), "{error}");
}

#[test]
fn a_panic_of_our_plugin_is_an_error_at_a_go_host() {
    let temp = tempfile::tempdir().unwrap();
    let seen = seen(&["-panic", "-tls"], &example("kv"), temp.path());
    assert_eq!(seen["error"], "");
    let lines = seen["logs"].as_array().unwrap();
    let panicked = lines.iter().find(|line| line["@message"].as_str().unwrap().contains("out of cheese"));
    assert_eq!(panicked.expect("the panic is logged")["@level"], "error");
    assert_eq!((&seen["exited"], &seen["exit_code"]), (&true.into(), &101.into()));
    assert_eq!(left(temp.path()), [""; 0]);
}
