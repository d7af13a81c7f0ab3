//! A disk that takes nothing, for want of room or mounted read-only: telemetry goes on, status says so, and it
//! is over when the disk takes data again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::rig::{Interrupted, Plan, Site, eventually};

const SOON: Duration = Duration::from_secs(30);
const DRAINED: Duration = Duration::from_secs(60);
const METERS: [&str; 2] = ["meter-a", "meter-b"];
const MIB: usize = 1 << 20;

#[test]
fn a_tmpfs_of_32_mib_that_is_full_stops_no_telemetry_and_loses_none() {
    let mut plan = Plan::meters(&METERS).must_log("buffer in trouble");
    plan.buffer_mount = Some("32m");
    let site = Site::start(&plan);
    METERS.iter().for_each(|meter| site.await_count(meter, 2, SOON));
    assert_eq!(trouble(&site), "");

    // Somebody else fills it to the last byte, as logs do.
    let ballast = site.gateway.sees(&site.path("buffer/ballast"));
    let mut file = File::create(&ballast).expect("it is not full yet");
    while file.write_all(&[0; MIB]).is_ok() {}
    while file.write_all(&[0; 1]).is_ok() {}
    eventually("status says what is wrong", SOON, || !trouble(&site).is_empty());
    for meter in METERS {
        let read = u64::from(site.device(meter).register(0));
        site.await_count(meter, read + 6, SOON);
    }

    std::fs::remove_file(&ballast).expect("removing takes no room");
    let over = || trouble(&site).is_empty().then_some(()).ok_or_else(|| trouble(&site));
    eventually("it is over by itself", SOON, over);
    for meter in METERS {
        let read = u64::from(site.device(meter).register(0));
        site.await_count(meter, read + 2, SOON);
        site.assert_kept(meter, Interrupted::by_nothing(), DRAINED);
        site.assert_all_acknowledged(&plan, meter, SOON);
    }
    site.assert_unharmed();
}

#[test]
fn a_start_on_a_read_only_disk_serves_what_is_there_and_catches_up_when_it_may_write() {
    let plan = Plan::meters(&METERS)
        .must_log("buffer in trouble")
        .must_log("small state cannot be opened")
        .must_log("what is known of the clock cannot be kept")
        .may_log("no connection to the broker")
        .may_log("the platform does not answer")
        // without the small state
        .may_log("values from before the start are only known from the buffer")
        .may_log("the index of dead letters is read from the letters themselves")
        .may_log("latest values are not saved");
    let mut site = Site::start(&plan);
    METERS.iter().for_each(|meter| site.await_count(meter, 2, SOON));
    // Something waits in the store when the disk begins to refuse.
    site.broker.stop();
    for meter in METERS {
        let read = u64::from(site.device(meter).register(0));
        eventually("reads are stored", SOON, || site.stored(meter) >= read + 3);
    }
    site.gateway.stop();
    let place = site.path("buffer");
    let before = contents(&place);
    site.gateway.may_only_read(&place);

    site.gateway.start();
    let said = trouble(&site);
    assert!(said.contains(place.to_str().expect("a path")) && said.contains("mounted writable"), "{said}");
    site.broker.restart();
    for meter in METERS {
        let read = u64::from(site.device(meter).register(0));
        site.await_count(meter, read + 4, DRAINED);
    }
    assert!(!trouble(&site).is_empty());
    assert!(contents(&place) == before, "a read-only disk is as it was");

    site.gateway.may_write();
    let over = || trouble(&site).is_empty().then_some(()).ok_or_else(|| trouble(&site));
    eventually("it is over by itself", SOON, over);
    for meter in METERS {
        let read = u64::from(site.device(meter).register(0));
        site.await_count(meter, read + 2, SOON);
    }
    site.gateway.stop();
    site.gateway.start();
    for meter in METERS {
        // the broker went once, and the gateway twice
        site.assert_kept(meter, Interrupted::by_outages(3), DRAINED);
        site.assert_all_acknowledged(&plan, meter, SOON);
    }
    site.assert_unharmed();
}

/// What status says of the disk.
fn trouble(site: &Site) -> String {
    site.gateway.status()["buffer"]["trouble"].as_str().unwrap_or_default().to_owned()
}

/// Every file below a directory.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("it is there").flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(contents(&path)),
            false => drop(found.insert(path.clone(), fs::read(&path).expect("it can be read"))),
        }
    }
    found
}
