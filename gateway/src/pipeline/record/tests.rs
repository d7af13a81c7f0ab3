//! Rows come back as they went in, whatever is lost, and any bytes are an error or rows.

use proptest::prelude::*;

use super::*;
use crate::row::Value;

fn row(device: &str, keys: &[&str], values: &[i64], time_ms: i64, ages: &[i64]) -> Row {
    let cells = keys.iter().zip(values).zip(ages);
    Row {
        device: device.into(),
        identity: Identity { product_key: "p".into(), device_key: format!("{device}-k").as_str().into() },
        time_ms,
        cells: cells
            .map(|((key, v), age)| Cell { key: (*key).into(), value: Value::Int(*v), time_ms: time_ms - age })
            .collect(),
        event: None,
        samples: keys.len() as u32,
    }
}

fn rows_of(decoder: &mut Decoder, payload: &[u8]) -> Vec<Row> {
    decoder.decode(payload).unwrap().into_iter().map(Result::unwrap).collect()
}

/// Values of every kind, the awkward ones often.
fn value() -> impl Strategy<Value = Value> {
    let digits =
        (-40_000..40_000i64, 0..6i32).prop_map(|(digits, places)| digits as f64 / 10f64.powi(places));
    prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        prop_oneof![any::<i64>(), -300..300i64, Just(i64::MIN), Just(i64::MAX)].prop_map(Value::Int),
        prop_oneof![any::<u64>(), 0..300u64, Just(u64::MAX)].prop_map(Value::Uint),
        digits.clone().prop_map(Value::Float),
        digits.prop_map(|number| Value::Float(f64::from(number as f32))),
        any::<u64>().prop_map(|bits| Value::Float(f64::from_bits(bits))),
        any::<u32>().prop_map(|bits| Value::Float(f64::from(f32::from_bits(bits)))),
        prop_oneof![
            Just(-0.0),
            Just(f64::INFINITY),
            Just(f64::from_bits(0x7ff0_0000_0000_0001)),
            Just(f64::from_bits(0xffff_ffff_ffff_ffff)),
            Just(f64::MIN_POSITIVE / 2.0),
            Just(f64::MAX),
            Just(16_777_217.0),
        ]
        .prop_map(Value::Float),
        "[a-zé]{0,3}".prop_map(Value::Text),
        proptest::collection::vec(any::<u8>(), 0..4).prop_map(Value::Bytes),
        "[0-9]{1,2}".prop_map(|number| Value::Json(format!("[{number}]"))),
    ]
}

/// What is read of a device: its cells, which of them, and whether its set or identity is another one.
type Read = (usize, Vec<(Value, bool, i64)>, u8);

fn reads() -> impl Strategy<Value = Vec<Vec<Read>>> {
    let age = prop_oneof![6 => Just(0), 3 => 0..4i64, 1 => any::<i64>()];
    let cell = (value(), prop::bool::weighted(0.7), age);
    let read = (0..3usize, proptest::collection::vec(cell, 12), 0..20u8);
    proptest::collection::vec(proptest::collection::vec(read, 1..4), 1..12)
}

/// The rows that a pipeline makes of the reads, record by record.
fn rows_from(reads: &[Vec<Read>]) -> Vec<Vec<Row>> {
    let mut sets: HashMap<usize, Row> = HashMap::new();
    let mut time_ms = 1_700_000_000_000;
    let mut row = |(device, cells, turn): &Read| {
        time_ms += i64::from(*turn) - 3;
        let width = if *turn == 0 { 7 } else { 12 };
        let row = sets.entry(*device).or_insert_with(|| row(&format!("d{device}"), &[], &[], 0, &[]));
        row.time_ms = time_ms;
        if *turn == 1 {
            row.identity.device_key = format!("other-{device}").as_str().into();
        }
        if row.cells.len() != width {
            let blank = |i| Cell { key: format!("point-{i:02}").into(), value: Value::Bool(false), time_ms };
            row.cells = (0..width).map(blank).collect();
        }
        for (cell, (value, _, age)) in row.cells.iter_mut().zip(cells).filter(|(_, new)| new.1) {
            (cell.value, cell.time_ms) = (value.clone(), time_ms.wrapping_sub(*age));
        }
        row.samples = cells.iter().filter(|new| new.1).count() as u32;
        let event = Event { name: "turn".into(), value: format!("{{\"n\":{turn}}}") };
        match turn % 4 {
            2 => Row { cells: Vec::new(), event: Some(event), ..row.clone() },
            _ => row.clone(),
        }
    };
    reads.iter().map(|record| record.iter().map(&mut row).collect()).collect()
}

/// Equal to the bit, also where it is not a number.
fn bits(rows: &[Row]) -> String {
    let float = |value: &Value| match value {
        Value::Float(number) => format!("{:x}", number.to_bits()),
        other => format!("{other:?}"),
    };
    let cells = |row: &Row| {
        row.cells.iter().map(|cell| (cell.key.clone(), float(&cell.value), cell.time_ms)).collect()
    };
    let rows = rows.iter().map(|row| {
        let cells: Vec<_> = cells(row);
        (row.device.clone(), row.identity.clone(), row.time_ms, cells, row.event.clone(), row.samples)
    });
    format!("{:?}", rows.collect::<Vec<_>>())
}

/// Records as the writer makes them; a segment begins at each of `begins`.
fn written(records: &[Vec<Row>], begins: &[bool]) -> Vec<Vec<u8>> {
    let mut context = Context::default();
    let encoded = records.iter().zip(begins.iter().chain(std::iter::repeat(&false))).map(|(rows, begins)| {
        if *begins {
            context.clear();
        }
        let payload = encode(rows, &context);
        context.remember(rows);
        payload
    });
    encoded.collect()
}

proptest! {
    #[test]
    fn rows_come_back_to_the_bit_from_any_segment_start(
        reads in reads(), begins in proptest::collection::vec(prop::bool::weighted(0.2), 12),
    ) {
        let records = rows_from(&reads);
        let payloads = written(&records, &begins);
        for start in (0..records.len()).filter(|i| *i == 0 || begins[*i]) {
            let mut decoder = Decoder::default();
            for (payload, rows) in payloads.iter().zip(&records).skip(start) {
                prop_assert_eq!(bits(&rows_of(&mut decoder, payload)), bits(rows));
            }
        }
    }

    #[test]
    fn a_lost_record_costs_no_other_even_the_first_of_a_store(reads in reads(), lost in 0..12usize) {
        let records = rows_from(&reads);
        let mut decoder = Decoder::default();
        for (i, (payload, rows)) in written(&records, &[]).iter().zip(&records).enumerate() {
            if i == lost {
                continue;
            }
            let missed = records.get(lost).map_or(&[][..], |rows| if lost < i { rows } else { &[] });
            for (found, row) in decoder.decode(payload).unwrap().into_iter().zip(rows) {
                let found = found.unwrap();
                prop_assert_eq!((&found.identity, found.time_ms, found.samples, &found.event),
                    (&row.identity, row.time_ms, row.samples, &row.event));
                for (cell, was) in found.cells.iter().zip(&row.cells) {
                    // only what the lost record alone said may be missing
                    let said = missed.iter().filter(|lost| lost.device == row.device)
                        .flat_map(|lost| &lost.cells).any(|lost| same_cell(lost, was));
                    prop_assert!(same_cell(cell, was) || said, "{:?} is not {:?}", cell, was);
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_an_error_or_rows(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Decoder::default().decode(&bytes);
    }

    #[test]
    fn damaged_bytes_are_an_error_or_rows(
        reads in reads(), places in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut decoder = Decoder::default();
        for mut payload in written(&rows_from(&reads), &[]) {
            for (place, byte) in &places {
                *place.get_mut(&mut payload) ^= byte;
            }
            let _ = decoder.decode(&payload);
        }
    }
}

fn same_cell(one: &Cell, other: &Cell) -> bool {
    let float = |value: &Value| if let Value::Float(number) = value { Some(number.to_bits()) } else { None };
    let same = float(&one.value).zip(float(&other.value)).map_or(one.value == other.value, |(a, b)| a == b);
    one.key == other.key && one.time_ms == other.time_ms && same
}

#[test]
fn numbers_that_meters_show_are_short() {
    let length = |numbers: &[f64]| {
        let keys: Vec<String> = (0..numbers.len()).map(|i| format!("{i:02}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let zeros = vec![0; keys.len()];
        let mut context = Context::default();
        let before = row("m", &keys, &zeros, 1_000, &zeros);
        context.remember(std::slice::from_ref(&before));
        context.remember(std::slice::from_ref(&before));
        let mut now = Row { time_ms: 2_000, ..before };
        for (cell, number) in now.cells.iter_mut().zip(numbers) {
            (cell.value, cell.time_ms) = (Value::Float(*number), 2_000);
        }
        encode(&[now], &context).len()
    };
    let many = |number: f64| length(&[number; 32]) as f64 / 32.0;
    let head = length(&[]) as f64 / 32.0;
    let per_value = |number: f64| (many(number) - head).round();
    assert_eq!(per_value(230.1), 2.0);
    assert_eq!(per_value(230.0), 2.0, "a whole one among tenths is no longer");
    assert_eq!(per_value(f64::from(230.1f32)), 2.0, "a single float");
    assert_eq!(per_value(123_456.789), 4.0);
    assert_eq!(per_value(f64::from(0.123_456_79_f32)), 4.0);
    assert_eq!(per_value(std::f64::consts::PI), 8.0);
    assert_eq!(length(&[230.1, 230.0, 230.2, 231.0]), length(&[230.1; 4]), "tenths stay tenths");
}

#[test]
fn an_event_travels_without_touching_the_set() {
    let mut last = Context::default();
    let first = row("m", &["a"], &[1], 1_000, &[0]);
    let record = encode(std::slice::from_ref(&first), &last);
    last.remember(std::slice::from_ref(&first));
    let event = Some(Event { name: "gone".into(), value: "{}".into() });
    let announced = Row { cells: Vec::new(), event, samples: 0, time_ms: 2_000, ..first.clone() };
    let second = encode(std::slice::from_ref(&announced), &last);
    let third = row("m", &["a"], &[2], 3_000, &[0]);
    let third_record = encode(std::slice::from_ref(&third), &last);
    let mut decoder = Decoder::default();
    assert_eq!(rows_of(&mut decoder, &record), [first]);
    assert_eq!(rows_of(&mut decoder, &second), [announced]);
    assert_eq!(rows_of(&mut decoder, &third_record), [third]);
    // what builds before the first release wrote of it cannot be told any more, and is not guessed
    for flags in [8, FULL | 8, FULL | EVENT] {
        let mut odd = second.clone();
        odd[0] = flags;
        assert!(Decoder::default().decode(&odd).is_err());
    }
}

#[test]
fn reading_from_the_middle_is_refused_not_guessed() {
    let mut last = Context::default();
    let first = row("m", &["a"], &[1], 1_000, &[0]);
    last.remember(std::slice::from_ref(&first));
    last.remember(std::slice::from_ref(&first));
    let second = encode(&[row("m", &["a"], &[2], 2_000, &[0])], &last);
    let rows = Decoder::default().decode(&second).unwrap();
    assert!(
        matches!(&rows[..], [Err(RecordError::NoContext(d))] if &*d.device == "m" && d.samples == 1),
        "{rows:?}"
    );
}

#[test]
fn a_lost_record_never_shifts_values_to_other_keys() {
    let mut last = Context::default();
    let first = row("m", &["a", "b"], &[1, 2], 1_000, &[0, 0]);
    let first_record = encode(std::slice::from_ref(&first), &last);
    last.remember(std::slice::from_ref(&first));
    let lost = row("m", &["a", "c"], &[1, 3], 2_000, &[0, 0]);
    last.remember(std::slice::from_ref(&lost));
    last.remember(std::slice::from_ref(&lost));
    let third = encode(&[row("m", &["a", "c"], &[1, 4], 3_000, &[0, 0])], &last);
    let mut decoder = Decoder::default();
    assert_eq!(rows_of(&mut decoder, &first_record), [first]);
    assert!(matches!(&decoder.decode(&third).unwrap()[..], [Err(RecordError::NoContext(_))]));
}
