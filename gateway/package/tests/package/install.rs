//! Installing what is good.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use sagoo_edge_package::store::{Install, InstallError};

use crate::site::{SECRET, Site, edit};

#[test]
fn a_package_is_installed_as_it_was_packed_and_put_to_use() {
    let site = Site::new();
    let package = site.package("1.0.0");
    let outcome = site.install(&package).unwrap();
    assert_eq!((outcome.version.as_str(), outcome.before, outcome.already), ("1.0.0", None, false));
    assert_eq!(outcome.signed.unwrap().name, "alice");
    assert_eq!(outcome.warnings, [] as [String; 0]);
    let below = |path: &str| format!("tester/1.0.0/{path}");
    let files = ["driver-tester", "info.json", "manifest.json", "manifest.json.minisig", "schema.json"];
    let mut expected =
        vec![".lock".to_owned(), "tester".into(), "tester/1.0.0".into(), "tester/current".into()];
    expected.extend(files.map(below));
    expected.sort();
    assert_eq!(site.everything("drivers"), expected);
    assert_eq!(fs::read_to_string(site.at("drivers/tester/current")).unwrap(), "1.0.0\n");
    let mode = |path: &str| fs::metadata(outcome.path.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("driver-tester"), mode("info.json"), mode(".")), (0o755, 0o644, 0o755));
}

#[test]
fn a_newer_version_replaces_and_the_one_before_stays() {
    let site = Site::new();
    site.installed("1.0.0");
    let outcome = site.install(&site.package("1.1.0")).unwrap();
    assert_eq!(outcome.before.as_deref(), Some("1.0.0"));
    assert_eq!(site.running(), "1.1.0");
    assert!(site.at("drivers/tester/1.0.0").is_dir());
}

#[test]
fn installing_the_same_again_changes_nothing() {
    let site = Site::new();
    let package = site.package("1.0.0");
    site.install(&package).unwrap();
    site.install(&site.package("1.1.0")).unwrap();
    let everything = site.everything("drivers");
    let newer = site.at("out").join(package.file_name().unwrap().to_str().unwrap().replace("1.0.0", "1.1.0"));
    let again = site.install(&newer).unwrap();
    assert!(again.already);
    assert_eq!(again.before.as_deref(), Some("1.0.0"), "it does not forget what was before");
    assert_eq!(site.everything("drivers"), everything);
}

#[test]
fn a_changed_version_is_mended_by_installing_it_again() {
    let site = Site::new();
    let package = site.package("1.0.0");
    let dir = site.install(&package).unwrap().path;
    for damage in ["driver-tester", "manifest.json", "schema.json"] {
        fs::write(dir.join(damage), "damaged").unwrap();
        fs::write(dir.join("more"), "x").unwrap();
        assert!(site.store(&[]).resolve("tester").is_err());
        assert!(!site.install(&package).unwrap().already);
        assert_eq!(site.running(), "1.0.0", "{damage}");
    }
    fs::write(site.at("drivers/tester/current"), "garbage").unwrap();
    site.install(&package).unwrap();
    assert_eq!(site.running(), "1.0.0");
}

#[test]
fn a_damaged_copy_of_what_is_installed_is_refused() {
    let site = Site::new();
    let package = site.package("1.0.0");
    site.install(&package).unwrap();
    let everything = site.everything("drivers");
    let whole = fs::read(&package).unwrap();
    // the stored bytes of a file begin behind its name in its own header
    let name = whole.windows(13).position(|bytes| bytes == b"driver-tester").unwrap();
    let mut damaged = whole.clone();
    damaged[name + 200] ^= 1;
    fs::write(&package, damaged).unwrap();
    let refused = site.install(&package).unwrap_err();
    assert!(matches!(refused, InstallError::Refused(_)), "{refused}");
    assert_eq!(site.everything("drivers"), everything);
    assert_eq!(site.running(), "1.0.0");
    fs::write(&package, whole).unwrap();
    assert!(site.install(&package).unwrap().already);
}

#[test]
fn the_same_version_with_other_content_is_refused() {
    let site = Site::new();
    site.installed("1.0.0");
    let dir = site.native("1.0.0");
    edit(&dir.join("info.json"), "Tester", "Tester 2");
    let other = site.pack_with(&dir, Some(SECRET)).unwrap().path;
    let before = site.everything("drivers");
    let refused = site.install(&other).unwrap_err();
    assert!(matches!(refused, InstallError::Differs { .. }), "{refused}");
    assert!(refused.to_string().contains("a new version, or remove it first"), "{refused}");
    assert_eq!(site.everything("drivers"), before);
}

#[test]
fn an_older_version_needs_a_word() {
    let site = Site::new();
    site.installed("1.10.0");
    let older = site.package("1.9.0");
    let refused = site.install(&older).unwrap_err();
    assert!(refused.to_string().contains("1.9.0 is older than 1.10.0"), "{refused}");
    assert!(refused.to_string().contains("--allow-downgrade"), "{refused}");
    assert_eq!(site.running(), "1.10.0");
    let outcome = site.install_how(&older, Install { allow_downgrade: true, ..Install::default() }).unwrap();
    assert_eq!((outcome.version.as_str(), outcome.before.as_deref()), ("1.9.0", Some("1.10.0")));
    assert_eq!(site.running(), "1.9.0");
}

#[test]
fn old_versions_are_kept_up_to_the_limit() {
    let site = Site::new();
    for minor in 0..8 {
        site.installed(&format!("1.{minor}.0"));
    }
    let kept: Vec<String> =
        site.everything("drivers").into_iter().filter(|path| path.ends_with(".0")).collect();
    assert_eq!(kept, ["tester/1.4.0", "tester/1.5.0", "tester/1.6.0", "tester/1.7.0"]);
}

#[test]
fn leftovers_of_an_installation_that_was_cut_short_are_swept() {
    let site = Site::new();
    site.installed("1.0.0");
    for left in ["tester/.installing-2.0.0-77", "tester/.removed-0.1.0", ".removed-other", "empty"] {
        fs::create_dir_all(site.at("drivers").join(left)).unwrap();
    }
    fs::write(site.at("drivers/tester/.installing-2.0.0-77/x"), "x").unwrap();
    fs::write(site.at("drivers/tester/.current.77"), "2.0.0").unwrap();
    site.installed("1.1.0");
    let left = site.everything("drivers").into_iter();
    let left: Vec<String> =
        left.filter(|path| path.contains("/.") || path == "empty" || path.contains("removed")).collect();
    assert_eq!(left, [] as [String; 0]);
}

#[test]
fn installing_waits_for_somebody_else_who_installs() {
    let site = Site::new();
    let (one, two) = (site.package("1.0.0"), site.package("2.0.0"));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| site.install(&two));
        let second =
            scope.spawn(|| site.install_how(&one, Install { allow_downgrade: true, ..Install::default() }));
        first.join().unwrap().unwrap();
        second.join().unwrap().unwrap();
    });
    site.running();
    assert!(site.everything("drivers").iter().all(|path| !path.contains("installing")));
}

#[test]
fn a_directory_the_gateway_does_not_search_is_said() {
    let site = Site::new();
    let package = site.package("1.0.0");
    let elsewhere = site.at("elsewhere");
    let outcome =
        site.install_how(&package, Install { dir: Some(&elsewhere), ..Install::default() }).unwrap();
    assert!(outcome.warnings[0].contains("is not in drivers.dirs"), "{:?}", outcome.warnings);
}

/// Only root can give files away, and only root has to: without it everything is the user's own anyway.
#[test]
fn what_root_installs_belongs_to_the_owner_of_the_directory() {
    use std::os::unix::fs::{MetadataExt, chown};
    const GATEWAY: u32 = 4_321;
    let site = Site::new();
    let package = site.package("1.0.0");
    let drivers = site.at("drivers");
    let own = fs::metadata(&drivers).unwrap().uid();
    let owner = if own == 0 { GATEWAY } else { own };
    chown(&drivers, Some(owner), None).unwrap();
    let store = site.store(&[]).for_owners();
    let package = sagoo_edge_package::Package::open(&package, &store.trust()).unwrap();
    let outcome = store.install(&package, Install::default(), &mut |_| {}).unwrap();
    assert_eq!(outcome.warnings, [] as [String; 0]);
    for path in site.everything("drivers") {
        assert_eq!(fs::symlink_metadata(drivers.join(&path)).unwrap().uid(), owner, "{path}");
    }
    assert!(store.resolve("tester").is_ok());
    if own == 0 {
        let refused = site.store(&[]).resolve("tester").unwrap_err().to_string();
        assert!(refused.contains("belongs to another user"), "a gateway that is root: {refused}");
    }
}
