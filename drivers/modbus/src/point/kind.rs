//! What the cells of a point hold: its `type`, and how that word is read.
//!
//! Always true: a type that is read back from its own name is the same; `bits[…]` lies inside of its
//! registers with its last bit at or above its first, bit 0 the lowest of the value in its byte order;
//! a list has at least one element, and its elements take whole registers or are bits.

use std::fmt;

use crate::point::time::Layout;
use crate::settings::suggest;

/// Longest text: what the registers of one read hold.
const MOST_TEXT_BYTES: u16 = 250;
/// Longest list: the bits of one read.
const MOST_ELEMENTS: u16 = 2_000;

/// What the registers hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A coil or a discrete input.
    Bool,
    /// Some bits of one, two or four registers, both ends included.
    Bits {
        /// The lowest of them.
        first: u8,
        /// The highest of them.
        last: u8,
        /// How many registers the bits are counted through.
        registers: u8,
    },
    /// A half of one register.
    Half {
        /// The more significant one.
        high: bool,
        signed: bool,
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
    /// One register, IEEE 754.
    F16,
    /// Two registers, IEEE 754.
    F32,
    /// Four registers, IEEE 754.
    F64,
    /// A decimal digit in every four bits of one, two or four registers.
    Bcd { registers: u8 },
    /// So many bytes of text.
    Text { bytes: u16 },
    /// A date with a time of day.
    Time(Layout),
    /// Text of an identification, as long as the device has it.
    Name,
}

/// A type as it is written: one of a kind, or a list of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Type {
    pub(crate) kind: Kind,
    /// Elements of a list.
    pub(crate) count: Option<u16>,
}

impl Kind {
    /// Every type that is one word, and its word.
    pub(crate) const WORDS: [(&'static str, Self); 17] = [
        ("bool", Self::Bool),
        ("u16", Self::U16),
        ("i16", Self::I16),
        ("u32", Self::U32),
        ("i32", Self::I32),
        ("u64", Self::U64),
        ("i64", Self::I64),
        ("f16", Self::F16),
        ("f32", Self::F32),
        ("f64", Self::F64),
        ("bcd4", Self::Bcd { registers: 1 }),
        ("bcd8", Self::Bcd { registers: 2 }),
        ("bcd16", Self::Bcd { registers: 4 }),
        ("u8.high", Self::Half { high: true, signed: false }),
        ("u8.low", Self::Half { high: false, signed: false }),
        ("i8.high", Self::Half { high: true, signed: true }),
        ("i8.low", Self::Half { high: false, signed: true }),
    ];

    /// The words, for hints.
    pub(crate) fn words() -> Vec<&'static str> {
        Self::WORDS.iter().map(|(word, _)| *word).collect()
    }

    /// Cells of its table that one takes; a text of one byte a register takes more.
    pub(crate) fn cells(self) -> u16 {
        match self {
            Self::Bool | Self::Half { .. } | Self::U16 | Self::I16 | Self::F16 | Self::Name => 1,
            Self::U32 | Self::I32 | Self::F32 => 2,
            Self::U64 | Self::I64 | Self::F64 => 4,
            Self::Bits { registers, .. } | Self::Bcd { registers } => registers.into(),
            Self::Text { bytes } => bytes.div_ceil(2),
            Self::Time(layout) => layout.cells(),
        }
    }

    /// Bytes that its order is about; a text takes any.
    pub(crate) fn ordered(self) -> u8 {
        match self {
            Self::Text { .. } | Self::Name => 2,
            Self::Time(layout) => layout.ordered(),
            other => (other.cells() * 2) as u8,
        }
    }

    /// Smallest and largest whole number; `None` for what is not whole.
    pub(crate) fn range(self) -> Option<(i128, i128)> {
        match self {
            Self::Bool => Some((0, 1)),
            Self::Bits { .. } | Self::Half { signed: false, .. } => Some((0, self.part(u64::MAX).into())),
            Self::Half { signed: true, .. } => Some((i8::MIN.into(), i8::MAX.into())),
            Self::U16 => Some((0, u16::MAX.into())),
            Self::I16 => Some((i16::MIN.into(), i16::MAX.into())),
            Self::U32 => Some((0, u32::MAX.into())),
            Self::I32 => Some((i32::MIN.into(), i32::MAX.into())),
            Self::U64 => Some((0, u64::MAX.into())),
            Self::I64 => Some((i64::MIN.into(), i64::MAX.into())),
            Self::Bcd { registers } => Some((0, 10i128.pow(u32::from(registers) * 4) - 1)),
            Self::F16 | Self::F32 | Self::F64 | Self::Text { .. } | Self::Time(_) | Self::Name => None,
        }
    }

    /// Whether it is a number, so that it can be scaled.
    pub(crate) fn is_number(self) -> bool {
        !matches!(self, Self::Bool | Self::Text { .. } | Self::Time(_) | Self::Name)
    }

    /// Whether it is text.
    pub(crate) fn is_text(self) -> bool {
        matches!(self, Self::Text { .. } | Self::Name)
    }

    /// Whether its registers hold something else as well.
    pub(crate) fn is_part(self) -> bool {
        matches!(self, Self::Bits { .. } | Self::Half { .. })
    }

    /// The part of its registers that it is about, moved down; any other type takes all of them.
    pub(crate) fn part(self, registers: u64) -> u64 {
        match self.ends() {
            Some((first, last)) => (registers >> first) & (u64::MAX >> (63 - (last - first))),
            None => registers,
        }
    }

    /// Its first and its last bit, where it is a part.
    pub(crate) fn ends(self) -> Option<(u8, u8)> {
        match self {
            Self::Bits { first, last, .. } => Some((first, last)),
            Self::Half { high: true, .. } => Some((8, 15)),
            Self::Half { high: false, .. } => Some((0, 7)),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bits { first, last, registers } => {
                match first == last {
                    true => write!(f, "bits[{first}]")?,
                    false => write!(f, "bits[{first}..{last}]")?,
                }
                if *registers > 1 { write!(f, " of u{}", registers * 16) } else { Ok(()) }
            }
            Self::Text { bytes } => write!(f, "string[{bytes}]"),
            Self::Time(layout) => write!(f, "time[{layout}]"),
            Self::Name => f.write_str("string"),
            one => f.write_str(Self::WORDS.iter().find(|(_, kind)| kind == one).map_or("", |(word, _)| word)),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            Some(count) => write!(f, "{}[{count}]", self.kind),
            None => self.kind.fmt(f),
        }
    }
}

/// What is wrong with a word, and what to write instead.
type Wrong = (String, String);

impl Type {
    /// One of a kind.
    pub(crate) fn one(kind: Kind) -> Self {
        Self { kind, count: None }
    }

    /// `u16`, `bits[4..6]`, `bits[12..19] of u32`, `u8.high`, `string[16]`, `time[cp56]`, `f32[10]`.
    pub(crate) fn parse(word: &str) -> Result<Self, Wrong> {
        let word = word.trim();
        let find = |word: &str| Kind::WORDS.iter().find(|(known, _)| *known == word).map(|(_, kind)| *kind);
        if let Some(kind) = find(word) {
            return Ok(Self::one(kind));
        }
        let (name, inside) = match word.split_once('[') {
            Some((name, inside)) => (name.trim(), Some(inside)),
            None => (word, None),
        };
        match name {
            "bits" | "bit" => return parse_bits(word, name, inside.unwrap_or("")).map(Self::one),
            "string" => {
                let bytes = inside.and_then(in_brackets).filter(|bytes| *bytes <= MOST_TEXT_BYTES);
                let hint = format!("string[16] is 16 bytes, two a register; 1 to {MOST_TEXT_BYTES}");
                return match bytes {
                    Some(bytes) => Ok(Self::one(Kind::Text { bytes })),
                    None => Err((format!("{word:?} has no length"), hint)),
                };
            }
            "time" => {
                let layout = inside.and_then(|inside| inside.strip_suffix(']'));
                return match layout.and_then(|word| Layout::parse(word.trim())) {
                    Some(layout) => Ok(Self::one(Kind::Time(layout))),
                    None => {
                        let words = Layout::WORDS.map(|(word, _)| format!("time[{word}]")).join(", ");
                        Err((format!("{word:?} is no layout of a time"), format!("one of {words}")))
                    }
                };
            }
            "u8" | "i8" => {
                let hint = format!(
                    "type = \"{name}.high\" or \"{name}.low\", the lower one is the less significant"
                );
                return Err((format!("{word:?} does not say which half of the register"), hint));
            }
            _ => {}
        }
        match (find(name), inside) {
            (Some(kind), Some(inside)) => list(word, kind, inside),
            _ => Err((format!("unknown type {word:?}"), near(name))),
        }
    }
}

fn near(name: &str) -> String {
    // Words of other programs for the same.
    match name.to_lowercase().as_str() {
        "float" | "float32" | "real" => return "did you mean \"f32\"?".to_owned(),
        "double" | "float64" | "lreal" => return "did you mean \"f64\"?".to_owned(),
        "word" | "uint16" => return "did you mean \"u16\"?".to_owned(),
        "int16" => return "did you mean \"i16\"?".to_owned(),
        "dword" | "uint32" => return "did you mean \"u32\"?".to_owned(),
        "int32" => return "did you mean \"i32\"?".to_owned(),
        "uint64" => return "did you mean \"u64\"?".to_owned(),
        "int64" => return "did you mean \"i64\"?".to_owned(),
        "bcd" => return "bcd4, bcd8 or bcd16: so many digits".to_owned(),
        "text" => return "string[16] is 16 bytes, two a register".to_owned(),
        "datetime" | "date" => return "like time[unix32] or time[cp56]".to_owned(),
        _ => {}
    }
    let mut words = Kind::words();
    words.extend(["bits", "string", "time"]);
    suggest(name, &words)
}

fn in_brackets(inside: &str) -> Option<u16> {
    inside.strip_suffix(']')?.trim().parse().ok().filter(|number| *number > 0)
}

fn list(word: &str, kind: Kind, inside: &str) -> Result<Type, Wrong> {
    if kind.is_part() {
        let hint = "u16[10] is a list of registers";
        return Err((format!("{word:?}: there are no lists of halves"), hint.to_owned()));
    }
    match in_brackets(inside).filter(|count| *count <= MOST_ELEMENTS) {
        Some(count) => Ok(Type { kind, count: Some(count) }),
        None => Err((
            format!("{word:?} does not say how many"),
            format!("{kind}[10] is a list of ten, 1 to {MOST_ELEMENTS}"),
        )),
    }
}

/// `bits[3]`, `bits[4..6]` or, counted through more registers, `bits[12..19] of u32`.
fn parse_bits(word: &str, name: &str, inside: &str) -> Result<Kind, Wrong> {
    let (ends, of) = inside.rsplit_once(']').unwrap_or(("", "?"));
    let registers = match of.trim() {
        "" | "of u16" => 1,
        "of u32" => 2,
        "of u64" => 4,
        _ => 0,
    };
    let (first, last) = ends.split_once("..").unwrap_or((ends, ends));
    let number = |text: &str| text.trim().parse::<u8>().ok();
    let (Some(first), Some(last), 1..) = (number(first), number(last), registers) else {
        let hint = "\"bits[3]\" is one bit, \"bits[4..6]\" is three, counted from the lowest one, 0; \
                    \"bits[12..19] of u32\" is in two registers";
        return Err((format!("{word:?} names no bits"), hint.to_owned()));
    };
    let kind = Kind::Bits { first, last, registers };
    let highest = registers * 16 - 1;
    if first > last {
        let swapped = Kind::Bits { first: last, last: first, registers };
        Err((format!("{word:?} ends before it begins"), format!("type = \"{swapped}\"")))
    } else if last > highest {
        let what = if registers == 1 { "the register" } else { "the registers" };
        let more = match last {
            _ if registers == 4 => String::new(),
            ..32 => format!("; over two registers it is \"{}\"", Kind::Bits { first, last, registers: 2 }),
            _ => "; over four registers it is \"bits[…] of u64\"".to_owned(),
        };
        Err((format!("{word:?} goes past the end of {what}"), format!("0 to {highest}{more}")))
    } else if name != "bits" {
        Err((format!("unknown type {word:?}"), format!("did you mean \"{kind}\"?")))
    } else {
        Ok(kind)
    }
}

#[cfg(test)]
mod tests;
