//! Public keys.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

use super::signature::Signature;
use super::{KeyNumber, PLAIN, UNTRUSTED};

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicKey {
    pub(crate) number: KeyNumber,
    key: [u8; 32],
}

impl PublicKey {
    pub(super) fn new(number: KeyNumber, key: [u8; 32]) -> Self {
        Self { number, key }
    }

    /// Reads a key file, or its second line alone, as people send it to each other.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut lines = match text.starts_with(UNTRUSTED) {
            true => super::lines(text)?,
            false => text.lines(),
        };
        let bytes: [u8; 42] = super::line(lines.next(), "the key")?;
        super::nothing_more(lines)?;
        let (kind, rest) = bytes.split_first_chunk().expect("2 of 42 bytes");
        let (number, key) = rest.split_first_chunk().expect("8 of 40 bytes");
        match *kind == PLAIN {
            true => Ok(Self { number: *number, key: key.try_into().expect("32 bytes are left") }),
            false => Err("it is no Ed25519 key".to_owned()),
        }
    }

    /// As a key file.
    #[cfg(test)]
    pub(crate) fn to_text(&self) -> String {
        use base64::Engine;
        let bytes = [&PLAIN[..], &self.number, &self.key].concat();
        let bytes = base64::engine::general_purpose::STANDARD.encode(bytes);
        format!("{UNTRUSTED} minisign public key {}\n{bytes}\n", super::number(self.number))
    }

    /// Whether `signature` is this key's for `message`, its trusted comment included.
    pub(crate) fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, &self.key);
        let hash;
        let signed: &[u8] = match signature.hashed {
            true => {
                hash = super::hash(message);
                &hash
            }
            false => message,
        };
        signature.key == self.number
            && key.verify(signed, &signature.signature).is_ok()
            && key.verify(&signature.with_comment(), &signature.global).is_ok()
    }
}
