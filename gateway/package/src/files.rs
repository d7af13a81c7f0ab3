//! Files: read up to a limit, hashed while they are copied, on the disk before they count.
//!
//! Always true: a symbolic link is never followed in the last part of a path, and nothing but a plain
//! file is ever read.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::process::geteuid;

use crate::digest::{Hasher, Sha256};

/// What is read at once.
pub(crate) const BLOCK: usize = 128 << 10;
const FOLDER_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// Opens a plain file. A pipe with that name does not block.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(io::Error::other("a symbolic link"));
        }
        opened => opened?,
    };
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("not a plain file")),
    }
}

/// All of a small plain file.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(io::Error::other(format!("larger than {most} bytes"))),
        false => Ok(bytes),
    }
}

/// Size, SHA-256 and the first bytes of everything `from` gives; `each` is told of every block.
pub(crate) fn hash(
    from: &mut impl Read,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(u64, Sha256)> {
    let (mut hasher, mut size, mut block) = (Hasher::new(), 0, vec![0; BLOCK]);
    loop {
        let read = match from.read(&mut block) {
            Ok(0) => return Ok((size, hasher.finish())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&block[..read]);
        size += read as u64;
        each(&block[..read])?;
    }
}

/// Makes a folder if it is not there, readable for all, of the same owner as the one it is in.
pub(crate) fn folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // a link would lead root to a place of somebody else's choice
            return match fs::symlink_metadata(path)?.is_dir() {
                true => Ok(()),
                false => Err(io::Error::other("not a folder")),
            };
        }
        made => made?,
    }
    fs::set_permissions(path, Permissions::from_mode(FOLDER_MODE))?;
    own_like_parent(path)
}

/// Makes a file that must not be there, of the same owner as its folder.
pub(crate) fn create(path: &Path, mode: u32) -> io::Result<File> {
    let file = File::options().write(true).create_new(true).mode(mode).open(path)?;
    // whatever the umask of this process says
    file.set_permissions(Permissions::from_mode(mode))?;
    own_like_parent(path)?;
    Ok(file)
}

/// What root makes in a folder of the gateway's user is that user's, who could not change it otherwise.
pub(crate) fn own_like_parent(path: &Path) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let parent = fs::metadata(path.parent().expect("what was made is in a folder"))?;
    lchown(path, Some(parent.uid()), Some(parent.gid()))
}

/// Replaces a small file as a whole: afterwards it holds `text`, or still what it held before.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let dir = path.parent().expect("a file is in a folder");
    let name = path.file_name().expect("a file has a name").to_string_lossy();
    let beside = dir.join(format!(".{name}.{}", std::process::id()));
    // one of a process with the same number that was killed here
    let _ = fs::remove_file(&beside);
    let written = create(&beside, FILE_MODE).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let done = written.and_then(|()| fs::rename(&beside, path)).and_then(|()| sync_dir(dir));
    if done.is_err() {
        // what is left of it is swept by the next installation
        let _ = fs::remove_file(&beside);
    }
    done
}

/// Puts what was renamed in `dir` on the disk.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_files_are_read_and_only_so_far() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "12345").unwrap();
        assert_eq!(read(&file, 5).unwrap(), b"12345");
        assert!(read(&file, 4).unwrap_err().to_string().contains("larger than 4"));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(read(&link, 9).unwrap_err().to_string(), "a symbolic link");
        assert_eq!(read(dir.path(), 9).unwrap_err().to_string(), "not a plain file");
        let pipe = dir.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(read(&pipe, 9).unwrap_err().to_string(), "not a plain file");
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("current");
        for text in ["1.0.0\n", "2.0.0\n"] {
            replace(&file, text).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
