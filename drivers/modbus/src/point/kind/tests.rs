//! Words of types: read, written back, refused.

use proptest::prelude::*;

use super::*;

fn bits(first: u8, last: u8, registers: u8) -> Type {
    Type::one(Kind::Bits { first, last, registers })
}

#[test]
fn every_type_is_read_from_its_word() {
    for (word, kind) in [
        ("bits[4..6]", bits(4, 6, 1)),
        ("bits[3]", bits(3, 3, 1)),
        ("bits[0..15]", bits(0, 15, 1)),
        ("bits[ 7 .. 7 ]", bits(7, 7, 1)),
        ("bits[12..19] of u32", bits(12, 19, 2)),
        ("bits[63]of u64", bits(63, 63, 4)),
        ("u8.high", Type::one(Kind::Half { high: true, signed: false })),
        ("bcd8", Type::one(Kind::Bcd { registers: 2 })),
        ("string[16]", Type::one(Kind::Text { bytes: 16 })),
        ("time[cp56]", Type::one(Kind::Time(Layout::Cp56))),
        ("f32[ 10 ]", Type { kind: Kind::F32, count: Some(10) }),
        ("bool[2000]", Type { kind: Kind::Bool, count: Some(2_000) }),
    ] {
        assert_eq!(Type::parse(word), Ok(kind), "{word}");
    }
    assert_eq!(Kind::Text { bytes: 7 }.cells(), 4);
}

#[test]
fn a_type_that_is_none_says_what_to_write_instead() {
    for (word, hint) in [
        ("bits", "\"bits[3]\" is one bit"),
        ("bits[]", "\"bits[3]\" is one bit"),
        ("bits[4..6", "\"bits[3]\" is one bit"),
        ("bits[4..=6]", "\"bits[3]\" is one bit"),
        ("bits[-1]", "\"bits[3]\" is one bit"),
        ("bits[a]", "\"bits[3]\" is one bit"),
        ("bits[1] of u8", "\"bits[3]\" is one bit"),
        ("bits[6..4]", "type = \"bits[4..6]\""),
        ("bits[6..4] of u32", "type = \"bits[4..6] of u32\""),
        ("bits[8..16]", "0 to 15; over two registers it is \"bits[8..16] of u32\""),
        ("bits[255]", "0 to 15; over four registers"),
        ("bits[64] of u64", "0 to 63"),
        ("bit[3]", "did you mean \"bits[3]\"?"),
        ("u8", "type = \"u8.high\" or \"u8.low\""),
        ("u8.hihg", "did you mean \"u8.high\"?"),
        ("string", "string[16] is 16 bytes"),
        ("string[251]", "string[16] is 16 bytes"),
        ("string[0]", "string[16] is 16 bytes"),
        ("time", "one of time[unix32]"),
        ("time[cp65]", "one of time[unix32]"),
        ("f32[]", "f32[10] is a list of ten"),
        ("f32[0]", "f32[10] is a list of ten"),
        ("u8.low[4]", "u16[10] is a list of registers"),
        ("float", "did you mean \"f32\"?"),
        ("u61", "did you mean \"u16\"?"),
    ] {
        let (message, told) = Type::parse(word).unwrap_err();
        assert!(!message.is_empty() && told.starts_with(hint), "{word}: {told}");
    }
}

#[test]
fn the_range_is_what_the_bits_can_hold() {
    assert_eq!(bits(4, 6, 1).kind.range(), Some((0, 7)));
    assert_eq!(bits(15, 15, 1).kind.range(), Some((0, 1)));
    assert_eq!(bits(0, 63, 4).kind.range(), Some((0, u64::MAX.into())));
    assert_eq!(Kind::Bcd { registers: 4 }.range(), Some((0, 9_999_999_999_999_999)));
}

proptest! {
    #[test]
    fn a_type_reads_back_from_its_own_name(
        pick in 0..Kind::WORDS.len() + 3, first in 0..64u8, more in 0..64u8, count in proptest::option::of(1..2_000u16),
    ) {
        let registers = [1, 2, 4][usize::from(more % 3)];
        let first = first % (registers * 16);
        let kind = match pick.checked_sub(Kind::WORDS.len()) {
            None => Kind::WORDS[pick].1,
            Some(0) => Kind::Bits { first, last: (first + more).min(registers * 16 - 1), registers },
            Some(1) => Kind::Text { bytes: 1 + u16::from(more) },
            Some(_) => Kind::Time(Layout::WORDS[usize::from(more) % Layout::WORDS.len()].1),
        };
        let is_listed = pick < Kind::WORDS.len() && !kind.is_part();
        let this = Type { kind, count: count.filter(|_| is_listed) };
        prop_assert_eq!(Type::parse(&this.to_string()), Ok(this));
    }

    #[test]
    fn any_text_is_a_type_or_a_hint(text in "(bits?|u16|string|time|u8)?\\[?\\PC{0,8}\\]?( of u32)?") {
        if let Err((message, hint)) = Type::parse(&text) {
            prop_assert!(!message.is_empty() && !hint.is_empty());
        }
    }
}
