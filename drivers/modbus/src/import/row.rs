//! One row of a list, in its words → a point of a model. Pure.
//!
//! Always true: nothing is guessed that could mean two things: whether addresses count from 0 or from
//! 1, and how wide an `int` is, is asked for; a word that is not known here goes to the driver's own
//! check as it is.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::column::Column;
use crate::point::address::Table;
use crate::settings::parse_duration;

/// How bare numbers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counting {
    FromZero,
    /// 40001, or 1 with its table beside it, is the first.
    Modicon,
}

/// A row, in the words of its file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Row {
    /// File and line.
    pub(super) place: String,
    pub(super) cells: BTreeMap<Column, String>,
    /// Words of numbers.
    pub(super) labels: Map<String, Json>,
    /// Why it cannot be used, when that is known already.
    pub(super) wrong: Option<String>,
}

/// A point in the words of a model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Made {
    pub(super) name: String,
    /// How long between two reads, as it is written.
    pub(super) poll: Option<String>,
    /// Keys in the order they are written.
    pub(super) keys: Vec<(&'static str, Json)>,
    pub(super) note: String,
}

/// A place, with what may stand beside it in some lists.
struct Place {
    at: String,
    is_bits: bool,
    bit: Option<String>,
    order: Option<&'static str>,
}

impl Row {
    fn cell(&self, column: Column) -> Option<&str> {
        self.cells.get(&column).map(String::as_str)
    }

    /// The point, or why there is none.
    pub(super) fn make(&self, counting: Option<Counting>) -> Result<Made, String> {
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        let written = self.cell(Column::Name).ok_or("no name; give the point one")?;
        let name = plain_name(written)?;
        let place = self.place(counting)?;
        let mut keys = vec![("at", Json::from(place.at.clone()))];
        let word = self.kind(&place)?;
        if let Some(word) = &word {
            keys.push(("type", Json::from(word.clone())));
        }
        let order = match (self.cell(Column::Order), place.order) {
            (Some(text), _) => Some(letters(text).ok_or_else(|| {
                format!("order {text:?} is not known here; write ABCD, CDAB, BADC or DCBA")
            })?),
            (None, order) => order,
        };
        let order = order.and_then(|order| of_width(order, word.as_deref().unwrap_or_default()));
        keys.extend(order.map(|order| ("order", Json::from(order))));
        keys.extend(self.scale()?.map(|scale| ("scale", scale)));
        let offset = self.number(Column::Offset)?.filter(|offset| offset.as_f64() != Some(0.0));
        keys.extend(offset.map(|offset| ("offset", offset)));
        if !self.labels.is_empty() {
            keys.push(("enum", Json::Object(self.labels.clone())));
        }
        keys.extend(self.cell(Column::Unit).map(|unit| ("unit", Json::from(unit))));
        if self.is_written()? {
            let mut rule = Map::new();
            for (key, column) in [("min", Column::Min), ("max", Column::Max)] {
                rule.extend(self.number(column)?.map(|limit| (key.to_owned(), limit)));
            }
            keys.push(("write", if rule.is_empty() { Json::Bool(true) } else { Json::Object(rule) }));
        }
        let poll = self.poll()?;
        let mut note = self.cell(Column::Note).unwrap_or_default().to_owned();
        if written != name {
            note = format!("{written} {note}").trim().to_owned();
        }
        Ok(Made { name, poll, keys, note })
    }

    fn place(&self, counting: Option<Counting>) -> Result<Place, String> {
        let text = self.cell(Column::At).ok_or("no address; where is the point?")?;
        // Neuron: station!address.bit#order
        let text = text.split_once('!').map_or(text, |(_, address)| address).trim();
        let (text, order) = match text.split_once('#') {
            Some((text, "B" | "BB")) => (text, Some("ABCD")),
            Some((text, "LL" | "L")) => (text, Some("DCBA")),
            Some((text, "LB")) => (text, Some("CDAB")),
            Some((text, "BL")) => (text, Some("BADC")),
            Some((_, end)) => {
                return Err(format!("#{end} behind the address is not known here; #BB, #LB, #BL or #LL"));
            }
            None => (text, None),
        };
        let (text, bit) = match text.split_once('.') {
            Some((text, bit)) => (text, Some(bit.to_owned())),
            None => (text, self.cell(Column::Bit).map(str::to_owned)),
        };
        let beside = self.cell(Column::Table).map(table).transpose()?;
        let (table, number) = match text.split_once([':', ' ']) {
            Some((word, number)) => (table(word)?, zero_based(number.trim())?),
            None => counted(text, beside, counting)?,
        };
        if beside.is_some_and(|beside| beside != table) {
            return Err(format!("the address says {table} and the table beside it something else"));
        }
        Ok(Place { at: format!("{table}:{number}"), is_bits: table.is_bits(), bit, order })
    }

    fn kind(&self, place: &Place) -> Result<Option<String>, String> {
        let word = self.cell(Column::Type).map(|text| kind(text, self.cell(Column::Length))).transpose()?;
        if place.is_bits {
            return Ok(word.filter(|word| word != "bool"));
        }
        Ok(match (word, &place.bit) {
            (None, Some(bit)) => Some(format!("bits[{bit}]")),
            (Some(word), Some(bit)) if word == "bool" => Some(format!("bits[{bit}]")),
            (Some(word), None) if word == "bool" => {
                return Err(
                    "a bit of a register, but which? a column bit, or 40001.3 as its address".to_owned()
                );
            }
            (Some(word), Some(_)) if !word.starts_with("bits") && !word.starts_with("string") => {
                return Err(format!("{word} and a bit of a register in one point; leave one of them out"));
            }
            (word, _) => word,
        })
    }

    /// The scale, which some lists call decimal places.
    fn scale(&self) -> Result<Option<Json>, String> {
        let one = |scale: &Json| scale.as_f64() == Some(1.0);
        if let Some(text) = self.cell(Column::Scale) {
            let divided = text.strip_prefix('/').or_else(|| text.strip_prefix('÷')).map(str::trim);
            let plain = text.trim_start_matches(['x', 'X', '*', '×', ' ']);
            let scale = match divided.and_then(|text| text.parse::<f64>().ok()) {
                Some(divisor) => decimal(&(1.0 / divisor).to_string()),
                None => decimal(plain),
            };
            let scale = scale.ok_or_else(|| format!("scale {text:?} is not a number; like 0.1"))?;
            return Ok(Some(scale).filter(|scale| !one(scale)));
        }
        match self.cell(Column::Decimals).map(str::parse::<u32>) {
            None | Some(Ok(0)) => Ok(None),
            Some(Ok(places @ 1..=12)) => Ok(decimal(&format!("1e-{places}"))),
            Some(_) => Err("decimals is not a number of decimal places; like 2".to_owned()),
        }
    }

    fn number(&self, column: Column) -> Result<Option<Json>, String> {
        let Some(text) = self.cell(column) else { return Ok(None) };
        let number = decimal(text);
        number.map(Some).ok_or_else(|| format!("{text:?} is not a number; a decimal point, no separators"))
    }

    fn is_written(&self) -> Result<bool, String> {
        let Some(text) = self.cell(Column::Access) else { return Ok(false) };
        let word: String = text.to_lowercase().chars().filter(|letter| letter.is_alphanumeric()).collect();
        match word.as_str() {
            "r" | "ro" | "read" | "readonly" | "false" | "no" | "static" | "readsubscribe" | "只读"
            | "读" | "否" => Ok(false),
            "w" | "wo" | "rw" | "write" | "writeonly" | "readwrite" | "true" | "yes" | "读写" | "只写"
            | "写" | "可写" | "是" => Ok(true),
            word if word.contains("write") => Ok(true),
            _ => Err(format!("access {text:?} is not known here; r or rw")),
        }
    }

    fn poll(&self) -> Result<Option<String>, String> {
        let Some(text) = self.cell(Column::Poll) else { return Ok(None) };
        match parse_duration(text) {
            Some(_) => Ok(Some(text.chars().filter(|letter| !letter.is_whitespace()).collect())),
            None => Err(format!("{text:?} is not how long between two reads; like 500ms, 1s, 5m")),
        }
    }
}

/// A name that the platform can keep: letters, digits and `_`.
fn plain_name(written: &str) -> Result<String, String> {
    let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    let mut name: String = written.trim().chars().map(letter).collect();
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        name.insert(0, '_');
    }
    if !name.contains(|letter: char| letter.is_ascii_alphanumeric()) || !written.is_ascii() {
        return Err(format!(
            "{written:?} cannot be a key of the platform; name it in latin letters, digits and _"
        ));
    }
    Ok(name)
}

/// A number without its table, or one that is both.
fn counted(text: &str, beside: Option<Table>, counting: Option<Counting>) -> Result<(Table, u16), String> {
    let is_modicon = matches!(text.len(), 5 | 6)
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && counting != Some(Counting::FromZero);
    let of_digit = match text.as_bytes().first() {
        Some(b'0') => Some(Table::Coil),
        Some(b'1') => Some(Table::Discrete),
        Some(b'3') => Some(Table::Input),
        Some(b'4') => Some(Table::Holding),
        _ => None,
    };
    if let (true, Some(table)) = (is_modicon, of_digit) {
        let number = text[1..].parse::<u32>().ok().and_then(|count| count.checked_sub(1));
        let number = number.and_then(|number| u16::try_from(number).ok());
        return Ok((table, number.ok_or_else(|| format!("{text} is in no table; 40001 to 465536"))?));
    }
    let Some(table) = beside else {
        return Err(format!("{text:?} names no table; 40001, \"holding:0\", or a column with its table"));
    };
    match counting {
        None => Err(format!(
            "{text:?} may count from 0 or from 1; --addresses zero-based (0 is the first) or modicon (1 is)"
        )),
        Some(Counting::FromZero) => Ok((table, zero_based(text)?)),
        Some(Counting::Modicon) => {
            let number = zero_based(text)?.checked_sub(1);
            Ok((table, number.ok_or("0 is before the first one, where addresses count from 1")?))
        }
    }
}

fn zero_based(text: &str) -> Result<u16, String> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let hex = hex.or_else(|| text.strip_suffix(['h', 'H']));
    let number = match hex {
        Some(digits) => u16::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    number.ok_or_else(|| format!("{text:?} is not an address; 0 to 65535, or 0x0000 to 0xFFFF"))
}

/// A table by its name, its function or its modicon digit.
fn table(text: &str) -> Result<Table, String> {
    let word: String = text.to_lowercase().chars().filter(|letter| letter.is_alphanumeric()).collect();
    let word = word.trim_end_matches("registers").trim_end_matches("register");
    let word = word.strip_prefix("fc").unwrap_or(word);
    match word {
        "coil" | "coils" | "1" | "01" | "5" | "05" | "15" | "0x" | "co" | "digitaloutput" | "线圈"
        | "线圈状态" => Ok(Table::Coil),
        "discrete" | "discreteinput" | "discreteinputs" | "2" | "02" | "1x" | "di" | "digitalinput"
        | "离散输入" | "离散量输入" | "输入状态" => Ok(Table::Discrete),
        "input" | "inputs" | "4" | "04" | "3x" | "ir" | "analoginput" | "输入寄存器" => Ok(Table::Input),
        "holding" | "3" | "03" | "6" | "06" | "16" | "4x" | "hr" | "保持寄存器" => Ok(Table::Holding),
        _ => Err(format!("{text:?} is not a table; coil, discrete, input, holding or a function, 1 to 4")),
    }
}

/// A type in the driver's words.
fn kind(text: &str, length: Option<&str>) -> Result<String, String> {
    let plain: String =
        text.to_lowercase().chars().filter(|letter| !matches!(letter, ' ' | '_' | '-')).collect();
    Ok(match plain.as_str() {
        "bool" | "boolean" | "bit" | "coil" | "digital" | "开关量" | "布尔" => "bool",
        "int16" | "i16" | "s16" | "sint16" | "short" | "signed16" | "int16t" => "i16",
        "uint16" | "u16" | "word" | "ushort" | "unsigned16" | "uint16t" => "u16",
        "int32" | "i32" | "s32" | "sint32" | "dint" | "signed32" | "int32t" => "i32",
        "uint32" | "u32" | "dword" | "udint" | "unsigned32" | "uint32t" => "u32",
        "int64" | "i64" | "s64" | "lint" | "signed64" | "int64t" => "i64",
        "uint64" | "u64" | "lword" | "qword" | "ulint" | "unsigned64" | "uint64t" => "u64",
        "float" | "float32" | "f32" | "real" | "single" | "float32ieee" | "浮点" | "浮点数" => "f32",
        "double" | "float64" | "f64" | "lreal" | "float64ieee" | "双精度" => "f64",
        "float16" | "half" => "f16",
        "int8h" => "i8.high",
        "int8l" => "i8.low",
        "uint8h" => "u8.high",
        "uint8l" => "u8.low",
        "int" | "integer" | "uint" | "long" | "ulong" => {
            return Err(format!("{text:?} is 16 bits here and 32 or 64 there; write int16, int32 or int64"));
        }
        "string" | "str" | "text" | "字符串" => {
            let length = length.filter(|length| length.bytes().all(|byte| byte.is_ascii_digit()));
            let length = length.ok_or("a text of which length? a column length, in bytes")?;
            return Ok(format!("string[{length}]"));
        }
        // The driver's check knows its own words, and says what it does not know.
        _ => return Ok(text.trim().to_lowercase()),
    }
    .to_owned())
}

/// An order by its name, for 32 bits.
fn letters(text: &str) -> Option<&'static str> {
    let plain: String = text.to_lowercase().chars().filter(|letter| letter.is_alphanumeric()).collect();
    Some(match plain.as_str() {
        "abcd" | "ab" | "abcdefgh" | "big" | "be" | "bigendian" | "1234" | "大端" | "msb" => "ABCD",
        "dcba" | "ba" | "hgfedcba" | "little" | "le" | "littleendian" | "4321" | "小端" | "lsb" => "DCBA",
        "cdab"
        | "ghefcdab"
        | "wordswap"
        | "wordswapped"
        | "littleendianbyteswap"
        | "midlittleendian"
        | "3412" => "CDAB",
        "badc" | "badcfehg" | "byteswap" | "byteswapped" | "bigendianbyteswap" | "midbigendian" | "2143" => {
            "BADC"
        }
        _ => return None,
    })
}

/// The same order for a type of this width; nothing where it is the plain one or says nothing.
fn of_width(order: &'static str, word: &str) -> Option<&'static str> {
    let is_wide = matches!(word, "i64" | "u64" | "f64");
    let is_one =
        matches!(word, "i16" | "u16" | "f16") || word.starts_with("bits") || word.starts_with("bool");
    match (order, is_one, is_wide) {
        ("ABCD", ..) | ("CDAB", true, _) => None,
        ("DCBA" | "BADC", true, _) => Some("BA"),
        ("CDAB", _, true) => Some("GHEFCDAB"),
        ("BADC", _, true) => Some("BADCFEHG"),
        ("DCBA", _, true) => Some("HGFEDCBA"),
        (order, ..) => (word.ends_with("32") || word.is_empty()).then_some(order),
    }
}

/// A number as it is written: 0.1 stays 0.1, whole ones whole.
fn decimal(text: &str) -> Option<Json> {
    let text = text.trim();
    if let Ok(whole) = text.parse::<i64>() {
        return Some(json!(whole));
    }
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite())?;
    if number.fract() == 0.0 && number.abs() < 1e15 {
        Some(json!(number as i64))
    } else {
        Some(json!(number))
    }
}

#[cfg(test)]
mod tests;
