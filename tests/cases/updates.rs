//! Other versions of a driver while the gateway runs: put in use, put back, taken away.

use std::path::PathBuf;
use std::time::Duration;

use e2e::rig::{Fault, Interrupted, Plan, SigningKey, Site, eventually, pack};
use serde_json::{Value as Json, json};

const SOON: Duration = Duration::from_secs(30);
/// A new version is watched for 30 s before the old one is stopped.
const WATCHED: Duration = Duration::from_secs(60);
/// A version that hangs is known after 15 s of silence.
const AFTER_A_HANG: Duration = Duration::from_secs(45);
const DRAINED: Duration = Duration::from_secs(60);
const METERS: [&str; 2] = ["meter-a", "meter-b"];

/// A site whose driver comes from a package of version 1.0.0, signed by a trusted key.
fn site(plan: &Plan) -> (Site, SigningKey) {
    let mut site = Site::prepare(plan);
    site.gateway.only_packages();
    let key = SigningKey::make(site.dir(), "release");
    key.trust_in(&site.gateway.trusted_keys());
    site.gateway.install(&pack(site.dir(), "modbus", "1.0.0", Fault::None, Some(&key)));
    site.gateway.start();
    for meter in METERS {
        site.await_count(meter, 2, SOON);
    }
    let driver = site.gateway.driver("modbus");
    assert_eq!((&driver["version"], &driver["signed"]), (&json!("1.0.0"), &json!(true)), "{driver:#}");
    (site, key)
}

fn in_use(site: &Site) -> Json {
    let told = site.gateway.packages(&["list"]);
    let versions = told.json["drivers"][0]["versions"].as_array().cloned().unwrap_or_default();
    let used = versions.iter().find(|version| version["state"] == json!("in use"));
    used.map(|version| version["version"].clone()).unwrap_or_else(|| panic!("{}{}", told.out, told.err))
}

#[test]
fn a_new_version_takes_over_and_no_device_misses_more_than_one_poll() {
    let plan = Plan::meters(&METERS);
    let (site, key) = site(&plan);
    let before = site.gateway.pid_of("modbus");
    METERS.iter().for_each(|meter| site.device(meter).watch());
    site.gateway.install(&pack(site.dir(), "modbus", "1.1.0", Fault::None, Some(&key)));
    eventually("the new version has every line", SOON, || {
        let update = site.gateway.driver("modbus")["update"].clone();
        let has = update.as_str().is_some_and(|update| update.contains("1.1.0 has every line"));
        has.then_some(()).ok_or_else(|| update.to_string())
    });
    for meter in METERS {
        let read = site.device(meter).register(0);
        eventually("it reads", SOON, || site.device(meter).register(0) >= read + 2);
        let gap = site.device(meter).gap();
        println!("gap of {meter} at a hot update: {gap:?}, polls are {:?} apart", plan.poll);
        assert!(gap < plan.skipped(1), "{meter} was not read for {gap:?}");
        assert_eq!(site.device(meter).stats().connections, 2, "one connection of each version");
    }
    eventually("it has proved itself, and the old one is gone", WATCHED, || {
        let driver = site.gateway.driver("modbus");
        let alone = site.gateway.driver_pids() == [site.gateway.pid_of("modbus")];
        let new = driver["version"] == json!("1.1.0") && driver["pid"] != json!(before);
        (new && alone).then_some(()).ok_or_else(|| format!("{driver:#}"))
    });
    METERS.iter().for_each(|meter| site.assert_nothing_lost(meter, DRAINED));
    assert_eq!(in_use(&site), json!("1.1.0"));
    assert_eq!(site.gateway.driver("modbus")["restarts"], json!(0));
    site.assert_unharmed();
}

/// Installs a version that fails, and waits until the one before has everything again.
fn is_rolled_back(plan: &Plan, fault: Fault, within: Duration) -> (Site, PathBuf) {
    let (site, key) = site(plan);
    let before = site.gateway.pid_of("modbus");
    METERS.iter().for_each(|meter| site.device(meter).watch());
    let stored = METERS.map(|meter| site.stored(meter));
    let package = pack(site.dir(), "modbus", "1.1.0", fault, Some(&key));
    site.gateway.install(&package);
    eventually("the new version was tried", SOON, || {
        let driver = site.gateway.driver("modbus");
        let tried = driver["update"] != json!("") || driver["pid"] != json!(before);
        tried.then_some(()).ok_or_else(|| format!("{driver:#}"))
    });
    eventually("the version before is at work again, and stays in use", within, || {
        let driver = site.gateway.driver("modbus");
        let back = driver["pid"] == json!(before) && driver["state"] == json!("running");
        (back && in_use(&site) == json!("1.0.0")).then_some(()).ok_or_else(|| format!("{driver:#}"))
    });
    let update = site.gateway.driver("modbus")["update"].as_str().unwrap_or_default().to_owned();
    assert!(update.contains("1.1.0"), "status says what became of it: {update:?}");
    for (meter, stored) in METERS.into_iter().zip(stored) {
        let read = site.device(meter).register(0);
        eventually("it reads", SOON, || site.device(meter).register(0) >= read + 2);
        // What the one that died had read and not sent yet is gone with it.
        site.assert_kept(meter, Interrupted::by_a_driver_crash(stored), DRAINED);
    }
    (site, package)
}

#[test]
fn a_version_that_crashes_is_put_back_by_itself() {
    let plan = Plan::meters(&METERS)
        .must_log("new version failed, the old one goes on driver=modbus")
        .may_log("driver=modbus");
    let (site, package) = is_rolled_back(&plan, Fault::Crashes, SOON);
    for meter in METERS {
        let gap = site.device(meter).gap();
        assert!(gap < plan.skipped(2), "{meter} was not read for {gap:?}");
    }
    // It is put aside: whoever wants it again has to say so.
    let told = site.gateway.packages(&["install", &package.to_string_lossy()]);
    assert_eq!(told.code, 1, "{}", told.out);
    assert!(told.out.contains("--retry"), "{}", told.out);
    site.assert_unharmed();
}

#[test]
fn a_version_that_hangs_is_put_back_by_itself() {
    let plan = Plan::meters(&METERS)
        .must_log("new version failed, the old one goes on driver=modbus")
        .may_log("driver=modbus")
        .may_log("plugin did not stop in time, killed driver=\"modbus\"");
    let (site, _) = is_rolled_back(&plan, Fault::Hangs, AFTER_A_HANG);
    site.assert_unharmed();
}

#[test]
fn a_driver_that_is_removed_releases_its_devices_and_one_that_comes_back_takes_them() {
    let plan = Plan::meters(&METERS).must_log("driver is down driver=modbus");
    let (site, key) = site(&plan);
    let told = site.gateway.packages(&["remove", "modbus"]);
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    eventually("the driver is gone and its devices are offline", SOON, || {
        let status = site.gateway.status();
        let devices = status["devices"].as_array().into_iter().flatten();
        let offline = devices.filter(|device| device["online"] == json!(false)).count() == METERS.len();
        let missing = status["drivers"][0]["state"] == json!("missing");
        let gone = site.gateway.driver_pids().is_empty();
        (offline && missing && gone).then_some(()).ok_or_else(|| format!("{:#}", status["drivers"]))
    });
    for meter in METERS {
        site.assert_nothing_lost(meter, DRAINED);
    }
    let read = METERS.map(|meter| site.device(meter).register(0));
    site.gateway.install(&pack(site.dir(), "modbus", "1.0.1", Fault::None, Some(&key)));
    for (meter, read) in METERS.into_iter().zip(read) {
        site.await_count(meter, u64::from(read) + 2, SOON);
        site.assert_nothing_lost(meter, DRAINED);
    }
    site.assert_unharmed();
}
