//! minisign: Ed25519 signatures in small text files, made and checked by this and by the `minisign` tool.
//!
//! ```text
//! public key     untrusted comment: …
//!                base64( "Ed" key number (8) key (32) )
//! signature      untrusted comment: …
//!                base64( "ED" key number (8) signature (64) )      over BLAKE2b-512 of the file;
//!                                                                  "Ed", older: over the file itself
//!                trusted comment: …
//!                base64( signature (64) of the signature and the trusted comment )
//! ```
//! Always true: a signature counts only when both its parts are by the key; its untrusted comment is
//! never looked at.
//!
//! In reading order: [`public`], [`signature`], [`secret`].

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blake2::{Blake2b512, Digest};

pub(crate) mod public;
pub(crate) mod secret;
pub(crate) mod signature;

/// Number that tells keys apart; it proves nothing.
pub(crate) type KeyNumber = [u8; 8];

/// Begins the first line of each file.
const UNTRUSTED: &str = "untrusted comment:";
/// Ed25519 over the message itself.
const PLAIN: [u8; 2] = *b"Ed";
/// Ed25519 over its BLAKE2b-512.
const HASHED: [u8; 2] = *b"ED";

/// As minisign prints it.
pub(crate) fn number(key: KeyNumber) -> String {
    format!("{:016X}", u64::from_le_bytes(key))
}

fn hash(message: &[u8]) -> [u8; 64] {
    Blake2b512::digest(message).into()
}

/// The bytes of a base64 line, exactly `N`.
fn line<const N: usize>(line: Option<&str>, what: &str) -> Result<[u8; N], String> {
    let line = line.ok_or_else(|| format!("{what} is missing"))?;
    let bytes = STANDARD.decode(line.trim_end()).map_err(|_| format!("{what} is no base64"))?;
    bytes.try_into().map_err(|bytes: Vec<u8>| format!("{what} has {} bytes and not {N}", bytes.len()))
}

/// The lines after the untrusted comment.
fn lines(text: &str) -> Result<std::str::Lines<'_>, String> {
    let mut lines = text.lines();
    match lines.next() {
        Some(first) if first.starts_with(UNTRUSTED) => Ok(lines),
        _ => Err(format!("the first line does not begin with {UNTRUSTED:?}")),
    }
}

fn nothing_more(mut lines: std::str::Lines<'_>) -> Result<(), String> {
    match lines.all(|line| line.trim().is_empty()) {
        true => Ok(()),
        false => Err("there is more after its end".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::digest::hex;

    #[test]
    fn the_hash_is_blake2b_of_rfc_7693() {
        assert_eq!(
            hex(&hash(b"abc")),
            "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1\
             7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923"
        );
    }

    #[test]
    fn what_was_signed_is_verified_and_nothing_else() {
        let secret = secret::SecretKey::generate();
        let public = secret.public();
        let text = secret.sign(b"message", "timestamp:1");
        let read = signature::Signature::parse(&text).unwrap();
        assert_eq!(read.key, public.number);
        assert!(public.verify(b"message", &read));
        assert!(!public.verify(b"messagf", &read));
        assert!(!secret::SecretKey::generate().public().verify(b"message", &read));
        let comment = signature::Signature::parse(&text.replace("timestamp:1", "timestamp:2")).unwrap();
        assert!(!public.verify(b"message", &comment), "the trusted comment is signed too");
    }

    proptest! {
        #[test]
        fn a_changed_signature_file_never_verifies(at in any::<prop::sample::Index>(), bit in 0..8u8) {
            let secret = secret::SecretKey::from_seed([7; 32], [1; 8]);
            let mut bytes = secret.sign(b"message", "timestamp:1").into_bytes();
            let begin = bytes.iter().position(|b| *b == b'\n').unwrap();
            let at = begin + 1 + at.index(bytes.len() - begin - 1);
            let before = bytes[at];
            bytes[at] ^= 1 << bit;
            let Ok(text) = String::from_utf8(bytes) else { return Ok(()) };
            let Ok(read) = signature::Signature::parse(&text) else { return Ok(()) };
            // the end of the last line may be any white space, and the key's number proves nothing
            let same = before.is_ascii_whitespace() || read.key != [1; 8];
            prop_assert!(same || !secret.public().verify(b"message", &read));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "(untrusted comment:.{0,20}\n)?.{0,200}(\n.{0,100}){0,4}") {
            let _ = public::PublicKey::parse(&text);
            let _ = signature::Signature::parse(&text);
            let _ = secret::SecretKey::parse(&text, None);
        }
    }
}
