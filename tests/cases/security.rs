//! Who may talk to whom: passwords and certificates of the broker.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use e2e::rig::{Authority, Guard, Plan, Site, eventually};
use serde_json::json;
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(30);
const DRAINED: Duration = Duration::from_secs(60);

fn secret(path: &Path, text: &str) {
    fs::write(path, text).expect("the case's directory takes files");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("the file is ours");
}

/// Waits until the gateway says that it is not connected, and why.
fn await_refusal(site: &Site, word: &str) {
    eventually(&format!("northbound says why: {word}"), SOON, || {
        let northbound = site.gateway.status()["northbound"].clone();
        let error = northbound["last_error"].as_str().unwrap_or_default().to_lowercase();
        let told = northbound["connected"] == json!(false) && error.contains(word);
        told.then_some(()).ok_or_else(|| format!("{northbound:#}"))
    });
}

#[test]
fn a_refusing_broker_is_reported_and_the_rest_runs() {
    let dir = TempDir::with_prefix("sagoo-e2e-").unwrap();
    let file = dir.path().join("password");
    secret(&file, "wrong");
    let login = format!("username = \"gw-1\"\npassword = {{ file = \"{}\" }}", file.display());
    let mut plan = Plan::meters(&["meter-a"]).sagoo(&login).must_log("no connection to the broker");
    plan.guard = Some(Guard { user: Some(("gw-1".to_owned(), "right".to_owned())), tls: None });
    let mut site = Site::prepare_in(dir, &plan);
    site.gateway.start();
    await_refusal(&site, "does not allow");
    let before = site.device("meter-a").register(0);
    eventually("the device is read all the same", SOON, || site.device("meter-a").register(0) >= before + 4);
    assert!(site.platform.arrivals().is_empty());

    // The file is read at every connect, so putting it right is enough.
    secret(&file, "right");
    site.assert_nothing_lost("meter-a", DRAINED);
    site.assert_unharmed();
}

#[test]
fn tls_to_the_broker_is_verified() {
    let dir = TempDir::with_prefix("sagoo-e2e-").unwrap();
    let (ours, other) = (Authority::new(dir.path(), "ours"), Authority::new(dir.path(), "other"));
    let server = ours.server(dir.path(), "127.0.0.1");
    let trusting = |authority: &Authority| {
        let mut plan = Plan::meters(&["meter-a"])
            .sagoo(&format!("ca = \"{}\"", authority.certificate.display()))
            .must_log("no connection to the broker");
        plan.guard = Some(Guard { user: None, tls: Some(server.clone()) });
        plan
    };
    let mut site = Site::prepare_in(dir, &trusting(&other));
    site.gateway.start();
    await_refusal(&site, "certificate");
    assert!(site.platform.arrivals().is_empty(), "nothing crosses a connection that is not verified");
    site.gateway.stop();

    site.configure(&trusting(&ours));
    site.gateway.start();
    site.await_count("meter-a", 3, SOON);
    site.assert_nothing_lost("meter-a", DRAINED);
    site.assert_unharmed();
}
