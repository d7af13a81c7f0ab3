//! Drivers that crash, hang or die: one driver's trouble is invisible to the others.

use std::fs;
use std::time::Duration;

use e2e::rig::{Gateway, Interrupted, Plan, Site, eventually, signal};
use rustix::process::Signal;
use serde_json::{Value as Json, json};

const SOON: Duration = Duration::from_secs(30);
/// A hang is known after 15 s of silence; then the driver is killed and started again.
const AFTER_A_HANG: Duration = Duration::from_secs(40);
/// A standstill is known when work is 30 s overdue and none was done for as long.
const AFTER_A_STANDSTILL: Duration = Duration::from_secs(75);
const DRAINED: Duration = Duration::from_secs(60);

/// What a driver is not held by where nobody has set it up: it takes other users and a cgroup of its own.
const NOT_SET_UP: [&str; 3] = ["user", "memory", "processor"];

#[test]
fn a_driver_that_crashes_at_once_is_quarantined_and_its_neighbour_notices_nothing() {
    const LAST_WORDS: &str = "pump controller not found";
    let plan = Plan::meters(&["well", "late"])
        .driven_by("late", "broken")
        .must_log("driver is down driver=broken")
        .must_log("driver failed too often and is quarantined")
        .may_log("driver=broken");
    let mut site = Site::prepare(&plan);
    let script = format!("#!/bin/sh\necho '{LAST_WORDS}' >&2\nexit 3\n");
    site.gateway.put_driver("broken", script.as_bytes());
    site.gateway.start();
    site.await_count("well", 1, SOON);
    site.device("well").watch();
    eventually("the driver is quarantined, its last words kept", SOON, || {
        let driver = site.gateway.driver("broken");
        let words = driver["last_lines"].to_string() + &driver["last_error"].to_string();
        let kept = driver["state"] == json!("quarantined") && words.contains(LAST_WORDS);
        kept.then_some(()).ok_or_else(|| format!("{driver:#}"))
    });
    let gap = site.device("well").gap();
    assert!(gap < plan.skipped(1), "the neighbour was not read for {gap:?}");
    assert_eq!(site.gateway.driver("modbus")["restarts"], json!(0));

    // Other files end the quarantine, without a word to the gateway.
    site.gateway.put_driver("broken", &Gateway::real_driver());
    site.await_count("late", 2, SOON);
    assert_eq!(site.gateway.driver("broken")["state"], json!("running"));
    for meter in ["well", "late"] {
        site.assert_nothing_lost(meter, DRAINED);
    }
    site.assert_unharmed();
}

#[test]
fn a_driver_that_hangs_is_replaced_and_its_neighbour_notices_nothing() {
    let plan = Plan::meters(&["well", "stuck"])
        .driven_by("stuck", "other")
        .may_log("driver stands still driver=other")
        .may_log("plugin did not stop in time, killed driver=\"other\"")
        .must_log("driver is down driver=other");
    let mut site = Site::prepare(&plan);
    site.gateway.put_driver("other", &Gateway::real_driver());
    site.gateway.start();
    for meter in ["well", "stuck"] {
        site.await_count(meter, 2, SOON);
    }
    let (pid, stored) = (site.gateway.pid_of("other"), site.stored("stuck"));
    site.device("well").watch();
    signal(pid, Signal::STOP);
    eventually("the one that hangs is replaced", AFTER_A_HANG, || {
        let driver = site.gateway.driver("other");
        let another = driver["state"] == json!("running") && driver["pid"] != json!(pid);
        another.then_some(()).ok_or_else(|| format!("{driver:#}"))
    });
    assert!(!fs::exists(format!("/proc/{pid}")).unwrap_or(true), "the process that hung is gone");
    let gap = site.device("well").gap();
    assert!(gap < plan.skipped(1), "the neighbour was not read for {gap:?}");
    let read = u64::from(site.device("stuck").register(0));
    site.await_count("stuck", read + 2, SOON);
    site.assert_kept("stuck", Interrupted::by_a_driver_crash(stored), DRAINED);
    site.assert_nothing_lost("well", DRAINED);
    site.assert_unharmed();
}

#[test]
fn a_driver_that_talks_but_does_no_work_is_replaced_and_its_neighbour_notices_nothing() {
    let plan = Plan::meters(&["well", "idle"])
        .driven_by("idle", "still")
        .must_log("driver stands still driver=still")
        .may_log("plugin did not stop in time, killed driver=\"still\"")
        .may_log("driver=still");
    let mut site = Site::prepare(&plan);
    let program = fs::read(e2e::rig::binary("driver-still")).expect("deploy/check.sh build makes it");
    site.gateway.put_driver("still", &program);
    site.gateway.start();
    site.await_count("well", 2, SOON);
    let pid = site.gateway.pid_of("still");
    site.device("well").watch();
    eventually("the one that stands still is replaced", AFTER_A_STANDSTILL, || {
        let driver = site.gateway.driver("still");
        let another = driver["state"] == json!("running") && driver["pid"] != json!(pid);
        let said = driver["last_error"].as_str().is_some_and(|error| error.contains("does no work"));
        (another && said).then_some(()).ok_or_else(|| format!("{driver:#}"))
    });
    let gap = site.device("well").gap();
    assert!(gap < plan.skipped(1), "the neighbour was not read for {gap:?}");
    site.assert_nothing_lost("well", DRAINED);
    site.assert_unharmed();
}

#[test]
fn a_standby_takes_over_within_a_poll_when_the_driver_dies() {
    let plan = Plan::meters(&["meter-a", "meter-b"])
        .connections("standby = true")
        .must_log("standby takes over driver=modbus")
        .may_log("driver is down driver=modbus");
    let site = Site::start(&plan);
    for meter in ["meter-a", "meter-b"] {
        site.await_count(meter, 2, SOON);
    }
    let ready = |site: &Site| {
        eventually("a second process stands by", SOON, || {
            let driver = site.gateway.driver("modbus");
            let standby = &driver["standby"];
            let pid = standby["pid"].as_u64().filter(|_| standby["state"] == json!("ready"));
            pid.and_then(|pid| u32::try_from(pid).ok()).ok_or_else(|| format!("{driver:#}"))
        })
    };
    let (active, standby) = (site.gateway.pid_of("modbus"), ready(&site));
    let connections = site.device("meter-a").stats().connections;
    assert_eq!(connections, 1, "one that stands by opens no line");
    let stored = ["meter-a", "meter-b"].map(|meter| site.stored(meter));
    site.device("meter-a").watch();
    signal(active, Signal::KILL);
    eventually("the one that stood by is at work", SOON, || {
        let driver = site.gateway.driver("modbus");
        let promoted = driver["pid"] == json!(standby) && driver["state"] == json!("running");
        promoted.then_some(()).ok_or_else(|| format!("{driver:#}"))
    });
    let before = site.device("meter-a").register(0);
    eventually("meter-a is read again", SOON, || site.device("meter-a").register(0) > before);
    let gap = site.device("meter-a").gap();
    println!("gap at the promotion of a standby: {gap:?}, polls are {:?} apart", plan.poll);
    assert!(gap < plan.skipped(1), "more than one poll was late: {gap:?}");
    assert_ne!(ready(&site), standby, "and another one stands by");
    for (meter, stored) in ["meter-a", "meter-b"].into_iter().zip(stored) {
        site.assert_kept(meter, Interrupted::by_a_driver_crash(stored), DRAINED);
    }
    site.assert_unharmed();
}

#[test]
fn a_driver_runs_confined() {
    let site = Site::start(&Plan::meters(&["meter-a"]));
    site.await_count("meter-a", 1, SOON);
    let driver = site.gateway.driver("modbus");
    let lacks: Vec<String> = driver["lacks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .map(str::to_owned)
        .collect();
    let surprising = lacks.iter().filter(|lack| !NOT_SET_UP.iter().any(|known| lack.starts_with(known)));
    assert_eq!(surprising.collect::<Vec<_>>(), [""; 0], "{driver:#}");

    let proc = format!("/proc/{}", site.gateway.pid_of("modbus"));
    let status = fs::read_to_string(format!("{proc}/status")).expect("it runs");
    let limits = fs::read_to_string(format!("{proc}/limits")).expect("it runs");
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.map(|line| line[name.len()..].split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    assert_eq!(field(&status, "NoNewPrivs:"), Some(vec!["1".to_owned()]));
    assert_eq!(field(&limits, "Max core file size").expect("Linux has it")[0], "0");
    let files: u64 = field(&limits, "Max open files").expect("Linux has it")[0].parse().expect("a number");
    assert!(files <= 4096, "{files} open files");
    let stat = fs::read_to_string(format!("{proc}/stat")).expect("it runs");
    let after_name: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(after_name[2], site.gateway.pid_of("modbus").to_string(), "a process group of its own");
    site.assert_unharmed();
}
