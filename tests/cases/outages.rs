//! Broker and platform go away and come back; nothing is lost, doubled or out of order.

use std::time::Duration;

use e2e::platform::Tsl;
use e2e::rig::{GATEWAY, Interrupted, POINTS, Plan, Point, Site, eventually};

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
    let plan = Plan::meters(&["meter-a", "meter-b"]).must_log("no connection to the broker");
    let mut site = Site::start(&plan);
    site.await_count("meter-a", 2, SOON);
    site.broker.kill();
    eventually("the gateway notices", SOON, || {
        site.gateway.status()["northbound"]["connected"] == serde_json::json!(false)
    });
    while_read(&site, "meter-a", MISSED);
    site.broker.restart();
    site.platform.await_subscribed();
    site.assert_kept("meter-a", Interrupted::by_an_outage(), DRAINED);
    site.assert_kept("meter-b", Interrupted::by_an_outage(), DRAINED);
    site.assert_unharmed();
}

#[test]
fn samples_survive_a_platform_outage_behind_a_living_broker() {
    /// Messages a careful gateway may send into the dark: what was in flight, heartbeats and probes.
    const MOST_IN_THE_DARK: usize = 16;
    let plan = Plan::meters(&["meter-a", "meter-b"]).must_log("the platform does not answer; rows are kept");
    let site = Site::start(&plan);
    site.await_count("meter-a", 2, SOON);
    site.platform.pause();
    let published =
        |site: &Site| site.broker.log().matches(&format!("Received PUBLISH from {GATEWAY} ")).count();
    let before = published(&site);
    while_read(&site, "meter-a", 2 * MISSED);
    let sent = published(&site) - before;
    assert!(sent <= MOST_IN_THE_DARK, "{sent} messages to a platform that does not answer");
    site.platform.resume();
    for meter in ["meter-a", "meter-b"] {
        site.assert_kept(meter, Interrupted::by_an_outage(), DRAINED);
        site.assert_all_acknowledged(&plan, meter, SOON);
    }
    site.assert_unharmed();
}

#[test]
fn eviction_drops_the_oldest_and_counts_it() {
    /// Points whose text changes at every read; a read fills a twentieth of the smallest buffer.
    const TEXTS: u64 = 400;
    const TEXT_CHARS: usize = 140;
    /// Reads that are dropped and that the gateway has not in memory for sending.
    const DROPPED: u64 = 4;
    let mut plan = Plan::meters(&["meter-a"])
        .must_log("the platform does not answer; rows are kept")
        .must_log("buffer is full: oldest samples dropped")
        .may_log("device is offline connection=meter-a");
    plan.max_size = "1MiB".to_owned();
    plan.poll = Duration::from_millis(300);
    let (even, odd) = ("e".repeat(TEXT_CHARS), "o".repeat(TEXT_CHARS));
    let point = |number| Point {
        name: format!("text{number}"),
        toml: format!(
            r#"{{ at = "holding:0", type = "bits[0]", enum = {{ 0 = "{even}", 1 = "{odd}" }}, poll = "fast" }}"#
        ),
        tsl: Tsl::Text,
    };
    plan.points = (0..TEXTS).map(point).collect();
    let per_read = POINTS + TEXTS;
    let read = |site: &Site| u64::from(site.device("meter-a").register(0));
    let site = Site::start(&plan);
    site.await_count("meter-a", 2, SOON);

    site.platform.pause();
    let ledger = |name: &str| site.gateway.device("meter-a")["ledger"][name].as_u64().unwrap_or_default();
    eventually("the gateway notices", SOON, || site.gateway.log().contains("the platform does not answer"));
    // It reads ahead until then; those rows arrive even if the buffer drops them.
    let in_memory = per_read * read(&site);
    let enough = in_memory + DROPPED * per_read;
    eventually("the buffer is full and drops", SOON, || ledger("evicted") >= enough);
    // The device is gone before the platform is back, so that what is left has an end.
    site.device("meter-a").leave();
    let read = read(&site);
    eventually("all that was read is stored", SOON, || ledger("stored") == per_read * read);
    site.platform.resume();
    site.await_count("meter-a", read, SOON);

    eventually("stored = acknowledged + evicted", SOON, || {
        let (stored, acknowledged, evicted) = (ledger("stored"), ledger("acknowledged"), ledger("evicted"));
        let settled = stored == acknowledged + evicted && ledger("waiting") == 0;
        settled.then_some(()).ok_or_else(|| format!("{stored} ≠ {acknowledged} + {evicted}"))
    });
    let lost = site.assert_rest_in_order("meter-a", Interrupted::by_an_outage());
    assert_eq!(ledger("evicted"), per_read * lost, "every lost sample is counted, and no other");
    let told: u64 = site.gateway.log().lines().filter_map(evicted_in).sum();
    let late = told.checked_sub(ledger("evicted")).expect("the log tells of every lost sample");
    assert!(late <= in_memory, "{late} samples were said to be lost and were not");
    site.assert_unharmed();
}

/// `… buffer is full: oldest samples dropped; … device=meter-a samples=806`
fn evicted_in(line: &str) -> Option<u64> {
    let fields = line.split_once("buffer is full: oldest samples dropped")?.1;
    assert!(fields.contains("device=meter-a"), "whose samples? {line}");
    fields.split("samples=").last()?.split_whitespace().next()?.parse().ok()
}
