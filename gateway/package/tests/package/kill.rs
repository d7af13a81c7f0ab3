//! An installation that is killed leaves the old version or the new one, whole, and nothing in between.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::site::{SECRET, Site};

/// How often it is killed, over the whole time it takes.
const KILLS: u32 = 40;

fn example() -> PathBuf {
    let tests = std::env::current_exe().expect("this is a program");
    let program = tests.ancestors().nth(2).expect("target/debug/deps/test").join("examples/install-package");
    assert!(program.exists(), "build the examples too: cargo test without --test");
    program
}

/// A package that takes a while: many files, much to hash.
fn large(site: &Site, version: &str) -> PathBuf {
    let dir = site.native(version);
    let mut noise = vec![0; 200_000];
    let mut state = 1_u32;
    for n in 0..30 {
        for byte in &mut noise {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        }
        fs::write(dir.join(format!("file-{n}")), &noise).unwrap();
    }
    site.pack_with(&dir, Some(SECRET)).unwrap().path
}

#[test]
fn kill_9_in_the_middle_leaves_the_old_version_or_the_new_one() {
    let site = Site::new();
    let (old, new) = (large(&site, "1.0.0"), large(&site, "2.0.0"));
    let start = |package: &PathBuf| {
        let mut command = Command::new(example());
        command.arg(package).arg(site.at("drivers")).arg(site.at("keys"));
        command.spawn().unwrap()
    };
    let began = Instant::now();
    assert!(start(&new).wait().unwrap().success());
    let whole = began.elapsed();
    let (mut olds, mut news) = (0, 0);
    for n in 0..KILLS {
        fs::remove_dir_all(site.at("drivers/tester")).unwrap();
        assert!(start(&old).wait().unwrap().success());
        let mut child = start(&new);
        // a moment of its run, a different one each time: this is the point of the test, not a wait
        thread::sleep(whole * n / KILLS + Duration::from_micros(u64::from(n) * 37));
        child.kill().unwrap();
        child.wait().unwrap();
        match site.running().as_str() {
            "1.0.0" => olds += 1,
            "2.0.0" => news += 1,
            other => panic!("{other}"),
        }
        // whatever was left does not keep the next one from succeeding, and is gone then
        site.install(&new).unwrap();
        assert_eq!(site.running(), "2.0.0");
        let left = site.everything("drivers");
        assert!(left.iter().all(|path| !path.contains("/.")), "{left:?}");
    }
    assert!(
        olds > 0,
        "killed {KILLS} times within {whole:?}: {olds} times the old version, {news} the new one"
    );
}

/// The disk is full in the middle: a limit on the size of files stands in for it.
#[test]
fn a_write_that_fails_leaves_the_old_version_and_nothing_else() {
    let site = Site::new();
    site.installed("1.0.0");
    let before = site.everything("drivers");
    let new = large(&site, "2.0.0");
    let limited = "trap '' XFSZ; ulimit -f 100; exec \"$@\"";
    let mut command = Command::new("bash");
    command
        .args(["-c", limited, "limited"])
        .arg(example())
        .arg(&new)
        .arg(site.at("drivers"))
        .arg(site.at("keys"));
    let output = command.output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("File too large"), "{said}");
    assert_eq!(site.everything("drivers"), before);
    assert_eq!(site.running(), "1.0.0");
}
