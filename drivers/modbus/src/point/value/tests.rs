//! Values against cells, and back.

use proptest::prelude::*;

use super::*;
use crate::point::scale::Scale;

fn of(word: &str, order: &str) -> Codec {
    Codec::of_words(word, order).unwrap()
}

fn codec(kind: Kind, order: &str) -> Codec {
    of(&kind.to_string(), order)
}

#[test]
fn parts_of_registers_are_moved_down() {
    for (word, order, wire, value) in [
        ("bits[12..19] of u32", "ABCD", &[0x12, 0x34, 0x56, 0x78][..], Value::Uint(0x45)),
        ("bits[12..19] of u32", "CDAB", &[0x56, 0x78, 0x12, 0x34], Value::Uint(0x45)),
        ("bits[60..63] of u64", "ABCDEFGH", &[0xF1, 0, 0, 0, 0, 0, 0, 0], Value::Uint(15)),
        ("u8.high", "AB", &[0xFE, 1], Value::Uint(254)),
        ("u8.low", "BA", &[0xFE, 1], Value::Uint(254)),
        ("i8.high", "AB", &[0xFE, 1], Value::Int(-2)),
        ("i8.low", "AB", &[0xFE, 1], Value::Int(1)),
    ] {
        assert_eq!(of(word, order).decode(wire), Ok(value), "{word} {order}");
    }
    assert_eq!(of("bits[12..19] of u32", "CDAB").mask(), Some(vec![0xF0, 0, 0, 0x0F]));
    assert_eq!(of("i8.high", "AB").encode(&Value::Int(-2)), Ok(vec![0xFE, 0]));
    assert_eq!(
        of("i8.high", "AB").encode(&Value::Int(-129)).unwrap_err(),
        "-129 does not fit i8.high, -128 to 127"
    );
    assert_eq!(of("u16", "AB").mask(), None);
}

#[test]
fn decimal_digits_are_a_number_and_others_are_none() {
    assert_eq!(of("bcd4", "AB").decode(&[0x12, 0x34]), Ok(Value::Uint(1_234)));
    assert_eq!(of("bcd8", "CDAB").decode(&[0x56, 0x78, 0x12, 0x34]), Ok(Value::Uint(12_345_678)));
    assert_eq!(of("bcd16", "ABCDEFGH").decode(&[0x99; 8]), Ok(Value::Uint(9_999_999_999_999_999)));
    assert_eq!(of("bcd4", "BA").encode(&Value::Int(507)), Ok(vec![7, 5]));
    let bad = of("bcd4", "AB").decode(&[0x1A, 0x2F]);
    assert_eq!(bad, Err("0x1A2F is not decimal digits, A is none".to_owned()));
    assert_eq!(
        of("bcd4", "AB").encode(&Value::Int(10_000)).unwrap_err(),
        "10000 does not fit bcd4, 0 to 9999"
    );
}

#[test]
fn a_list_is_its_elements_each_in_its_order() {
    let list = of("i32[2]", "CDAB");
    let wire = [0, 5, 0, 1, 0xFF, 0xFE, 0xFF, 0xFF];
    assert_eq!(list.decode(&wire), Ok(Value::Json("[65541,-2]".to_owned())));
    assert_eq!(list.encode(&Value::Json("[65541, -2.0]".to_owned())), Ok(wire.to_vec()));
    assert_eq!(of("bool[3]", "AB").decode(&[1, 0, 1]), Ok(Value::Json("[true,false,true]".to_owned())));
    assert_eq!(of("bool[2]", "AB").encode(&Value::Json("[1,false]".to_owned())), Ok(vec![1, 0]));
    let told = |value| list.encode(&value).unwrap_err();
    assert_eq!(told(Value::Json("[1]".to_owned())), "a list of 1 where 2 belong");
    assert_eq!(told(Value::Int(1)), "1 is not a list, write it like [1, 2]");
    assert_eq!(told(Value::Json("[1,[2]]".to_owned())), "element 1: a list or a table is not a number");
    let bad = of("bcd4[2]", "AB").decode(&[0, 1, 0, 0x0A]);
    assert_eq!(bad, Err("element 1: 0x000A is not decimal digits, A is none".to_owned()));
    assert!(of("f32[2]", "ABCD").decode(&[0; 4]).is_err(), "half of it");
}

#[test]
fn a_text_takes_whole_registers_in_any_order() {
    assert_eq!(of("string[3]", "AB").decode(b"abcd"), Ok(Value::Text("abc".to_owned())));
    assert_eq!(of("string[4]", "BA").decode(b"badc"), Ok(Value::Text("abcd".to_owned())));
    assert_eq!(of("string[4]", "CDAB").decode(b"cdab"), Ok(Value::Text("abcd".to_owned())));
    assert_eq!(of("string[2]", ".A").decode(&[9, b'o', 9, b'k']), Ok(Value::Text("ok".to_owned())));
    assert_eq!(of("string[2]", ".A").cells(), 2);
    assert_eq!(of("string[5]", "CDAB").cells(), 4);
    assert_eq!(of("string[3]", "BA").encode(&Value::Text("abc".to_owned())), Ok(b"ba\0c".to_vec()));
    assert!(of("string[3]", "BA").encode(&Value::Int(1)).unwrap_err().contains("write it in quotes"));
}

#[test]
fn floats_read_as_people_write_them() {
    let f32s = codec(Kind::F32, "CDAB");
    assert_eq!(f32s.decode(&[0x70, 0xA4, 0x41, 0x45]), Ok(Value::Float(12.34)));
    assert_eq!(f32s.encode(&Value::Float(12.34)), Ok(vec![0x70, 0xA4, 0x41, 0x45]));
    for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let bytes = special.to_be_bytes();
        assert_eq!(codec(Kind::F32, "ABCD").decode(&bytes), Err("not a number".to_owned()));
    }
}

#[test]
fn what_does_not_fit_is_refused_with_its_limits() {
    let refused = |codec: &Codec, value| codec.encode(&value).unwrap_err();
    let plain = codec(Kind::U16, "AB");
    assert_eq!(refused(&plain, Value::Int(-1)), "-1 does not fit u16, 0 to 65535");
    assert_eq!(refused(&plain, Value::Float(65_536.0)), "65536 does not fit u16, 0 to 65535");
    assert_eq!(refused(&plain, Value::Float(1.5)), "1.5 is not a whole number");
    assert_eq!(
        refused(&plain, Value::Text("12".into())),
        "the text \"12\" is not a number, write it without quotes"
    );
    assert!(refused(&plain, Value::Bool(true)).contains("not a number"));
    assert!(refused(&plain, Value::Float(f64::NAN)).contains("not a number"));
    let scaled = Codec { meaning: Meaning::Scaled(Scale::new(0.1, 0.0)), ..plain.clone() };
    assert_eq!(refused(&scaled, Value::Int(7_000)), "7000 does not fit u16, 0 to 6553.5 with its scale");
    assert_eq!(scaled.encode(&Value::Float(230.1)), Ok(2301u16.to_be_bytes().to_vec()));
    assert_eq!(refused(&codec(Kind::F32, "ABCD"), Value::Float(1e39)), format!("{} does not fit f32", 1e39));
    let coil = codec(Kind::Bool, "AB");
    for (value, bit) in
        [(Value::Int(1), 1), (Value::Uint(0), 0), (Value::Float(1.0), 1), (Value::Bool(false), 0)]
    {
        assert_eq!(coil.encode(&value), Ok(vec![bit]));
    }
    for value in [Value::Int(2), Value::Float(0.5), Value::Text("true".into())] {
        assert!(coil.encode(&value).is_err());
    }
}

/// Every type of whole registers that is a number, alone and as a list, in any of its orders.
fn numeric() -> impl Strategy<Value = Codec> {
    let count = proptest::option::of(1..4u16);
    (1..Kind::WORDS.len() - 4, Just(b"ABCDEFGH".to_vec()).prop_shuffle(), 0..4usize, count).prop_map(
        |(kind, eight, pick, count)| {
            let kind = Kind::WORDS[kind].1;
            let letters = match kind.cells() {
                1 => ["AB", "BA"][pick % 2].to_owned(),
                2 => ["ABCD", "CDAB", "BADC", "DCBA"][pick].to_owned(),
                _ => String::from_utf8(eight).unwrap(),
            };
            of(&Type { kind, count }.to_string(), &letters)
        },
    )
}

fn one(codec: Codec) -> Codec {
    Codec { count: None, ..codec }
}

proptest! {
    #[test]
    fn bits_are_the_register_moved_down_and_masked(
        register in any::<u16>(), first in 0..16u8, more in 0..16u8, swapped in any::<bool>(),
    ) {
        let last = (first + more).min(15);
        let (order, wire) = match swapped {
            false => ("AB", register.to_be_bytes()),
            true => ("BA", register.to_le_bytes()),
        };
        let mask = (1u64 << (last - first + 1)) - 1;
        let expected = (u64::from(register) >> first) & mask;
        let codec = codec(Kind::Bits { first, last, registers: 1 }, order);
        prop_assert_eq!(codec.decode(&wire), Ok(Value::Uint(expected)));
        let own = codec.encode(&Value::Uint(expected)).unwrap();
        let mask = codec.mask().unwrap();
        let cut: Vec<u8> = wire.iter().zip(&mask).map(|(byte, mask)| byte & mask).collect();
        prop_assert_eq!(own, cut, "its own bits where they were, zeros elsewhere");
    }

    #[test]
    fn what_is_read_can_be_written_back(codec in numeric(), wire in proptest::collection::vec(any::<u8>(), 64)) {
        let wire = &wire[..usize::from(codec.cells()) * 2];
        if let Ok(value) = codec.decode(wire) {
            let back = codec.encode(&value).unwrap();
            // Reading the text of a list may miss the last of a float's 53 bits.
            if codec.kind != Kind::F64 || codec.count.is_none() {
                prop_assert_eq!(codec.decode(&back), Ok(value));
            }
            prop_assert!(back == wire || matches!(codec.kind, Kind::F16 | Kind::F32 | Kind::F64));
        }
    }

    #[test]
    fn scaled_registers_can_be_written_back(codec in numeric(), raw in any::<u32>(), places in 0..5u32) {
        prop_assume!(codec.kind.range().is_some());
        let scale = Scale::new(1.0 / f64::from(10u32.pow(places)), -273.15);
        let codec = Codec { meaning: Meaning::Scaled(scale), ..one(codec) };
        let wire = codec.order.spread(raw.into());
        if let Ok(value) = codec.decode(&wire) {
            prop_assert_eq!(codec.encode(&value), Ok(wire));
        }
    }

    #[test]
    fn any_bytes_are_a_value_or_a_reason(codec in numeric(), wire in proptest::collection::vec(any::<u8>(), 0..24)) {
        let fits = wire.len() == usize::from(codec.cells()) * 2;
        let value = Codec { meaning: Meaning::Scaled(Scale::new(1e300, 0.0)), ..codec.clone() }.decode(&wire);
        prop_assert!(fits || value.is_err());
        match value {
            Ok(Value::Float(value)) => prop_assert!(value.is_finite() && codec.count.is_none()),
            Ok(other) => prop_assert!(matches!(other, Value::Json(_)) && codec.count.is_some()),
            Err(_) => {}
        }
    }

    #[test]
    fn a_value_that_fits_reads_back_as_itself(codec in numeric(), number in any::<i64>(), few in any::<i16>()) {
        let codec = one(codec);
        for number in [number, few.into()] {
            if let Ok(wire) = codec.encode(&Value::Int(number)) {
                let back = as_number(&codec.decode(&wire).unwrap()).unwrap();
                match codec.kind {
                    Kind::F16 => prop_assert!((back - number as f64).abs() <= 16.0),
                    Kind::F32 => prop_assert_eq!(back, f64::from(number as f32)),
                    _ => prop_assert_eq!(back, number as f64),
                }
            }
        }
    }
}
