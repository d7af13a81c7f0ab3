//! What a file is that was to be a program, for the text of an error.
//!
//! Always true: only its beginning is read, a bounded part, and any bytes at all are some kind of
//! file.

use std::env::consts::ARCH;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// As much of a file as is looked at at once.
const HEAD_BYTES: usize = 256;
/// Program headers looked through for the loader.
const MAX_SEGMENTS: u64 = 64;

/// What the file is, as the end of "the file is …".
pub(crate) fn what_is(path: &Path) -> String {
    let file = match fs::metadata(path) {
        Ok(found) if found.is_dir() => return "a directory".to_owned(),
        Ok(found) if found.is_file() => File::open(path),
        Ok(_) => return "no regular file".to_owned(),
        Err(error) => Err(error),
    };
    match file {
        Ok(file) => what_these_are(&At(&|buffer, offset| file.read_at(buffer, offset))),
        Err(error) => format!("a file this process cannot read ({error})"),
    }
}

/// What the file is, if it is neither a program nor a script that names its interpreter. Started, it
/// could be taken for a shell script: the C library does so with what the kernel refuses.
pub(crate) fn no_program(path: &Path) -> Option<String> {
    with_file(path, |at| {
        let head = at.head(0);
        (!head.starts_with(b"\x7fELF") && !head.starts_with(b"#!")).then(|| what_these_are(at))
    })
}

/// What the file is, if it is a program, but for another machine.
pub(crate) fn foreign_program(path: &Path) -> Option<String> {
    with_file(path, |at| Elf::read(at).filter(|elf| elf.machine() != ARCH).map(|elf| elf.to_string(at)))
}

fn with_file<T>(path: &Path, look: impl FnOnce(&At<'_>) -> Option<T>) -> Option<T> {
    if !fs::metadata(path).is_ok_and(|found| found.is_file()) {
        return None;
    }
    let file = File::open(path).ok()?;
    look(&At(&|buffer, offset| file.read_at(buffer, offset)))
}

/// Who may run it, and who we are.
pub(crate) fn rights(path: &Path) -> String {
    let ours = rustix::process::geteuid().as_raw();
    match fs::metadata(path) {
        Ok(found) => {
            let (mode, uid, gid) = (found.permissions().mode() & 0o7777, found.uid(), found.gid());
            format!("mode {mode:04o}, of user {uid} and group {gid}, and this process is user {ours}")
        }
        Err(error) => format!("not visible to user {ours}: {error}"),
    }
}

/// Something with bytes at offsets.
struct At<'a>(&'a dyn Fn(&mut [u8], u64) -> io::Result<usize>);

impl At<'_> {
    /// The bytes there are, at most `HEAD_BYTES`.
    fn head(&self, offset: u64) -> Vec<u8> {
        let mut bytes = vec![0; HEAD_BYTES];
        let count = (self.0)(&mut bytes, offset).unwrap_or(0);
        bytes.truncate(count);
        bytes
    }
}

fn what_these_are(at: &At<'_>) -> String {
    let head = at.head(0);
    let begins = |magic: &[u8]| head.starts_with(magic);
    let known: [(&[u8], &str); 8] = [
        (b"MZ", "a program for Windows"),
        (b"\xcf\xfa\xed\xfe", "a program for macOS"),
        (b"\xca\xfe\xba\xbe", "a program for macOS or Java"),
        (b"PK\x03\x04", "a zip archive, perhaps a driver package that was not installed"),
        (b"\x1f\x8b", "a compressed archive"),
        (b"\xfd7zXZ", "a compressed archive"),
        (b"!<arch>", "a library or a Debian package"),
        (b"version https://git-lfs", "a placeholder of Git LFS in place of the file"),
    ];
    if head.is_empty() {
        return "empty".to_owned();
    }
    if begins(b"#!") {
        return script(&head);
    }
    if begins(b"\x7fELF") {
        return match Elf::read(at) {
            Some(elf) => elf.to_string(at),
            None => "a damaged or cut off program".to_owned(),
        };
    }
    if let Some((_, what)) = known.iter().find(|(magic, _)| begins(magic)) {
        return (*what).to_owned();
    }
    match std::str::from_utf8(&head[..head.len().min(64)]) {
        Ok(_) => "text without a first line like #!/usr/bin/python3".to_owned(),
        Err(_) => "no program".to_owned(),
    }
}

fn script(head: &[u8]) -> String {
    let line = head[2..].split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    match line.split_whitespace().next() {
        Some(_) if line.ends_with('\r') => {
            format!("a script with the line ends of Windows, for {:?}", line.trim_start())
        }
        Some(interpreter) => format!("a script for {interpreter:?}"),
        None => "a script that names no interpreter".to_owned(),
    }
}

/// The little that matters of an ELF file.
struct Elf {
    wide: bool,
    big_endian: bool,
    machine: u16,
    head: Vec<u8>,
}

impl Elf {
    fn read(at: &At<'_>) -> Option<Self> {
        let head = at.head(0);
        if head.len() < 64 || !head.starts_with(b"\x7fELF") {
            return None;
        }
        let wide = match head[4] {
            1 => false,
            2 => true,
            _ => return None,
        };
        let big_endian = head[5] == 2;
        let mut elf = Self { wide, big_endian, machine: 0, head };
        elf.machine = u16::try_from(elf.number(&elf.head, 18, 2)?).ok()?;
        Some(elf)
    }

    /// The architecture in the words of Rust and of package names.
    fn machine(&self) -> &'static str {
        match (self.machine, self.wide, self.big_endian) {
            (3, ..) => "x86",
            (62, true, _) => "x86_64",
            (40, ..) => "arm",
            (183, true, false) => "aarch64",
            (243, true, _) => "riscv64",
            (243, false, _) => "riscv32",
            (8, ..) => "mips",
            (20, ..) => "powerpc",
            (21, ..) => "powerpc64",
            (22, ..) => "s390x",
            (258, ..) => "loongarch64",
            _ => "an unknown machine",
        }
    }

    fn to_string(&self, at: &At<'_>) -> String {
        let bits = if self.wide { 64 } else { 32 };
        let machine = self.machine();
        match self.loader(at) {
            Some(loader) => format!("a program for {machine} ({bits} bit) that is loaded by {loader:?}"),
            None => format!("a program for {machine} ({bits} bit)"),
        }
    }

    /// The path in the segment of type `PT_INTERP`.
    fn loader(&self, at: &At<'_>) -> Option<String> {
        let (table, size, count) = match self.wide {
            true => (
                self.number(&self.head, 32, 8)?,
                self.number(&self.head, 54, 2)?,
                self.number(&self.head, 56, 2)?,
            ),
            false => (
                self.number(&self.head, 28, 4)?,
                self.number(&self.head, 42, 2)?,
                self.number(&self.head, 44, 2)?,
            ),
        };
        for segment in 0..count.min(MAX_SEGMENTS) {
            let header = at.head(table.checked_add(segment.checked_mul(size)?)?);
            if self.number(&header, 0, 4)? != 3 {
                continue;
            }
            let offset = if self.wide { self.number(&header, 8, 8)? } else { self.number(&header, 4, 4)? };
            let path = at.head(offset);
            let path = path.split(|byte| *byte == 0).next()?;
            return Some(String::from_utf8_lossy(path).into_owned());
        }
        None
    }

    fn number(&self, bytes: &[u8], offset: usize, size: usize) -> Option<u64> {
        let bytes = bytes.get(offset..offset + size)?;
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if self.big_endian { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn what(bytes: &[u8]) -> String {
        what_these_are(&At(&|buffer: &mut [u8], offset| {
            let rest = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        }))
    }

    /// A header, one segment of another type, and one that names a loader.
    fn elf(class: u8, order: u8, machine: u16, loader: &str) -> Vec<u8> {
        let put = |bytes: &mut Vec<u8>, at: usize, size: usize, value: u64| {
            let all = value.to_be_bytes();
            let mut own = all[8 - size..].to_vec();
            if order == 1 {
                own.reverse();
            }
            bytes[at..at + size].copy_from_slice(&own);
        };
        let mut bytes = vec![0; 256];
        bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order]);
        put(&mut bytes, 18, 2, machine.into());
        let (table, size, count, offset, width) =
            if class == 2 { ((32, 8), 54, 56, 8, 8) } else { ((28, 4), 42, 44, 4, 4) };
        put(&mut bytes, table.0, table.1, 64);
        put(&mut bytes, size, 2, 56);
        put(&mut bytes, count, 2, 2);
        put(&mut bytes, 64, 4, 1);
        put(&mut bytes, 64 + 56, 4, 3);
        put(&mut bytes, 64 + 56 + offset, width, 200);
        bytes[200..200 + loader.len()].copy_from_slice(loader.as_bytes());
        bytes
    }

    #[test]
    fn every_kind_of_file_is_named() {
        let cases: [(&[u8], &str); 15] = [
            (b"", "empty"),
            (
                &elf(2, 1, 183, "/lib/ld-linux-aarch64.so.1"),
                "a program for aarch64 (64 bit) that is loaded by \"/lib/ld-linux-aarch64.so.1\"",
            ),
            (&elf(2, 1, 62, "/lib64/l"), "a program for x86_64 (64 bit) that is loaded by \"/lib64/l\""),
            (&elf(1, 1, 40, "/lib/l"), "a program for arm (32 bit) that is loaded by \"/lib/l\""),
            (&elf(1, 2, 8, "/lib/l"), "a program for mips (32 bit) that is loaded by \"/lib/l\""),
            (&elf(2, 1, 999, "/l"), "a program for an unknown machine (64 bit) that is loaded by \"/l\""),
            (b"\x7fELF of another machine", "a damaged or cut off program"),
            (b"#!/no/such/interpreter -x\n", "a script for \"/no/such/interpreter\""),
            (b"#! /bin/sh\r\nexit\r\n", "a script with the line ends of Windows, for \"/bin/sh\\r\""),
            (b"#!\n", "a script that names no interpreter"),
            (b"MZ\x90\x00", "a program for Windows"),
            (b"PK\x03\x04", "a zip archive, perhaps a driver package that was not installed"),
            (
                b"version https://git-lfs.github.com/spec/v1\n",
                "a placeholder of Git LFS in place of the file",
            ),
            (b"import os\n", "text without a first line like #!/usr/bin/python3"),
            (b"\x00\xff\x00", "no program"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(what(bytes), expected);
        }
    }

    #[test]
    fn this_very_program_is_not_foreign() {
        let own = std::env::current_exe().unwrap();
        assert_eq!((foreign_program(&own), no_program(&own)), (None, None));
        assert!(what_is(&own).starts_with(&format!("a program for {ARCH} (")), "{}", what_is(&own));
        assert_eq!(what_is(own.parent().unwrap()), "a directory");
        assert_eq!(what_is(Path::new("/dev/null")), "no regular file");
        assert!(rights(&own).starts_with("mode 0"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_some_kind_of_file(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(!what(&bytes).is_empty());
        }

        #[test]
        fn any_elf_is_some_kind_of_program(
            class in 1u8..3, order in 1u8..3, at in 0usize..256, with in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut bytes = elf(class, order, 62, "/lib/l");
            for (place, byte) in bytes.iter_mut().skip(at.max(6)).zip(with) {
                *place = byte;
            }
            prop_assert!(what(&bytes).starts_with("a program for "));
        }
    }
}
