//! A box whose clock is wrong: it boots in 1970 and gets its time late or never, and has it stepped.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use e2e::platform::Row;
use e2e::rig::{Interrupted, Plan, Site, eventually};

const SOON: Duration = Duration::from_secs(30);
const DRAINED: Duration = Duration::from_secs(60);
const HOUR: i64 = 3_600;
/// What a clock without a battery is wrong by.
fn since_1970() -> i64 {
    -now()
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the test machine's clock is past 1970").as_secs()
        as i64
}

fn uptime() -> i64 {
    let uptime = std::fs::read_to_string("/proc/uptime").expect("Linux has it");
    let seconds = uptime.split('.').next().and_then(|seconds| seconds.parse().ok());
    seconds.expect("it begins with seconds")
}

/// A box with one meter, whose rows wait for so long, and a clock that is wrong by so much.
fn boxed(plan: &mut Plan, wait: &str, wrong_s: i64) -> Site {
    plan.clock_wait = wait.to_owned();
    let mut site = Site::prepare(plan);
    site.gateway.set_clock(wrong_s);
    site.gateway.start();
    site
}

fn clock(site: &Site) -> String {
    site.gateway.status()["clock"]["state"].as_str().unwrap_or_default().to_owned()
}

fn await_stored(site: &Site, reads: u64) {
    eventually("the meter's reads are stored", SOON, || {
        site.gateway.device("meter-a")["ledger"]["stored"].as_u64() >= Some(reads)
    });
}

/// When the counter of each row was read, Unix seconds, in order of arrival.
fn times(rows: &[Row]) -> Vec<i64> {
    let fresh = rows.iter().filter(|row| !row.resent);
    fresh.map(|row| row.cells["count"].time.expect("every cell has a time")).collect()
}

fn events(site: &Site, name: &str) -> usize {
    site.platform.look(|core| core.events.iter().filter(|event| event.name == name).count())
}

#[test]
fn a_box_that_boots_in_1970_keeps_its_rows_until_it_has_its_time_and_then_they_are_right() {
    let mut plan = Plan::meters(&["meter-a"]).must_log("the clock is not trusted; rows are stored and wait");
    let began = now();
    let mut site = boxed(&mut plan, "10m", since_1970());
    await_stored(&site, 9);
    assert_eq!(clock(&site), "waiting");
    // a kill changes nothing: they still wait
    site.gateway.kill_nine();
    site.gateway.start();
    await_stored(&site, 18);
    assert_eq!((clock(&site).as_str(), site.platform.rows("meter-a").len()), ("waiting", 0));
    let written = site.gateway.write("meter-a", "level", "7");
    assert_eq!(written.code, 0, "commands need no wall clock: {}{}", written.out, written.err);

    site.gateway.set_clock(0);
    site.assert_kept("meter-a", Interrupted::by_takeovers(1), DRAINED);
    assert_eq!(clock(&site), "trusted");
    let times = times(&site.platform.rows("meter-a"));
    assert!(times.is_sorted(), "{times:?}");
    assert!(times[0] >= began - 1 && times[times.len() - 1] <= now(), "from {began} on: {times:?}");
    assert!(times[times.len() - 1] - times[0] >= 2, "each has its own time: {times:?}");
    assert_eq!(events(&site, "clockUncertain"), 0);
    site.assert_unharmed();
}

#[test]
fn rows_from_before_a_boot_without_a_clock_go_out_and_those_after_it_wait() {
    let mut plan = Plan::meters(&["meter-a"])
        .must_log("the clock is not trusted; rows are stored and wait")
        .may_log("no connection to the broker");
    let began = now();
    let mut site = boxed(&mut plan, "10m", 0);
    site.broker.kill();
    await_stored(&site, 9);
    let before = site.stored("meter-a");
    site.gateway.stop();
    // what a box comes up with that kept no time
    std::fs::remove_file(site.path("buffer").join("clock")).expect("it kept its time");
    site.gateway.set_clock(since_1970());
    site.gateway.start();
    eventually("reads are stored behind them", SOON, || site.stored("meter-a") > before + 5);
    site.broker.restart();
    site.await_count("meter-a", before, SOON);
    let since = site.stored("meter-a");
    eventually("more of them are stored", SOON, || site.stored("meter-a") > since + 8);
    let came = times(&site.platform.rows("meter-a"));
    assert!(came.iter().all(|time| (began - 1..=now()).contains(time)), "from {began} on: {came:?}");
    assert_eq!(clock(&site), "waiting");

    site.gateway.set_clock(0);
    site.assert_kept("meter-a", Interrupted::by_takeovers(1), DRAINED);
    let all = times(&site.platform.rows("meter-a"));
    assert!(all.is_sorted() && all.len() > came.len() + 4, "{came:?} and then {all:?}");
    assert!(all.iter().all(|time| (began - 1..=now()).contains(time)), "from {began} on: {all:?}");
    site.assert_unharmed();
}

#[test]
fn a_box_that_never_gets_its_time_says_so_once_and_when_it_does_after_all_nothing_is_sent_again() {
    /// The last time that is known to a box that never knew one: 2025-01-01.
    const EARLIEST: i64 = 1_735_689_600;
    let mut plan = Plan::meters(&["meter-a"])
        .must_log("the clock is not trusted; rows are stored and wait")
        .must_log("the clock is still not trusted; rows carry the last time that was known");
    let mut site = boxed(&mut plan, "2s", since_1970());
    site.await_count("meter-a", 8, SOON);
    assert_eq!(clock(&site), "uncertain");
    let point = site.gateway.device("meter-a")["points"][0].clone();
    assert_eq!(point["quality"], "uncertain", "{point:#}");
    // not the counter, which a read moves on
    let read = site.gateway.command(&["read", "meter-a", "level"]).json["points"][0].clone();
    assert_eq!((&read["verdict"], &read["quality"]), (&"applied".into(), &"uncertain".into()), "{read:#}");
    assert_eq!(read["message"], point["reason"]);
    let uncertain = times(&site.platform.rows("meter-a"));
    let possible = EARLIEST..=EARLIEST + uptime();
    assert!(uncertain.is_sorted() && uncertain.iter().all(|time| possible.contains(time)), "{uncertain:?}");
    site.gateway.kill_nine();
    site.gateway.start();
    assert_eq!(clock(&site), "uncertain", "what is decided stays decided");

    site.gateway.set_clock(0);
    eventually("it notices", SOON, || clock(&site) == "trusted");
    site.assert_kept("meter-a", Interrupted::by_takeovers(1), DRAINED);
    let times = times(&site.platform.rows("meter-a"));
    assert!(times.is_sorted() && times.starts_with(&uncertain), "{uncertain:?} and then {times:?}");
    assert!(now() - times[times.len() - 1] < 60, "{times:?}");
    eventually("the platform is told of both", SOON, || {
        (events(&site, "clockUncertain"), events(&site, "clockTrusted")) == (1, 1)
    });
    site.assert_unharmed();
}

#[test]
fn a_clock_that_is_set_an_hour_forward_and_back_changes_the_times_of_later_rows_and_nothing_else() {
    let mut plan = Plan::meters(&["meter-a"]).must_log("the clock was set to another time");
    // in the past, where the platform takes any time for right
    let mut site = boxed(&mut plan, "10m", -2 * HOUR);
    let mut count = 0;
    for wrong_s in [-HOUR, -2 * HOUR, -3 * HOUR] {
        count += 4;
        site.await_count("meter-a", count, SOON);
        site.gateway.set_clock(wrong_s);
        count = u64::from(site.device("meter-a").register(0));
    }
    site.await_count("meter-a", count + 4, SOON);
    let written = site.gateway.write("meter-a", "level", "7");
    assert_eq!(written.code, 0, "{}{}", written.out, written.err);
    site.assert_nothing_lost("meter-a", DRAINED);
    let times = times(&site.platform.rows("meter-a"));
    let steps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).filter(|s| s.abs() > 60).collect();
    let about = |step: i64, expected: i64| (step - expected).abs() < 60;
    assert!(
        matches!(steps[..], [a, b, c] if about(a, HOUR) && about(b, -HOUR) && about(c, -HOUR)),
        "{steps:?} in {times:?}"
    );
    site.assert_unharmed();
}
