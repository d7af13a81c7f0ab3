//! Signature files.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{HASHED, KeyNumber, PLAIN, UNTRUSTED};

const TRUSTED: &str = "trusted comment: ";

/// What a signature file holds; proves nothing before it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) key: KeyNumber,
    pub(super) hashed: bool,
    pub(super) signature: [u8; 64],
    pub(super) comment: String,
    pub(super) global: [u8; 64],
}

impl Signature {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut lines = super::lines(text)?;
        let bytes: [u8; 74] = super::line(lines.next(), "the signature")?;
        let comment = lines.next().and_then(|line| line.strip_prefix(TRUSTED));
        let comment = comment.ok_or_else(|| format!("the third line does not begin with {TRUSTED:?}"))?;
        let global = super::line(lines.next(), "the signature of the comment")?;
        super::nothing_more(lines)?;
        let (kind, rest) = bytes.split_first_chunk().expect("2 of 74 bytes");
        let (key, signature) = rest.split_first_chunk().expect("8 of 72 bytes");
        let hashed = match *kind {
            HASHED => true,
            PLAIN => false,
            _ => return Err("it is no Ed25519 signature".to_owned()),
        };
        let signature = signature.try_into().expect("64 bytes are left");
        Ok(Self { key: *key, hashed, signature, comment: comment.to_owned(), global })
    }

    pub(super) fn to_text(&self, untrusted: &str) -> String {
        let kind = if self.hashed { HASHED } else { PLAIN };
        let bytes = [&kind[..], &self.key, &self.signature].concat();
        let (signature, global) = (STANDARD.encode(bytes), STANDARD.encode(self.global));
        format!("{UNTRUSTED} {untrusted}\n{signature}\n{TRUSTED}{}\n{global}\n", self.comment)
    }

    /// What the second signature is over.
    pub(super) fn with_comment(&self) -> Vec<u8> {
        [&self.signature[..], self.comment.as_bytes()].concat()
    }
}
