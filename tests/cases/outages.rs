//! Broker and platform go away and come back; nothing is lost, doubled or out of order.

use std::time::{Duration, Instant};

use e2e::platform::Tsl;
use e2e::rig::{GATEWAY, Interrupted, Manners, POINTS, Plan, Point, Site, eventually};

use crate::campaign::{Seed, how_many};

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
fn two_thousand_points_a_second_survive_a_broker_outage() {
    const DEVICES: usize = 20;
    /// The gateway tries again at least this often in the first minute of an outage, and later on.
    const BACK: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(32)];
    let away = Duration::from_secs(how_many("SAGOO_OUTAGE_S", 12));
    let names: Vec<String> = (0..DEVICES).map(|number| format!("m{number}")).collect();
    let meters: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut plan = Plan::sharing("hall", &meters)
        .wide(100)
        .must_log("no connection to the broker")
        // A simulated platform on a busy machine takes its time with the backlog.
        .may_log("a message is not answered")
        .may_log("the platform does not answer; rows are kept")
        .may_log("polls are left out because the line is busy");
    plan.poll = Duration::from_secs(1);
    let mut site = Site::start(&plan);
    meters.iter().for_each(|meter| site.await_count(meter, 2, SOON));
    site.broker.kill();
    let gone = Instant::now();
    // The devices' own clock would do as well, but it is a length of time that is promised.
    eventually("the outage is over", away + SOON, || gone.elapsed() >= away);
    let ledger = site.gateway.status()["totals"].clone();
    site.broker.restart();
    let back = Instant::now();
    let least = DEVICES as u64 * plan.per_read() * (away.as_secs() - 3);
    assert!(ledger["waiting"].as_u64() >= Some(least), "{least} samples and more wait: {ledger:#}");
    let limit = BACK[usize::from(away > Duration::from_secs(60))];
    let first = eventually("a row arrives again", limit + SOON, || {
        site.platform.look(|core| core.rows.iter().map(|row| row.arrived).find(|at| *at > back))
    });
    let after = first - back;
    assert!(after <= limit, "rows were published again {after:?} after the broker was back, not {limit:?}");
    for meter in &meters {
        site.assert_kept(meter, Interrupted::by_an_outage(), DRAINED + away);
        // what was read while the backlog went out, three rows a second, waits behind it
        site.assert_all_acknowledged(&plan, meter, SOON.max(away));
    }
    site.assert_unharmed();
}

#[test]
fn what_a_broker_accepts_and_drops_is_sent_again() {
    /// Messages that are taken on their way.
    const TAKEN: u64 = 15;
    /// More than enough: one message in five or so is taken, and each costs a wait for its answer.
    const PER_TAKEN: Duration = Duration::from_secs(20);
    let taken = how_many("SAGOO_TAKEN", TAKEN);
    let seed = Seed::drawn();
    let meters = ["meter-a", "meter-b", "meter-c"];
    let mut plan = Plan::meters(&meters)
        .may_log("a message is not answered")
        .may_log("the platform does not answer")
        .may_log("no connection to the broker")
        .troubles(taken as usize);
    plan.way = Some(seed.number());
    let site = Site::start(&plan);
    meters.iter().for_each(|meter| site.await_count(meter, 2, SOON));
    site.set_manners(Manners { swallowed: 0.1, confirmed: 0.1, broken: 0.03 });
    let long = PER_TAKEN * taken as u32;
    eventually("enough messages are dropped", long, || {
        let taken_by_now = site.taken();
        (taken_by_now >= taken).then_some(()).ok_or(taken_by_now)
    });
    site.set_manners(Manners::default());
    for meter in meters {
        site.assert_kept(meter, Interrupted::by_outages(taken as usize), DRAINED + long);
        site.assert_all_acknowledged(&plan, meter, DRAINED + long);
    }
    site.assert_unharmed();
}

/// The packet id of such a message is never free again on that connection.
#[test]
fn a_message_the_broker_never_confirms_is_followed_by_a_new_connection() {
    const LOST: &str = "the broker does not confirm a message, but others that came after it";
    let mut plan = Plan::meters(&["meter-a"])
        .may_log("a message is not answered")
        .may_log("the platform does not answer")
        .must_log(LOST);
    plan.way = Some(Seed::drawn().number());
    let site = Site::start(&plan);
    site.await_count("meter-a", 2, SOON);
    site.set_manners(Manners { swallowed: 1.0, ..Manners::default() });
    eventually("a message is lost", SOON, || site.taken() > 0);
    site.set_manners(Manners::default());
    eventually("the connection is begun anew", SOON, || site.gateway.log().contains(LOST));
    site.assert_kept("meter-a", Interrupted::by_outages(site.taken() as usize), DRAINED);
    site.assert_all_acknowledged(&plan, "meter-a", DRAINED);
    site.assert_unharmed();
}

#[test]
fn samples_survive_a_platform_outage_behind_a_living_broker() {
    /// Messages a careful gateway may send into the dark: what was in flight, heartbeats and probes.
    const MOST_IN_THE_DARK: usize = 16;
    let plan = Plan::meters(&["meter-a", "meter-b"])
        .must_log("a message is not answered; the platform is asked whether it is there")
        .must_log("the platform does not answer; rows are kept");
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
    /// Points whose text changes at every read; a read fills a twentieth of the samples' part of the
    /// smallest buffer.
    const TEXTS: u64 = 400;
    const TEXT_CHARS: usize = 140;
    /// Reads that are dropped and that the gateway has not in memory for sending.
    const DROPPED: u64 = 4;
    let mut plan = Plan::meters(&["meter-a"])
        .must_log("a message is not answered; the platform is asked whether it is there")
        .must_log("the platform does not answer; rows are kept")
        .must_log("buffer is full: oldest samples dropped")
        .may_log("device is offline connection=meter-a");
    plan.max_size = "2MiB".to_owned();
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
