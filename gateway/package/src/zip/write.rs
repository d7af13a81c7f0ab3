//! Writing: every file deflated, or stored where that is no larger; the same files give the same bytes.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};

use crc32fast::Hasher;
use miniz_oxide::deflate::core::{CompressorOxide, create_comp_flags_from_zip_params};
use miniz_oxide::deflate::stream::deflate;
use miniz_oxide::{MZFlush, MZStatus};

use super::{CENTRAL, CENTRAL_LEN, DEFLATED, END, END_LEN, LOCAL, LOCAL_LEN, S_IFREG, STORED, UNIX};
use crate::files::BLOCK;

/// What a reader has to know: deflate, folders.
const VERSION: u16 = 20;
/// 1 January 1980: when a package was packed says nothing about what is in it.
const DATE: u16 = 0x21;
/// Compression from 0 to 10; what zip tools use unless told otherwise is 6.
const LEVEL: i32 = 9;

/// An archive in the making.
pub(crate) struct Writer {
    file: BufWriter<File>,
    directory: Vec<u8>,
    entries: u16,
    at: u32,
}

impl Writer {
    pub(crate) fn new(file: File) -> Self {
        Self { file: BufWriter::with_capacity(BLOCK, file), directory: Vec::new(), entries: 0, at: 0 }
    }

    /// Adds a file with everything `from` gives; `each` is told of every block.
    pub(crate) fn add(
        &mut self,
        name: &str,
        executable: bool,
        from: &mut (impl Read + Seek),
        each: &mut dyn FnMut(&[u8]),
    ) -> io::Result<()> {
        let header = u64::from(self.at);
        let content = header + (LOCAL_LEN + name.len()) as u64;
        self.file.seek(SeekFrom::Start(content))?;
        let (mut crc, mut size) = (Hasher::new(), 0_u64);
        let packed = pack(from, &mut self.file, &mut |block| {
            crc.update(block);
            size += block.len() as u64;
            each(block);
        })?;
        let (method, packed) = match packed < size {
            true => (DEFLATED, packed),
            false => {
                from.seek(SeekFrom::Start(0))?;
                self.file.seek(SeekFrom::Start(content))?;
                (STORED, io::copy(&mut from.take(size), &mut self.file)?)
            }
        };
        let narrow = |number: u64| u32::try_from(number).map_err(|_| io::Error::other("larger than 4 GiB"));
        let sizes = [crc.finalize(), narrow(packed)?, narrow(size)?];
        let length = u16::try_from(name.len()).map_err(|_| io::Error::other("a name that is too long"))?;
        let shared = shared(method, sizes, length);

        self.file.seek(SeekFrom::Start(header))?;
        self.file.write_all(&[&LOCAL.to_le_bytes()[..], &shared, name.as_bytes()].concat())?;
        let mode: u32 = if executable { 0o755 } else { 0o644 };
        self.directory.extend(CENTRAL.to_le_bytes());
        self.directory.extend([20, UNIX]);
        self.directory.extend(shared);
        self.directory.extend([0; 6]); // comment, disk, internal attributes
        self.directory.extend(((S_IFREG | mode) << 16).to_le_bytes());
        self.directory.extend(self.at.to_le_bytes());
        self.directory.extend(name.as_bytes());
        self.entries += 1;
        self.at = narrow(content + packed)?;
        Ok(())
    }

    /// Writes the directory; the archive is complete and on the disk.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        debug_assert!(self.directory.len() >= usize::from(self.entries) * CENTRAL_LEN);
        let size = u32::try_from(self.directory.len()).map_err(|_| io::Error::other("too many files"))?;
        self.file.seek(SeekFrom::Start(self.at.into()))?;
        self.file.write_all(&self.directory)?;
        let mut end = Vec::with_capacity(END_LEN);
        end.extend(END.to_le_bytes());
        end.extend([0; 4]);
        end.extend(self.entries.to_le_bytes());
        end.extend(self.entries.to_le_bytes());
        end.extend(size.to_le_bytes());
        end.extend(self.at.to_le_bytes());
        end.extend([0; 2]);
        self.file.write_all(&end)?;
        self.file.flush()?;
        let length = u64::from(self.at) + u64::from(size) + END_LEN as u64;
        let file = self.file.get_ref();
        // a file that was stored after all may have been longer while it was deflated
        file.set_len(length)?;
        file.sync_all()
    }
}

/// What both descriptions of a file share: from the version needed to the length of extras.
fn shared(method: u16, [crc, packed, size]: [u32; 3], name: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LOCAL_LEN - 4);
    for number in [VERSION, 0, method, 0, DATE] {
        bytes.extend(number.to_le_bytes());
    }
    for number in [crc, packed, size] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(name.to_le_bytes());
    bytes.extend([0; 2]);
    bytes
}

/// Deflates everything `from` gives; how many bytes that became.
fn pack(from: &mut impl Read, to: &mut impl Write, each: &mut dyn FnMut(&[u8])) -> io::Result<u64> {
    let raw = -15;
    let mut state = Box::new(CompressorOxide::new(create_comp_flags_from_zip_params(LEVEL, raw, 0)));
    let (mut block, mut out, mut packed) = (vec![0; BLOCK], vec![0; BLOCK], 0);
    loop {
        let read = from.read(&mut block)?;
        each(&block[..read]);
        let flush = if read == 0 { MZFlush::Finish } else { MZFlush::None };
        let mut input = &block[..read];
        loop {
            let result = deflate(&mut state, input, &mut out, flush);
            input = &input[result.bytes_consumed..];
            to.write_all(&out[..result.bytes_written])?;
            packed += result.bytes_written as u64;
            match result.status {
                Ok(MZStatus::StreamEnd) => return Ok(packed),
                Ok(_) if read == 0 || !input.is_empty() || result.bytes_written == out.len() => {}
                Ok(_) => break,
                Err(error) => return Err(io::Error::other(format!("cannot be compressed: {error:?}"))),
            }
        }
    }
}
