//! The platform's acknowledgements get lost, come late, twice or for something else.

use std::time::Duration;

use e2e::platform::Mishap;
use e2e::rig::{Interrupted, Plan, Site, eventually};

const SOON: Duration = Duration::from_secs(30);
/// A backlog goes out at four rows a second beside the live rows.
const DRAINED: Duration = Duration::from_secs(60);

#[test]
fn a_lost_acknowledgement_is_answered_with_the_same_bytes() {
    let plan = Plan::meters(&["meter-a"])
        .must_log("a message is not answered; the platform is asked whether it is there")
        // the second one that gets lost may be the answer to that
        .may_log("the platform does not answer; rows are kept");
    let site = Site::start(&plan);
    site.await_count("meter-a", 2, SOON);
    site.platform.lose_acks(2);
    // Another id or other bytes would be a violation of its own.
    eventually("a message comes again, byte for byte", SOON, || {
        site.platform.arrivals().iter().any(|arrival| arrival.resent)
    });
    site.assert_nothing_lost("meter-a", DRAINED);
    site.assert_unharmed();
}

#[test]
fn an_acknowledgement_that_is_late_doubled_or_misplaced_settles_what_it_is_for_and_nothing_else() {
    /// Later than the gateway waits (2 s).
    const LATE: Duration = Duration::from_millis(2_500);
    let meters = ["meter-a", "meter-b"];
    let plan =
        Plan::meters(&meters).may_log("a message is not answered").may_log("the platform does not answer");
    let site = Site::start(&plan);
    meters.iter().for_each(|meter| site.await_count(meter, 2, SOON));
    let mishaps = [Mishap::Twice, Mishap::Misplaced, Mishap::Late(LATE), Mishap::Twice, Mishap::Lost];
    let all = 3 * mishaps.len();
    site.platform.mishaps(mishaps.into_iter().cycle().take(all));
    eventually("every acknowledgement had its mishap", DRAINED, || site.platform.mishaps_are_over());
    for meter in meters {
        site.assert_kept(meter, Interrupted::by_outages(all), DRAINED);
        site.assert_all_acknowledged(&plan, meter, SOON);
    }
    site.assert_unharmed();
}
