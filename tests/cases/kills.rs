//! `kill -9` of the whole gateway at random moments, whatever the world is like then: every read is followed
//! from the device's own counter to the platform's rows.
//!
//! Always true: what is random comes out of one seed, which a failing run names; only reads that a dying
//! driver had not handed over may be missing.

use std::ops::RangeInclusive;
use std::time::Duration;

use e2e::rig::{Interrupted, Plan, Site, eventually, signal};
use rustix::process::Signal;

use crate::campaign::{Seed, how_many};

const SOON: Duration = Duration::from_secs(30);
const METERS: [&str; 4] = ["m0", "m1", "m2", "m3"];
/// Kills in the gate; `SAGOO_KILLS` says otherwise.
const KILLS: usize = 20;
/// The same where the newest goes first.
const KILLS_LIVE_FIRST: usize = 10;
/// Without a broker, at four rows a second two seconds' worth of backlog.
const OUTAGE: Duration = Duration::from_secs(8);
/// A backlog goes out faster than it grows, but not by much.
const DRAINED: Duration = Duration::from_secs(300);

/// Reads of each meter that died with a driver.
type Died = [Vec<RangeInclusive<u64>>; METERS.len()];

/// What the world is like at a kill.
#[derive(Debug)]
struct Moment {
    /// The gateway has worked for so long.
    worked: Duration,
    /// The broker is away, or the platform behind it is silent.
    trouble: Trouble,
    /// The drivers are killed, too.
    drivers: bool,
    /// It stays dead for so long.
    dead: Duration,
    /// Started again, it is killed once more after so long, whether it answers by then or not.
    again: Option<Duration>,
}

#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    None,
    NoBroker,
    SilentPlatform,
}

impl Moment {
    fn drawn(seed: &mut Seed) -> Self {
        let trouble = match seed.of(4) {
            0 => Trouble::NoBroker,
            1 => Trouble::SilentPlatform,
            _ => Trouble::None,
        };
        Self {
            worked: seed.up_to(Duration::from_millis(1_500)),
            trouble,
            drivers: seed.of(4) == 0,
            dead: seed.up_to(Duration::from_millis(300)),
            again: (seed.of(4) == 0).then(|| seed.up_to(Duration::from_millis(150))),
        }
    }
}

#[test]
fn kill_nine_at_any_moment_loses_and_invents_nothing() {
    let kills = how_many("SAGOO_KILLS", KILLS);
    let plan = plan();
    let (site, died) = killed(&plan, kills, None);
    for (meter, died) in METERS.into_iter().zip(died) {
        // What was read last is not the end of a hole that nothing follows.
        let read = u64::from(site.device(meter).register(0));
        site.await_count(meter, read + 1, DRAINED);
        site.assert_kept(meter, Interrupted::by_kills(2 * kills, died), DRAINED);
        site.assert_all_acknowledged(&plan, meter, SOON);
    }
    site.assert_unharmed();
}

/// The rows at the head of the line wait while newer ones go and are answered: what is settled out of turn is
/// told apart across a kill.
#[test]
fn kill_nine_at_any_moment_loses_and_invents_nothing_when_the_newest_goes_first() {
    let kills = how_many("SAGOO_KILLS", KILLS_LIVE_FIRST);
    let mut plan = plan().must_log("the enterprise platform is treated like the community one for now");
    plan.sagoo = "profile = \"enterprise\"\nrow_spacing = \"250ms\"\ndrain = \"live-first\"\n".to_owned();
    // Long enough that rows are read while the backlog goes out.
    let first = Moment {
        worked: OUTAGE,
        trouble: Trouble::NoBroker,
        drivers: false,
        dead: Duration::ZERO,
        again: None,
    };
    let (site, died) = killed(&plan, kills, Some(first));
    for (meter, died) in METERS.into_iter().zip(died) {
        let read = u64::from(site.device(meter).register(0));
        site.await_count(meter, read + 1, DRAINED);
        site.assert_kept_in_any_order(meter, Interrupted::by_kills(2 * kills + 1, died), DRAINED);
        site.assert_all_acknowledged_in_any_order(&plan, meter, SOON);
    }
    site.assert_unharmed();
}

/// Meters that are read once a second, and what a gateway may say that is killed.
fn plan() -> Plan {
    let plan = Plan::meters(&METERS)
        .may_log("a message is not answered")
        .may_log("the platform does not answer")
        .may_log("no connection to the broker")
        // A gateway that dies in the middle of a handshake.
        .may_log("a peer was turned away by TLS")
        .may_log("polls are left out because the line is busy");
    Plan { poll: Duration::from_secs(1), ..plan }
}

/// A site that went through so many kills, and per meter what may be missing. `first`: a kill before them, of
/// a gateway that then says the newest first.
fn killed(plan: &Plan, kills: usize, first: Option<Moment>) -> (Site, Died) {
    let mut seed = Seed::drawn();
    let mut site = Site::start(plan);
    METERS.iter().for_each(|meter| site.await_count(meter, 1, SOON));
    let mut died = METERS.map(|_| Vec::new());
    if let Some(moment) = first {
        kill(&mut site, &moment, &mut died);
        for meter in METERS {
            let newer_first = || site.came_out_of_order(meter).then_some(());
            eventually(&format!("a row of {meter} comes after a newer one"), SOON, newer_first);
        }
    }
    for number in 1..=kills {
        let moment = Moment::drawn(&mut seed);
        eprintln!("kill {number} of {kills}: {moment:?}");
        kill(&mut site, &moment, &mut died);
    }
    (site, died)
}

/// One kill and what follows; the ledger is seen to balance on both sides of it.
fn kill(site: &mut Site, moment: &Moment, died: &mut Died) {
    match moment.trouble {
        Trouble::None => {}
        Trouble::NoBroker => site.broker.kill(),
        Trouble::SilentPlatform => site.platform.pause(),
    }
    // No condition: a random moment is what it is about.
    std::thread::sleep(moment.worked);
    let kept = moment.drivers.then(|| METERS.map(|meter| site.kept(meter)));
    let drivers = if moment.drivers { site.gateway.driver_pids() } else { Vec::new() };
    site.gateway.kill_nine();
    if let Some(kept) = kept {
        drivers.into_iter().for_each(|pid| signal(pid, Signal::KILL));
        eventually("the drivers are gone", SOON, || site.gateway.driver_pids().is_empty());
        for ((meter, kept), died) in METERS.into_iter().zip(kept).zip(died) {
            died.push(kept + 1..=u64::from(site.device(meter).register(0)));
        }
    }
    std::thread::sleep(moment.dead);
    if let Some(after) = moment.again {
        site.gateway.spawn();
        std::thread::sleep(after);
        site.gateway.kill_nine();
    }
    site.gateway.start();
    site.gateway.status();
    match moment.trouble {
        Trouble::None => {}
        Trouble::NoBroker => site.broker.restart(),
        Trouble::SilentPlatform => site.platform.resume(),
    }
}
