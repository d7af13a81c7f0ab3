//! What a confined plugin can and cannot do, seen from inside it.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use aws_lc_rs::digest::{SHA256, digest};
use sagoo_edge_plugin_host::{Checksum, Confinement, Grace, Keep, Lack, Reattach};

use crate::*;

const REFUSED: &str = "PermissionDenied";

/// Starts the peer with these probes; what each came to.
async fn probed(launch: Launch, probes: &[String]) -> (Plugin, BTreeMap<String, String>) {
    let args = ["probe".to_owned()].iter().chain(probes).map(OsString::from).collect();
    let plugin = started(Launch { args, ..launch }).await;
    until("the probes are over", || plugin.last_lines().contains(&"probes are over".into())).await;
    let lines = plugin.last_lines();
    let results = lines.iter().filter_map(|line| line.strip_prefix("probe ")?.split_once(": "));
    let results: BTreeMap<_, _> =
        results.map(|(probe, result)| (probe.to_owned(), result.to_owned())).collect();
    assert_eq!(results.len(), probes.len(), "{lines:?}");
    (plugin, results)
}

/// Somebody else's process.
struct Stranger(std::process::Child);

impl Stranger {
    fn new() -> Self {
        Self(
            std::process::Command::new("sleep")
                .arg("1000")
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap(),
        )
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn may(results: &BTreeMap<String, String>, probe: &str) {
    let result = &results[probe];
    assert!(result.starts_with("ok"), "{probe} must be possible: {result}");
}

fn must_not(results: &BTreeMap<String, String>, probe: &str) {
    assert_eq!(results[probe], REFUSED, "{probe} must be refused");
}

#[tokio::test]
async fn a_confined_plugin_reaches_what_was_named_and_nothing_else() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    for folder in ["own", "data", "outside"] {
        fs::create_dir(at(folder)).unwrap();
        fs::write(at(folder).join("file"), "x").unwrap();
    }
    let (open, closed) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let stranger = Stranger::new();
    let record = at("drivers/tester/1");
    let confinement = Confinement {
        read: vec![at("own")],
        write: vec![at("data")],
        connect_tcp: Some(vec![port(&open)]),
        open_files: 77,
        ..Confinement::default()
    };
    let probe = |what: &str, on: PathBuf| format!("{what}={}", on.display());
    let allowed = [
        probe("read", at("own/file")),
        probe("read", at("own")),
        probe("write", at("data/new")),
        probe("write", "/dev/null".into()),
        probe("write", "/dev/stderr".into()),
        probe("run", "/bin/true".into()),
        format!("connect={}", port(&open)),
    ];
    let refused = [
        probe("write", at("own/file")),
        probe("read", at("outside/file")),
        probe("write", at("outside/new")),
        probe("read", record.join("record.json")),
        probe("read", record.join("lock")),
        probe("read", at("drivers")),
        probe("read", "/etc/shadow".into()),
        "plant".to_owned(),
        format!("connect={}", port(&closed)),
        "listen=0".to_owned(),
    ];
    let looks = ["status=NoNewPrivs", "limit=Max open files"].map(str::to_owned);
    let probes: Vec<String> = allowed.iter().chain(&refused).chain(&looks).cloned().collect();
    let keep = Keep { dir: record, note: String::new() };
    let launch = Launch { confinement: Some(confinement), keep: Some(keep), ..peer("", &at("run")) };
    let (plugin, results) = probed(launch.clone(), &probes).await;
    assert_eq!(plugin.lacks(), [], "run the tests on Linux 6.12 or later, with Landlock");
    allowed.iter().for_each(|probe| may(&results, probe));
    refused.iter().for_each(|probe| must_not(&results, probe));
    assert_eq!(results[&looks[0]], "ok 1");
    assert_eq!(results[&looks[1]], "ok 77 77 files");
    plugin.stop(Grace::default()).await;

    // a second time, because only the last twenty lines are kept
    let wake = format!("wake={}", stranger.0.id());
    let environment = format!("read=/proc/{}/environ", stranger.0.id());
    let looks = ["limit=Max core file size", "status=CapEff"].map(str::to_owned);
    let probes: Vec<String> = [wake.clone(), environment.clone()].iter().chain(&looks).cloned().collect();
    let (plugin, results) = probed(launch, &probes).await;
    must_not(&results, &wake);
    must_not(&results, &environment);
    assert_eq!(results[&looks[0]], "ok 0 0 bytes");
    let capabilities = results[&looks[1]].strip_prefix("ok ").unwrap();
    // ports below 1024, ping, priorities, locked memory
    let allowed = 1 << 10 | 1 << 13 | 1 << 23 | 1 << 14;
    assert_eq!(u64::from_str_radix(capabilities, 16).unwrap() & !allowed, 0, "{capabilities}");
    plugin.stop(Grace::default()).await;
}

#[tokio::test]
async fn without_a_confinement_the_same_is_possible() {
    let place = tempfile::tempdir().unwrap();
    let outside = place.path().join("outside");
    fs::write(&outside, "x").unwrap();
    let probes = [format!("read={}", outside.display()), "listen=0".into(), "plant".into()];
    let (plugin, results) = probed(peer("", &place.path().join("run")), &probes).await;
    probes.iter().for_each(|probe| may(&results, probe));
    plugin.stop(Grace::default()).await;
}

#[tokio::test]
async fn tcp_is_free_where_nothing_is_said_about_it() {
    let place = tempfile::tempdir().unwrap();
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = format!("connect={}", open.local_addr().unwrap().port());
    let confinement = Confinement { connect_tcp: None, listen_tcp: None, ..Confinement::default() };
    let launch = Launch { confinement: Some(confinement), ..peer("", place.path()) };
    let probes = [connect, "listen=0".into(), "read=/var".into()];
    let (plugin, results) = probed(launch, &probes).await;
    may(&results, &probes[0]);
    may(&results, &probes[1]);
    must_not(&results, &probes[2]);
    plugin.stop(Grace::default()).await;
}

#[tokio::test]
async fn a_verified_program_runs_confined_and_can_be_taken_over() {
    let place = tempfile::tempdir().unwrap();
    let record = place.path().join("drivers/tester/1");
    let program = example("peer");
    let checksum =
        Checksum::Sha256(digest(&SHA256, &fs::read(&program).unwrap()).as_ref().try_into().unwrap());
    // a user nobody has: this is lacking, and so it stays when the plugin is taken over
    let confinement = Confinement { user: Some("nobody here".into()), ..Confinement::default() };
    let launch = Launch {
        security: Security::AutoMtls,
        checksum: Some(checksum),
        confinement: Some(confinement),
        keep: Some(Keep { dir: record.clone(), note: String::new() }),
        ..peer("", &place.path().join("run"))
    };
    let probes = ["read=/var".to_owned()];
    let (plugin, results) = probed(launch, &probes).await;
    must_not(&results, &probes[0]);
    let lacks = plugin.lacks().to_vec();
    assert_eq!(lacks.iter().map(|lack| lack.what).collect::<Vec<_>>(), [Lack::USER]);
    assert!(lacks[0].why.contains("no user \"nobody here\""), "{}", lacks[0].why);
    plugin.detach();
    let plugin = Plugin::reattach(&record, Reattach::default()).await.unwrap();
    assert_eq!(plugin.lacks(), lacks);
    plugin.health(LONG).await.unwrap();
    plugin.stop(Grace::default()).await;
    assert!(!record.exists());
}

#[tokio::test]
async fn a_plugin_runs_as_its_own_user_where_we_may_choose_and_says_so_where_not() {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let run = place.path().join("run");
    let program = example("peer");
    let checksum =
        Checksum::Sha256(digest(&SHA256, &fs::read(&program).unwrap()).as_ref().try_into().unwrap());
    let confinement = Confinement { user: Some("daemon".into()), ..Confinement::default() };
    // verified, so that the way to the program need not be open to that user
    let launch = Launch { checksum: Some(checksum), confinement: Some(confinement), ..peer("", &run) };
    let probes = ["status=Uid", "status=CapPrm", "read=/etc/passwd"].map(str::to_owned);
    let (plugin, results) = probed(launch, &probes).await;
    if rustix::process::geteuid().is_root() {
        assert_eq!(plugin.lacks(), []);
        assert_eq!(results["status=Uid"], "ok 1 1 1 1");
        assert_eq!(results["status=CapPrm"], "ok 0000000000000000");
    } else {
        assert_eq!(plugin.lacks()[0].what, Lack::USER);
        assert!(plugin.lacks()[0].why.contains("start it as root"), "{}", plugin.lacks()[0].why);
    }
    may(&results, "read=/etc/passwd");
    assert_eq!(plugin.stop(Grace::default()).await.exit.unwrap().code, Some(0));
    assert_eq!(files_in(&run), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn limits_that_cannot_be_set_are_lacking_and_the_plugin_runs() {
    let place = tempfile::tempdir().unwrap();
    let confinement =
        Confinement { memory_max: Some(64 << 20), cpu_percent: Some(50), ..Confinement::default() };
    let plugin = started(Launch { confinement: Some(confinement), ..peer("", place.path()) }).await;
    // whether a control group was delegated to whoever runs the tests is not known
    let lacks: Vec<_> = plugin.lacks().iter().map(|lack| lack.what).collect();
    let group = fs::read_to_string(format!("/proc/{}/cgroup", plugin.pid())).unwrap();
    if lacks.is_empty() {
        assert!(group.contains("/plugin-tester-"), "{group}");
    } else {
        assert_eq!(lacks, [Lack::MEMORY, Lack::CPU]);
        assert!(plugin.lacks().iter().all(|lack| !lack.why.is_empty()));
    }
    plugin.stop(Grace::default()).await;
}
