//! Zip archives, as small and as strict as a package needs them.
//!
//! ```text
//! for each file   local header (30 + name + extra)   its bytes, stored or deflated   [data descriptor]
//! for each file   entry of the central directory (46 + name + extra + comment)
//! at the very end end of central directory (22)
//! ```
//! Always true: the two descriptions of a file agree, files lie one after the other without gaps or
//! overlap, and nothing is before, between or after them; so every tool sees the same files. What
//! packages do not need (encryption, several disks, zip64, other compressions, comments) is refused.
//! The reader takes no more memory than the directory has bytes, whatever the archive promises.
//!
//! In reading order: `directory` (what is in it), `read` (the content of a file), `write`.

mod directory;
mod read;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use directory::ZipError;
pub(crate) use read::Archive;
pub(crate) use write::Writer;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const DESCRIPTOR: u32 = 0x0807_4b50;
const END: u32 = 0x0605_4b50;
const LOCAL_LEN: usize = 30;
const CENTRAL_LEN: usize = 46;
const END_LEN: usize = 22;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// Flag: sizes follow the content.
const STREAMED: u16 = 1 << 3;
/// Flag: names are UTF-8.
const UTF8: u16 = 1 << 11;
/// Flags that change nothing here: how hard it was compressed, and the two above.
const KNOWN_FLAGS: u16 = 0b110 | STREAMED | UTF8;
const UNIX: u8 = 3;
const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;

/// Little-endian numbers at fixed places.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
