//! Removing, and what is listed before and after.

use std::fs;
use std::process::Command;
use std::time::Duration;

use sagoo_edge_package::store::{Install, RemoveError};

use crate::site::Site;

const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_removed_driver_is_gone_with_all_its_versions() {
    let site = Site::new();
    site.installed("1.0.0");
    site.installed("2.0.0");
    let removed = site.store(&[]).remove("tester", None, LONG, &mut |_| {}).unwrap();
    assert_eq!((removed.versions, removed.instead), (vec!["2.0.0".to_owned(), "1.0.0".into()], None));
    assert_eq!(site.everything("drivers"), [".lock"]);
    let missing = site.store(&[]).remove("tester", None, LONG, &mut |_| {}).unwrap_err().to_string();
    assert!(missing.contains("no package tester in") && missing.contains("driver list"), "{missing}");
}

#[test]
fn one_version_is_removed_unless_it_is_in_use() {
    let site = Site::new();
    site.installed("1.0.0");
    site.installed("2.0.0");
    let store = site.store(&[]);
    let in_use = store.remove("tester", Some("2.0.0"), LONG, &mut |_| {}).unwrap_err();
    assert!(matches!(in_use, RemoveError::InUse { .. }), "{in_use}");
    let missing = store.remove("tester", Some("3.0.0"), LONG, &mut |_| {}).unwrap_err().to_string();
    assert!(missing.contains("has no version 3.0.0, but 2.0.0, 1.0.0"), "{missing}");
    assert_eq!(store.remove("tester", Some("1.0.0"), LONG, &mut |_| {}).unwrap().versions, ["1.0.0"]);
    assert_eq!(site.running(), "2.0.0");
}

/// As a gateway does it: it sees that `current` is gone, and stops the driver.
#[test]
fn files_go_when_nobody_runs_from_them_any_more() {
    let site = Site::new();
    let dir = site.native("1.0.0");
    fs::copy("/bin/sleep", dir.join("driver-tester")).unwrap();
    let package = site.pack_with(&dir, Some(crate::site::SECRET)).unwrap().path;
    let path = site.install(&package).unwrap().path;
    let mut running = Command::new(path.join("driver-tester")).arg("600").spawn().unwrap();

    let store = site.store(&[]);
    let still =
        store.remove("tester", None, Duration::from_millis(200), &mut |_| {}).unwrap_err().to_string();
    assert!(still.contains(&format!("process {} still runs", running.id())), "{still}");
    assert!(store.resolve("tester").is_err(), "it is out of use");
    assert!(path.join("driver-tester").exists());

    let mut seen = 0;
    let removed = store.remove("tester", None, LONG, &mut |pids| {
        seen = pids[0];
        assert!(path.join("driver-tester").exists(), "its files are there as long as it runs");
        running.kill().unwrap();
        running.wait().unwrap();
    });
    assert_eq!(removed.unwrap().versions, ["1.0.0"]);
    assert_eq!(seen, running.id());
    assert_eq!(site.everything("drivers"), [".lock"]);
}

#[test]
fn a_program_alone_is_not_ours_to_delete() {
    let site = Site::new();
    fs::copy("/bin/true", site.at("drivers/driver-tester")).unwrap();
    let refused = site.store(&[]).remove("tester", None, LONG, &mut |_| {}).unwrap_err();
    assert!(matches!(refused, RemoveError::Bare { .. }), "{refused}");
}

#[test]
fn everything_that_is_installed_is_listed_with_its_state() {
    let site = Site::new();
    let system = Install { dir: Some(&site.at("system")), ..Install::default() };
    site.install_how(&site.package("1.0.0"), system).unwrap();
    for version in ["1.1.0", "2.0.0", "3.0.0"] {
        site.installed(version);
    }
    fs::write(site.at("drivers/tester/1.1.0/driver-tester"), "damaged").unwrap();
    site.store(&[]).revert("tester", "3.0.0", "it hung").unwrap();
    fs::copy("/bin/true", site.at("system/driver-alone")).unwrap();

    let listed = site.store(&[]).list(None);
    let shown: Vec<String> = listed
        .iter()
        .flat_map(|driver| {
            driver.versions.iter().map(|version| {
                format!(
                    "{} {} in_use={} current={} signed={} doubts={} aside={}",
                    driver.id,
                    version.version.as_deref().unwrap_or("-"),
                    driver.in_use,
                    version.current,
                    version.signed.as_ref().map_or("-", |key| &key.name),
                    version.doubts.first().map(ToString::to_string).unwrap_or_default(),
                    version.put_aside.as_deref().unwrap_or("-"),
                )
            })
        })
        .collect();
    assert_eq!(
        shown,
        [
            "alone - in_use=true current=true signed=- doubts=not signed aside=-",
            "tester 3.0.0 in_use=true current=false signed=alice doubts= aside=it hung",
            "tester 2.0.0 in_use=true current=true signed=alice doubts= aside=-",
            "tester 1.1.0 in_use=true current=false signed=- doubts=driver-tester was changed aside=-",
            "tester 1.0.0 in_use=false current=true signed=alice doubts= aside=-",
        ]
    );
    let two = &listed[1].versions[1];
    assert_eq!(two.info.as_ref().unwrap().title, "Tester");
    assert_eq!(two.schema().unwrap()["type"], "object");
}
