//! The gateway goes and another one comes; drivers read on, and are taken over with all they have read.

use std::fs;
use std::time::Duration;

use e2e::rig::{Interrupted, Plan, Site, eventually, signal};
use rustix::process::Signal;
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);
const DRAINED: Duration = Duration::from_secs(60);
const METERS: [&str; 10] = ["m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9"];

/// 10 devices × 100 points every second: 1 000 points/s.
fn thousand_points_a_second() -> Plan {
    let mut plan = Plan::sharing("hall", &METERS).wide(100);
    plan.poll = Duration::from_secs(1);
    plan.may_log("slots are skipped connection=hall").may_log("polls are left out because the line is busy")
}

/// Waits until the devices were read `reads` more times, whoever listens.
fn while_read(site: &Site, reads: u16) {
    for meter in METERS {
        let before = site.device(meter).register(0);
        eventually(&format!("{meter} is read on"), SOON, || site.device(meter).register(0) >= before + reads);
    }
}

#[track_caller]
fn await_taken_over(site: &Site, pid: u32) {
    eventually("the driver is taken over", SOON, || {
        let driver = site.gateway.driver("modbus");
        let taken = driver["pid"] == json!(pid) && driver["state"] == json!("running");
        (taken && driver["reattached"] == json!(true)).then_some(()).ok_or_else(|| format!("{driver:#}"))
    });
}

#[test]
fn five_kills_under_a_thousand_points_a_second_miss_and_double_nothing() {
    const KILLS: usize = 5;
    let plan = thousand_points_a_second();
    let mut site = Site::start(&plan);
    METERS.iter().for_each(|meter| site.await_count(meter, 2, SOON));
    let pid = site.gateway.driver_pid();
    METERS.iter().for_each(|meter| site.device(meter).watch());
    for _ in 0..KILLS {
        site.gateway.kill_nine();
        while_read(&site, 1);
        site.gateway.start();
        await_taken_over(&site, pid);
        while_read(&site, 1);
    }
    assert_eq!(site.gateway.driver_pid(), pid, "the one driver process has seen it all");
    for meter in METERS {
        let gap = site.device(meter).gap();
        assert!(gap < plan.skipped(1), "{meter} was not read for {gap:?}");
    }
    METERS.iter().for_each(|meter| site.assert_every_read_counts_once(&plan, meter, DRAINED));
    for meter in METERS {
        site.assert_kept(meter, Interrupted::by_takeovers(KILLS), DRAINED);
    }
    site.assert_unharmed();
}

#[test]
fn what_says_nothing_new_is_counted_once_across_kills_as_well() {
    let mut plan = thousand_points_a_second();
    for point in &mut plan.points {
        point.toml = point.toml.replace(" }", ", deadband = 0.5 }");
    }
    let mut site = Site::start(&plan);
    METERS.iter().for_each(|meter| site.await_count(meter, 2, SOON));
    let pid = site.gateway.driver_pid();
    for _ in 0..2 {
        site.gateway.kill_nine();
        while_read(&site, 1);
        site.gateway.start();
        await_taken_over(&site, pid);
        while_read(&site, 1);
    }
    let suppressed = site.gateway.device("m1")["ledger"]["suppressed"].as_u64();
    assert!(suppressed > Some(0), "{suppressed:?}");
    METERS.iter().for_each(|meter| site.assert_every_read_counts_once(&plan, meter, DRAINED));
    site.assert_unharmed();
}

#[test]
fn a_handover_leaves_the_drivers_and_the_next_gateway_takes_them_over() {
    let plan = thousand_points_a_second();
    let mut site = Site::start(&plan);
    METERS.iter().for_each(|meter| site.await_count(meter, 2, SOON));
    let pid = site.gateway.driver_pid();
    METERS.iter().for_each(|meter| site.device(meter).watch());
    for _ in 0..2 {
        let told = site.gateway.hand_over();
        assert_eq!(told.json["drivers"], json!([{ "id": "modbus", "pid": pid }]), "{}", told.out);
        while_read(&site, 1);
        site.gateway.start();
        await_taken_over(&site, pid);
    }
    for meter in METERS {
        let gap = site.device(meter).gap();
        assert!(gap < plan.skipped(1), "{meter} was not read for {gap:?}");
    }
    METERS.iter().for_each(|meter| site.assert_every_read_counts_once(&plan, meter, DRAINED));
    for meter in METERS {
        site.assert_kept(meter, Interrupted::by_takeovers(2), DRAINED);
    }
    // A stop is a stop: no driver outlives it.
    site.gateway.stop();
    assert_eq!(site.gateway.driver_pids(), [0; 0]);
    site.assert_unharmed();
}

#[test]
fn an_orphan_reads_on_for_its_grace_and_then_ends_itself() {
    let plan = Plan::meters(&["meter-a"]).drivers("orphan_grace = \"3s\"");
    let mut site = Site::start(&plan);
    site.await_count("meter-a", 2, SOON);
    let pid = site.gateway.driver_pid();
    site.gateway.kill_nine();
    let before = site.device("meter-a").register(0);
    eventually("the orphan is alone and ends itself", SOON, || {
        let left = site.gateway.driver_pids();
        left.is_empty().then_some(()).ok_or_else(|| format!("{left:?}"))
    });
    let read = site.device("meter-a").register(0) - before;
    let graced = (3_000 / plan.poll.as_millis()) as u16;
    assert!((graced - 2..=graced + 3).contains(&read), "it was read {read} times in 3 s of grace");
    // What it read and nobody took is gone with it; a gateway that comes later starts another one.
    site.gateway.start();
    eventually("another driver reads", SOON, || site.device("meter-a").register(0) > before + read);
    assert_ne!(site.gateway.driver_pid(), pid);
    site.gateway.stop();
    assert_nothing_left(&site);
}

#[test]
fn strays_are_ended_at_the_next_start() {
    let plan = Plan::meters(&["meter-a"]);
    let mut site = Site::start(&plan);
    site.await_count("meter-a", 1, SOON);
    site.gateway.kill_nine();
    assert_eq!(site.gateway.driver_pids().len(), 1);
    // No connection needs the driver any more.
    site.configure(&plan.clone().without(&["meter-a"]));
    site.gateway.start();
    eventually("the stray is ended", SOON, || site.gateway.driver_pids().is_empty());
    site.gateway.stop();
    assert_nothing_left(&site);
}

#[test]
fn a_driver_that_died_with_its_gateway_is_started_anew() {
    let plan = Plan::meters(&["meter-a"]);
    let mut site = Site::start(&plan);
    site.await_count("meter-a", 2, SOON);
    let stored = site.stored("meter-a");
    let pid = site.gateway.driver_pid();
    site.gateway.kill_nine();
    signal(pid, Signal::KILL);
    eventually("it is gone", SOON, || site.gateway.driver_pids().is_empty());
    site.gateway.start();
    let read = u64::from(site.device("meter-a").register(0));
    site.await_count("meter-a", read + 2, SOON);
    assert_ne!(site.gateway.driver_pid(), pid);
    assert_eq!(site.gateway.driver("modbus")["reattached"], json!(false));
    site.assert_kept("meter-a", Interrupted::by_a_kill(stored), DRAINED);
    site.assert_unharmed();
}

#[test]
fn a_driver_that_does_not_know_how_to_be_taken_over_is_restarted() {
    let plan = Plan::meters(&["meter-a"])
        .must_log("it does not say that it can be taken over, so it is started anew");
    let mut site = Site::prepare(&plan);
    forget_reattach(&site);
    site.gateway.start();
    site.await_count("meter-a", 2, SOON);
    let (pid, stored) = (site.gateway.driver_pid(), site.stored("meter-a"));
    site.gateway.kill_nine();
    site.gateway.start();
    let read = u64::from(site.device("meter-a").register(0));
    site.await_count("meter-a", read + 2, SOON);
    assert_ne!(site.gateway.driver_pid(), pid, "and the one before is ended, not left beside it");
    assert_eq!(site.gateway.driver("modbus")["reattached"], json!(false));
    site.assert_kept("meter-a", Interrupted::by_a_kill(stored), DRAINED);

    let told = site.gateway.hand_over();
    assert_eq!(told.json["drivers"], json!([]), "{}", told.out);
    assert!(site.gateway.driver_pids().is_empty(), "one that cannot be taken over is not left");
    site.assert_unharmed();
}

/// The driver's binary with the word in its abilities made another one.
fn forget_reattach(site: &Site) {
    let path = site.gateway.drivers_dir().join("driver-modbus");
    let mut bytes = fs::read(&path).expect("the rig put it there");
    let word = b"reattach";
    let places: Vec<usize> =
        bytes.windows(word.len()).enumerate().filter(|(_, at)| at == word).map(|(place, _)| place).collect();
    assert!(!places.is_empty(), "the driver's binary does not have the word");
    for place in places {
        bytes[place..place + word.len()].copy_from_slice(b"reattxch");
    }
    fs::write(&path, bytes).expect("the rig's directory takes files");
}

/// No process, no record, no socket.
#[track_caller]
fn assert_nothing_left(site: &Site) {
    assert_eq!(site.gateway.driver_pids(), [0; 0]);
    assert!(!site.gateway.socket().exists(), "the control socket is left");
    let left = site.gateway.left_behind();
    assert!(left.is_empty(), "left in the run directory: {left:?}");
}
