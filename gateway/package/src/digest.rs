//! SHA-256 of files, as lower-case hex where people or JSON see it.

use aws_lc_rs::digest::{Context, SHA256};

/// A SHA-256.
pub(crate) type Sha256 = [u8; 32];

/// A SHA-256 in the making.
pub(crate) struct Hasher(Context);

impl Hasher {
    pub(crate) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Sha256 {
        self.0.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

pub(crate) fn of(bytes: &[u8]) -> Sha256 {
    let mut hasher = Hasher::new();
    hasher.update(bytes);
    hasher.finish()
}

/// In lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 64 lower-case hex digits and nothing else.
pub(crate) fn from_hex(text: &str) -> Option<Sha256> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut sha256 = [0; 32];
    for (byte, pair) in sha256.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_both_ways_and_takes_nothing_else() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex(&of(b"")), empty);
        assert_eq!(from_hex(empty), Some(of(b"")));
        for wrong in ["", &empty[1..], &empty.to_uppercase(), &format!("{}g", &empty[1..])] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }
}
