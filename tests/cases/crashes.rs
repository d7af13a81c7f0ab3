//! Processes die in the middle of their work; what was acknowledged to them stays.

use std::time::Duration;

use e2e::rig::{Plan, Site, eventually};
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);
const DRAINED: Duration = Duration::from_secs(60);

#[test]
fn a_crashed_driver_comes_back_and_nothing_acknowledged_is_lost() {
    let site = Site::start(&Plan::meters(&["meter-a", "meter-b"]));
    site.await_count("meter-a", 3, SOON);
    let pid = site.gateway.kill_driver();
    eventually("another driver process runs", SOON, || {
        site.gateway.driver_pids().iter().any(|new| *new != pid).then_some(()).ok_or("none")
    });
    for meter in ["meter-a", "meter-b"] {
        let read = u64::from(site.device(meter).register(0));
        site.await_count(meter, read + 3, SOON);
        // One read may have been on its way through the process that was killed.
        site.assert_nothing_lost(meter, 1, DRAINED);
    }
    let driver = site.gateway.driver("modbus");
    assert_eq!((&driver["state"], &driver["restarts"]), (&json!("running"), &json!(1)), "{driver:#}");
    site.assert_unharmed();
}

#[test]
fn kill_nine_of_the_gateway_loses_nothing_acknowledged() {
    let mut site = Site::start(&Plan::meters(&["meter-a", "meter-b"]));
    site.await_count("meter-a", 2, SOON);
    // With nobody there to take them, rows pile up in the buffer.
    site.platform.pause();
    let before = site.device("meter-a").register(0);
    eventually("six more reads", SOON, || site.device("meter-a").register(0) >= before + 6);
    let orphans = site.gateway.driver_pids();
    assert!(!orphans.is_empty());
    site.gateway.kill_nine();
    eventually("the driver ends with its gateway", SOON, || {
        let left = site.gateway.driver_pids();
        left.is_empty().then_some(()).ok_or_else(|| format!("{left:?}"))
    });
    site.gateway.start();
    site.platform.resume();
    for meter in ["meter-a", "meter-b"] {
        let read = u64::from(site.device(meter).register(0));
        site.await_count(meter, read + 2, DRAINED);
        site.assert_nothing_lost(meter, 1, DRAINED);
    }
    site.assert_unharmed();
}
