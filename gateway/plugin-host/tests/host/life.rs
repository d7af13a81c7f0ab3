//! How plugins live and end.

use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use sagoo_edge_plugin_host::{Exit, Grace, HealthError, Plugin, Stopped};

use crate::*;

const SHORT: Grace = Grace { shutdown_rpc: Duration::from_millis(200), exit: Duration::from_millis(300) };
/// What a bounded stop may take longer than its grace on a busy machine.
const SLACK: Duration = Duration::from_secs(2);

fn pid(id: u32) -> Pid {
    Pid::from_raw(id as i32).unwrap()
}

fn all_threads_stopped(id: u32) -> bool {
    let mut threads = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
    threads.all(|thread| {
        let stat = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    })
}

fn clean() -> Stopped {
    Stopped { exit: Some(Exit { code: Some(0), signal: None }), killed: false }
}

async fn a_whole_life(launch: Launch) {
    let dir = launch.run_dir.clone().unwrap();
    let plugin = started(launch).await;
    assert_eq!(plugin.app_version(), 1);
    plugin.health(LONG).await.unwrap();
    assert_eq!(*plugin.exited().borrow(), None);
    let (id, mut exited) = (plugin.pid(), plugin.exited());
    let begun = Instant::now();
    assert_eq!(plugin.stop(Grace::default()).await, clean());
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(exited.borrow_and_update().is_some());
    assert!(!exists(id), "a zombie");
    assert_eq!(files_in(&dir), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_plugin_starts_answers_and_stops_cleanly_and_quickly() {
    let dir = tempfile::tempdir().unwrap();
    a_whole_life(peer("", dir.path())).await;
}

#[tokio::test]
async fn so_it_does_with_auto_mtls() {
    let dir = tempfile::tempdir().unwrap();
    a_whole_life(Launch { security: Security::AutoMtls, ..peer("", dir.path()) }).await;
}

#[tokio::test]
async fn so_it_does_over_loopback_tcp() {
    let dir = tempfile::tempdir().unwrap();
    a_whole_life(Launch { security: Security::AutoMtls, ..peer("tcp", dir.path()) }).await;
}

#[tokio::test]
async fn a_frozen_plugin_is_killed_within_the_bound() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = started(peer("", dir.path())).await;
    let id = plugin.pid();
    kill_process(pid(id), Signal::STOP).unwrap();
    until("every thread stands still", || all_threads_stopped(id)).await;
    let health = plugin.health(Duration::from_millis(50)).await;
    assert!(matches!(health, Err(HealthError::Unanswered(_))), "{health:?}");
    let begun = Instant::now();
    let killed = Stopped { exit: Some(Exit { code: None, signal: Some(9) }), killed: true };
    assert_eq!(plugin.stop(SHORT).await, killed);
    assert!(begun.elapsed() < SHORT.shutdown_rpc + SHORT.exit + SLACK, "{:?}", begun.elapsed());
    assert!(!exists(id), "a zombie");
    assert_eq!(files_in(dir.path()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_plugin_that_cannot_be_asked_is_killed_after_its_grace() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = started(peer("uncontrolled", dir.path())).await;
    let begun = Instant::now();
    assert!(plugin.stop(SHORT).await.killed);
    assert!(begun.elapsed() >= SHORT.exit, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn grandchildren_that_hold_the_pipes_delay_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = started(peer("grandchildren", dir.path())).await;
    let mut ids: Vec<u32> = Vec::new();
    until("both grandchildren are named", || {
        let lines = plugin.last_lines();
        ids = lines.iter().filter_map(|line| line.strip_prefix("grandchild ")?.parse().ok()).collect();
        ids.len() == 2
    })
    .await;
    // The second one leaves our group when setsid has run, and only then shows what it is for.
    let name = format!("/proc/{}/comm", ids[1]);
    until("setsid is done", || std::fs::read_to_string(&name).unwrap().trim() == "sleep").await;
    let begun = Instant::now();
    assert_eq!(plugin.stop(Grace::default()).await, clean());
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    until("the one in the group is gone", || !runs(ids[0])).await;
    assert!(runs(ids[1]), "the one that left is not ours to kill");
    kill_process(pid(ids[1]), Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_crash_is_seen_with_its_status_and_its_last_words() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = started(peer("crash", dir.path())).await;
    let mut exited = plugin.exited();
    let seen = tokio::time::timeout(LONG, exited.wait_for(Option::is_some)).await.unwrap().unwrap();
    assert_eq!(seen.unwrap(), Exit { code: Some(3), signal: None });
    assert_eq!(seen.unwrap().to_string(), "exit status 3");
    assert_eq!(plugin.last_lines().last().unwrap(), "panic: out of cheese");
    assert_eq!(files_in(dir.path()), Vec::<PathBuf>::new());
    let health = plugin.health(LONG).await;
    assert!(matches!(health, Err(HealthError::Failed(_))), "{health:?}");
    let begun = Instant::now();
    let stopped = plugin.stop(Grace::default()).await;
    assert_eq!(stopped, Stopped { exit: Some(Exit { code: Some(3), signal: None }), killed: false });
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_dropped_plugin_is_killed_with_its_group_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = started(peer("", dir.path())).await;
    let (id, mut exited) = (plugin.pid(), plugin.exited());
    drop(plugin);
    let seen = tokio::time::timeout(LONG, exited.wait_for(Option::is_some)).await.unwrap().unwrap();
    assert_eq!(seen.unwrap(), Exit { code: None, signal: Some(9) });
    assert!(!exists(id), "a zombie");
    assert_eq!(files_in(dir.path()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("pid");
    let run = dir.path().join("run");
    let script = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", mark.display());
    let start = tokio::spawn(Plugin::start(shell(&script, &run)));
    until("the program runs", || mark.exists()).await;
    let id = std::fs::read_to_string(mark).unwrap().trim().parse().unwrap();
    assert!(runs(id));
    start.abort();
    until("it is gone", || !exists(id)).await;
    until("its directory is gone", || files_in(&run).is_empty()).await;
}

#[test]
fn the_end_of_the_runtime_is_the_end_of_the_plugin() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let plugin = runtime.block_on(started(peer("", dir.path())));
    let id = plugin.pid();
    assert!(runs(id));
    drop(runtime);
    let begun = Instant::now();
    while runs(id) {
        assert!(begun.elapsed() < LONG);
        std::thread::yield_now();
    }
    drop(plugin);
    assert_eq!(files_in(dir.path()), Vec::<PathBuf>::new());
}

#[test]
fn fifty_lives_leave_no_descriptor_process_or_file() {
    let dir = tempfile::tempdir().unwrap();
    // a host of its own: in this process other tests open and close descriptors all the time
    let host = std::process::Command::new(example("lives")).arg(dir.path()).output().unwrap();
    assert!(host.status.success(), "{}", String::from_utf8_lossy(&host.stderr));
    assert_eq!(files_in(dir.path()), Vec::<PathBuf>::new());
}
