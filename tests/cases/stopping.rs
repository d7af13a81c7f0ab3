//! The end: everything stops in order, within its time, and leaves nothing behind.

use std::time::{Duration, Instant};

use e2e::rig::{GATEWAY, Interrupted, Plan, Site, eventually};
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);
/// Issue 2: SIGTERM to the end of the process.
const QUICK: Duration = Duration::from_secs(5);

#[track_caller]
fn assert_nothing_left(site: &Site) {
    let drivers = site.gateway.driver_pids();
    assert!(drivers.is_empty(), "driver processes are left: {drivers:?}");
    assert!(!site.gateway.socket().exists(), "the control socket is left");
    let left = site.gateway.left_behind();
    assert!(left.is_empty(), "sockets or records of drivers are left: {left:?}");
}

#[test]
fn stopping_is_clean_and_quick() {
    let mut site = Site::start(&Plan::meters(&["meter-a", "meter-b"]));
    site.await_count("meter-a", 3, SOON);
    site.await_count("meter-b", 3, SOON);
    let used = site.gateway.left_behind();
    assert!(
        !used.is_empty(),
        "drivers have their sockets elsewhere, so this case cannot see them left behind"
    );
    let asked = Instant::now();
    site.gateway.stop();
    let took = asked.elapsed();
    assert!(took <= QUICK, "{took:?}");
    assert_nothing_left(&site);
    eventually("mosquitto saw a DISCONNECT", SOON, || {
        site.broker.log().contains(&format!("Client {GATEWAY} disconnected"))
    });
    assert!(!site.broker.log().contains(&format!("Client {GATEWAY} closed its connection")));

    // What was read before the stop and not yet sent is sent after the next start.
    site.gateway.start();
    for meter in ["meter-a", "meter-b"] {
        let read = u64::from(site.device(meter).register(0));
        site.await_count(meter, read + 1, SOON);
        site.assert_kept(meter, Interrupted::by_a_restart(), SOON);
    }
    site.assert_unharmed();
}

#[test]
fn stopping_is_quick_with_a_dead_broker_and_a_silent_device() {
    let plan = Plan::meters(&["meter-a", "silent"])
        .must_log("no connection to the broker")
        .may_log("device is offline connection=silent")
        .may_log("slots are skipped connection=silent")
        .may_log("polls are left out because the line is busy");
    let mut site = Site::start(&plan);
    site.await_count("meter-a", 2, SOON);
    site.device("silent").set_silent(true);
    site.broker.kill();
    eventually("the gateway notices", SOON, || {
        site.gateway.status()["northbound"]["connected"] == json!(false)
    });
    let asked = Instant::now();
    site.gateway.interrupt();
    let took = asked.elapsed();
    assert!(took <= QUICK, "{took:?}");
    assert_nothing_left(&site);

    site.broker.restart();
    site.platform.await_subscribed();
    site.gateway.start();
    let read = u64::from(site.device("meter-a").register(0));
    site.await_count("meter-a", read + 1, SOON);
    site.assert_kept("meter-a", Interrupted::by_a_restart(), SOON);
    site.assert_unharmed();
}
