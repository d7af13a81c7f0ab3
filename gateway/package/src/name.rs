//! Names: a driver's id, its version, the file name of a package, the path of a file in one.
//!
//! Always true: a name that passed here is safe as a part of a path on any file system, and no two
//! names that passed are the same file on one that ignores case.

use std::fmt;

use crate::arch::Arch;
use crate::limits::{MAX_DEPTH, MAX_ID, MAX_PATH, MAX_VERSION};

/// What a package's file name begins with.
const PREFIX: &str = "driver-";
/// What it ends with.
const SUFFIX: &str = ".zip";

/// Whether `id` can be a driver's: small letters, digits, `_` and `-`.
pub fn is_id(id: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    (1..=MAX_ID).contains(&id.len()) && id.bytes().all(fits) && !id.starts_with('-')
}

/// A version: semantic, without build metadata, because two versions must not be the same one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(semver::Version);

impl Version {
    /// Parses `1.2.3` or `1.2.3-beta.1`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_VERSION {
            return Err(format!("a version has at most {MAX_VERSION} characters"));
        }
        let version = semver::Version::parse(text)
            .map_err(|error| format!("{text:?} is no version like \"1.2.3\" ({error})"))?;
        match version.build.is_empty() {
            true => Ok(Self(version)),
            false => Err(format!("leave out what follows the + in {text:?}: it orders nothing")),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `driver-<id>-<version>-<arch>.zip`
pub fn package(id: &str, version: &Version, arch: Arch) -> String {
    format!("{PREFIX}{id}-{version}-{arch}{SUFFIX}")
}

/// The program of a driver that is not packaged.
pub(crate) fn bare(id: &str) -> String {
    format!("{PREFIX}{id}")
}

/// The id in the name of a program that is not packaged.
pub(crate) fn id_of_bare(name: &str) -> Option<&str> {
    name.strip_prefix(PREFIX).filter(|id| is_id(id))
}

/// Why `path` cannot be the path of a file in a package; `None`: it can.
pub(crate) fn wrong_path(path: &str) -> Option<&'static str> {
    if path.len() > MAX_PATH {
        return Some("is longer than 200 characters");
    }
    if path.starts_with('/') {
        return Some("is absolute");
    }
    if path.split('/').count() > MAX_DEPTH {
        return Some("is more than 8 folders deep");
    }
    path.split('/').find_map(wrong_part)
}

fn wrong_part(part: &str) -> Option<&'static str> {
    let fits = |b: u8| b.is_ascii_graphic() && !b"\\:*?\"<>|".contains(&b) || b == b' ';
    match part {
        "" => Some("has an empty part"),
        "." | ".." => Some("leaves its folder"),
        _ if part.starts_with('.') => Some("is a hidden file"),
        _ if !part.bytes().all(fits) => Some("has a character other than plain letters, digits and signs"),
        _ if part.starts_with(' ') || part.ends_with([' ', '.']) => {
            Some("begins or ends with a space or dot")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_small_letters() {
        for id in ["modbus", "s7-200", "a_b", "7"] {
            assert!(is_id(id), "{id}");
        }
        for id in ["", "Modbus", "a/b", "..", "a b", "ä", "-a", &"a".repeat(65)] {
            assert!(!is_id(id), "{id}");
        }
    }

    #[test]
    fn versions_order_like_semver_and_carry_no_build() {
        let order = ["0.9.0", "1.0.0-alpha", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0", "1.10.0", "1.10.1"];
        let parsed: Vec<Version> = order.iter().map(|text| Version::parse(text).unwrap()).collect();
        assert!(parsed.is_sorted());
        for wrong in ["", "1", "1.2", "v1.2.3", "1.2.3+5", "01.2.3", "../1.2.3", "1.2.3/x"] {
            assert!(Version::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn paths_stay_inside() {
        for path in ["a", "driver-x", "lib/site packages/x.py", "a@2/b+c.so.1", "__main__.py"] {
            assert_eq!(wrong_path(path), None, "{path}");
        }
        for path in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "a/./b",
            "a/",
            ".git/x",
            "a\\b",
            "C:x",
            "a\nb",
            "ü",
            "x ",
            "x.",
            "a\0",
            &"a/".repeat(9),
            &"a".repeat(201),
        ] {
            assert!(wrong_path(path).is_some(), "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn a_path_that_passed_stays_below_its_folder(path in ".{0,40}") {
            if wrong_path(&path).is_none() {
                let joined = std::path::Path::new("/d").join(&path);
                prop_assert!(joined.starts_with("/d") && joined != std::path::Path::new("/d"));
                prop_assert!(joined.components().all(|c| !matches!(c, std::path::Component::ParentDir)));
            }
        }

        #[test]
        fn a_version_that_parsed_is_one_part_of_a_path(text in ".{0,20}") {
            if let Ok(version) = Version::parse(&text) {
                prop_assert_eq!(wrong_path(&version.to_string()), None);
            }
        }
    }
}
