//! Plugins that outlive their host, and the next host that takes them over, or ends them.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use sagoo_edge_plugin_host::{
    Exit, Grace, Keep, KeepError, Mirror, Reattach, ReattachError, ReattachFailure as F, StartFailure,
    Stopped, end_stray, records,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::*;

/// Directories of one test, and no process left behind by it.
struct Place {
    dir: tempfile::TempDir,
    groups: Vec<u32>,
}

impl Drop for Place {
    fn drop(&mut self) {
        for group in &self.groups {
            let _ = kill_process_group(number(*group), Signal::KILL);
        }
    }
}

fn number(pid: u32) -> Pid {
    Pid::from_raw(pid as i32).unwrap()
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), groups: Vec::new() }
    }

    fn record(&self) -> PathBuf {
        self.dir.path().join("drivers/tester/1")
    }

    fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// A plugin whose host has been killed; its process.
    fn orphan(&mut self, habit: &str) -> u32 {
        let mut host = self.host(habit);
        let mut line = String::new();
        BufReader::new(host.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = line.trim().parse().expect("the host says when it is ready");
        self.groups.push(pid);
        host.kill().unwrap();
        host.wait().unwrap();
        pid
    }

    fn host(&self, habit: &str) -> Child {
        let dirs = [self.record(), self.run_dir()];
        Command::new(example("mortal")).arg(habit).args(dirs).stdout(Stdio::piped()).spawn().unwrap()
    }

    async fn take_over(&self) -> Result<Plugin, ReattachError> {
        Plugin::reattach(&self.record(), Reattach::default()).await
    }

    async fn taken(&self) -> Plugin {
        self.take_over().await.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn refused(&self) -> F {
        self.take_over().await.expect_err("this cannot be taken over").failure
    }

    fn kept(&self, habit: &str) -> Launch {
        let keep = Keep { dir: self.record(), note: "first".into() };
        Launch { keep: Some(keep), security: Security::AutoMtls, ..peer(habit, &self.run_dir()) }
    }

    /// Changes what stands in the record.
    fn forge(&self, change: impl FnOnce(&mut Value)) {
        let path = self.record().join("record.json");
        let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut record);
        fs::write(path, record.to_string()).unwrap();
    }

    fn nothing_is_left(&self) {
        assert!(!self.record().exists(), "a record");
        assert_eq!(files_in(&self.run_dir()), Vec::<PathBuf>::new());
        assert!(records(self.dir.path()).is_empty());
    }

    async fn end_stray(&self, grace: Duration) {
        let mut left = records(self.dir.path());
        assert_eq!(left.len(), 1);
        end_stray(left.remove(0), grace).await.unwrap();
    }
}

fn counted(place: &Place) -> u64 {
    let dir = files_in(&place.run_dir()).remove(0);
    fs::read_to_string(dir.join("counted")).unwrap().lines().last().map_or(0, |n| n.parse().unwrap())
}

#[tokio::test]
async fn a_plugin_outlives_its_killed_host_and_what_it_said_meanwhile_is_heard() {
    let mut place = Place::new();
    let pid = place.orphan("count");
    let before = counted(&place);
    until("it counts on alone", || counted(&place) > before + 20).await;
    let missed = counted(&place);
    let (stderr, mut heard) = mpsc::channel(1024);
    let mirror = Mirror { stderr: Some(stderr), ..Mirror::default() };
    let begun = Instant::now();
    let plugin = Plugin::reattach(&place.record(), Reattach { mirror, ..Reattach::default() }).await.unwrap();
    eprintln!("reattached in {:?}", begun.elapsed());
    assert_eq!((plugin.pid(), plugin.app_version()), (pid, 1));
    assert_eq!(plugin.note(), "from the first host");
    plugin.health(LONG).await.unwrap();

    let mut text = Vec::new();
    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| *last < missed + 20) {
        text.extend(heard.recv().await.unwrap());
        let whole = String::from_utf8_lossy(&text).into_owned();
        let end = whole.rfind('\n').unwrap_or(0);
        seen =
            whole[..end].lines().filter_map(|line| line.strip_prefix("err ")?.parse::<u64>().ok()).collect();
    }
    assert!(seen[0] <= missed, "what it said meanwhile is lost: {} instead of {missed}", seen[0]);
    assert!(seen.windows(2).all(|pair| pair[1] == pair[0] + 1), "a gap: {seen:?}");

    let stopped = plugin.stop(Grace::default()).await;
    assert_eq!(stopped, Stopped { exit: Some(Exit { code: None, signal: None }), killed: false });
    until("the plugin is gone", || !runs(pid)).await;
    place.nothing_is_left();
}

#[tokio::test]
async fn a_detached_plugin_keeps_its_note_through_many_hosts() {
    let mut place = Place::new();
    let mut plugin = started(place.kept("")).await;
    let pid = plugin.pid();
    place.groups.push(pid);
    assert_eq!(plugin.note(), "first");
    for n in 0..5 {
        plugin.set_note(format!("note {n}"));
        plugin.detach();
        assert_eq!(records(place.dir.path())[0].note, format!("note {n}"));
        plugin = place.taken().await;
        assert_eq!(plugin.note(), format!("note {n}"));
        assert_eq!(plugin.pid(), pid);
    }
    // our own child after all: it must not stay a zombie
    plugin.stop(Grace::default()).await;
    until("the plugin is reaped", || !exists(pid)).await;
    place.nothing_is_left();
}

#[test]
fn a_detached_plugin_survives_the_runtime_and_any_other_does_not() {
    let mut place = Place::new();
    let other = tempfile::tempdir().unwrap();
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let (kept, not_kept) = runtime().block_on(async {
        let kept = started(place.kept("")).await;
        let not_kept = started(peer("", other.path())).await;
        let pids = (kept.pid(), not_kept.pid());
        kept.detach();
        not_kept.detach();
        pids
    });
    place.groups.push(kept);
    runtime().block_on(async {
        until("what is not kept is dead", || !runs(not_kept)).await;
        let plugin = place.taken().await;
        assert_eq!(plugin.pid(), kept);
        drop(plugin);
        until("a plugin that is dropped is dead, taken over or not", || !runs(kept)).await;
        until("its record is gone", || !place.record().exists()).await;
        place.nothing_is_left();
    });
}

#[tokio::test]
async fn of_two_hosts_at_once_only_one_gets_it() {
    let mut place = Place::new();
    place.orphan("");
    let both: [_; 2] = tokio::join!(place.take_over(), place.take_over()).into();
    let (mut first, mut second): (Vec<_>, Vec<_>) = both.into_iter().partition(Result::is_ok);
    assert_eq!((first.len(), second.len()), (1, 1));
    let (first, second) = (first.remove(0).unwrap(), second.remove(0).unwrap_err());
    assert!(matches!(second.failure, F::Keep(KeepError::Locked(_))), "{second}");
    assert!(second.to_string().contains("in use by another gateway"), "{second}");
    let stray = end_stray(records(place.dir.path()).remove(0), Duration::ZERO).await;
    assert!(stray.unwrap_err().to_string().contains("in use by another gateway"));
    first.health(LONG).await.unwrap();
    first.stop(Grace::default()).await;
    place.nothing_is_left();
}

#[tokio::test]
async fn a_driver_is_not_started_over_one_that_runs() {
    let mut place = Place::new();
    let pid = place.orphan("");
    let error = Plugin::start(place.kept("")).await.unwrap_err();
    assert!(matches!(error.failure, StartFailure::Keep(KeepError::Alive { .. })), "{error}");
    assert!(error.to_string().contains(&format!("(pid {pid})")), "{error}");
    assert!(runs(pid));
    place.end_stray(LONG).await;
    place.nothing_is_left();
}

#[tokio::test]
async fn the_crash_of_a_plugin_taken_over_is_seen_and_cleared_up() {
    let mut place = Place::new();
    let pid = place.orphan("grandchildren");
    let plugin = place.taken().await;
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let in_group =
        |pid: &u32| rustix::process::getpgid(Some(number(*pid))).ok() == Some(number(place.groups[0]));
    let all: Vec<u32> = children.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    until("setsid is done", || all.iter().filter(|pid| !in_group(pid)).count() == 1).await;
    let (stays, leaves): (Vec<u32>, Vec<u32>) = all.iter().partition(|pid| in_group(pid));
    let mut exited = plugin.exited();
    kill_process(number(pid), Signal::KILL).unwrap();
    tokio::time::timeout(LONG, exited.wait_for(Option::is_some)).await.unwrap().unwrap();
    until("the one in its group is gone", || !runs(stays[0])).await;
    assert!(runs(leaves[0]), "the one that left is not ours to kill");
    kill_process(number(leaves[0]), Signal::KILL).unwrap();
    place.nothing_is_left();
    let stopped = plugin.stop(Grace::default()).await;
    assert!(!stopped.killed);
}

#[tokio::test]
async fn a_frozen_plugin_that_was_taken_over_is_killed_within_the_bound() {
    let mut place = Place::new();
    let pid = place.orphan("");
    let plugin = place.taken().await;
    kill_process(number(pid), Signal::STOP).unwrap();
    let grace = Grace { shutdown_rpc: Duration::from_millis(200), exit: Duration::from_millis(300) };
    let begun = Instant::now();
    let stopped = plugin.stop(grace).await;
    assert_eq!(stopped, Stopped { exit: Some(Exit { code: None, signal: None }), killed: true });
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(!runs(pid));
    place.nothing_is_left();
}

#[tokio::test]
async fn a_plugin_that_died_alone_is_not_found_and_a_new_one_takes_its_place() {
    let mut place = Place::new();
    let pid = place.orphan("");
    kill_process(number(pid), Signal::KILL).unwrap();
    until("it is dead", || !runs(pid)).await;
    let gone = place.refused().await;
    assert!(matches!(gone, F::Gone(_)), "{gone}");
    assert!(gone.to_string().contains("reattachment process not found"), "{gone}");
    assert!(!records(place.dir.path())[0].alive);
    let plugin = started(place.kept("")).await;
    assert_eq!(files_in(&place.run_dir()).len(), 1, "what the dead one left is gone");
    plugin.stop(Grace::default()).await;
    place.nothing_is_left();
}

#[tokio::test]
async fn a_plugin_whose_host_died_too_early_is_ended() {
    let mut place = Place::new();
    let mut host = place.host("silent");
    let written = || records(place.dir.path()).first().is_some_and(|record| record.damage.is_none());
    until("the plugin is noted down", written).await;
    host.kill().unwrap();
    host.wait().unwrap();
    let record = records(place.dir.path()).remove(0);
    place.groups.push(record.pid);
    assert!(record.alive && record.app_version.is_none());
    let early = place.refused().await;
    assert!(matches!(early, F::NeverReady), "{early}");
    assert!(runs(record.pid));
    place.end_stray(LONG).await;
    until("it is gone", || !runs(record.pid)).await;
    place.nothing_is_left();
}

#[tokio::test]
async fn a_stray_that_does_not_listen_is_killed_after_its_grace() {
    let mut place = Place::new();
    let pid = place.orphan("");
    kill_process(number(pid), Signal::STOP).unwrap();
    place.end_stray(Duration::from_millis(100)).await;
    assert!(!runs(pid));
    place.nothing_is_left();
}

#[tokio::test]
async fn a_stranger_with_the_recorded_number_is_neither_taken_nor_killed() {
    let mut place = Place::new();
    place.orphan("");
    let mut stranger = Command::new("sleep").arg("1000").spawn().unwrap();
    place.forge(|record| record["birth"]["pid"] = json!(stranger.id()));
    let gone = place.refused().await;
    assert!(matches!(gone, F::Gone(_)), "{gone}");
    place.end_stray(Duration::ZERO).await;
    assert!(runs(stranger.id()));
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn after_a_restart_of_the_system_nothing_is_taken_or_killed() {
    let mut place = Place::new();
    let pid = place.orphan("");
    place.forge(|record| record["birth"]["boot_id"] = json!("00000000-0000-0000-0000-000000000000"));
    let gone = place.refused().await;
    assert!(gone.to_string().contains("the system has been restarted since"), "{gone}");
    // it does live, and another directory would be removed from under it
    place.forge(|record| record["socket_dir"] = json!(place.dir.path()));
    place.end_stray(Duration::ZERO).await;
    assert!(runs(pid) && place.run_dir().exists());
}

#[tokio::test]
async fn a_plugin_whose_record_says_nothing_is_ended_and_nobody_else() {
    for record in [Some("{\"version\":1,\"birth\":{\"pid\":"), Some("{\"version\":2}"), None] {
        let mut place = Place::new();
        let pid = place.orphan("");
        // another plugin under the same roof, of a record that is well
        let sound = Place { dir: tempfile::tempdir_in(place.dir.path()).unwrap(), groups: Vec::new() };
        let launch = Launch { run_dir: Some(place.run_dir()), ..sound.kept("") };
        let other = Plugin::start(launch).await.unwrap();
        let path = place.record().join("record.json");
        match record {
            Some(text) => fs::write(path, text).unwrap(),
            // the host was killed in between
            None => fs::remove_file(path).unwrap(),
        }
        let damaged = place.refused().await;
        assert!(matches!(damaged, F::Damaged(_)), "{damaged}");
        let left = records(&place.dir.path().join("drivers")).remove(0);
        assert!(left.damage.is_some() && !left.alive);
        end_stray(left, Duration::ZERO).await.unwrap();
        until("it is gone", || !runs(pid)).await;
        assert!(!place.record().exists());
        assert!(matches!(place.refused().await, F::NoRecord));
        assert!(runs(other.pid()));
        assert_eq!(files_in(&place.run_dir()).len(), 1, "its directory is gone, the other's is not");
        other.stop(Grace::default()).await;
    }
}

#[tokio::test]
async fn another_identity_than_the_recorded_one_is_refused_by_the_plugin() {
    let mut place = Place::new();
    let pid = place.orphan("");
    let stranger = sagoo_edge_proto::mtls::Identity::generate().unwrap();
    place.forge(|record| {
        record["protection"]["auto_mtls"]["cert_pem"] = json!(stranger.cert_pem());
        record["protection"]["auto_mtls"]["key_pem"] = json!(stranger.key_pem());
    });
    let refused = place.refused().await;
    assert!(matches!(refused, F::Connect { .. } | F::Health(_)), "{refused}");
    assert!(runs(pid), "a plugin that is not taken over is left as it is");
}

#[tokio::test]
async fn a_multiplexed_plugin_cannot_be_kept() {
    let place = Place::new();
    let launch = Launch { multiplex: true, ..place.kept("") };
    let error = Plugin::start(launch).await.unwrap_err();
    assert!(matches!(error.failure, StartFailure::KeepMultiplexed), "{error}");
    assert!(!place.record().exists());
}

#[tokio::test]
async fn a_kept_plugin_that_is_stopped_leaves_nothing() {
    let place = Place::new();
    for security in [Security::AutoMtls, Security::Plain] {
        let plugin = started(Launch { security, ..place.kept("") }).await;
        assert_eq!(plugin.stop(Grace::default()).await.exit, Some(Exit { code: Some(0), signal: None }));
        place.nothing_is_left();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_program_that_ends_at_once_is_quoted_as_any_other() {
    let place = Place::new();
    for _ in 0..30 {
        let keep = Keep { dir: place.record(), note: String::new() };
        let launch = Launch { keep: Some(keep), ..shell("echo alas >&2; exit 3", &place.run_dir()) };
        let error = Plugin::start(launch).await.unwrap_err();
        let ended = matches!(error.failure, StartFailure::Ended { exit, .. } if exit.code == Some(3));
        assert!(ended && error.last_lines == ["alas"], "{error}");
        place.nothing_is_left();
    }
}

#[tokio::test]
async fn a_kept_plugin_that_does_not_start_leaves_nothing() {
    let place = Place::new();
    let keep = Keep { dir: place.record(), note: String::new() };
    let error =
        Plugin::start(Launch { keep: Some(keep), ..shell("echo hello; exit 3", &place.run_dir()) }).await;
    assert!(matches!(error.unwrap_err().failure, StartFailure::Handshake(_)));
    place.nothing_is_left();
}

#[tokio::test]
async fn a_kept_program_that_closes_its_output_is_told_from_one_that_is_slow() {
    let place = Place::new();
    let keep = Keep { dir: place.record(), note: String::new() };
    let launch = Launch { keep: Some(keep), ..shell("exec >&-; exec sleep 1000", &place.run_dir()) };
    let error = Plugin::start(launch).await.unwrap_err();
    assert!(matches!(error.failure, StartFailure::Silent), "{error}");
    place.nothing_is_left();
}
