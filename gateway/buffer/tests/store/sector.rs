//! A disk that cannot be read in places: what is lost, and what is had all the same.

use std::fs;

use super::damage::{copied, filled};
use super::{append, open, read_all, scratch, segments, seqs, tap};

/// Nine records of 600 to 800 bytes lie in the segment; a page of the disk holds five or six of them.
#[test]
fn what_a_bad_sector_holds_can_be_given_up_and_all_else_is_had() {
    let dir = scratch();
    let records = filled(dir.path());
    for bad in [0..1, 4_096..4_097, 7_000..9_000, 0..1 << 20] {
        let copy = copied(dir.path());
        let (mut buffer, _) = open(copy.path());
        let bad_seq = buffer.segments()[1];
        // of the file in the middle alone
        tap::unreadable(&segments(copy.path())[1], bad.clone());
        let all = || (bad_seq.0..bad_seq.1).collect::<Vec<u64>>();
        let error = buffer.read(bad_seq.0, 1 << 20);
        assert_eq!(error.is_err(), bad != (0..1), "{bad:?}: {error:?}");
        buffer.give_up_unreadable(true);
        let found = read_all(&mut buffer);
        buffer.give_up_unreadable(false);
        assert_eq!(read_all(&mut buffer), found, "{bad:?}: it stays so");
        let lost: Vec<u64> =
            records.iter().map(|one| one.seq).filter(|seq| !seqs(&found).contains(seq)).collect();
        assert!(lost.iter().all(|seq| all().contains(seq)), "{bad:?}: {lost:?}");
        match bad.end {
            1 => assert_eq!(lost, Vec::<u64>::new(), "the header only speeds things up"),
            0x10_0000 => assert_eq!(lost, all()),
            _ => assert!((1..=7).contains(&lost.len()), "{bad:?}: {lost:?}"),
        }
        let damage = buffer.take_damage();
        assert_eq!(damage.iter().map(|one| one.records).sum::<u64>(), lost.len() as u64);
        assert_eq!(buffer.damaged().iter().map(|one| one.2).sum::<u64>(), lost.len() as u64);
        tap::calls();
    }
}

#[test]
fn a_bad_sector_at_a_start_costs_what_it_holds_and_no_file() {
    let dir = scratch();
    let records = filled(dir.path());
    let known = open(dir.path()).0.segments();
    for (index, (first_seq, next_seq)) in known.into_iter().enumerate() {
        for bad in [0..1, 4_096..4_097, 0..1 << 20] {
            let copy = copied(dir.path());
            let file = segments(copy.path())[index].clone();
            tap::unreadable(&file, bad.clone());
            let (mut buffer, _) = open(copy.path());
            buffer.give_up_unreadable(true);
            let found = read_all(&mut buffer);
            let kept = |seq: &u64| found.iter().any(|record| record.seq == *seq);
            let lost: Vec<u64> = records.iter().map(|one| one.seq).filter(|seq| !kept(seq)).collect();
            assert!(lost.iter().all(|seq| (first_seq..next_seq).contains(seq)), "{index} {bad:?}: {lost:?}");
            let most = if bad.end < 1 << 20 { 7 } else { (next_seq - first_seq) as usize };
            assert!(lost.len() <= most, "{index} {bad:?}: {lost:?}");
            assert!(file.exists(), "{index} {bad:?}");
            let seq = append(&mut buffer, b"next");
            assert!(found.iter().all(|record| record.seq < seq), "{index} {bad:?}");
            assert_eq!(read_all(&mut buffer).last().unwrap().seq, seq, "{index} {bad:?}");
            tap::calls();
            assert_eq!(fs::read(&file).unwrap(), fs::read(&segments(dir.path())[index]).unwrap());
        }
    }
}

#[test]
fn what_is_appended_after_the_newest_file_was_lost_can_be_read() {
    let dir = scratch();
    filled(dir.path());
    let (mut buffer, _) = open(dir.path());
    let (first_seq, _) = *buffer.segments().last().unwrap();
    fs::remove_file(segments(dir.path()).last().unwrap()).unwrap();
    let seq = append(&mut buffer, b"into a file that nobody finds");
    buffer.read(1, 1).unwrap();
    assert!(buffer.read(first_seq, 1).is_err());
    buffer.give_up_unreadable(true);
    assert_eq!(buffer.read(first_seq, 1).unwrap(), vec![]);
    let seq_after = append(&mut buffer, b"next");
    assert_eq!(seq_after, seq + 1);
    assert_eq!(buffer.read(first_seq, 1).unwrap()[0].payload, b"next");
}

#[test]
fn a_segment_whose_file_is_gone_can_be_given_up() {
    let dir = scratch();
    let records = filled(dir.path());
    let (mut buffer, _) = open(dir.path());
    let (first_seq, next_seq) = buffer.segments()[1];
    fs::remove_file(&segments(dir.path())[1]).unwrap();
    assert!(buffer.read(first_seq, 1).is_err());
    buffer.give_up_unreadable(true);
    let found = read_all(&mut buffer);
    let left = records.into_iter().filter(|record| !(first_seq..next_seq).contains(&record.seq));
    assert!(found.into_iter().eq(left));
    let damage = buffer.take_damage();
    assert_eq!(
        (damage.len(), damage[0].records, damage[0].set_aside.as_ref()),
        (1, next_seq - first_seq, None)
    );
}
