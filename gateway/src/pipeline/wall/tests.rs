//! The rules of time, by cases and by any sequence of them.

use proptest::prelude::*;

use super::*;
use crate::pipeline::boots::parts;

const WAIT: Duration = Duration::from_secs(600);
const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600_000;
/// Some day in 2026.
const TODAY: i64 = 1_780_000_000_000;

/// A machine with a gateway on it, and what it has stored and sent.
struct Machine {
    boot_id: String,
    boot_ms: i64,
    wall_ms: i64,
    synchronised: bool,
    wall: WallClock,
    /// As a power cut leaves it.
    synced: Kept,
    /// Times as they are stored.
    stored: Vec<i64>,
    /// The same as they were sent.
    sent: Vec<i64>,
    /// Settled and gone from the disk.
    gone: usize,
    wait: Duration,
}

impl Machine {
    fn new(wall_ms: i64, synchronised: bool, wait: Duration) -> Self {
        let wall = WallClock::new(Kept::default(), &Seen::default(), "boot 1", wait);
        let synced = wall.kept(20 * SECOND);
        let mut machine = Self {
            boot_id: "boot 1".to_owned(),
            boot_ms: 20 * SECOND,
            wall_ms,
            synchronised,
            wall,
            synced,
            stored: Vec::new(),
            sent: Vec::new(),
            gone: 0,
            wait,
        };
        machine.look();
        machine
    }

    fn start(&mut self, kept: Kept) {
        let mut seen = Seen::default();
        self.stored.iter().zip(0..).skip(self.gone).for_each(|(time_ms, seq)| seen.time(seq, *time_ms));
        self.wall = WallClock::new(kept, &seen, &self.boot_id, self.wait);
        self.synced = self.wall.kept(self.boot_ms);
        self.look();
    }

    /// The process is killed and started again.
    fn restart(&mut self) {
        self.start(self.synced.clone());
    }

    /// The power is cut; the clock goes on from `wall_ms`.
    fn reboot(&mut self, wall_ms: i64, synchronised: bool) {
        self.boot_id.push('+');
        (self.boot_ms, self.wall_ms, self.synchronised) = (20 * SECOND, wall_ms, synchronised);
        self.start(self.synced.clone());
    }

    fn look(&mut self) -> Option<News> {
        let plausible = Some(self.wall_ms).filter(|ms| *ms >= EARLIEST_TRUSTED_WALL_MS);
        let news = self.wall.look(self.boot_ms, plausible, || self.synchronised);
        if matches!(news, Some(News::Decided { .. } | News::Trusted { .. })) {
            self.synced = self.wall.kept(self.boot_ms);
        }
        self.send();
        news
    }

    fn read(&mut self) -> Option<News> {
        let news = self.look();
        let time_ms = self.wall.at(self.boot_ms);
        self.stored.push(time_ms);
        self.send();
        news
    }

    fn pass(&mut self, ms: i64) -> Option<News> {
        self.boot_ms += ms;
        self.wall_ms += ms;
        self.look()
    }

    /// What waits for nothing goes out; and what went out before is sent again.
    fn send(&mut self) {
        let held = |time_ms: &i64| {
            self.wall.is_waiting() && parts(*time_ms).is_some_and(|(boot, _)| boot == self.wall.boot())
        };
        let until = self.stored.iter().position(held).unwrap_or(self.stored.len());
        let times = self.stored[self.gone..until].iter().map(|time_ms| self.wall.boots().wall_ms(*time_ms));
        let times: Vec<i64> = times.collect();
        let before = &self.sent[self.gone.min(self.sent.len())..];
        assert!(times.starts_with(before), "sent again with another time: {before:?} and then {times:?}");
        self.sent.truncate(self.gone);
        self.sent.extend(times);
        assert!(self.sent.iter().all(|time_ms| *time_ms >= EARLIEST_TRUSTED_WALL_MS), "{:?}", self.sent);
    }
}

#[test]
fn a_box_that_boots_in_1970_holds_its_rows_until_it_has_its_time_and_then_they_are_right() {
    let mut machine = Machine::new(20 * SECOND, false, WAIT);
    machine.read();
    machine.pass(5 * SECOND);
    machine.read();
    assert!(machine.sent.is_empty() && machine.stored.iter().all(|time_ms| *time_ms < 0));
    assert_eq!(machine.wall.waits_ms(machine.boot_ms), Some(595 * SECOND));
    machine.pass(5 * SECOND);
    (machine.wall_ms, machine.synchronised) = (TODAY, true);
    assert_eq!(machine.read(), Some(News::Decided { certain: true }));
    assert_eq!(machine.sent, [TODAY - 10 * SECOND, TODAY - 5 * SECOND, TODAY]);
}

#[test]
fn a_box_that_never_gets_its_time_goes_on_from_the_last_time_that_was_known() {
    let mut machine = Machine::new(TODAY, true, WAIT);
    machine.read();
    machine.reboot(20 * SECOND, false);
    machine.read();
    assert_eq!(machine.pass(599 * SECOND), None);
    assert_eq!(machine.sent, [TODAY]);
    assert_eq!(machine.pass(SECOND), Some(News::Decided { certain: false }));
    assert!(machine.wall.is_uncertain());
    assert_eq!(machine.read(), None, "it is decided once");
    assert_eq!(machine.sent, [TODAY, TODAY + 20 * SECOND, TODAY + 620 * SECOND]);
    // and if it does get it, later rows follow
    (machine.wall_ms, machine.synchronised) = (TODAY + HOUR, true);
    assert_eq!(machine.read(), Some(News::Trusted { late_ms: HOUR - 620 * SECOND }));
    machine.restart();
    assert!(!machine.wall.is_uncertain());
    assert_eq!(machine.sent[1..], [TODAY + 20 * SECOND, TODAY + 620 * SECOND, TODAY + HOUR]);
}

#[test]
fn a_clock_that_is_stepped_takes_later_rows_with_it_and_no_others() {
    for step in [HOUR, -HOUR] {
        let mut machine = Machine::new(TODAY, true, WAIT);
        machine.read();
        machine.pass(SECOND);
        machine.wall_ms += step;
        assert_eq!(machine.read(), Some(News::Stepped { by_ms: step }));
        machine.pass(SECOND);
        assert_eq!(machine.read(), None);
        assert_eq!(machine.sent, [TODAY, TODAY + SECOND + step, TODAY + 2 * SECOND + step]);
    }
}

#[test]
fn a_clock_that_falls_back_to_1970_is_not_followed_and_once_trusted_it_need_not_stay_synchronised() {
    let mut machine = Machine::new(TODAY, true, WAIT);
    machine.synchronised = false;
    machine.wall_ms = 0;
    machine.pass(5 * SECOND);
    machine.read();
    machine.restart();
    machine.read();
    assert_eq!(machine.sent, [TODAY + 5 * SECOND, TODAY + 5 * SECOND]);
    machine.wall_ms = TODAY + HOUR;
    machine.read();
    assert_eq!(machine.sent[2..], [TODAY + HOUR]);
}

#[test]
fn a_clock_that_looks_right_and_is_not_synchronised_is_waited_for_and_then_is_a_guess_among_two() {
    for (wall_ms, guess) in [(TODAY + HOUR, TODAY + HOUR), (TODAY - HOUR, TODAY + 20 * SECOND)] {
        let mut machine = Machine::new(TODAY, true, WAIT);
        machine.read();
        machine.reboot(wall_ms, false);
        machine.read();
        assert_eq!(machine.sent.len(), 1);
        assert_eq!(machine.pass(600 * SECOND), Some(News::Decided { certain: false }));
        assert_eq!(machine.sent[1..], [guess]);
    }
}

#[test]
fn a_box_that_is_not_to_wait_takes_what_its_clock_says_or_the_last_time_known() {
    let mut machine = Machine::new(TODAY, false, Duration::ZERO);
    assert!(!machine.wall.is_waiting() && !machine.wall.is_uncertain());
    machine.read();
    machine.reboot(20 * SECOND, false);
    machine.read();
    assert!(machine.wall.is_uncertain());
    assert_eq!(machine.sent, [TODAY, TODAY + 20 * SECOND]);
}

#[test]
fn a_restart_does_not_make_rows_wait_longer() {
    let mut machine = Machine::new(20 * SECOND, false, WAIT);
    machine.read();
    machine.pass(300 * SECOND);
    machine.restart();
    machine.read();
    assert_eq!(machine.wall.waits_ms(machine.boot_ms), Some(300 * SECOND));
    assert_eq!(machine.pass(300 * SECOND), Some(News::Decided { certain: false }));
}

#[test]
fn boots_that_end_before_they_have_their_time_follow_each_other() {
    let mut machine = Machine::new(TODAY, true, WAIT);
    machine.read();
    for _ in 0..3 {
        machine.reboot(20 * SECOND, false);
        machine.read();
        machine.pass(10 * SECOND);
        machine.read();
    }
    let expected = [0, 20, 30, 50, 60].map(|s| TODAY + s * SECOND);
    assert_eq!(machine.sent, expected);
    machine.reboot(TODAY + HOUR, true);
    assert_eq!(machine.sent[5..], [80, 90].map(|s| TODAY + s * SECOND));
}

#[test]
fn a_file_that_is_lost_costs_the_certainty_of_what_waits_and_nothing_else() {
    let mut machine = Machine::new(TODAY, true, WAIT);
    machine.read();
    machine.reboot(20 * SECOND, false);
    machine.read();
    machine.start(Kept::default());
    machine.read();
    assert_eq!(machine.sent, [TODAY, TODAY + 20 * SECOND], "what waited is taken for an earlier boot's");
    assert!(machine.wall.is_waiting());
}

#[derive(Debug, Clone)]
enum Step {
    Read,
    Pass(i64),
    /// The clock is set.
    Set(i64),
    Synchronised(bool),
    Restart,
    Reboot(i64),
    /// The oldest are settled.
    Settle(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let wall = || prop_oneof![0..HOUR, TODAY - HOUR..TODAY + 24 * HOUR];
    prop_oneof![
        8 => Just(Step::Read),
        4 => (0..700 * SECOND).prop_map(Step::Pass),
        1 => wall().prop_map(Step::Set),
        1 => any::<bool>().prop_map(Step::Synchronised),
        1 => Just(Step::Restart),
        1 => wall().prop_map(Step::Reboot),
        1 => (0..4usize).prop_map(Step::Settle),
    ]
}

proptest! {
    /// [`Machine::send`] checks that no row is in 1970 and none is sent with two times.
    #[test]
    fn whatever_happens_to_the_clock_rows_keep_their_order_and_their_times(
        steps in proptest::collection::vec(step(), 1..80),
        wall_ms in prop_oneof![0..HOUR, TODAY..TODAY + HOUR],
        wait_s in prop_oneof![Just(0u64), Just(600)],
    ) {
        let mut machine = Machine::new(wall_ms, false, Duration::from_secs(wait_s));
        for step in steps {
            match step {
                Step::Read => drop(machine.read()),
                Step::Pass(ms) => drop(machine.pass(ms)),
                Step::Set(wall_ms) => machine.wall_ms = wall_ms,
                Step::Synchronised(is) => machine.synchronised = is,
                Step::Restart => machine.restart(),
                Step::Reboot(wall_ms) => machine.reboot(wall_ms, false),
                Step::Settle(rows) => machine.gone = (machine.gone + rows).min(machine.sent.len()),
            }
            machine.look();
            let waiting = &machine.stored[machine.sent.len()..];
            let since = waiting.iter().filter_map(|time_ms| parts(*time_ms));
            for (boot, since_ms) in since {
                prop_assert_eq!(boot, machine.wall.boot());
                prop_assert!(machine.boot_ms - since_ms < wait_s as i64 * SECOND, "it waits too long");
            }
            // of one boot and one state of the clock, what was read later has the later time
            for pair in machine.stored.windows(2).zip(machine.sent.windows(2)) {
                if let (Some((before, _)), Some((after, _))) = (parts(pair.0[0]), parts(pair.0[1])) {
                    prop_assert!(before != after || pair.1[0] <= pair.1[1]);
                }
            }
        }
    }
}
