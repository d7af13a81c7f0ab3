//! Whom a gateway lets run: drivers that a trusted key vouches for, or that the operator names.

use std::fs;
use std::time::Duration;

use e2e::rig::{Fault, Plan, SigningKey, Site, eventually, pack};
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);

/// A site without any driver, which trusts a key, and nobody by name.
fn site(plan: &mut Plan) -> (Site, SigningKey) {
    plan.unsigned.clear();
    let site = Site::prepare(plan);
    site.gateway.only_packages();
    let key = SigningKey::make(site.dir(), "release");
    key.trust_in(&site.gateway.trusted_keys());
    (site, key)
}

#[track_caller]
fn await_state(site: &Site, state: &str, words: &str) {
    eventually(&format!("the driver is {state}, and why"), SOON, || {
        let driver = site.gateway.driver("modbus");
        let why = driver["last_error"].as_str().unwrap_or_default();
        let told = driver["state"] == json!(state) && why.contains(words);
        told.then_some(()).ok_or_else(|| format!("{driver:#}"))
    });
}

#[test]
fn a_driver_is_installed_while_the_gateway_runs() {
    let mut plan = Plan::meters(&["meter-a"]).must_log("driver is down driver=modbus");
    let (mut site, key) = site(&mut plan);
    site.gateway.start();
    await_state(&site, "missing", "driver modbus");
    site.gateway.install(&pack(site.dir(), "modbus", "1.0.0", Fault::None, Some(&key)));
    site.await_count("meter-a", 2, SOON);
    let driver = site.gateway.driver("modbus");
    assert_eq!((&driver["version"], &driver["signed"]), (&json!("1.0.0"), &json!(true)), "{driver:#}");
    site.assert_nothing_lost("meter-a", SOON);
    site.assert_unharmed();
}

#[test]
fn what_nobody_trusted_has_signed_does_not_run_unless_it_is_named() {
    let mut plan = Plan::meters(&["meter-a"]).must_log("driver is down driver=modbus");
    let (mut site, _) = site(&mut plan);
    let stranger = SigningKey::make(site.dir(), "stranger");
    for key in [None, Some(&stranger)] {
        let version = if key.is_some() { "1.0.1" } else { "1.0.0" };
        let package = pack(site.dir(), "modbus", version, Fault::None, key);
        let told = site.gateway.packages(&["install", &package.to_string_lossy()]);
        assert_eq!(told.code, 1, "{}{}", told.out, told.err);
        assert!(
            fs::read_dir(site.gateway.drivers_dir()).expect("it is there").next().is_none(),
            "{}",
            told.out
        );
    }
    // A developer's program in its place is refused as well, with the remedy.
    site.gateway.put_driver("modbus", &e2e::rig::Gateway::real_driver());
    site.gateway.start();
    await_state(&site, "refused", "allow_unsigned");

    let named = Plan { unsigned: vec!["modbus".to_owned()], ..plan.clone() };
    site.configure(&named);
    let told = site.gateway.reload();
    assert_eq!(
        (told.code, &told.json["changes"]),
        (0, &json!(["[drivers] changed"])),
        "{}{}",
        told.out,
        told.err
    );
    site.await_count("meter-a", 2, SOON);
    assert_eq!(site.gateway.driver("modbus")["signed"], json!(false), "and status shows it");
    site.assert_unharmed();
}

#[test]
fn a_driver_that_was_changed_after_it_was_signed_does_not_run() {
    let mut plan = Plan::meters(&["meter-a"]).must_log("driver is down driver=modbus");
    let (mut site, key) = site(&mut plan);
    let package = pack(site.dir(), "modbus", "1.0.0", Fault::None, Some(&key));
    site.gateway.install(&package);
    let program = site.gateway.drivers_dir().join("modbus/1.0.0/driver-modbus");
    let mut bytes = fs::read(&program).expect("it was installed there");
    *bytes.last_mut().expect("it is not empty") ^= 1;
    fs::remove_file(&program).expect("it is our own");
    fs::write(&program, &bytes).expect("it is our own");
    site.gateway.start();
    await_state(&site, "refused", "driver-modbus");
    assert!(site.gateway.driver_pids().is_empty());

    // The package itself with one byte changed is refused before anything is installed.
    let mut archive = fs::read(&package).expect("it was packed");
    let middle = archive.len() / 2;
    archive[middle] ^= 1;
    let changed = site.path("changed").join(package.file_name().expect("it has a name"));
    fs::create_dir_all(changed.parent().expect("a folder")).expect("the case's directory takes directories");
    fs::write(&changed, archive).expect("the case's directory takes files");
    for command in ["verify", "install"] {
        let told = site.gateway.packages(&[command, &changed.to_string_lossy()]);
        assert_eq!(told.code, 1, "{command}: {}{}", told.out, told.err);
    }
    site.assert_unharmed();
}
