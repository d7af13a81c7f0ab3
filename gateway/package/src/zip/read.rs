//! Reading: the directory, and then the content of one file after the other.
//!
//! Always true: no more bytes come out of a file than its entry says, and either all of them with the
//! right CRC, or an error. Whoever reads still has to compare with what was signed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crc32fast::Hasher;
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZFlush, MZStatus};

use super::directory::{self, Entry, ZipError, damaged, dangerous};
use super::{DEFLATED, DESCRIPTOR, END_LEN, LOCAL, LOCAL_LEN, STREAMED, u16_at, u32_at};
use crate::files::BLOCK;
use crate::limits::MAX_ARCHIVE;

/// An archive whose directory was read and checked.
#[derive(Debug)]
pub(crate) struct Archive {
    file: File,
    entries: Vec<Entry>,
    /// Where the content of each entry begins.
    begins: Vec<u64>,
}

impl Archive {
    /// Reads the directory and checks it against what lies before it.
    pub(crate) fn open(file: File) -> Result<Self, ZipError> {
        let length = file.metadata().map_err(ZipError::Io)?.len();
        if length > MAX_ARCHIVE {
            return dangerous(format!("{length} bytes, more than {MAX_ARCHIVE}"));
        }
        let Some(at) = length.checked_sub(END_LEN as u64) else {
            return damaged("it is no zip archive");
        };
        let mut last = [0; END_LEN];
        read_at(&file, &mut last, at)?;
        let end = directory::end(&last, length)?;
        let mut bytes = vec![0; usize::try_from(end.size).expect("checked to be small")];
        read_at(&file, &mut bytes, end.offset)?;
        let entries = directory::entries(&bytes, &end)?;
        let begins = locals(&file, &entries, end.offset)?;
        Ok(Self { file, entries, begins })
    }

    /// Its files; folders are not among them, they come with their files.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| !entry.folder)
    }

    /// The file with this path.
    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries().find(|entry| entry.name == name)
    }

    /// All of a small file.
    pub(crate) fn read(&self, entry: &Entry, most: u64) -> Result<Vec<u8>, ZipError> {
        if entry.size > most {
            return dangerous(format!("{} has {} bytes, more than {most}", entry.name, entry.size));
        }
        let mut content = Vec::new();
        self.unpack(entry, &mut |block| {
            content.extend_from_slice(block);
            Ok(())
        })?;
        Ok(content)
    }

    /// The content of a file, block by block.
    pub(crate) fn unpack(
        &self,
        entry: &Entry,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), ZipError> {
        let at = self.entries.iter().position(|other| other == entry);
        let begin = self.begins[at.expect("entries come from this archive")];
        let mut unpacked = Unpacked { entry, sink, crc: Hasher::new(), size: 0 };
        let mut packed = Packed { file: &self.file, at: begin, left: entry.packed };
        match entry.method {
            DEFLATED => deflated(&mut packed, &mut unpacked)?,
            _ => stored(&mut packed, &mut unpacked)?,
        }
        unpacked.finish()
    }
}

fn read_at(file: &File, bytes: &mut [u8], at: u64) -> Result<(), ZipError> {
    file.read_exact_at(bytes, at).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ZipError::Damaged("it is cut off".to_owned()),
        _ => ZipError::Io(error),
    })
}

/// Checks that files lie one after the other, each as the directory says; where their content begins.
fn locals(file: &File, entries: &[Entry], directory: u64) -> Result<Vec<u64>, ZipError> {
    let by_place: BTreeMap<u64, usize> =
        entries.iter().enumerate().map(|(n, entry)| (entry.local, n)).collect();
    if by_place.len() != entries.len() {
        return dangerous("two files have the same content in the archive");
    }
    let (mut next, mut begins) = (0, vec![0; entries.len()]);
    for (place, n) in by_place {
        let entry = &entries[n];
        if place != next {
            return dangerous(format!(
                "there is something hidden before {}, or it overlaps another",
                entry.name
            ));
        }
        begins[n] = local(file, entry)?;
        next = begins[n] + entry.packed;
        if entry.flags & STREAMED != 0 {
            next += descriptor(file, entry, next)?;
        }
        if next > directory {
            return damaged(format!("{} reaches into the directory", entry.name));
        }
    }
    match next == directory {
        true => Ok(begins),
        false => dangerous("there is something hidden before its directory"),
    }
}

/// The local header: has to say what the directory says.
fn local(file: &File, entry: &Entry) -> Result<u64, ZipError> {
    let mut head = [0; LOCAL_LEN];
    read_at(file, &mut head, entry.local)?;
    let mut name = vec![0; usize::from(u16_at(&head, 26))];
    read_at(file, &mut name, entry.local + LOCAL_LEN as u64)?;
    let folder = if entry.folder { "/" } else { "" };
    let sizes = [14, 18, 22].map(|at| u64::from(u32_at(&head, at)));
    let expected = [u64::from(entry.crc), entry.packed, entry.size];
    let later = entry.flags & STREAMED != 0 && sizes == [0; 3];
    let same = u32_at(&head, 0) == LOCAL
        && u16_at(&head, 6) == entry.flags
        && u16_at(&head, 8) == entry.method
        && name == format!("{}{folder}", entry.name).as_bytes()
        && (sizes == expected || later);
    match same {
        true => Ok(entry.local + (LOCAL_LEN + name.len()) as u64 + u64::from(u16_at(&head, 28))),
        false => dangerous(format!("{} is described in two different ways", entry.name)),
    }
}

/// Length of what follows a file that was written in one go, with or without its mark.
fn descriptor(file: &File, entry: &Entry, at: u64) -> Result<u64, ZipError> {
    let mut bytes = [0; 16];
    read_at(file, &mut bytes, at)?;
    let numbers = [u64::from(entry.crc), entry.packed, entry.size];
    let says = |from: usize| [0, 4, 8].map(|at| u64::from(u32_at(&bytes, from + at))) == numbers;
    match () {
        () if u32_at(&bytes, 0) == DESCRIPTOR && says(4) => Ok(16),
        () if says(0) => Ok(12),
        () => damaged(format!("{} does not end as it should", entry.name)),
    }
}

/// What is left of a file's bytes in the archive.
struct Packed<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Packed<'_> {
    /// The next bytes, as many as fit; none at the end.
    fn next<'b>(&mut self, block: &'b mut [u8]) -> Result<&'b [u8], ZipError> {
        let count = self.left.min(block.len() as u64);
        let block = &mut block[..usize::try_from(count).expect("no more than the block")];
        read_at(self.file, block, self.at)?;
        (self.at, self.left) = (self.at + count, self.left - count);
        Ok(block)
    }
}

/// What came out of a file.
struct Unpacked<'a> {
    entry: &'a Entry,
    sink: &'a mut dyn FnMut(&[u8]) -> io::Result<()>,
    crc: Hasher,
    size: u64,
}

impl Unpacked<'_> {
    fn push(&mut self, block: &[u8]) -> Result<(), ZipError> {
        self.size += block.len() as u64;
        if self.size > self.entry.size {
            return dangerous(format!("{} unpacks to more than it says", self.entry.name));
        }
        self.crc.update(block);
        (self.sink)(block).map_err(ZipError::Sink)
    }

    fn finish(self) -> Result<(), ZipError> {
        let Self { entry, crc, size, .. } = self;
        match size == entry.size && crc.finalize() == entry.crc {
            true => Ok(()),
            false => damaged(format!("{} has other content than it should", entry.name)),
        }
    }
}

fn stored(packed: &mut Packed<'_>, unpacked: &mut Unpacked<'_>) -> Result<(), ZipError> {
    let mut block = vec![0; BLOCK];
    loop {
        match packed.next(&mut block)? {
            [] => return Ok(()),
            bytes => unpacked.push(bytes)?,
        }
    }
}

fn deflated(packed: &mut Packed<'_>, unpacked: &mut Unpacked<'_>) -> Result<(), ZipError> {
    let name = &unpacked.entry.name;
    let mut state = InflateState::new_boxed(DataFormat::Raw);
    let (mut block, mut out) = (vec![0; BLOCK], vec![0; BLOCK]);
    let mut input: &[u8] = &[];
    loop {
        if input.is_empty() {
            input = packed.next(&mut block)?;
        }
        let result = inflate(&mut state, input, &mut out, MZFlush::None);
        input = &input[result.bytes_consumed..];
        let stuck = result.bytes_consumed == 0 && result.bytes_written == 0;
        unpacked.push(&out[..result.bytes_written])?;
        match result.status {
            Ok(MZStatus::StreamEnd) if input.is_empty() && packed.left == 0 => return Ok(()),
            Ok(MZStatus::StreamEnd) => {
                return dangerous(format!("{name} has something hidden after its end"));
            }
            Ok(_) if !stuck => {}
            _ => return damaged(format!("{name} cannot be unpacked")),
        }
    }
}
