//! The central directory: what is in an archive. Pure functions over its bytes.
//!
//! Always true: a directory that was read has only plain files and folders with safe names, each once.

use super::{
    CENTRAL, CENTRAL_LEN, DEFLATED, END, END_LEN, KNOWN_FLAGS, S_IFDIR, S_IFMT, S_IFREG, STORED, UNIX,
    u16_at, u32_at,
};
use crate::limits::{MAX_FILES, MAX_RATIO, MAX_UNPACKED, RATIO_FREE};
use crate::manifest::different;
use crate::name;

/// Longest central directory: every file with the longest name and as much again of extras.
pub(super) const MAX_DIRECTORY: u64 = (MAX_FILES as u64 + 2) * 1024;

/// Why an archive is not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ZipError {
    #[error("{0}")]
    Damaged(String),
    #[error("{0}")]
    Dangerous(String),
    #[error("{0}")]
    Io(#[source] std::io::Error),
    /// The one who takes the content said no.
    #[error("{0}")]
    Sink(#[source] std::io::Error),
}

pub(super) fn damaged<T>(why: impl Into<String>) -> Result<T, ZipError> {
    Err(ZipError::Damaged(why.into()))
}

pub(super) fn dangerous<T>(why: impl Into<String>) -> Result<T, ZipError> {
    Err(ZipError::Dangerous(why.into()))
}

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(super) flags: u16,
    pub(super) method: u16,
    pub(super) crc: u32,
    pub(super) packed: u64,
    pub(super) local: u64,
    pub(super) folder: bool,
}

/// Where the directory is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) entries: usize,
    pub(super) size: u64,
    pub(super) offset: u64,
}

/// The last bytes of an archive that is `length` long.
pub(super) fn end(bytes: &[u8; END_LEN], length: u64) -> Result<End, ZipError> {
    if u32_at(bytes, 0) != END || u16_at(bytes, 20) != 0 {
        return damaged("it does not end as a zip archive does: cut off, or with something after its end");
    }
    let (entries, offset) = (u16_at(bytes, 10), u64::from(u32_at(bytes, 16)));
    let size = u64::from(u32_at(bytes, 12));
    if entries == u16::MAX || size == u64::from(u32::MAX) || offset == u64::from(u32::MAX) {
        return damaged("it is a zip64 archive, and packages are small");
    }
    if u16_at(bytes, 4) != 0 || u16_at(bytes, 6) != 0 || u16_at(bytes, 8) != entries {
        return damaged("it is one part of several");
    }
    if usize::from(entries) > MAX_FILES + 2 {
        return dangerous(format!("{entries} files, more than {MAX_FILES}"));
    }
    if size > MAX_DIRECTORY {
        return dangerous(format!("its directory has {size} bytes"));
    }
    if offset.checked_add(size) != length.checked_sub(END_LEN as u64) {
        return damaged("its directory is not where it should be");
    }
    Ok(End { entries: usize::from(entries), size, offset })
}

/// The entries of a directory.
pub(super) fn entries(mut bytes: &[u8], end: &End) -> Result<Vec<Entry>, ZipError> {
    let mut entries = Vec::with_capacity(end.entries);
    for _ in 0..end.entries {
        let (entry, rest) = entry(bytes)?;
        entries.push(entry);
        bytes = rest;
    }
    if !bytes.is_empty() {
        return damaged("its directory has more in it than it says");
    }
    let total = entries.iter().map(|entry| entry.size).sum::<u64>();
    if total > MAX_UNPACKED {
        return dangerous(format!("{total} bytes when unpacked, more than {MAX_UNPACKED}"));
    }
    let files = entries.iter().filter(|entry| !entry.folder);
    different(files.map(|entry| entry.name.as_str())).or_else(dangerous)?;
    Ok(entries)
}

fn entry(bytes: &[u8]) -> Result<(Entry, &[u8]), ZipError> {
    let Some((head, rest)) = bytes.split_first_chunk::<CENTRAL_LEN>() else {
        return damaged("its directory is cut off");
    };
    if u32_at(head, 0) != CENTRAL {
        return damaged("its directory is damaged");
    }
    let lengths = [28, 30, 32].map(|at| usize::from(u16_at(head, at)));
    let Some((variable, rest)) = rest.split_at_checked(lengths.iter().sum()) else {
        return damaged("its directory is cut off");
    };
    let Some(name) = std::str::from_utf8(&variable[..lengths[0]]).ok().filter(|name| name.is_ascii()) else {
        return dangerous(format!(
            "a file name that is not plain ASCII: {:?}",
            String::from_utf8_lossy(&variable[..lengths[0]])
        ));
    };
    let folder = name.ends_with('/');
    let path = name.strip_suffix('/').unwrap_or(name);
    if let Some(wrong) = name::wrong_path(path) {
        return dangerous(format!("the path {name:?} {wrong}"));
    }
    let entry = Entry {
        name: path.to_owned(),
        folder,
        flags: u16_at(head, 8),
        method: u16_at(head, 10),
        crc: u32_at(head, 16),
        packed: u32_at(head, 20).into(),
        size: u32_at(head, 24).into(),
        local: u32_at(head, 42).into(),
    };
    check(&entry, head)?;
    Ok((entry, rest))
}

fn check(entry: &Entry, head: &[u8; CENTRAL_LEN]) -> Result<(), ZipError> {
    let Entry { name, size, packed, folder, .. } = entry;
    let wide = u64::from(u32::MAX);
    if u16_at(head, 34) != 0 || *size == wide || *packed == wide || entry.local == wide {
        return damaged(format!("{name} is in another part or needs zip64"));
    }
    let mode = u32_at(head, 38) >> 16;
    let kind = match head[5] {
        UNIX => mode & S_IFMT,
        _ => 0,
    };
    let plain = kind == 0 || kind == if *folder { S_IFDIR } else { S_IFREG };
    if !plain {
        return dangerous(format!("{name} is a link, a device or the like, and not a plain file"));
    }
    if mode & 0o7000 != 0 && head[5] == UNIX {
        return dangerous(format!("{name} has the special mode {:04o}", mode & 0o7777));
    }
    if entry.flags & !KNOWN_FLAGS != 0 {
        return damaged(format!("{name} is encrypted or otherwise special (flags {:#06x})", entry.flags));
    }
    match entry.method {
        STORED if size != packed => damaged(format!("{name} has two sizes")),
        STORED | DEFLATED if *folder && *size != 0 => damaged(format!("the folder {name} has content")),
        STORED | DEFLATED if *size > RATIO_FREE && *size / MAX_RATIO > *packed => dangerous(format!(
            "{name} unpacks to {size} bytes from {packed}, more than {MAX_RATIO} times as much"
        )),
        STORED | DEFLATED => Ok(()),
        other => damaged(format!("{name} is compressed in a way packages are not (method {other})")),
    }
}
