//! Processes die in the middle of their work; what was stored stays.

use std::time::Duration;

use e2e::rig::{Interrupted, Plan, Site, eventually, signal};
use rustix::process::Signal;
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);
const DRAINED: Duration = Duration::from_secs(60);
const METERS: [&str; 2] = ["meter-a", "meter-b"];

#[test]
fn a_crashed_driver_comes_back_and_nothing_acknowledged_is_lost() {
    let site = Site::start(&Plan::meters(&METERS).must_log("driver is down driver=modbus"));
    METERS.iter().for_each(|meter| site.await_count(meter, 3, SOON));
    let stored = METERS.map(|meter| site.stored(meter));
    let pid = site.gateway.kill_driver();
    eventually("another driver process runs", SOON, || {
        site.gateway.driver_pids().iter().any(|new| *new != pid).then_some(()).ok_or("none")
    });
    for (meter, stored) in METERS.into_iter().zip(stored) {
        let read = u64::from(site.device(meter).register(0));
        site.await_count(meter, read + 3, SOON);
        site.assert_kept(meter, Interrupted::by_a_driver_crash(stored), DRAINED);
    }
    let driver = site.gateway.driver("modbus");
    assert_eq!((&driver["state"], &driver["restarts"]), (&json!("running"), &json!(1)), "{driver:#}");
    site.assert_unharmed();
}

#[test]
fn kill_nine_of_gateway_and_driver_loses_nothing_acknowledged() {
    let plan = Plan::meters(&METERS)
        .must_log("a message is not answered; the platform is asked whether it is there")
        // killed before or after that is known
        .may_log("the platform does not answer; rows are kept");
    let mut site = Site::start(&plan);
    METERS.iter().for_each(|meter| site.await_count(meter, 2, SOON));
    // With nobody there to take them, rows pile up in the buffer.
    site.platform.pause();
    let before = site.device("meter-a").register(0);
    eventually("six more reads", SOON, || site.device("meter-a").register(0) >= before + 6);
    let stored = METERS.map(|meter| site.stored(meter));
    let arrived = |meter: &str| site.platform.latest(meter, "count").and_then(|count| count.as_u64());
    for (meter, stored) in METERS.into_iter().zip(stored) {
        assert!(arrived(meter) < Some(stored), "{meter}: nothing waits in the buffer, {stored} was stored");
    }
    // Gateway and driver at once: what was not stored yet is gone with them, and nothing else.
    let driver = site.gateway.driver_pid();
    site.gateway.kill_nine();
    signal(driver, Signal::KILL);
    site.gateway.start();
    site.platform.resume();
    for (meter, stored) in METERS.into_iter().zip(stored) {
        let read = u64::from(site.device(meter).register(0));
        site.await_count(meter, read + 2, DRAINED);
        site.assert_kept(meter, Interrupted::by_a_kill(stored), DRAINED);
    }
    site.assert_unharmed();
}
