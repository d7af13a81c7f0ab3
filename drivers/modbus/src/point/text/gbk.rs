//! GBK (code page 936) from a table.
//!
//! `gbk.bin` is made by `gbk.py` from Python's own codec and holds, for each pair of a first byte 0x81 to
//! 0xFE and a second one 0x40 to 0xFE, the character as two bytes, the higher one first; 0 is no character.
//! A crate for all of the web's encodings would bring twenty times as much.
//!
//! Always true: decoding and encoding are each other's inverse; a test compares all of the table with an
//! implementation that shares nothing with it.

const TABLE: &[u8; (LAST - FIRST + 1) * ROW * 2] = include_bytes!("gbk.bin");
const FIRST: usize = 0x81;
const LAST: usize = 0xFE;
const FIRST_SECOND: usize = 0x40;
const ROW: usize = 0xFE - FIRST_SECOND + 1;

/// The text, or the place of the first byte that makes no sense.
pub(crate) fn decode(bytes: &[u8]) -> Result<String, usize> {
    let mut text = String::with_capacity(bytes.len());
    let mut place = 0;
    while let Some(first) = bytes.get(place) {
        if first.is_ascii() {
            text.push(char::from(*first));
            place += 1;
            continue;
        }
        let second = bytes.get(place + 1).ok_or(place)?;
        text.push(character((*first).into(), (*second).into()).ok_or(place)?);
        place += 2;
    }
    Ok(text)
}

/// The bytes, or the first character that GBK does not have. Goes through the table for each: texts are
/// written seldom.
pub(super) fn encode(text: &str) -> Result<Vec<u8>, char> {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            bytes.push(c as u8);
            continue;
        }
        let two = u16::try_from(u32::from(c)).map_err(|_| c)?.to_be_bytes();
        let place = TABLE.chunks_exact(2).position(|known| known == two).ok_or(c)?;
        bytes.extend([(FIRST + place / ROW) as u8, (FIRST_SECOND + place % ROW) as u8]);
    }
    Ok(bytes)
}

fn character(first: usize, second: usize) -> Option<char> {
    let (row, column) = (first.checked_sub(FIRST)?, second.checked_sub(FIRST_SECOND)?);
    if row > LAST - FIRST || column >= ROW {
        return None;
    }
    let place = (row * ROW + column) * 2;
    let code = u16::from_be_bytes([TABLE[place], TABLE[place + 1]]);
    char::from_u32(code.into()).filter(|c| *c != '\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table_is_what_another_implementation_says() {
        let mut count = 0;
        for first in 0x80..=0xFFu8 {
            for second in 0..=0xFFu8 {
                let Some(ours) = character(first.into(), second.into()) else { continue };
                let pair = [first, second];
                let theirs = encoding_rs::GBK.decode_without_bom_handling(&pair);
                assert_eq!(theirs, (ours.to_string().into(), false), "{pair:02x?}");
                assert_eq!(encode(&ours.to_string()), Ok(pair.to_vec()), "{ours:?}");
                count += 1;
            }
        }
        assert_eq!(count, 21_791, "21 003 Chinese characters and the rest of the code page");
    }
}
