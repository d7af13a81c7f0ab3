//! Random weather over random stories: every row ends as it should, once and in order.

use super::*;

pub(super) type Ends = BTreeMap<(Class, Arc<str>, u64), (u32, Fate)>;

pub(super) fn key(settled: &Settled) -> (Class, Arc<str>, u64) {
    (settled.class, settled.device.clone(), settled.seq)
}

/// Settled once per class, device and record, in order, with exactly these samples.
pub(super) fn assert_settled(settled: &[Settled], expected: &Ends) {
    let mut last: HashMap<(Class, Arc<str>), u64> = HashMap::new();
    let mut seen = BTreeMap::new();
    for one in settled {
        let before = last.insert((one.class, one.device.clone()), one.seq);
        assert!(before.is_none_or(|before| before < one.seq), "{}: {} after {before:?}", one.device, one.seq);
        assert!(seen.insert(key(one), (one.samples, one.fate)).is_none());
    }
    assert_eq!(&seen, expected);
}

pub(super) fn weather() -> impl Strategy<Value = Weather> {
    (
        any::<u64>(),
        0..25u8,
        0..20u8,
        proptest::collection::vec((1..60u64, 1..90u64), 0..2),
        proptest::collection::vec((1..40u64, 1..20u64), 0..2),
        proptest::option::of(1..90u64),
        proptest::collection::hash_set((0..4usize, 1..9i64), 0..2),
        proptest::collection::vec((1..60u64, 1..90u64), 0..2),
        any::<bool>(),
    )
        .prop_map(
            |(seed, lost_percent, doubled_percent, away, broken, late, poisoned, unreadable, slow_disk)| {
                Weather {
                    seed,
                    lost_percent,
                    doubled_percent,
                    away,
                    broken,
                    late: late.map(|since| ("d0".to_owned(), since)).into_iter().collect(),
                    poisoned: poisoned
                        .into_iter()
                        .map(|(device, number)| (format!("d{device}"), number))
                        .collect(),
                    mute: BTreeSet::new(),
                    slow: BTreeMap::new(),
                    unreadable,
                    damaged: BTreeSet::new(),
                    fast: false,
                    slow_disk,
                }
            },
        )
}

/// A record, and how long after the last one it is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    /// Which devices are in it.
    devices: u8,
    gap_ms: u64,
    /// One point more.
    wider: bool,
    /// Its first device announces something instead.
    event: bool,
}

pub(super) fn story() -> impl Strategy<Value = Vec<Told>> {
    let told = (1..16u8, 0..1_500u64, proptest::bool::weighted(0.1), proptest::bool::weighted(0.2));
    let told = told.prop_map(|(devices, gap_ms, wider, event)| Told { devices, gap_ms, wider, event });
    proptest::collection::vec(told, 1..60)
}

pub(super) fn tell(story: &[Told]) -> Vec<(Duration, Vec<Row>)> {
    let mut at = Duration::ZERO;
    let (mut numbers, mut events) = ([0i64; 4], [0i64; 4]);
    let mut records = Vec::new();
    for Told { devices, gap_ms, wider, event: announces } in story {
        at += Duration::from_millis(*gap_ms);
        if *announces {
            let device = devices.trailing_zeros() as usize;
            events[device] += 1;
            records.push((at, vec![event(&format!("d{device}"), events[device])]));
            continue;
        }
        let mut rows = Vec::new();
        for (device, number) in numbers.iter_mut().enumerate().filter(|(i, _)| devices & (1 << i) != 0) {
            *number += 1;
            rows.push(row(&format!("d{device}"), *number, if *wider { 3 } else { 2 }));
        }
        records.push((at, rows));
    }
    records
}

/// What should become of each row, and which one it is.
pub(super) fn expected(records: &[(Duration, Vec<Row>)], fate: impl Fn(&Row) -> Fate) -> Ends {
    let mut expected = BTreeMap::new();
    let mut heads = PerClass::new(|_| 0);
    for (_, rows) in records {
        let class = class_of(rows);
        heads[class] += 1;
        for row in rows {
            expected.insert((class, row.device.clone(), heads[class]), (row.samples, fate(row)));
        }
    }
    expected
}

/// No row is poisoned and no answer lost, but some records are damaged: the story, and what becomes of the rest
/// of it if all of that can be rebuilt.
pub(super) fn damage(
    weather: &mut Weather,
    damaged: BTreeSet<u64>,
    story: &[Told],
) -> (Vec<(Duration, Vec<Row>)>, Ends) {
    weather.poisoned.clear();
    weather.lost_percent = 0;
    weather.damaged = damaged;
    let records = tell(story);
    let mut expected = expected(&records, |_| Fate::Acknowledged);
    expected.retain(|(class, _, seq), _| *class == Class::Event || !weather.damaged.contains(seq));
    (records, expected)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_row_arrives_in_order_and_is_settled_once(
        mut weather in weather(), story in story(), small in any::<bool>(),
    ) {
        weather.poisoned.clear();
        let devices: Vec<String> = (0..4).map(|i| format!("d{i}")).collect();
        let records = tell(&story);
        let expected = expected(&records, |_| Fate::Acknowledged);
        let samples = expected.values().map(|(samples, _)| u64::from(*samples)).sum();
        // A small budget makes devices fall behind all the time.
        let budget = if small { 2_500 } else { READ_AHEAD_BYTES };
        let mut world = World::new(&devices, records, weather, budget);
        world.run(Duration::from_secs(7_200), samples);
        let most = budget + 2 * 5 * 2 * 2_000;
        prop_assert!(world.most_bytes <= most, "{} bytes in memory", world.most_bytes);
        // A lossy line may look like a poisoned row; whatever was parked was settled all the same.
        let mut expected = expected;
        for one in world.settled.iter().filter(|one| one.fate == Fate::Parked) {
            prop_assert!(world.weather.lost_percent > 0, "an outage parks nothing");
            expected.get_mut(&key(one)).unwrap().1 = Fate::Parked;
        }
        assert_settled(&world.settled, &expected);
    }

    #[test]
    fn every_row_in_a_good_record_is_settled_once_whatever_is_damaged_before_it(
        mut weather in weather(), story in story(), small in any::<bool>(),
        damaged in proptest::collection::btree_set(1..60u64, 1..12),
    ) {
        let (records, mut expected) = damage(&mut weather, damaged, &story);
        let samples = expected.values().map(|(samples, _)| u64::from(*samples)).sum();
        let devices: Vec<String> = (0..4).map(|i| format!("d{i}")).collect();
        let budget = if small { 2_500 } else { READ_AHEAD_BYTES };
        let mut world = World::new(&devices, records, weather, budget);
        world.run(Duration::from_secs(7_200), samples);
        let mut told: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for note in world.flight.take_notes() {
            if let Note::Damaged { device, samples, .. } = note {
                *told.entry(device).or_default() += samples;
            }
        }
        let mut dropped: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for one in world.settled.iter().filter(|one| one.fate == Fate::Damaged) {
            *dropped.entry(one.device.clone()).or_default() += u64::from(one.samples);
            expected.get_mut(&key(one)).expect("of a good record").1 = Fate::Damaged;
        }
        prop_assert_eq!(told, dropped, "everything that is dropped is told");
        assert_settled(&world.settled, &expected);
    }

    #[test]
    fn a_poisoned_row_is_parked_alone(mut weather in weather(), story in story()) {
        weather.lost_percent = 0;
        weather.late.clear();
        let devices: Vec<String> = (0..4).map(|i| format!("d{i}")).collect();
        let records = tell(&story);
        let poisoned = |row: &Row| match row.cells.first().map(|cell| &cell.value) {
            Some(Value::Int(number)) => weather.poisoned.contains(&(row.device.to_string(), *number)),
            _ => false,
        };
        let expected =
            expected(&records, |row| if poisoned(row) { Fate::Parked } else { Fate::Acknowledged });
        let samples = expected.values().map(|(samples, _)| u64::from(*samples)).sum();
        let mut world = World::new(&devices, records, weather, READ_AHEAD_BYTES);
        world.run(Duration::from_secs(7_200), samples);
        assert_settled(&world.settled, &expected);
    }
}
