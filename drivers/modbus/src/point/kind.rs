//! What the cells of a point hold: its `type`.
//!
//! Always true: a type is one to four registers or one bit; `bits[…]` is a part of one register
//! with its last bit at or above its first, bit 0 the lowest of the value in its byte order.

use std::fmt;

/// The highest bit of a register.
const HIGHEST_BIT: u8 = 15;

/// What the registers hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A coil or a discrete input.
    Bool,
    /// Some bits of one register, both ends included.
    Bits {
        /// The lowest of them.
        first: u8,
        /// The highest of them.
        last: u8,
    },
    /// One register.
    U16,
    /// One register, signed.
    I16,
    /// Two registers.
    U32,
    /// Two registers, signed.
    I32,
    /// Four registers.
    U64,
    /// Four registers, signed.
    I64,
    /// Two registers, IEEE 754.
    F32,
    /// Four registers, IEEE 754.
    F64,
}

impl Kind {
    /// Every type that is one word, and its word.
    pub(crate) const WORDS: [(&'static str, Self); 9] = [
        ("bool", Self::Bool),
        ("u16", Self::U16),
        ("i16", Self::I16),
        ("u32", Self::U32),
        ("i32", Self::I32),
        ("u64", Self::U64),
        ("i64", Self::I64),
        ("f32", Self::F32),
        ("f64", Self::F64),
    ];

    /// Cells of its table that it takes.
    pub(crate) fn cells(self) -> u16 {
        match self {
            Self::Bool | Self::Bits { .. } | Self::U16 | Self::I16 => 1,
            Self::U32 | Self::I32 | Self::F32 => 2,
            Self::U64 | Self::I64 | Self::F64 => 4,
        }
    }

    /// Smallest and largest whole number; `None` for what is not whole.
    pub(crate) fn range(self) -> Option<(i128, i128)> {
        match self {
            Self::Bool => Some((0, 1)),
            Self::Bits { .. } => Some((0, self.of_register(u64::MAX).into())),
            Self::U16 => Some((0, u16::MAX.into())),
            Self::I16 => Some((i16::MIN.into(), i16::MAX.into())),
            Self::U32 => Some((0, u32::MAX.into())),
            Self::I32 => Some((i32::MIN.into(), i32::MAX.into())),
            Self::U64 => Some((0, u64::MAX.into())),
            Self::I64 => Some((i64::MIN.into(), i64::MAX.into())),
            Self::F32 | Self::F64 => None,
        }
    }

    /// The bits of a register that a `bits[…]` is about; any other type takes them all.
    pub(crate) fn of_register(self, register: u64) -> u64 {
        match self {
            Self::Bits { first, last } => (register >> first) & (u64::MAX >> (63 - (last - first))),
            _ => register,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bits { first, last } if first == last => write!(f, "bits[{first}]"),
            Self::Bits { first, last } => write!(f, "bits[{first}..{last}]"),
            one => f.write_str(Self::WORDS.iter().find(|(_, kind)| kind == one).map_or("", |(word, _)| word)),
        }
    }
}

/// `bits[3]` or `bits[4..6]`: a type, or why it is none and what to write instead. `None` for a word
/// that is not about bits at all.
pub(crate) fn parse_bits(word: &str) -> Option<Result<Kind, (String, String)>> {
    let (name, inside) = word.split_once('[').unwrap_or((word, ""));
    if !matches!(name.trim(), "bits" | "bit") {
        return None;
    }
    let ends = inside.strip_suffix(']').map(|inside| inside.split_once("..").unwrap_or((inside, inside)));
    let number = |text: &str| text.trim().parse::<u8>().ok();
    let (Some(first), Some(last)) =
        (ends.and_then(|(first, _)| number(first)), ends.and_then(|(_, last)| number(last)))
    else {
        let hint = "\"bits[3]\" is one bit, \"bits[4..6]\" is three, counted from the lowest one, 0";
        return Some(Err((format!("{word:?} names no bits"), hint.to_owned())));
    };
    let kind = Kind::Bits { first, last };
    Some(if first > last {
        Err((format!("{word:?} ends before it begins"), format!("type = \"bits[{last}..{first}]\"")))
    } else if last > HIGHEST_BIT {
        let hint = format!("0 to {HIGHEST_BIT}; higher ones are in the registers beside it");
        Err((format!("{word:?} goes past the end of the register"), hint))
    } else if name != "bits" {
        Err((format!("unknown type {word:?}"), format!("did you mean \"{kind}\"?")))
    } else {
        Ok(kind)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bits(first: u8, last: u8) -> Kind {
        Kind::Bits { first, last }
    }

    #[test]
    fn bits_are_named_by_both_of_their_ends() {
        for (word, kind) in [
            ("bits[4..6]", bits(4, 6)),
            ("bits[3]", bits(3, 3)),
            ("bits[0..15]", bits(0, 15)),
            ("bits[ 7 .. 7 ]", bits(7, 7)),
        ] {
            assert_eq!(parse_bits(word), Some(Ok(kind)), "{word}");
        }
        for (word, hint) in [
            ("bits", "\"bits[3]\" is one bit"),
            ("bits[]", "\"bits[3]\" is one bit"),
            ("bits[4..6", "\"bits[3]\" is one bit"),
            ("bits[4..=6]", "\"bits[3]\" is one bit"),
            ("bits[-1]", "\"bits[3]\" is one bit"),
            ("bits[a]", "\"bits[3]\" is one bit"),
            ("bits[6..4]", "type = \"bits[4..6]\""),
            ("bits[8..16]", "0 to 15"),
            ("bits[255]", "0 to 15"),
            ("bit[3]", "did you mean \"bits[3]\"?"),
        ] {
            let (_, told) = parse_bits(word).unwrap().unwrap_err();
            assert!(told.starts_with(hint), "{word}: {told}");
        }
        for word in ["u16", "", "bitset[3]", "[3]"] {
            assert_eq!(parse_bits(word), None, "{word}");
        }
    }

    #[test]
    fn the_range_is_what_the_bits_can_hold() {
        assert_eq!(bits(4, 6).range(), Some((0, 7)));
        assert_eq!(bits(15, 15).range(), Some((0, 1)));
        assert_eq!(bits(0, 15).range(), Some((0, 65_535)));
    }

    proptest! {
        #[test]
        fn a_type_reads_back_from_its_own_name(first in 0..=15u8, more in 0..=15u8) {
            let kind = bits(first, (first + more).min(15));
            prop_assert_eq!(parse_bits(&kind.to_string()), Some(Ok(kind)));
        }

        #[test]
        fn any_text_is_bits_or_a_hint_or_another_type(text in "(bits?)?\\[?\\PC{0,8}\\]?") {
            if let Some(Err((message, hint))) = parse_bits(&text) {
                prop_assert!(!message.is_empty() && !hint.is_empty());
            }
        }
    }
}
