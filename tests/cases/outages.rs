//! Broker and platform go away and come back; nothing is lost, doubled or out of order.

use std::time::Duration;

use e2e::rig::{GATEWAY, Plan, Site, eventually};

const SOON: Duration = Duration::from_secs(30);
/// A backlog goes out at four rows a second beside the live rows.
const DRAINED: Duration = Duration::from_secs(60);
/// Reads that go by during an outage.
const MISSED: u16 = 8;

/// Waits until the device was read `reads` more times: the outage has a length the device counts.
fn while_read(site: &Site, meter: &str, reads: u16) {
    let before = site.device(meter).register(0);
    eventually(&format!("{meter} is read {reads} more times"), SOON, || {
        site.device(meter).register(0) >= before + reads
    });
}

#[test]
fn samples_survive_a_broker_outage_in_order() {
    let mut site = Site::start(&Plan::meters(&["meter-a", "meter-b"]));
    site.await_count("meter-a", 2, SOON);
    site.broker.kill();
    eventually("the gateway notices", SOON, || {
        site.gateway.status()["northbound"]["connected"] == serde_json::json!(false)
    });
    while_read(&site, "meter-a", MISSED);
    site.broker.restart();
    site.platform.await_subscribed();
    site.assert_nothing_lost("meter-a", 0, DRAINED);
    site.assert_nothing_lost("meter-b", 0, DRAINED);
    site.assert_unharmed();
}

#[test]
fn samples_survive_a_platform_outage_behind_a_living_broker() {
    /// Messages a careful gateway may send into the dark: what was in flight, heartbeats and probes.
    const MOST_IN_THE_DARK: usize = 16;
    let site = Site::start(&Plan::meters(&["meter-a", "meter-b"]));
    site.await_count("meter-a", 2, SOON);
    site.platform.pause();
    let published =
        |site: &Site| site.broker.log().matches(&format!("Received PUBLISH from {GATEWAY} ")).count();
    let before = published(&site);
    while_read(&site, "meter-a", 2 * MISSED);
    let sent = published(&site) - before;
    assert!(sent <= MOST_IN_THE_DARK, "{sent} messages to a platform that does not answer");
    site.platform.resume();
    site.assert_nothing_lost("meter-a", 0, DRAINED);
    site.assert_nothing_lost("meter-b", 0, DRAINED);
    site.assert_unharmed();
}

#[test]
fn a_lost_acknowledgement_is_answered_with_the_same_bytes() {
    let site = Site::start(&Plan::meters(&["meter-a"]));
    site.await_count("meter-a", 2, SOON);
    site.platform.lose_acks(2);
    // Another id or other bytes would be a violation of its own.
    eventually("a message comes again, byte for byte", SOON, || {
        site.platform.arrivals().iter().any(|arrival| arrival.resent)
    });
    site.assert_nothing_lost("meter-a", 0, DRAINED);
    site.assert_unharmed();
}
