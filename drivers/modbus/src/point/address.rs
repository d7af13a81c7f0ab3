//! The four tables of Modbus, its files and its identification, and where a point is in them.
//!
//! Always true: an [`Address`] counts from zero, as the wire does. A reference that could mean two
//! registers is refused: off by one is a decision of the model, never a guess of ours.

use std::fmt;

use serde_json::Value as Json;

/// One of the four tables, or what is beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Table {
    /// Bits that can be written.
    Coil,
    /// Bits that cannot.
    Discrete,
    /// Registers that cannot be written.
    Input,
    /// Registers that can.
    Holding,
    /// Registers of a file, by functions of their own.
    File(u16),
    /// What the device says it is, in numbered texts.
    Identity,
}

/// Names of the numbered texts (6.21 of the standard).
const OBJECTS: [(&str, u16); 7] = [
    ("vendor", 0),
    ("product-code", 1),
    ("revision", 2),
    ("vendor-url", 3),
    ("product-name", 4),
    ("model-name", 5),
    ("application-name", 6),
];
/// The last register of a file (6.14 of the standard).
const LAST_RECORD: u16 = 9_999;

impl Table {
    /// The four that are read by their cells.
    pub(crate) const ALL: [Self; 4] = [Self::Coil, Self::Discrete, Self::Input, Self::Holding];

    /// Its word in `at`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Coil => "coil",
            Self::Discrete => "discrete",
            Self::Input => "input",
            Self::Holding => "holding",
            Self::File(_) => "file",
            Self::Identity => "id",
        }
    }

    /// Whether its cells are bits.
    pub(crate) fn is_bits(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }

    /// Whether it can be written at all.
    pub(crate) fn is_writable(self) -> bool {
        matches!(self, Self::Coil | Self::Holding | Self::File(_))
    }

    /// What a Modicon reference begins with.
    pub(crate) fn modicon_digit(self) -> Option<u32> {
        match self {
            Self::Coil => Some(0),
            Self::Discrete => Some(1),
            Self::Input => Some(3),
            Self::Holding => Some(4),
            Self::File(_) | Self::Identity => None,
        }
    }

    /// Where it ends.
    pub(crate) fn last_cell(self) -> u16 {
        if let Self::File(_) = self { LAST_RECORD } else { u16::MAX }
    }

    /// A cell of it as `at` has it, counted from zero.
    pub(crate) fn at(self, cell: u16) -> String {
        match self {
            Self::File(file) => format!("file:{file}:{cell:#04x}"),
            Self::Identity => format!("id:{cell}"),
            table => format!("{table}:{cell:#04x}"),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "file {file}"),
            other => f.write_str(other.name()),
        }
    }
}

/// A place as the model writes it; a bare number of a zero-based model names no table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    /// The table, when the reference names it.
    pub(crate) table: Option<Table>,
    /// From zero.
    pub(crate) number: u16,
}

/// How the model counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notation {
    /// `addresses` is not there: `table:number` is clear all the same, a bare number is not.
    Unstated,
    /// `input:0x00` is the first input register.
    ZeroBased,
    /// `30001` is the first input register.
    Modicon,
}

/// Why a reference cannot be used, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WrongAddress {
    pub(crate) message: String,
    pub(crate) hint: String,
}

fn wrong<T>(message: impl Into<String>, hint: impl Into<String>) -> Result<T, WrongAddress> {
    Err(WrongAddress { message: message.into(), hint: hint.into() })
}

/// Reads what stands behind `at =`, or one end of a hole.
pub(crate) fn parse(at: &Json, notation: Notation) -> Result<Address, WrongAddress> {
    let text = match at {
        Json::String(text) => text.trim().to_owned(),
        Json::Number(number) => number.to_string(),
        _ => return wrong("neither a text nor a number", "like at = \"holding:0x10\""),
    };
    match (text.split_once(':'), notation) {
        // These are no registers: nobody counts them another way.
        (Some((place, rest)), _) if place.trim() == "file" => of_file(rest),
        (Some((place, rest)), _) if place.trim() == "id" => of_identity(rest.trim()),
        (Some((table, number)), Notation::ZeroBased | Notation::Unstated) => {
            zero_based(table.trim(), number.trim())
        }
        (Some(_), Notation::Modicon) => wrong(
            format!("{text:?} counts from zero, but the model says addresses = \"modicon\""),
            "write it like \"40001\", or say addresses = \"zero-based\"",
        ),
        (None, Notation::Modicon) => modicon(&text, at.is_number()),
        (None, Notation::Unstated) => wrong(
            format!("{text:?} alone could mean two registers"),
            "say addresses = \"modicon\" in the model, or write it like \"holding:0x10\" (counted from zero)",
        ),
        (None, Notation::ZeroBased) => match number(&text) {
            Some(number) => Ok(Address { table: None, number }),
            None => wrong(format!("{text:?} is not an address"), "0 to 65535, or 0x0000 to 0xFFFF"),
        },
    }
}

fn zero_based(table: &str, text: &str) -> Result<Address, WrongAddress> {
    let Some(table) = Table::ALL.into_iter().find(|known| known.name() == table) else {
        return wrong(
            format!("{table:?} is not a table"),
            crate::settings::suggest(table, &["coil", "discrete", "input", "holding", "file", "id"]),
        );
    };
    match number(text) {
        Some(number) => Ok(Address { table: Some(table), number }),
        None => wrong(format!("{text:?} is not an address"), "0 to 65535, or 0x0000 to 0xFFFF"),
    }
}

/// `4:0x10`: register 16 of file 4.
fn of_file(text: &str) -> Result<Address, WrongAddress> {
    const HINT: &str = "\"file:4:0x10\" is register 16 of file 4; files 1 to 65535, registers 0 to 9999";
    let parts = text.split_once(':').map(|(file, record)| (number(file.trim()), number(record.trim())));
    match parts {
        Some((Some(file @ 1..), Some(record @ 0..=LAST_RECORD))) => {
            Ok(Address { table: Some(Table::File(file)), number: record })
        }
        _ => wrong(format!("{text:?} is no file and register"), HINT),
    }
}

/// The number or the name of a text of the identification.
fn of_identity(text: &str) -> Result<Address, WrongAddress> {
    let named = OBJECTS.iter().find(|(name, _)| *name == text).map(|(_, object)| *object);
    match named.or_else(|| number(text).filter(|object| *object <= 255)) {
        Some(object) => Ok(Address { table: Some(Table::Identity), number: object }),
        None => {
            let names = OBJECTS.map(|(name, _)| name);
            let hint = crate::settings::suggest(text, &names);
            wrong(
                format!("{text:?} is nothing a device says it is"),
                format!("{hint}; or a number, 0 to 255"),
            )
        }
    }
}

fn number(text: &str) -> Option<u16> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) if hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => u16::from_str_radix(hex, 16).ok(),
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

/// `40001` and `400001` are the first holding register; the first digit is the table.
fn modicon(text: &str, was_number: bool) -> Result<Address, WrongAddress> {
    const HINT: &str = "five or six digits: \"40001\" or \"400001\" is the first holding register, \
                        3 is input, 1 is discrete, 0 is coil";
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(10)).collect();
    let (Some(digits), 5 | 6) = (digits, text.len()) else {
        let hint = match was_number {
            true => "a coil loses its zeros as a number, write it as a text: \"00001\"",
            false => HINT,
        };
        return wrong(format!("{text:?} is not a modicon reference"), hint);
    };
    let Some(table) = Table::ALL.into_iter().find(|table| table.modicon_digit() == Some(digits[0])) else {
        return wrong(format!("{text:?} is in no table"), HINT);
    };
    let count = digits[1..].iter().fold(0, |sum, digit| sum * 10 + digit);
    match count.checked_sub(1).map(u16::try_from) {
        Some(Ok(number)) => Ok(Address { table: Some(table), number }),
        Some(Err(_)) => wrong(format!("{text:?} is past the last register"), "a table ends at 65536"),
        None => wrong(format!("{text:?} is before the first register"), "modicon references count from 1"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(at: Json, notation: Notation) -> Result<(Option<Table>, u16), String> {
        parse(&at, notation).map(|a| (a.table, a.number)).map_err(|wrong| wrong.message)
    }

    #[test]
    fn a_zero_based_reference_is_what_the_wire_says() {
        for notation in [Notation::ZeroBased, Notation::Unstated] {
            assert_eq!(of(json!("input:0x34"), notation), Ok((Some(Table::Input), 0x34)));
            assert_eq!(of(json!("coil : 65535"), notation), Ok((Some(Table::Coil), 65_535)));
            assert!(of(json!("coil:65536"), notation).is_err());
            assert!(of(json!("coil:+1"), notation).is_err());
            assert!(of(json!("coil:0x"), notation).is_err());
            assert!(of(json!("holdin:1"), notation).is_err());
        }
        assert_eq!(of(json!(16), Notation::ZeroBased), Ok((None, 16)));
        assert!(of(json!(40001), Notation::Unstated).is_err());
        assert!(of(json!([1]), Notation::ZeroBased).is_err());
    }

    #[test]
    fn a_modicon_reference_counts_from_one_and_names_its_table() {
        let modicon = |at| of(at, Notation::Modicon);
        assert_eq!(modicon(json!("40001")), Ok((Some(Table::Holding), 0)));
        assert_eq!(modicon(json!(400001)), Ok((Some(Table::Holding), 0)));
        assert_eq!(modicon(json!(30108)), Ok((Some(Table::Input), 107)));
        assert_eq!(modicon(json!("10001")), Ok((Some(Table::Discrete), 0)));
        assert_eq!(modicon(json!("00017")), Ok((Some(Table::Coil), 16)));
        assert_eq!(modicon(json!("465536")), Ok((Some(Table::Holding), 65_535)));
        for wrong in
            [json!("465537"), json!("40000"), json!("20001"), json!("4001"), json!(17), json!("holding:1")]
        {
            assert!(modicon(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn files_and_identifications_are_counted_in_one_way() {
        for notation in [Notation::ZeroBased, Notation::Unstated, Notation::Modicon] {
            assert_eq!(of(json!("file:4:0x10"), notation), Ok((Some(Table::File(4)), 16)));
            assert_eq!(of(json!("id:revision"), notation), Ok((Some(Table::Identity), 2)));
            assert_eq!(of(json!("id: 0x80"), notation), Ok((Some(Table::Identity), 128)));
            for wrong in ["file:4", "file:0:1", "file:1:10000", "file::", "id:", "id:256", "id:vendr"] {
                assert!(of(json!(wrong), notation).is_err(), "{wrong}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_an_address_or_a_hint(text in "\\PC{0,12}") {
            for notation in [Notation::ZeroBased, Notation::Unstated, Notation::Modicon] {
                if let Err(wrong) = parse(&json!(text), notation) {
                    proptest::prop_assert!(!wrong.hint.is_empty());
                }
            }
        }
    }
}
