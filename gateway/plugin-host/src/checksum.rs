//! What a program must be, and that exactly this runs: go-plugin's `SecureConfig`, without its gap.
//!
//! Always true: the file is opened once, hashed through that descriptor, and started from it. A
//! path that leads to another file meanwhile changes nothing. What is left open is a writer of the
//! very same file; who may write the programs must be trusted anyway.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Algorithm, Context, SHA256, SHA512};
use rustix::fs::OFlags;

/// Bytes hashed at once.
const READ_BYTES: usize = 64 << 10;
/// How a script starts: the kernel would run its interpreter, which opens the path again.
const SCRIPT: &[u8] = b"#!";

/// The digest of a program's file. As text: `sha256:` or `sha512:` and hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// SHA-256.
    Sha256([u8; 32]),
    /// SHA-512.
    Sha512([u8; 64]),
}

/// Why a program is not what it must be.
#[derive(Debug, thiserror::Error)]
pub enum ChecksumError {
    /// It cannot be read.
    #[error("cannot read the program to verify its checksum: {0}; correct its permissions")]
    Unreadable(#[source] io::Error),
    /// It is something else. (Go: `ErrChecksumsDoNotMatch`.)
    #[error(
        "checksums did not match: the program is {found}, and must be {expected}; \
         install the driver again from where you trust it"
    )]
    Mismatch {
        /// What it must be.
        expected: Box<Checksum>,
        /// What it is.
        found: Box<Checksum>,
    },
    /// It is a script, which cannot be started from its descriptor.
    #[error(
        "program is a script, and a verified program must be native: \
         start its interpreter with the script as an argument"
    )]
    Script,
}

/// Text that is no checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a checksum; write sha256: and 64 hex digits, or sha512: and 128")]
pub struct NoChecksum;

impl Checksum {
    fn algorithm(&self) -> &'static Algorithm {
        match self {
            Self::Sha256(_) => &SHA256,
            Self::Sha512(_) => &SHA512,
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Sha256(bytes) => bytes,
            Self::Sha512(bytes) => bytes,
        }
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().map(Self::Sha256).or_else(|_| bytes.try_into().map(Self::Sha512)).ok()
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256(_) => "sha256:",
            Self::Sha512(_) => "sha512:",
        })?;
        self.bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Checksum {
    type Err = NoChecksum;

    fn from_str(text: &str) -> Result<Self, NoChecksum> {
        let (name, digits) = text.split_once(':').ok_or(NoChecksum)?;
        let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let digits: Vec<u8> = digits.as_bytes().iter().map(digit).collect::<Option<_>>().ok_or(NoChecksum)?;
        let bytes: Vec<u8> = digits.chunks(2).filter_map(|pair| Some(pair[0] << 4 | pair.get(1)?)).collect();
        let checksum = (digits.len().is_multiple_of(2)).then(|| Self::of(&bytes)).flatten();
        match (name, checksum) {
            ("sha256", Some(Self::Sha256(_))) | ("sha512", Some(Self::Sha512(_))) => {
                checksum.ok_or(NoChecksum)
            }
            _ => Err(NoChecksum),
        }
    }
}

/// Opens a program and verifies it. The descriptor is what must be run.
pub(crate) fn verify(program: &Path, expected: Checksum) -> Result<File, ChecksumError> {
    // not to wait for the writer of a FIFO; for files it means nothing
    let flags = OFlags::NONBLOCK.bits() as i32;
    let mut file =
        OpenOptions::new().read(true).custom_flags(flags).open(program).map_err(ChecksumError::Unreadable)?;
    let mut context = Context::new(expected.algorithm());
    let mut buffer = vec![0; READ_BYTES];
    let mut is_first = true;
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ChecksumError::Unreadable(error)),
        };
        if is_first && buffer[..count].starts_with(SCRIPT) {
            return Err(ChecksumError::Script);
        }
        is_first = false;
        context.update(&buffer[..count]);
    }
    let digest = context.finish();
    if verify_slices_are_equal(digest.as_ref(), expected.bytes()).is_ok() {
        return Ok(file);
    }
    let found = Checksum::of(digest.as_ref()).expect("made by the same algorithm");
    Err(ChecksumError::Mismatch { expected: expected.into(), found: found.into() })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn file(content: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        fs::write(&path, content).unwrap();
        (dir, path)
    }

    #[test]
    fn a_file_is_what_its_checksum_says_or_both_are_named() {
        let (_dir, path) = file("abc");
        verify(&path, ABC.parse().unwrap()).unwrap();
        let sha512 = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                      2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
        verify(&path, sha512.parse().unwrap()).unwrap();
        let other = Checksum::Sha256([0xab; 32]);
        let error = verify(&path, other).unwrap_err().to_string();
        assert!(error.contains("checksums did not match") && error.contains(ABC), "{error}");
        assert!(error.contains(&format!("sha256:{}", "ab".repeat(32))), "{error}");
    }

    #[test]
    fn a_script_and_a_missing_file_say_so() {
        let (_dir, path) = file("#!/bin/sh\n");
        assert!(matches!(verify(&path, ABC.parse().unwrap()), Err(ChecksumError::Script)));
        let missing = verify(&path.join("x"), ABC.parse().unwrap());
        assert!(matches!(missing, Err(ChecksumError::Unreadable(_))));
    }

    #[test]
    fn text_that_is_no_checksum_is_refused() {
        let short = &ABC[..ABC.len() - 1];
        for text in ["", "abc", "sha256:", "md5:00", short, &format!("{short}g"), &ABC.replace("256", "512")]
        {
            assert_eq!(text.parse::<Checksum>(), Err(NoChecksum), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_checksum_survives_being_text(bytes in any::<[u8; 32]>(), more in any::<[u8; 32]>()) {
            let long: Vec<u8> = bytes.iter().chain(&more).copied().collect();
            for checksum in [Checksum::Sha256(bytes), Checksum::of(&long).unwrap()] {
                prop_assert_eq!(checksum.to_string().parse(), Ok(checksum));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,140}") {
            let _ = text.parse::<Checksum>();
        }
    }
}
