//! Back to the version before.

use std::fs;

use sagoo_edge_package::store::{Install, InstallError, RevertError};

use crate::site::Site;

#[test]
fn a_failed_version_is_put_aside_and_the_one_before_runs() {
    let site = Site::new();
    site.installed("1.0.0");
    let newer = site.package("2.0.0");
    site.install(&newer).unwrap();
    let store = site.store(&[]);
    let back = store.revert("tester", "2.0.0", "it did not answer within 10 s").unwrap();
    assert_eq!(back.version.as_deref(), Some("1.0.0"));
    assert_eq!(site.running(), "1.0.0");
    assert!(site.at("drivers/tester/2.0.0").is_dir(), "it is kept");

    let refused = site.install(&newer).unwrap_err();
    assert!(matches!(refused, InstallError::PutAside { .. }), "{refused}");
    assert!(
        refused.to_string().contains("it did not answer within 10 s; install a newer version"),
        "{refused}"
    );
    site.installed("1.5.0");
    assert_eq!(site.running(), "1.5.0", "newer than what runs, older than what failed");
    let retry = Install { retry: true, ..Install::default() };
    site.install_how(&newer, retry).unwrap();
    assert_eq!(site.running(), "2.0.0");
    assert!(store.list(Some("tester"))[0].versions.iter().all(|version| version.put_aside.is_none()));
}

#[test]
fn without_another_version_nothing_is_changed() {
    let site = Site::new();
    site.installed("1.0.0");
    let before = site.everything("drivers");
    let error = site.store(&[]).revert("tester", "1.0.0", "why").unwrap_err();
    assert!(matches!(error, RevertError::NothingBefore { .. }), "{error}");
    assert!(error.to_string().contains("no other version can take the place of 1.0.0"), "{error}");
    assert_eq!(site.everything("drivers"), before);
    assert_eq!(site.running(), "1.0.0");
    assert!(site.store(&[]).revert("tester", "../1", "why").is_err());
}

#[test]
fn a_version_before_that_was_damaged_is_passed_over() {
    let site = Site::new();
    for version in ["1.0.0", "1.1.0", "2.0.0"] {
        site.installed(version);
    }
    fs::write(site.at("drivers/tester/1.1.0/driver-tester"), "damaged").unwrap();
    let back = site.store(&[]).revert("tester", "2.0.0", "why").unwrap();
    assert_eq!(back.version.as_deref(), Some("1.0.0"));
    assert_eq!(site.running(), "1.0.0");
}

#[test]
fn the_way_back_may_lead_to_another_directory() {
    let site = Site::new();
    let system = site.at("system");
    site.install_how(&site.package("1.0.0"), Install { dir: Some(&system), ..Install::default() }).unwrap();
    site.installed("2.0.0");
    assert_eq!(site.running(), "2.0.0");
    site.store(&[]).revert("tester", "2.0.0", "why").unwrap();
    assert_eq!(site.running(), "1.0.0");
    assert!(!site.at("drivers/tester/current").exists());
}

/// The version the system brought fails, and its directory cannot be written to.
#[test]
fn a_bad_version_of_the_system_is_noted_where_one_may_write() {
    let site = Site::new();
    let system = site.at("system");
    site.install_how(&site.package("1.0.0"), Install::default()).unwrap();
    fs::rename(site.at("drivers"), site.at("later")).unwrap();
    fs::create_dir(site.at("drivers")).unwrap();
    site.install_how(&site.package("2.0.0"), Install { dir: Some(&system), ..Install::default() }).unwrap();
    fs::rename(site.at("later/tester"), site.at("system2")).unwrap();
    let store = sagoo_edge_package::Store::new(
        vec![site.at("drivers"), system, site.at("later")],
        site.at("keys"),
        Vec::new(),
    );
    fs::rename(site.at("system2"), site.at("later/tester")).unwrap();
    assert_eq!(store.resolve("tester").unwrap().version.as_deref(), Some("2.0.0"));
    // a file in its place makes writing fail for root, too
    fs::write(site.at("system/tester/bad"), "").unwrap();
    store.revert("tester", "2.0.0", "why").unwrap();
    assert_eq!(store.resolve("tester").unwrap().version.as_deref(), Some("1.0.0"));
}

#[test]
fn a_revert_that_was_cut_short_after_its_mark_holds() {
    let site = Site::new();
    site.installed("1.0.0");
    site.installed("2.0.0");
    fs::create_dir(site.at("drivers/tester/bad")).unwrap();
    fs::write(site.at("drivers/tester/bad/2.0.0"), "why\n").unwrap();
    assert_eq!(site.running(), "1.0.0");
    assert_eq!(fs::read_to_string(site.at("drivers/tester/current")).unwrap(), "2.0.0\nbefore 1.0.0\n");
    let listed = site.store(&[]).list(Some("tester")).remove(0);
    let current = listed.versions.iter().filter(|version| version.current);
    let current: Vec<&str> = current.filter_map(|version| version.version.as_deref()).collect();
    assert_eq!(current, ["1.0.0"], "the list says what runs, also in between");
}

/// Where nothing can be written, it holds as long as the process lives, or until somebody chooses anew.
#[test]
fn a_version_that_cannot_be_marked_is_remembered() {
    let site = Site::new();
    site.installed("1.0.0");
    let newer = site.package("2.0.0");
    site.install(&newer).unwrap();
    let store = site.store(&[]);
    for dir in ["drivers", "system"] {
        // a file in its place makes writing fail for root, too
        fs::create_dir_all(site.at(dir).join("tester")).unwrap();
        fs::write(site.at(dir).join("tester/bad"), "").unwrap();
    }
    assert_eq!(store.revert("tester", "2.0.0", "why").unwrap().version.as_deref(), Some("1.0.0"));
    assert_eq!(store.resolve("tester").unwrap().version.as_deref(), Some("1.0.0"));
    fs::remove_file(site.at("drivers/tester/bad")).unwrap();
    site.install_how(&newer, Install { retry: true, ..Install::default() }).unwrap();
    assert_eq!(store.resolve("tester").unwrap().version.as_deref(), Some("2.0.0"));
}
