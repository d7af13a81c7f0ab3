//! What a figure was measured under: the machine, the build, the versions, the time.
//!
//! Always true: what cannot be found out is said to be unknown, never guessed.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

const UNKNOWN: &str = "unknown";

/// All that a reader needs to judge a figure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conditions {
    /// UTC, as `2026-01-31 12:00:00`.
    pub date: String,
    /// Processors this process may use.
    pub cores: usize,
    /// Their name.
    pub cpu: String,
    /// The kernel's version.
    pub kernel: String,
    /// What else kept the machine busy at the start: mean of the last minute, in processes.
    pub load: String,
    /// `release` or `debug`; a debug build's figures mean nothing.
    pub profile: &'static str,
    /// Version of this build, and the commit that the checkout it was built in is at now.
    pub bench: String,
    /// The Rust this workspace is pinned to.
    pub rust: &'static str,
    /// What built the Go pair.
    pub go: String,
    /// The go-plugin it is built on.
    pub go_plugin: String,
}

impl Conditions {
    /// As they are now.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
        Self {
            date: utc(since.as_secs()),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: cpu(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            load: fs::read_to_string("/proc/loadavg")
                .ok()
                .and_then(|text| text.split(' ').next().map(str::to_owned))
                .unwrap_or_else(|| UNKNOWN.to_owned()),
            profile,
            bench: format!("{}, checkout at {}", env!("CARGO_PKG_VERSION"), commit()),
            rust: env!("CARGO_PKG_RUST_VERSION"),
            go: said("go", &["env", "GOVERSION"]).unwrap_or_else(|| UNKNOWN.to_owned()),
            go_plugin: required(include_str!("../go/go.mod"), "github.com/hashicorp/go-plugin"),
        }
    }

    /// On one line.
    pub fn line(&self) -> String {
        let Self { date, cores, cpu, kernel, load, profile, bench, rust, go, go_plugin } = self;
        format!(
            "{date} UTC; {cores} cores of {cpu}; Linux {kernel}; load {load} at the start; {profile} build of {bench}; \
             Rust {rust}, {go}, go-plugin {go_plugin}"
        )
    }
}

fn cpu(cpuinfo: &str) -> String {
    let model = cpuinfo.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| {
        // an ARM kernel names no model here
        key.trim() == "model name"
    });
    model.map_or_else(|| UNKNOWN.to_owned(), |(_, name)| name.trim().to_owned())
}

/// Asked once: it may move on during a long run, and the programs do not.
fn commit() -> &'static str {
    static COMMIT: OnceLock<String> = OnceLock::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).display().to_string();
    let describe = || said("git", &["-C", &root, "describe", "--always", "--dirty"]);
    COMMIT.get_or_init(|| describe().unwrap_or_else(|| UNKNOWN.to_owned()))
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// The version a `go.mod` requires of a module.
fn required(go_mod: &str, module: &str) -> String {
    let version = |line: &str| line.trim().strip_prefix(module)?.split_whitespace().next().map(str::to_owned);
    go_mod.lines().find_map(version).unwrap_or_else(|| UNKNOWN.to_owned())
}

/// Unix seconds as a date and a time, UTC.
fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, so that a leap day is the last day of its year (Howard Hinnant's way).
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_dates() {
        for (seconds, date) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_709_251_199, "2024-02-29 23:59:59"),
            (1_767_225_600, "2026-01-01 00:00:00"),
        ] {
            assert_eq!(utc(seconds), date);
        }
    }

    #[test]
    fn the_pinned_go_plugin_is_named() {
        let conditions = Conditions::now();
        assert!(conditions.go_plugin.starts_with('v'), "{conditions:?}");
        assert!(conditions.line().contains(&conditions.kernel));
        assert_eq!(required("module x\n", "github.com/hashicorp/go-plugin"), UNKNOWN);
    }

    #[test]
    fn a_processor_without_a_name_is_unknown() {
        assert_eq!(cpu("processor : 0\nmodel name\t: Some CPU @ 2 GHz\n"), "Some CPU @ 2 GHz");
        assert_eq!(cpu("processor : 0\n"), UNKNOWN);
    }
}
