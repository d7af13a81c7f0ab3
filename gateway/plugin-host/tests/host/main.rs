//! The host against real processes: how plugins start, live, fail and end.

#![allow(clippy::unwrap_used, reason = "a test may; clippy does not see that what tests share is one")]

mod checksum;
mod confine;
mod cost;
mod discover;
mod failures;
mod life;
mod output;
mod reattach;
mod stdin;
mod tls;
mod versions;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sagoo_edge_plugin_host::{Launch, Plugin, Security};

/// Far above anything measured; a test that comes near it hangs.
const LONG: Duration = Duration::from_secs(20);

/// The small plugin of `examples/peer.rs`, with one of its habits.
fn peer(habit: &str, run_dir: &Path) -> Launch {
    launch(example("peer"), &[habit], run_dir)
}

fn example(name: &str) -> PathBuf {
    let tests = env::current_exe().expect("this is a program");
    let program = tests.ancestors().nth(2).expect("target/debug/deps/test").join("examples").join(name);
    assert!(program.exists(), "build the examples too: cargo test without --test");
    program
}

/// A program that is no plugin.
fn shell(script: &str, run_dir: &Path) -> Launch {
    launch("/bin/sh".into(), &["-c", script], run_dir)
}

fn launch(program: PathBuf, args: &[&str], run_dir: &Path) -> Launch {
    Launch {
        args: args.iter().map(OsString::from).collect(),
        security: Security::Plain,
        start_timeout: LONG,
        run_dir: Some(run_dir.to_owned()),
        ..Launch::new("tester", program)
    }
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Whether a process of this id exists, as a zombie or alive.
fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Whether a process of this id runs (a dead grandchild may wait for its reaper).
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

async fn started(launch: Launch) -> Plugin {
    Plugin::start(launch).await.unwrap_or_else(|error| panic!("{error}"))
}
