//! The account, step by step and across restarts.

use proptest::prelude::*;

use super::*;

const BOOT: &str = "boot 1";

/// What a start finds when nothing is wrong.
fn found(next_seq: u64) -> Found<'static> {
    Found { next_seq, boot_id: BOOT, ..Found::default() }
}

/// Samples that were read and written.
fn written(book: &mut Book, segment: u64, seq: u64, device: &Arc<str>, samples: u32) {
    book.read(device, samples.into());
    book.stored(segment, seq, device, samples);
}

proptest! {
    #[test]
    fn both_identities_hold_after_every_step_and_across_a_restart(
        steps in proptest::collection::vec((0..6u8, 0..3usize, 1..9u32), 1..200),
        cut in 0..9u64,
        damaged in proptest::collection::vec(0..200u64, 0..3),
    ) {
        let names: Vec<Arc<str>> = ["a", "b", "c"].into_iter().map(Into::into).collect();
        let mut book = Book::default();
        let mut waiting: Vec<Vec<(u64, u32)>> = vec![Vec::new(); 3];
        let mut all: Vec<(u64, u64, usize, u32)> = Vec::new();
        let (mut segment, mut seq, mut total) = (1, 1, 0);
        let mut kept = (book.detail(seq, BOOT, false), seq);
        for (op, device, n) in steps {
            match op {
                0 => book.suppressed(&names[device], u64::from(n)),
                1 => {
                    total += u64::from(n);
                    book.dropped_by_driver(&names[device], [1; 16], total);
                }
                2 => {
                    if n > 6 { segment = seq; }
                    written(&mut book, segment, seq, &names[device], n);
                    waiting[device].push((seq, n));
                    all.push((segment, seq, device, n));
                    seq += 1;
                }
                3 => kept = (book.detail(seq, BOOT, false), seq),
                4 if !waiting[device].is_empty() => {
                    let (seq, samples) = waiting[device].remove(0);
                    book.settled(&names[device], seq, samples, Fate::Acknowledged);
                    book.settled(&names[device], seq, samples, Fate::Acknowledged);
                }
                _ => {
                    let first_unsettled = waiting.iter().flatten().map(|w| w.0).min().unwrap_or(seq);
                    let floor = book.floor(seq);
                    prop_assert!(floor <= first_unsettled);
                }
            }
            for name in &names {
                prop_assert!(book.ledger(name).balances(), "{:?}", book.ledger(name));
            }
        }
        // the cursor is from any moment, some records are damaged, the newest may be cut off
        let (detail, head) = kept;
        let next_seq = seq - cut.min(seq - 1);
        let there = |record: u64| record < next_seq && !damaged.contains(&record);
        let mut again = Book::restore(0, &detail);
        for (segment, seq, device, n) in all.iter().filter(|(_, seq, ..)| there(*seq)) {
            again.found(*segment, *seq, &names[*device], *n);
        }
        let restart = again.reconcile(&found(next_seq), |_| true).cloned();
        prop_assert_eq!(restart.is_some(), head > next_seq);
        for (number, name) in names.iter().enumerate() {
            let ledger = again.ledger(name);
            prop_assert!(ledger.balances(), "{:?}", ledger);
            let of = all.iter().filter(|(_, _, device, _)| *device == number);
            let counted: u64 = of.filter(|one| one.1 < head || there(one.1)).map(|one| u64::from(one.3)).sum();
            prop_assert!(ledger.stored <= counted);
            if restart.is_none() {
                prop_assert_eq!(ledger.stored, counted, "what was counted once stays counted");
            }
        }
    }
}

#[test]
fn eviction_counts_only_what_was_waiting_and_a_late_answer_moves_it_back() {
    let device: Arc<str> = "a".into();
    let mut book = Book::default();
    written(&mut book, 1, 1, &device, 10);
    written(&mut book, 1, 2, &device, 10);
    written(&mut book, 3, 3, &device, 10);
    book.settled(&device, 1, 10, Fate::Acknowledged);
    assert_eq!(book.evicted(2), [(device.clone(), Dropped { rows: 1, samples: 10 })]);
    assert_eq!((book.ledger("a").evicted, book.ledger("a").evicted_full), (10, 10));
    book.settled(&device, 2, 10, Fate::Acknowledged);
    let ledger = book.ledger("a");
    assert_eq!((ledger.acknowledged, ledger.waiting, ledger.evicted), (20, 10, 0));
    assert_eq!(book.floor(4), 3);
}

#[test]
fn what_fell_out_of_memory_is_counted_as_such_and_a_late_answer_moves_it_back() {
    let device: Arc<str> = "a".into();
    let mut book = Book::default();
    written(&mut book, 1, 1, &device, 10);
    written(&mut book, 2, 2, &device, 20);
    written(&mut book, 3, 3, &device, 40);
    assert_eq!(book.evicted_segment(2), Dropped { rows: 1, samples: 20 });
    let ledger = book.ledger("a");
    assert_eq!((ledger.waiting, ledger.evicted, ledger.evicted_unwritten), (50, 20, 20));
    book.settled(&device, 1, 10, Fate::Acknowledged);
    // it was on its way when it was dropped
    book.settled(&device, 2, 20, Fate::Acknowledged);
    let ledger = book.ledger("a");
    assert_eq!((ledger.waiting, ledger.acknowledged, ledger.evicted_unwritten), (40, 30, 0));
    assert!(ledger.balances(), "{ledger:?}");
    assert_eq!(book.floor(4), 3);
}

#[test]
fn damaged_rows_are_settled_as_evicted() {
    let device: Arc<str> = "a".into();
    let mut book = Book::default();
    written(&mut book, 1, 1, &device, 10);
    book.settled(&device, 1, 10, Fate::Damaged);
    let ledger = book.ledger("a");
    assert_eq!((ledger.evicted, ledger.evicted_damaged, ledger.waiting), (10, 10, 0));
    assert!(ledger.balances());
    assert_eq!(book.floor(2), 2);
}

#[test]
fn a_record_that_never_comes_is_counted_once_its_device_is_past_the_segment() {
    let (device, other): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
    let mut book = Book::default();
    for seq in 1..=3 {
        written(&mut book, 1, seq, &device, 10);
    }
    written(&mut book, 1, 3, &other, 5);
    written(&mut book, 4, 4, &device, 10);
    written(&mut book, 4, 5, &device, 10);
    assert_eq!(book.settled(&device, 1, 10, Fate::Acknowledged), 0);
    assert_eq!(book.settled(&device, 3, 10, Fate::Acknowledged), 0, "the second one may be anywhere");
    assert_eq!(book.settled(&device, 4, 10, Fate::Acknowledged), 10);
    assert_eq!(book.settled(&device, 5, 10, Fate::Acknowledged), 0);
    let ledger = book.ledger("a");
    assert_eq!((ledger.acknowledged, ledger.evicted, ledger.waiting), (40, 10, 0));
    assert!(ledger.balances());
    assert_eq!(book.floor(6), 1, "the other device still waits there");
    book.settled(&other, 3, 5, Fate::Acknowledged);
    assert_eq!(book.floor(6), 6);
}

#[test]
fn the_floor_never_goes_back_when_a_settled_segment_is_written_on() {
    let device: Arc<str> = "a".into();
    let mut book = Book::default();
    written(&mut book, 1, 1, &device, 1);
    book.settled(&device, 1, 1, Fate::Acknowledged);
    assert_eq!(book.floor(2), 2);
    written(&mut book, 1, 2, &device, 1);
    assert_eq!(book.floor(3), 2);
}

/// As many devices as a configuration may have, with the longest names and years of samples.
#[test]
fn the_account_of_the_largest_site_fits_the_cursor() {
    let mut book = Book::default();
    for number in 0..=550 {
        let device: Arc<str> = format!("{number:064}").into();
        book.suppressed(&device, 1 << 34);
        let account = book.account(&device);
        account.position = 1 << 34;
        account.ledger.acknowledged = 1 << 34;
        account.ledger.evict(Evicted::Full, 1 << 34);
        account.waiting = 1 << 20;
        account.ledger.stored = (2 << 34) + (1 << 20);
        account.ledger.read += account.ledger.stored;
        for process in 1..=2 {
            book.dropped_by_driver(&device, [process; 16], 1 << 20);
        }
    }
    let suppressed = book.accounts.keys().map(|device| (device.clone(), 1 << 10)).collect();
    book.take(Origin { instance: [1; 16], seq: 1 << 34 }, true, suppressed);
    for other in 2..=16 {
        book.take(Origin { instance: [other; 16], seq: 1 << 34 }, true, Vec::new());
    }
    let bytes = book.detail(1 << 34, BOOT, false).len();
    assert!(bytes <= sagoo_edge_buffer::MAX_DETAIL, "{bytes} bytes");
    // What was answered before its turn is left out where it has no room, the shortest ranges first.
    for device in book.accounts.keys().cloned().collect::<Vec<_>>() {
        for range in 0..64 {
            let first = (1 << 34) + (range << 20);
            book.said_ahead(&device, (first, first + 1 + (range << 9)));
        }
    }
    let detail = book.detail(1 << 35, BOOT, false);
    assert!(detail.len() <= sagoo_edge_buffer::MAX_DETAIL, "{} bytes", detail.len());
    let again = Book::restore(1, &detail);
    for (device, kept) in again.ahead() {
        let all: HashMap<_, _> = book.ahead().collect();
        assert!(kept.iter().all(|range| all[device].contains(range)));
    }
}

#[test]
fn what_was_answered_before_its_turn_is_known_after_a_restart_but_never_of_records_that_are_gone() {
    let (device, other): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
    let mut book = Book::default();
    for seq in 1..=50 {
        written(&mut book, 1, seq, &device, 10);
        written(&mut book, 1, seq, &other, 10);
    }
    book.settled(&device, 2, 10, Fate::Acknowledged);
    for range in [(20, 20), (20, 22), (30, 30), (30, 41), (45, 50)] {
        book.said_ahead(&device, range);
    }
    let of = |book: &Book| book.ahead().map(|(device, ranges)| (device.to_string(), ranges)).collect();
    let said: Vec<(String, Vec<ahead::Range>)> = of(&book);
    assert_eq!(said, [("a".to_owned(), vec![(20, 22), (30, 41), (45, 50)])]);
    let mut again = Book::restore(1, &book.detail(51, BOOT, false));
    again.reconcile(&found(51), |_| true);
    assert_eq!(said, of(&again));
    // a power cut took the newest, whose numbers are given again
    let mut again = Book::restore(1, &book.detail(51, BOOT, false));
    again.reconcile(&found(36), |_| true);
    assert_eq!(of(&again), [("a".to_owned(), vec![(20, 22), (30, 35)])] as [(String, Vec<ahead::Range>); 1]);
    // its turn comes
    book.settled(&device, 31, 10, Fate::Acknowledged);
    assert_eq!(of(&book), [("a".to_owned(), vec![(32, 41), (45, 50)])] as [(String, Vec<ahead::Range>); 1]);
    book.said_ahead(&device, (45, 51));
    book.settled(&device, 50, 10, Fate::Acknowledged);
    assert_eq!(of(&book), [("a".to_owned(), vec![(51, 51)])] as [(String, Vec<ahead::Range>); 1]);
}

#[test]
fn a_position_above_the_records_is_not_believed() {
    let device: Arc<str> = "a".into();
    let mut book = Book::default();
    written(&mut book, 1, 9, &device, 1);
    book.settled(&device, 9, 1, Fate::Acknowledged);
    let mut again = Book::restore(10, &book.detail(10, BOOT, false));
    again.reconcile(&found(5), |_| true);
    again.stored(1, 5, &device, 1);
    assert_eq!((again.ledger("a").waiting, again.floor(6)), (1, 5));
}

#[test]
fn a_device_that_is_gone_is_forgotten_when_nothing_waits_and_no_row_of_it_can_be_read_again() {
    let (kept, gone): (Arc<str>, Arc<str>) = ("kept".into(), "gone".into());
    let mut book = Book::default();
    book.suppressed(&kept, 1);
    book.stored(1, 4, &gone, 1);
    book.settled(&gone, 4, 1, Fate::Acknowledged);
    book.reconcile(&Found { first_seq: 1, ..found(6) }, |name| name == "kept");
    assert_eq!(book.positions()[&gone], 5, "its row is still there and must not be sent again");
    book.reconcile(&Found { first_seq: 5, ..found(6) }, |name| name == "kept");
    assert_eq!(book.devices().count(), 1);
}

#[test]
fn a_damaged_detail_settles_nothing() {
    assert_eq!(Book::restore(0, &[0xff, 0x01, 0x02]).positions().len(), 0);
}

/// What `written` counts and what a start does with what is left of it.
fn started_again(
    stopped: bool,
    boot: &str,
    left: std::ops::Range<u64>,
    evicted: bool,
) -> (Ledger, Option<String>) {
    let device: Arc<str> = "a".into();
    let mut book = Book::default();
    for seq in 1..=3 {
        written(&mut book, 1, seq, &device, 10);
    }
    let mut again = Book::restore(1, &book.detail(4, BOOT, stopped));
    for seq in left.clone() {
        again.found(1, seq, &device, 10);
    }
    let found = Found { boot_id: boot, wall_ms: 7, evicted, ..found(left.end) };
    let restart = again.reconcile(&found, |_| true).cloned();
    assert!(again.ledger("a").balances(), "{:?}", again.ledger("a"));
    assert_eq!(again.restart, restart);
    // it stays to be seen after the next start
    let kept = Book::restore(1, &again.detail(left.end, boot, true)).restart;
    assert_eq!(kept, restart);
    (again.ledger("a"), restart.map(|restart| format!("{} {}", restart.missing_samples, restart.cause)))
}

#[test]
fn a_kill_and_a_stop_forget_nothing_and_say_nothing() {
    for stopped in [false, true] {
        let (ledger, said) = started_again(stopped, BOOT, 1..4, false);
        assert_eq!((ledger.stored, ledger.waiting, said), (30, 30, None));
    }
    assert_eq!(started_again(true, "boot 2", 1..4, false).1, None, "the machine was rebooted properly");
}

#[test]
fn after_a_power_cut_the_totals_go_on_from_what_survived_and_one_entry_says_so() {
    let (ledger, said) = started_again(false, "boot 2", 1..3, false);
    assert_eq!((ledger.read, ledger.stored, ledger.waiting, ledger.evicted), (20, 20, 20, 0));
    let power = "the power was cut or the machine reset, the totals go on from what survived";
    assert_eq!(said.unwrap(), format!("10 {power}"));
    // also when all that was counted is there: what was not counted yet may be gone
    assert_eq!(started_again(false, "boot 2", 1..4, false).1.unwrap(), format!("0 {power}"));
    let (ledger, said) = started_again(false, BOOT, 1..2, false);
    assert_eq!(
        (ledger.stored, said.unwrap()),
        (10, "20 the newest records are gone, the totals go on from what is left".to_owned())
    );
}

#[test]
fn what_is_gone_from_the_oldest_end_or_the_middle_stays_counted_with_its_reason() {
    let (ledger, said) = started_again(false, BOOT, 2..4, true);
    assert_eq!((ledger.stored, ledger.evicted_full, ledger.evicted_damaged, said), (30, 10, 0, None));
    let (ledger, said) = started_again(false, BOOT, 2..4, false);
    assert_eq!((ledger.stored, ledger.evicted_full, ledger.evicted_damaged, said), (30, 0, 10, None));
}

#[test]
fn a_lost_cursor_is_said() {
    let mut book = Book::restore(0, &[]);
    book.found(1, 1, &"a".into(), 10);
    let found = Found { cursor_lost: true, ..found(2) };
    assert!(book.reconcile(&found, |_| true).unwrap().cause.contains("lost with its file"));
    assert!(book.ledger("a").balances());
}

#[test]
fn a_sample_that_gets_lost_on_the_way_is_seen_once_and_stays_seen_after_a_restart() {
    let device: Arc<str> = "a".into();
    let mut book = Book::default();
    book.read(&device, 10);
    book.stored(1, 1, &device, 9);
    assert_eq!(book.off_balance(&device).unwrap().read_off(), 1);
    assert_eq!((book.off_balance(&device), book.all_off_balance()), (None, vec![]), "it is said once");
    let mut again = Book::restore(1, &book.detail(2, BOOT, false));
    again.found(1, 1, &device, 9);
    again.reconcile(&found(2), |_| true);
    assert_eq!(again.ledger("a").read_off(), 1);
}

#[test]
fn an_answer_for_more_than_was_stored_and_one_for_less_are_seen() {
    let device: Arc<str> = "a".into();
    let mut book = Book::default();
    written(&mut book, 1, 1, &device, 10);
    book.settled(&device, 1, 12, Fate::Acknowledged);
    assert_eq!(book.off_balance(&device).unwrap().stored_off(), -2);

    let mut book = Book::default();
    written(&mut book, 1, 1, &device, 10);
    book.settled(&device, 1, 8, Fate::Acknowledged);
    assert_eq!(book.off_balance(&device), None, "two of them may still wait");
    assert!(book.all_off_balance().is_empty());
    book.floor(2);
    // nothing of it is open any more
    book.suppressed(&device, 1);
    assert_eq!(book.all_off_balance()[0].1.stored_off(), 2);
}

#[test]
fn a_parked_row_that_is_answered_after_all_is_acknowledged_once() {
    let device: Arc<str> = "a".into();
    let mut book = Book::default();
    written(&mut book, 1, 1, &device, 10);
    book.settled(&device, 1, 10, Fate::Parked);
    for _ in 0..2 {
        book.redeemed(&device, 10);
        let ledger = book.ledger("a");
        assert_eq!((ledger.acknowledged, ledger.parked), (10, 0));
        assert!(ledger.balances(), "{ledger:?}");
    }
}
