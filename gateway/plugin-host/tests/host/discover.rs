//! Plugin directories, watched: what appears, changes and vanishes is seen, and nothing is run.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::Instant;

use sagoo_edge_plugin_host::discover::{Discovery, Found, Kind, MAX_ENTRIES, MAX_WITHIN, Pattern, discover};
use tokio::sync::watch;

use crate::*;

/// Waits until what was found is as it should be.
async fn seen(found: &mut watch::Receiver<Found>, what: &str, is: impl FnMut(&Found) -> bool) -> Found {
    let seen = tokio::time::timeout(LONG, found.wait_for(is)).await;
    seen.unwrap_or_else(|_| panic!("never seen: {what}")).unwrap().clone()
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

#[tokio::test]
async fn a_file_that_appears_changes_and_vanishes_is_seen_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("driver-x");
    let mut found = Discovery::watch(vec![dir.path().to_owned()]);
    assert_eq!(*found.borrow_and_update(), Found::new());

    write(&path, "one");
    let first = seen(&mut found, "a new file", |found| found.contains_key(&path)).await[&path];
    assert_eq!((first.kind, first.bytes), (Kind::File, 3));

    write(&path, "two");
    let second = seen(&mut found, "written in place", |found| found[&path] != first).await[&path];
    assert_eq!((second.inode, second.bytes), (first.inode, 3));

    let new = dir.path().join("new");
    write(&new, "3");
    fs::rename(&new, &path).unwrap();
    let third = seen(&mut found, "replaced", |found| found[&path].bytes == 1).await;
    assert_ne!(third[&path].inode, second.inode);

    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    seen(&mut found, "made executable", |found| found[&path].mode == 0o755).await;

    fs::remove_file(&path).unwrap();
    seen(&mut found, "gone", Found::is_empty).await;
}

#[tokio::test]
async fn a_change_that_keeps_length_and_time_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("driver-x");
    write(&path, "one");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let mut found = Discovery::watch(vec![dir.path().to_owned()]);
    let before = found.borrow_and_update()[&path];
    write(&path, "two");
    fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    let after = seen(&mut found, "changed", |found| {
        found[&path] != before && found[&path].modified == before.modified
    })
    .await;
    assert_eq!(after[&path].bytes, before.bytes);
}

#[tokio::test]
async fn packages_are_seen_with_their_versions_and_no_deeper() {
    let dir = tempfile::tempdir().unwrap();
    let package = dir.path().join("modbus");
    let mut found = Discovery::watch(vec![dir.path().to_owned()]);
    fs::create_dir_all(package.join("1.0.0/files")).unwrap();
    write(&package.join("current"), "1.0.0");
    let names = |found: &Found| -> BTreeSet<String> {
        let inside = |path: &PathBuf| path.strip_prefix(dir.path()).unwrap().display().to_string();
        found.keys().map(inside).collect()
    };
    let all = ["modbus", "modbus/1.0.0", "modbus/current"].map(str::to_owned);
    seen(&mut found, "the package", |found| names(found) == BTreeSet::from(all.clone())).await;

    fs::create_dir(package.join("1.1.0")).unwrap();
    write(&package.join("current.new"), "1.1.0-rc");
    fs::rename(package.join("current.new"), package.join("current")).unwrap();
    let current = package.join("current");
    let now = seen(&mut found, "another version is current", |found| found[&current].bytes == 8).await;
    assert!(now.contains_key(&package.join("1.1.0")));

    fs::remove_dir_all(&package).unwrap();
    seen(&mut found, "removed", Found::is_empty).await;
}

#[tokio::test]
async fn a_directory_made_later_or_replaced_is_watched_from_then_on() {
    let dir = tempfile::tempdir().unwrap();
    let drivers = dir.path().join("lib/drivers");
    let mut found = Discovery::watch(vec![drivers.clone()]);
    assert!(found.borrow_and_update().is_empty());
    fs::create_dir_all(&drivers).unwrap();
    write(&drivers.join("driver-a"), "a");
    seen(&mut found, "the directory's first file", |found| found.len() == 1).await;

    let other = dir.path().join("other");
    fs::create_dir(&other).unwrap();
    write(&other.join("driver-b"), "b");
    fs::rename(&drivers, dir.path().join("lib/old")).unwrap();
    fs::rename(&other, &drivers).unwrap();
    seen(&mut found, "the other directory's file", |found| found.contains_key(&drivers.join("driver-b")))
        .await;
    write(&drivers.join("driver-c"), "c");
    seen(&mut found, "a new file in the other directory", |found| found.len() == 2).await;
    assert!(!found.borrow().contains_key(&drivers.join("driver-a")));
}

#[tokio::test]
async fn several_directories_are_one_state() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(&one.path().join("driver-a"), "a");
    let mut found = Discovery::watch(vec![one.path().to_owned(), two.path().to_owned()]);
    assert_eq!(found.borrow_and_update().len(), 1);
    write(&two.path().join("driver-b"), "b");
    seen(&mut found, "both", |found| found.len() == 2).await;
}

#[tokio::test]
async fn a_storm_of_changes_is_few_looks() {
    const CHANGES: u128 = 2_000;
    let dir = tempfile::tempdir().unwrap();
    let mut found = Discovery::watch(vec![dir.path().to_owned()]);
    found.borrow_and_update();
    let path = dir.path().join("driver-x");
    let storm = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || {
            for n in 0..CHANGES {
                write(&path, &"x".repeat(n as usize % 50));
            }
            write(&path, &"x".repeat(100));
        })
    };
    let begun = Instant::now();
    let mut changes: u32 = 0;
    while found.borrow_and_update().get(&path).is_none_or(|stamp| stamp.bytes != 100) {
        tokio::time::timeout(LONG, found.changed()).await.unwrap().unwrap();
        changes += 1;
    }
    storm.await.unwrap();
    // Not more often than it can have been quiet, or waited for long enough.
    let most = begun.elapsed().as_millis() / 200 + 2;
    assert!(u128::from(changes) <= most.min(CHANGES / 10), "{changes} in {:?}", begun.elapsed());
}

#[tokio::test]
async fn links_are_seen_and_not_followed_and_nothing_is_run() {
    let dir = tempfile::tempdir().unwrap();
    let (drivers, outside) = (dir.path().join("drivers"), dir.path().join("outside"));
    fs::create_dir_all(&outside).unwrap();
    write(&outside.join("secret"), "");
    fs::create_dir(&drivers).unwrap();
    symlink(&outside, drivers.join("driver-link")).unwrap();
    symlink(&drivers, drivers.join("driver-loop")).unwrap();
    symlink(dir.path().join("nowhere"), drivers.join("driver-gone")).unwrap();
    let mark = dir.path().join("was-run");
    let script = drivers.join("driver-script");
    write(&script, &format!("#!/bin/sh\ntouch {}\n", mark.display()));
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    // The plugin directory itself may be a link: it is what the caller named.
    let named = dir.path().join("named");
    symlink(&drivers, &named).unwrap();
    for root in [&drivers, &named] {
        let found = Discovery::watch(vec![root.clone()]).borrow().clone();
        let kinds: Vec<(&str, Kind)> = found
            .iter()
            .map(|(path, stamp)| (path.strip_prefix(root).unwrap().to_str().unwrap(), stamp.kind))
            .collect();
        let link = |name| (name, Kind::Link);
        assert_eq!(
            kinds,
            [link("driver-gone"), link("driver-link"), link("driver-loop"), ("driver-script", Kind::File)]
        );
        let pattern = Pattern::parse("driver-s*").unwrap();
        assert_eq!(discover(std::slice::from_ref(root), &pattern), [root.join("driver-script")]);
    }
    assert!(!mark.exists());
}

#[test]
fn a_directory_whose_name_is_a_pattern_is_taken_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let odd = dir.path().join("v[12]*");
    fs::create_dir_all(&odd).unwrap();
    fs::create_dir_all(dir.path().join("v1")).unwrap();
    write(&odd.join("driver-b"), "");
    write(&odd.join("driver-a"), "");
    write(&odd.join("readme"), "");
    write(&dir.path().join("v1/driver-c"), "");
    let dirs = [odd.clone(), dir.path().join("missing")];
    assert_eq!(
        discover(&dirs, &Pattern::parse("driver-?").unwrap()),
        [odd.join("driver-a"), odd.join("driver-b")]
    );
}

#[tokio::test]
async fn a_folder_full_of_other_things_is_seen_as_a_folder_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (package, build) = (dir.path().join("modbus"), dir.path().join("build"));
    for folder in [&package, &build] {
        fs::create_dir(folder).unwrap();
    }
    fs::write(package.join("current"), "1.0.0").unwrap();
    for n in 0..=MAX_WITHIN {
        fs::write(build.join(format!("object{n}")), "").unwrap();
    }
    let found = Discovery::watch(vec![dir.path().to_owned()]);
    let seen: Vec<PathBuf> = found.borrow().keys().cloned().collect();
    assert_eq!(seen, [build, package.clone(), package.join("current")]);
}

#[tokio::test]
async fn more_entries_than_anybody_installs_are_not_all_seen() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..MAX_ENTRIES + 10 {
        write(&dir.path().join(n.to_string()), "");
    }
    let found = Discovery::watch(vec![dir.path().to_owned()]);
    assert_eq!(found.borrow().len(), MAX_ENTRIES);
}

#[tokio::test]
async fn nobody_left_to_tell_ends_the_watching() {
    let dir = tempfile::tempdir().unwrap();
    let watches = || {
        let fds = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let own = fds.filter_map(|fd| {
            fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.file_name().display())).ok()
        });
        let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(dir.path()).unwrap());
        own.filter(|info| info.contains(&format!("ino:{inode:x} "))).count()
    };
    let found = Discovery::watch(vec![dir.path().to_owned()]);
    until("it is watched", || watches() == 1).await;
    drop(found);
    until("it is not watched any more", || watches() == 0).await;
}
