//! A disk without room for the store: telemetry goes on, status says so, and it is over when there is room.

use std::fs::File;
use std::io::Write;
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
    let trouble = || site.gateway.status()["buffer"]["trouble"].as_str().unwrap_or_default().to_owned();
    assert_eq!(trouble(), "");

    // Somebody else fills it to the last byte, as logs do.
    let ballast = site.gateway.sees(&site.path("buffer/ballast"));
    let mut file = File::create(&ballast).expect("it is not full yet");
    while file.write_all(&[0; MIB]).is_ok() {}
    while file.write_all(&[0; 1]).is_ok() {}
    eventually("status says what is wrong", SOON, || !trouble().is_empty());
    for meter in METERS {
        let read = u64::from(site.device(meter).register(0));
        site.await_count(meter, read + 6, SOON);
    }

    std::fs::remove_file(&ballast).expect("removing takes no room");
    eventually("it is over by itself", SOON, || trouble().is_empty().then_some(()).ok_or_else(trouble));
    for meter in METERS {
        let read = u64::from(site.device(meter).register(0));
        site.await_count(meter, read + 2, SOON);
        site.assert_kept(meter, Interrupted::by_nothing(), DRAINED);
        site.assert_all_acknowledged(&plan, meter, SOON);
    }
    site.assert_unharmed();
}
