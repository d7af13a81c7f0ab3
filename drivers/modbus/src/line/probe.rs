//! The function `probe`: what stands at an address, in every decoding, with its neighbours.
//!
//! ```text
//!                (0x000f)   0x0010    0x0011   (0x0012)
//! hex                0000     4366      8000       —
//! f32 ABCD              …    230.5         …
//! ```
//! A column is a register, a row a decoding that begins there: a byte order and an address that is off
//! by one are seen at a glance.
//!
//! Always true: it only reads; what is refused is asked again cell by cell, so that a refused neighbour
//! hides nothing; what reaches into a refused cell is left empty.

use sagoo_driver_sdk::{Deadline, LineError, Outcome};
use serde_json::{Value as Json, json};

use super::ModbusLine;
use super::read::bit;
use crate::device::Device;
use crate::learn::told::reference;
use crate::point::address::{self, Table};
use crate::transport::{Failure, Said};
use crate::wire::pdu::FilePart;
use crate::wire::{Answer, Request};

/// Registers in front of those that are asked for.
const BEFORE: u16 = 2;
/// Registers behind them: the last one asked for can begin a value of 64 bits.
const AFTER: u16 = 3;
/// Cells when the caller says nothing.
const COUNT: u16 = 4;
/// Most cells of one probe.
const MOST: u16 = 32;
/// A cell that the device does not give.
const REFUSED: &str = "—";

/// A cell, or why there is none.
type Cell = Result<u16, String>;

impl ModbusLine {
    pub(super) async fn probe(
        &mut self,
        device: &Device,
        input: &Json,
        deadline: Deadline,
    ) -> Result<Json, Outcome> {
        let (table, first, count) = asked(device, input).map_err(Outcome::Refused)?;
        // Nobody asked for the neighbours: what must never be read ends them.
        let readable = |cell: &u32| device.limits.hole(table, *cell as u16, *cell as u16).is_none();
        let behind = u32::from(first) + u32::from(count);
        let before = u32::from(first - BEFORE.min(first))..u32::from(first);
        let begin = before.rev().take_while(readable).last().unwrap_or(first.into()) as u16;
        let after = behind..(behind + u32::from(AFTER)).min(0x1_0000);
        let end = after.take_while(readable).last().map_or(behind, |last| last + 1);
        let mut cells = Vec::new();
        let parts = [u32::from(begin), u32::from(first), behind, end];
        for part in parts.windows(2) {
            let at = part[0] as u16;
            let many = part[1].saturating_sub(part[0]) as u16;
            let read = self.cells(device, (table, at, many), deadline).await?;
            cells.extend(read);
        }
        let asked = usize::from(first - begin)..usize::from(first - begin) + usize::from(count);
        let heads = (begin..).zip(0..cells.len()).map(|(cell, place)| {
            let told = reference(table, cell, device.notation);
            if asked.contains(&place) { told } else { format!("({told})") }
        });
        let mut columns = vec![String::new()];
        columns.extend(heads);
        let rows = if table.is_bits() { bits(&cells) } else { decodings(&cells) };
        let title = format!("{table} of {:?} (unit {}); neighbours in brackets", device.name, device.unit);
        let mut answer = json!({ "title": title, "columns": columns, "rows": rows });
        let refused = cells.iter().filter_map(|cell| cell.as_ref().err()).next();
        if let Some(why) = refused {
            answer["title"] = json!(format!("{title}; {REFUSED} is refused: {why}"));
        }
        Ok(answer)
    }

    /// These cells, together if the device gives them so, else one by one.
    async fn cells(
        &mut self,
        device: &Device,
        (table, first, count): (Table, u16, u16),
        deadline: Deadline,
    ) -> Result<Vec<Cell>, Outcome> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let whole = self.ask(device, (table, first, count), deadline).await?;
        match whole {
            Ok(cells) => Ok(cells.into_iter().map(Ok).collect()),
            Err(why) if count == 1 => Ok(vec![Err(why)]),
            Err(_) => {
                let mut cells = Vec::new();
                for cell in 0..count {
                    let one = self.ask(device, (table, first + cell, 1), deadline).await?;
                    cells.push(one.map(|one| one[0]));
                }
                Ok(cells)
            }
        }
    }

    /// One read: the cells, or why the device refused it.
    async fn ask(
        &mut self,
        device: &Device,
        (table, address, cells): (Table, u16, u16),
        deadline: Deadline,
    ) -> Result<Result<Vec<u16>, String>, Outcome> {
        let request = match table {
            Table::File(file) => Request::ReadFile { parts: vec![FilePart { file, record: address, cells }] },
            table => Request::Read { table, address, cells },
        };
        let count = usize::from(cells);
        match self.wire.exchange_before(deadline, device.unit, &request).await {
            Ok(Said::Answer(Answer::Data(data))) if table.is_bits() => {
                Ok(Ok((0..count).map(|place| bit(&data, place).into()).collect()))
            }
            Ok(Said::Answer(Answer::Data(data))) => {
                Ok(Ok(data.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()))
            }
            Ok(Said::Answer(Answer::Refused(why))) => Ok(Err(why.to_string())),
            Ok(Said::Answer(_)) => Ok(Err("an answer to something else than a read".to_owned())),
            Ok(Said::Nonsense(reason)) => Ok(Err(reason)),
            Err(Failure::Expired) => Err(Outcome::Expired),
            Err(Failure::NotSent(error) | Failure::Unanswered(error)) => Err(Outcome::Refused(told(error))),
        }
    }
}

fn told(error: LineError) -> String {
    error.to_string()
}

/// Table, first cell and count of `{ "address": "holding:0x10", "count": 4 }`.
fn asked(device: &Device, input: &Json) -> Result<(Table, u16, u16), String> {
    let Some(at) = input.get("address") else {
        return Err("address is missing: \"holding:0x10\"".to_owned());
    };
    let place =
        address::parse(at, device.notation).map_err(|wrong| format!("{}; {}", wrong.message, wrong.hint))?;
    let table = place.table.ok_or_else(|| {
        format!("{} names no table: \"holding:{0}\", or input, coil, discrete", place.number)
    })?;
    if table == Table::Identity {
        return Err(
            "an identification has no neighbours and one decoding, text: read it as a point".to_owned()
        );
    }
    let count = match input.get("count") {
        None | Some(Json::Null) => COUNT,
        Some(count) => {
            let number = count.as_u64().or_else(|| count.as_str().and_then(|text| text.trim().parse().ok()));
            let number =
                number.and_then(|count| u16::try_from(count).ok()).filter(|count| (1..=MOST).contains(count));
            number.ok_or_else(|| format!("{count} is not a count, 1 to {MOST} are"))?
        }
    };
    if u32::from(place.number) + u32::from(count) > 0x1_0000 {
        return Err(format!("{count} cells from {} are past the end of a table, 65536", place.number));
    }
    Ok((table, place.number, count))
}

fn bits(cells: &[Cell]) -> Vec<Vec<String>> {
    let mut row = vec!["bit".to_owned()];
    row.extend(cells.iter().map(|cell| cell.as_ref().map_or(REFUSED.to_owned(), u16::to_string)));
    vec![row]
}

/// How the registers of a value are put together; the letters as in a model.
const ORDERS_32: [&str; 4] = ["ABCD", "CDAB", "BADC", "DCBA"];
const ORDERS_64: [&str; 4] = ["ABCDEFGH", "GHEFCDAB", "BADCFEHG", "HGFEDCBA"];

fn decodings(cells: &[Cell]) -> Vec<Vec<String>> {
    let mut rows = vec![
        row(cells, "hex", |[cell]| format!("{cell:04x}")),
        row(cells, "u16", |[cell]| cell.to_string()),
        row(cells, "i16", |[cell]| (cell as i16).to_string()),
        row(cells, "bcd", |[cell]| bcd(cell)),
        row(cells, "text", |[cell]| cell.to_be_bytes().map(letter).iter().collect()),
    ];
    if rows[0][1..].iter().all(|cell| cell == REFUSED) {
        return rows;
    }
    let whole = |letters: &'static str| move |words: [u16; 2]| u32::from_be_bytes(ordered(&words, letters));
    for letters in ORDERS_32 {
        let whole = whole(letters);
        rows.push(row(cells, &format!("u32 {letters}"), |words| whole(words).to_string()));
        rows.push(row(cells, &format!("i32 {letters}"), |words| (whole(words) as i32).to_string()));
        rows.push(row(cells, &format!("f32 {letters}"), |words| {
            float(f64::from(f32::from_bits(whole(words))), 7)
        }));
    }
    for letters in ORDERS_64 {
        let whole = |words: [u16; 4]| u64::from_be_bytes(ordered(&words, letters));
        rows.push(row(cells, &format!("u64 {letters}"), |words| whole(words).to_string()));
        rows.push(row(cells, &format!("f64 {letters}"), |words| float(f64::from_bits(whole(words)), 9)));
    }
    // Where no neighbour can be read there is nothing to put together.
    rows.retain(|row| row[1..].iter().any(|cell| !cell.is_empty()));
    rows
}

/// A decoding of `N` registers at each place where there are so many.
fn row<const N: usize>(cells: &[Cell], name: &str, decode: impl Fn([u16; N]) -> String) -> Vec<String> {
    let mut row = vec![name.to_owned()];
    for place in 0..cells.len() {
        let words: Vec<u16> =
            cells[place..].iter().take(N).map_while(|cell| cell.as_ref().ok()).copied().collect();
        row.push(match <[u16; N]>::try_from(words) {
            Ok(words) => decode(words),
            Err(_) if N == 1 => REFUSED.to_owned(),
            Err(_) => String::new(),
        });
    }
    row
}

/// The bytes of these registers in the order of the letters: `A` is the value's highest byte.
fn ordered<const BYTES: usize>(words: &[u16], letters: &str) -> [u8; BYTES] {
    let mut value = [0; BYTES];
    let bytes = words.iter().flat_map(|word| word.to_be_bytes());
    for (byte, letter) in bytes.zip(letters.bytes()) {
        value[usize::from(letter - b'A')] = byte;
    }
    value
}

fn bcd(cell: u16) -> String {
    let hex = format!("{cell:04x}");
    if hex.bytes().all(|digit| digit.is_ascii_digit()) { hex } else { String::new() }
}

fn letter(byte: u8) -> char {
    if byte.is_ascii_graphic() || byte == b' ' { byte.into() } else { '.' }
}

/// Readable where people measure, short where the bits mean something else.
fn float(value: f64, digits: usize) -> String {
    let size = value.abs();
    if value == 0.0 || (1e-4..1e9).contains(&size) {
        let before = size.log10().floor().max(0.0) as usize + 1;
        let text = format!("{value:.*}", digits.saturating_sub(before));
        let short = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        return short.to_owned();
    }
    if value.is_finite() { format!("{value:.2e}") } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(rows: &[Vec<String>], name: &str, column: usize) -> String {
        rows.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("no row {name}"))[column + 1].clone()
    }

    #[test]
    fn a_value_is_seen_in_the_row_of_its_order_and_the_column_of_its_register() {
        // 230.5 as f32 is 43 66 80 00; 1234567 is 00 12 D6 87.
        let cells: Vec<Cell> = [0, 0x4366, 0x8000, 0xD687, 0x0012].map(Ok).to_vec();
        let rows = decodings(&cells);
        assert_eq!(cell(&rows, "f32 ABCD", 1), "230.5");
        assert_eq!(cell(&rows, "f32 CDAB", 1), "-2.42e-41");
        assert_eq!(cell(&rows, "u32 CDAB", 3), "1234567");
        assert_eq!(cell(&rows, "hex", 3), "d687");
        assert_eq!(cell(&rows, "i16", 2), "-32768");
        assert_eq!((cell(&rows, "bcd", 1), cell(&rows, "bcd", 3)), ("4366".to_owned(), String::new()));
        assert_eq!(cell(&rows, "text", 1), "Cf");
        assert_eq!(cell(&rows, "u32 ABCD", 4), "", "the next register was not read");
    }

    #[test]
    fn letters_put_bytes_where_they_say() {
        let bytes: [u8; 4] = ordered(&[0x0102, 0x0304], "CDAB");
        assert_eq!(bytes, [3, 4, 1, 2]);
        let bytes: [u8; 4] = ordered(&[0x0102, 0x0304], "DCBA");
        assert_eq!(bytes, [4, 3, 2, 1]);
        let bytes: [u8; 8] = ordered(&[0x0102, 0x0304, 0x0506, 0x0708], "GHEFCDAB");
        assert_eq!(bytes, [7, 8, 5, 6, 3, 4, 1, 2]);
    }

    #[test]
    fn what_is_refused_hides_only_what_reaches_into_it() {
        let cells: Vec<Cell> = vec![Ok(1), Err("no".to_owned()), Ok(2), Ok(3)];
        let rows = decodings(&cells);
        assert_eq!(rows[1][1..], ["1", REFUSED, "2", "3"]);
        assert_eq!(
            (cell(&rows, "u32 ABCD", 0), cell(&rows, "u32 ABCD", 2)),
            (String::new(), "131075".to_owned())
        );
        assert!(rows.iter().all(|row| !row[0].starts_with("u64")), "nowhere are four in a row");
    }

    #[test]
    fn floats_are_short() {
        for (value, told) in [
            (0.0, "0"),
            (230.5, "230.5"),
            (-0.001, "-0.001"),
            (123_456.789, "123456.8"),
            (f64::NAN, "NaN"),
            (1e30, "1.00e30"),
        ] {
            assert_eq!(float(value, 7), told);
        }
    }
}
