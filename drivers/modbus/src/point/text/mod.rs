//! Bytes ↔ text: how a device writes names, serial numbers and messages into registers.
//!
//! Always true: the text ends at the first NUL; what cannot be read in its encoding is no value, and
//! what cannot be written in it or is too long is refused, never cut.

mod gbk;

pub(crate) use self::gbk::decode as from_gbk;
use crate::settings::{Report, Settings, suggest};

/// How characters are written as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Encoding {
    #[default]
    Utf8,
    Ascii,
    /// Chinese (GBK, code page 936), two bytes a character beside ASCII.
    Gbk,
}

impl Encoding {
    const WORDS: [(&'static str, Self); 3] =
        [("utf-8", Self::Utf8), ("ascii", Self::Ascii), ("gbk", Self::Gbk)];
}

/// How a text is laid into its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Writing {
    encoding: Encoding,
    /// Spaces at both ends are the device's and stay.
    keeps_spaces: bool,
}

impl Writing {
    /// Reads `encoding` and `trim`; `None` when a mistake was reported.
    pub(crate) fn read(settings: &Settings<'_>, report: &mut Report) -> Option<Self> {
        let encoding = match settings.get("encoding") {
            None => Encoding::default(),
            Some(_) => {
                let word = settings.text("encoding", report)?;
                match Encoding::WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)) {
                    Some((_, encoding)) => *encoding,
                    None => {
                        let words = Encoding::WORDS.map(|(word, _)| word);
                        let message = format!("{word:?} is not an encoding known here");
                        settings.error("encoding", report, message, suggest(word, &words));
                        return None;
                    }
                }
            }
        };
        let trim = match settings.get("trim") {
            None => true,
            Some(_) => settings.flag("trim", report)?,
        };
        Some(Self { encoding, keeps_spaces: !trim })
    }

    /// The text in these bytes, or why there is none.
    pub(crate) fn decode(self, bytes: &[u8]) -> Result<String, String> {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        let bytes = &bytes[..end];
        let text = match self.encoding {
            Encoding::Utf8 => String::from_utf8(bytes.to_vec())
                .map_err(|error| not(bytes, error.utf8_error().valid_up_to(), "UTF-8"))?,
            Encoding::Ascii => match bytes.iter().position(|byte| !byte.is_ascii()) {
                Some(place) => return Err(not(bytes, place, "ASCII")),
                None => bytes.iter().map(|byte| char::from(*byte)).collect(),
            },
            Encoding::Gbk => gbk::decode(bytes).map_err(|place| not(bytes, place, "GBK"))?,
        };
        Ok(if self.keeps_spaces { text } else { text.trim_matches(' ').to_owned() })
    }

    /// `room` bytes with the text and zeros behind it, or why it does not fit.
    pub(crate) fn encode(self, text: &str, room: usize) -> Result<Vec<u8>, String> {
        let cannot = |c: char, name: &str| format!("{c:?} cannot be written in {name}");
        if text.contains('\0') {
            return Err("a text of a device ends at a zero byte, there cannot be one in it".to_owned());
        }
        let mut bytes = match self.encoding {
            Encoding::Utf8 => text.as_bytes().to_vec(),
            Encoding::Ascii => match text.chars().find(|c| !c.is_ascii()) {
                Some(c) => return Err(cannot(c, "ASCII")),
                None => text.as_bytes().to_vec(),
            },
            Encoding::Gbk => gbk::encode(text).map_err(|c| cannot(c, "GBK"))?,
        };
        if bytes.len() > room {
            return Err(format!("{text:?} is {} bytes long, there is room for {room}", bytes.len()));
        }
        bytes.resize(room, 0);
        Ok(bytes)
    }
}

fn not(bytes: &[u8], place: usize, name: &str) -> String {
    format!("byte {place}, {:#04x}, is not {name}", bytes.get(place).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn writing(encoding: Encoding) -> Writing {
        Writing { encoding, keeps_spaces: false }
    }

    #[test]
    fn a_text_ends_at_a_zero_and_its_spaces_go() {
        let utf8 = writing(Encoding::Utf8);
        assert_eq!(utf8.decode(b" EM24 \0\0x"), Ok("EM24".to_owned()));
        assert_eq!(utf8.decode(b"\0garbage"), Ok(String::new()));
        let kept = Writing { keeps_spaces: true, ..utf8 };
        assert_eq!(kept.decode(b" EM24 \0"), Ok(" EM24 ".to_owned()));
        assert_eq!(utf8.encode("EM24", 6), Ok(b"EM24\0\0".to_vec()));
        let refused = utf8.encode("Größe", 6).unwrap_err();
        assert_eq!(refused, "\"Größe\" is 7 bytes long, there is room for 6");
        assert!(utf8.encode("a\0b", 6).is_err());
    }

    #[test]
    fn what_is_not_in_its_encoding_is_no_value() {
        let told = |encoding, bytes: &[u8]| writing(encoding).decode(bytes).unwrap_err();
        assert_eq!(told(Encoding::Utf8, &[b'a', 0xC4, b'b']), "byte 1, 0xc4, is not UTF-8");
        assert_eq!(told(Encoding::Ascii, &[b'a', b'b', 0x80]), "byte 2, 0x80, is not ASCII");
        assert_eq!(told(Encoding::Gbk, &[b'a', 0xFF, 0x40]), "byte 1, 0xff, is not GBK");
        assert_eq!(told(Encoding::Gbk, &[0xB5]), "byte 0, 0xb5, is not GBK");
        assert_eq!(writing(Encoding::Ascii).encode("5 Ω", 8).unwrap_err(), "'Ω' cannot be written in ASCII");
        assert_eq!(writing(Encoding::Gbk).encode("5 ₿", 8).unwrap_err(), "'₿' cannot be written in GBK");
    }

    proptest! {
        #[test]
        fn a_text_that_fits_reads_back(text in "[ -~äß水温€]{0,12}", pick in 0..3usize) {
            let encoding = Encoding::WORDS[pick].1;
            let all = Writing { encoding, keeps_spaces: true };
            if let Ok(bytes) = all.encode(&text, 24) {
                prop_assert_eq!(bytes.len(), 24);
                prop_assert_eq!(all.decode(&bytes), Ok(text));
            }
        }

        #[test]
        fn any_bytes_are_a_text_or_a_reason(bytes in proptest::collection::vec(any::<u8>(), 0..24), pick in 0..3usize) {
            match writing(Encoding::WORDS[pick].1).decode(&bytes) {
                Ok(text) => prop_assert!(!text.contains('\0')),
                Err(reason) => prop_assert!(reason.starts_with("byte ")),
            }
        }
    }
}
