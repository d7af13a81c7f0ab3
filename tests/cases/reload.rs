//! New configurations while the gateway runs: what did not change notices nothing.

use std::time::{Duration, Instant};

use e2e::rig::{Interrupted, Plan, Point, Site, eventually};
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);
const DRAINED: Duration = Duration::from_secs(60);
/// What a driver says of a port it may not connect to until its successor is there.
const NO_RIGHTS_YET: &str = "Permission denied (os error 13)";

/// A site whose plan has devices that are not in its configuration yet.
fn site_without(plan: &Plan, later: &[&str]) -> Site {
    let mut site = Site::prepare(plan);
    site.configure(&plan.clone().without(later));
    site.gateway.start();
    site
}

#[track_caller]
fn assert_applied(site: &Site, changes: &[&str]) {
    let told = site.gateway.reload();
    assert_eq!((told.code, &told.json["result"]), (0, &json!("applied")), "{}{}", told.out, told.err);
    assert_eq!(told.json["changes"], json!(changes), "{}", told.out);
}

fn names(site: &Site) -> Vec<String> {
    let status = site.gateway.status();
    let devices = status["devices"].as_array().into_iter().flatten();
    devices.filter_map(|device| device["name"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_device_that_did_not_change_misses_no_poll_of_a_reload() {
    let plan = Plan::sharing("hall", &["steady", "leaving", "coming"])
        .may_log("samples of a device that is not configured any more are left out");
    let site = site_without(&plan, &["coming"]);
    for meter in ["steady", "leaving"] {
        site.await_count(meter, 3, SOON);
    }
    let (pid, before) = (site.gateway.driver_pid(), site.device("steady").register(0));
    site.device("steady").watch();

    site.configure(&plan.clone().without(&["leaving"]));
    assert_applied(&site, &["[device.coming] is new", "[device.leaving] is gone"]);
    site.await_count("coming", 3, SOON);
    let left = site.device("leaving").register(0);
    eventually("the steady one is read on", SOON, || site.device("steady").register(0) >= before + 8);
    let gap = site.device("steady").gap();
    assert!(gap < plan.skipped(1), "not read for {gap:?}, it is due every {:?}", plan.poll);
    assert_eq!(site.device("leaving").register(0), left, "what is gone is not read any more");
    assert_eq!(site.gateway.driver_pid(), pid, "the driver's process was not touched");
    assert_eq!(site.device("steady").stats().connections, 1, "nor was its connection");

    site.assert_kept("steady", Interrupted::by_a_restart(), DRAINED);
    site.assert_nothing_lost("coming", DRAINED);
    // Of the one that went, a read may have been on its way when it was taken out.
    site.await_count("leaving", u64::from(left) - 1, DRAINED);
    site.assert_unharmed();
}

#[test]
fn a_connection_to_another_port_needs_other_rights_and_goes_the_way_of_an_update() {
    let plan = Plan::meters(&["steady", "coming"]).may_log(NO_RIGHTS_YET);
    let site = site_without(&plan, &["coming"]);
    site.await_count("steady", 3, SOON);
    let pid = site.gateway.driver_pid();
    site.device("steady").watch();
    site.configure(&plan);
    assert_applied(&site, &["[connection.coming] is new", "[device.coming] is new"]);
    site.await_count("coming", 3, SOON);
    eventually("another process reads all of them", SOON, || {
        let driver = site.gateway.driver("modbus");
        (driver["pid"] != json!(pid)).then_some(()).ok_or_else(|| format!("{driver:#}"))
    });
    let gap = site.device("steady").gap();
    assert!(gap < plan.skipped(2), "more than one poll is missing: not read for {gap:?}");
    site.assert_kept("steady", Interrupted::by_a_restart(), DRAINED);
    site.assert_nothing_lost("coming", DRAINED);
    site.assert_unharmed();
}

#[test]
fn a_point_that_changes_applies_to_its_devices_alone() {
    let plan = Plan::meters(&["meter-a", "meter-b"]);
    let site = Site::start(&plan);
    site.device("meter-a").set(12, &[100]);
    site.device("meter-b").set(12, &[100]);
    for meter in ["meter-a", "meter-b"] {
        site.await_count(meter, 2, SOON);
    }
    let changed = plan.clone().line_of("meter-a", "points = { temperature = { scale = 0.5 } }");
    site.configure(&changed);
    site.device("meter-b").watch();
    assert_applied(&site, &["[device.meter-a] changed"]);
    eventually("the new scale", SOON, || site.platform.latest("meter-a", "temperature") == Some(json!(50.0)));
    assert_eq!(site.platform.latest("meter-b", "temperature"), Some(json!(10.0)));
    let gap = site.device("meter-b").gap();
    assert!(gap < plan.skipped(1), "meter-b was not read for {gap:?}");
    for meter in ["meter-a", "meter-b"] {
        site.assert_kept(meter, Interrupted::by_a_restart(), DRAINED);
    }
    site.assert_unharmed();
}

#[test]
fn a_mistake_changes_nothing_and_says_why() {
    let plan = Plan::meters(&["meter-a", "meter-b"])
        .must_log("the new configuration has a mistake")
        .must_log("the new configuration is refused");
    let mut site = Site::start(&plan);
    site.await_count("meter-a", 2, SOON);
    let pid = site.gateway.driver_pid();
    site.device("meter-a").watch();

    // The gateway's own mistake, the driver's, and a file that cannot be read to its end.
    let mistakes: [(&str, &str, u64); 3] = [
        ("meter-b", "connection = \"nowhere\"", 1),
        ("meter-b", "colour = \"green\"", 1),
        ("meter-b", "points = {", 1),
    ];
    for (meter, line, wrong) in mistakes {
        site.configure(&plan.clone().line_of(meter, line));
        let told = site.gateway.reload();
        assert_eq!((told.code, &told.json["result"]), (1, &json!("refused")), "{line}: {}", told.out);
        let problems = told.json["problems"].as_array().cloned().unwrap_or_default();
        let mistakes = problems.iter().filter(|problem| problem["warning"] == json!(false)).count() as u64;
        assert!(mistakes >= wrong, "{line}: {}", told.out);
        assert_eq!(problems[0]["file"], json!("conf.d/field.toml"), "{line}: {}", told.out);
        assert!(
            problems[0]["line"].as_u64() > Some(1) && problems[0]["column"].as_u64() >= Some(1),
            "{}",
            told.out
        );
        let status = site.gateway.status();
        assert_eq!(status["last_reload"]["done"], json!(false), "{:#}", status["last_reload"]);
        assert_eq!(names(&site), ["meter-a", "meter-b"]);
    }
    assert_eq!(site.gateway.driver_pid(), pid);
    let gap = site.device("meter-a").gap();
    assert!(gap < plan.skipped(1), "meter-a was not read for {gap:?}");

    // Once it is right again, SIGHUP does it; nothing changed, so nothing happens.
    site.configure(&plan);
    site.gateway.hang_up();
    eventually("the files say what runs", SOON, || {
        let reload = site.gateway.status()["last_reload"].clone();
        (reload["done"] == json!(true)).then_some(()).ok_or_else(|| reload.to_string())
    });
    site.assert_nothing_lost("meter-a", DRAINED);
    site.assert_unharmed();
}

#[test]
fn a_hang_up_reloads_and_two_at_once_are_as_good_as_one() {
    let plan = Plan::meters(&["meter-a", "meter-b"]).may_log(NO_RIGHTS_YET);
    let mut site = site_without(&plan, &["meter-b"]);
    site.await_count("meter-a", 1, SOON);
    site.configure(&plan);
    site.gateway.hang_up();
    site.gateway.hang_up();
    site.await_count("meter-b", 2, SOON);
    site.assert_kept("meter-a", Interrupted::by_a_restart(), DRAINED);
    site.assert_unharmed();
}

#[test]
fn what_cannot_be_started_gives_way_to_what_ran() {
    let plan = Plan::meters(&["meter-a"]).must_log("the new configuration is taken back");
    let site = Site::start(&plan);
    site.await_count("meter-a", 2, SOON);
    let mut elsewhere = plan.clone();
    // A file where the buffer's directory should be.
    elsewhere.buffer_dir = Some(site.path("config/gateway.toml").join("buffer"));
    site.configure(&elsewhere);
    let told = site.gateway.reload();
    assert_eq!((told.code, &told.json["result"]), (1, &json!("restored")), "{}{}", told.out, told.err);
    let message = told.json["message"].as_str().unwrap_or_default();
    assert!(message.contains("the old one runs again"), "{message}");
    let read = u64::from(site.device("meter-a").register(0));
    site.await_count("meter-a", read + 2, SOON);
    site.assert_kept("meter-a", Interrupted::by_a_restart(), DRAINED);
    site.assert_unharmed();
}

#[test]
fn the_command_lines_door_moves_and_whoever_asked_still_hears() {
    let plan = Plan::meters(&["meter-a"]);
    let site = Site::start(&plan);
    site.await_count("meter-a", 1, SOON);
    let (old, mut moved) = (site.gateway.socket(), plan.clone());
    moved.socket = Some(site.path("moved.sock"));
    site.configure(&moved);
    // The command line finds the door by the files, which name the new one already.
    let told = site.gateway.command_at(&old, &["reload"]);
    assert_eq!((told.code, &told.json["result"]), (0, &json!("applied")), "{}{}", told.out, told.err);
    assert_eq!(told.json["changes"], json!(["[control] changed"]));
    eventually("the old door is gone", SOON, || !old.exists());
    assert_eq!(names(&site), ["meter-a"], "and the new one answers");
    site.assert_kept("meter-a", Interrupted::by_a_restart(), DRAINED);
    site.assert_unharmed();
}

#[test]
fn the_command_line_is_answered_during_a_reload() {
    let plan = Plan::meters(&["meter-a", "meter-b"]).may_log(NO_RIGHTS_YET);
    let site = site_without(&plan, &["meter-b"]);
    site.await_count("meter-a", 1, SOON);
    site.configure(&plan);
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| site.gateway.reload());
        let began = Instant::now();
        while !reload.is_finished() && began.elapsed() < SOON {
            let told = site.gateway.command(&["status"]);
            assert_eq!(told.code, 0, "{}{}", told.out, told.err);
            let told = site.gateway.read("meter-a", "level");
            let said = told.json["message"].as_str().unwrap_or_default().to_owned();
            let verdict = told.json["verdict"].as_str().unwrap_or_default();
            // A driver between two sessions takes no command; whoever asks is told so at once.
            assert!(verdict == "applied" || !said.is_empty(), "{}{}", told.out, told.err);
        }
        let told = reload.join().expect("it does not panic");
        assert_eq!(told.json["result"], json!("applied"), "{}{}", told.out, told.err);
    });
    site.assert_unharmed();
}

#[test]
fn of_two_reloads_at_once_one_applies_and_the_other_says_so() {
    let plan = Plan::sharing("hall", &["meter-a", "meter-b"]);
    let site = site_without(&plan, &["meter-b"]);
    site.await_count("meter-a", 1, SOON);
    site.configure(&plan);
    let told = std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| site.gateway.reload()));
        both.map(|reload| reload.join().expect("it does not panic"))
    });
    let applied = told.iter().filter(|told| told.json["result"] == json!("applied")).count();
    assert_eq!(applied, 1, "{told:?}");
    let other = told.iter().find(|told| told.json["result"] != json!("applied")).expect("there are two");
    let refused = other.json["error"].as_str().is_some_and(|error| error.contains("is being checked"));
    assert!(refused || other.json["result"] == json!("unchanged"), "{other:?}");
    site.await_count("meter-b", 1, SOON);
    site.assert_unharmed();
}

#[test]
fn what_waits_of_a_device_that_is_taken_out_is_sent_and_its_answers_are_heard() {
    let plan = Plan::meters(&["steady", "leaving"])
        .must_log("a message is not answered; the platform is asked whether it is there")
        .may_log("the platform does not answer; rows are kept")
        .may_log("samples of a device that is not configured any more are left out");
    let site = Site::start(&plan);
    for meter in ["steady", "leaving"] {
        site.await_count(meter, 2, SOON);
    }
    site.platform.pause();
    let before = site.device("leaving").register(0);
    eventually("rows wait", SOON, || site.device("leaving").register(0) >= before + 8);
    let stored = site.stored("leaving");
    site.configure(&plan.clone().without(&["leaving"]));
    let told = site.gateway.reload();
    assert_eq!((told.code, &told.json["result"]), (0, &json!("applied")), "{}{}", told.out, told.err);
    site.platform.resume();
    site.await_count("leaving", stored, DRAINED);
    site.assert_kept("steady", Interrupted::by_an_outage(), DRAINED);
    // It was asked for, and answered, before its rows were sent; nobody waited for a second question.
    assert!(
        !site.gateway.log().contains("the platform does not answer for a device"),
        "{}",
        site.gateway.tail()
    );
    site.assert_unharmed();
}

#[test]
fn a_new_point_of_a_model_reaches_the_platform() {
    let mut plan = Plan::meters(&["meter-a"]);
    let site = Site::start(&plan);
    site.await_count("meter-a", 2, SOON);
    plan.points.push(Point {
        name: "extra".to_owned(),
        toml: r#"{ at = "holding:20", type = "u16", poll = "fast" }"#.to_owned(),
        tsl: e2e::platform::Tsl::Int,
    });
    site.platform.know(plan.known_device("meter-a"));
    site.device("meter-a").set(20, &[77]);
    site.configure(&plan);
    assert_applied(&site, &["[model.meter] changed", "[device.meter-a] changed"]);
    eventually("the new point", SOON, || site.platform.latest("meter-a", "extra") == Some(json!(77)));
    let read = site.gateway.read("meter-a", "extra");
    assert_eq!(read.json["points"][0]["value"], json!(77), "{}{}", read.out, read.err);
    site.assert_kept("meter-a", Interrupted::by_a_restart(), DRAINED);
    site.assert_unharmed();
}
