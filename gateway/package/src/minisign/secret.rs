//! Secret keys, as `minisign -G` writes them.
//!
//! ```text
//! untrusted comment: …
//! base64( "Ed" kdf (2) "B2" salt (32) operations (8) memory (8)
//!         [ key number (8) seed (32) public key (32) checksum (32) ] )
//! ```
//! The part in brackets is hidden under the scrypt stream of the password when kdf is "Sc"; without a
//! password the checksum is left out. Always true: a key that was read fits together, and a wrong
//! password is told from a damaged file only by whoever typed it.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use scrypt::Params;

use super::public::PublicKey;
use super::signature::Signature;
use super::{KeyNumber, PLAIN};
use crate::limits::MAX_KEY_MEMORY;

const PASSWORD: [u8; 2] = *b"Sc";
const NO_PASSWORD: [u8; 2] = [0, 0];
const CHECKSUM: [u8; 2] = *b"B2";
/// scrypt's block size, which libsodium never changes.
const BLOCK: u32 = 8;
/// Bytes hidden under the password.
const HIDDEN: usize = 104;

/// Why a secret key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It needs a password.
    #[error("the key is protected by a password")]
    NeedsPassword,
    /// The password does not open it.
    #[error("wrong password, or a damaged key")]
    WrongPassword,
    /// It is no secret key.
    #[error("no secret key of minisign: {0}; make one with: minisign -G")]
    Malformed(String),
}

/// A secret key, open.
pub struct SecretKey {
    number: KeyNumber,
    pair: Ed25519KeyPair,
}

impl SecretKey {
    /// Reads a key file. `password` is not looked at when the key has none.
    pub fn parse(text: &str, password: Option<&[u8]>) -> Result<Self, KeyError> {
        let mut lines = super::lines(text).map_err(KeyError::Malformed)?;
        let bytes: [u8; 158] = super::line(lines.next(), "the key").map_err(KeyError::Malformed)?;
        let (head, hidden) = bytes.split_at(158 - HIDDEN);
        let mut open: [u8; HIDDEN] = hidden.try_into().expect("158 bytes, less the head");
        let kdf: [u8; 2] = [head[2], head[3]];
        if head[..2] != PLAIN || head[4..6] != CHECKSUM || ![PASSWORD, NO_PASSWORD].contains(&kdf) {
            return Err(KeyError::Malformed("of another kind".to_owned()));
        }
        if kdf == PASSWORD {
            let word =
                |at: usize| u64::from_le_bytes(*head[at..].first_chunk().expect("8 bytes of the head"));
            let params = parameters(word(38), word(46)).map_err(KeyError::Malformed)?;
            let password = password.ok_or(KeyError::NeedsPassword)?;
            let mut stream = [0; HIDDEN];
            scrypt::scrypt(password, &head[6..38], &params, &mut stream)
                .expect("104 bytes is a length it gives");
            open.iter_mut().zip(stream).for_each(|(byte, key)| *byte ^= key);
        }
        let (checked, checksum) = open.split_at(72);
        let expected = Blake2b::<U32>::new().chain_update(PLAIN).chain_update(checked).finalize();
        // without a password minisign leaves the checksum out; its two halves have to fit all the same
        let left_out = kdf == NO_PASSWORD && checksum == [0; 32];
        if expected.as_slice() != checksum && !left_out {
            return Err(KeyError::WrongPassword);
        }
        let (number, seed, public) = (&checked[..8], &checked[8..40], &checked[40..]);
        let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public)
            .map_err(|_| KeyError::Malformed("its two halves do not fit".to_owned()))?;
        Ok(Self { number: number.try_into().expect("8 of 72 bytes"), pair })
    }

    pub(crate) fn public(&self) -> PublicKey {
        let key = self.pair.public_key().as_ref().try_into().expect("Ed25519 keys have 32 bytes");
        PublicKey::new(self.number, key)
    }

    /// The signature file for `message`.
    pub(crate) fn sign(&self, message: &[u8], comment: &str) -> String {
        let bytes = |message: &[u8]| -> [u8; 64] {
            self.pair.sign(message).as_ref().try_into().expect("Ed25519 signatures have 64 bytes")
        };
        let mut signature = Signature {
            key: self.number,
            hashed: true,
            signature: bytes(&super::hash(message)),
            comment: comment.to_owned(),
            global: [0; 64],
        };
        signature.global = bytes(&signature.with_comment());
        signature.to_text("signature from a sagoo-edge driver package")
    }

    #[cfg(test)]
    pub(crate) fn generate() -> Self {
        let mut seed = [0; 40];
        getrandom::fill(&mut seed).unwrap();
        let (number, seed) = seed.split_first_chunk().unwrap();
        Self::from_seed(seed.try_into().unwrap(), *number)
    }

    #[cfg(test)]
    pub(crate) fn from_seed(seed: [u8; 32], number: KeyNumber) -> Self {
        Self { number, pair: Ed25519KeyPair::from_seed_unchecked(&seed).unwrap() }
    }
}

/// libsodium's way from the two limits in the file to scrypt's parameters.
fn parameters(operations: u64, memory: u64) -> Result<Params, String> {
    if memory > MAX_KEY_MEMORY {
        return Err(format!("it asks for {memory} bytes of memory to open it"));
    }
    let operations = operations.max(1 << 15);
    // the exponent is found by asking which power of two is over half of the most it may be
    let exponent = |most: u64| (1..63).find(|n| 1_u64 << n > most / 2).unwrap_or(63);
    let block = u64::from(BLOCK);
    let (n, p) = match operations < memory / 32 {
        true => (exponent(operations / (block * 4)), 1),
        false => {
            let n = exponent(memory / (block * 128));
            (n, ((operations / 4) >> n).min(0x3fff_ffff) / block)
        }
    };
    let p = u32::try_from(p).ok().filter(|p| (1..=16).contains(p));
    let p = p.ok_or("it asks for more work than minisign ever does")?;
    Params::new(n, BLOCK, p, Params::RECOMMENDED_LEN).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// A key file with a password that takes little memory; minisign reads such ones, too.
    fn protected(password: &[u8]) -> String {
        let (operations, memory) = (32_768_u64, 1_048_576_u64);
        let pair = Ed25519KeyPair::from_seed_unchecked(&[5; 32]).unwrap();
        let checked = [&[9; 8][..], &[5; 32], pair.public_key().as_ref()].concat();
        let checksum = Blake2b::<U32>::new().chain_update(PLAIN).chain_update(&checked).finalize();
        let mut stream = [0; HIDDEN];
        scrypt::scrypt(password, &[3; 32], &parameters(operations, memory).unwrap(), &mut stream).unwrap();
        let open = [&checked[..], &checksum].concat();
        let hidden: Vec<u8> = open.iter().zip(stream).map(|(byte, key)| byte ^ key).collect();
        let (operations, memory) = (operations.to_le_bytes(), memory.to_le_bytes());
        let file = [&b"EdScB2"[..], &[3; 32], &operations, &memory, &hidden].concat();
        format!("untrusted comment: a key\n{}\n", STANDARD.encode(file))
    }

    #[test]
    fn a_password_opens_its_key_and_no_other_does() {
        let file = protected(b"secret");
        let key = SecretKey::parse(&file, Some(b"secret")).ok().unwrap();
        assert_eq!(key.public().number, [9; 8]);
        assert_eq!(SecretKey::parse(&file, Some(b"other")).err(), Some(KeyError::WrongPassword));
        assert_eq!(SecretKey::parse(&file, None).err(), Some(KeyError::NeedsPassword));
    }

    #[test]
    fn a_key_that_asks_for_too_much_is_refused_before_it_gets_it() {
        for (operations, memory) in [(1 << 25, 1 << 31), (u64::MAX, 1 << 30), (u64::MAX, u64::MAX)] {
            assert!(parameters(operations, memory).is_err(), "{operations} {memory}");
        }
        assert!(parameters(1 << 25, 1 << 30).is_ok(), "what minisign asks for");
    }

    #[test]
    fn a_public_key_is_no_secret_key() {
        let error = SecretKey::parse("untrusted comment: x\nRWQAAA==\n", None).err().unwrap();
        assert!(error.to_string().contains("minisign -G"), "{error}");
    }
}
