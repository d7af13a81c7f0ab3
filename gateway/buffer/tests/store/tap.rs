//! The C library's file calls of this program, so that a test can refuse them or keep a record of them.
//!
//! Always true: the store is the one that ships; a thread that has not asked for anything is not
//! affected. The names below stand in place of the C library's, as in `state/durable.rs`.

#![allow(unsafe_code, reason = "C symbols are defined")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, OsStr, c_char, c_int, c_uint, c_void};
use std::os::fd::{BorrowedFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// A call that changed something below the watched directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// A name came to be, for the file of this number.
    Create {
        path: PathBuf,
        file: u64,
    },
    /// A name that was there when watching began, with its number.
    Known {
        path: PathBuf,
        file: u64,
    },
    Write {
        file: u64,
        at: u64,
        bytes: Vec<u8>,
    },
    SetLen {
        file: u64,
        len: u64,
    },
    Unlink {
        path: PathBuf,
    },
    Sync {
        file: u64,
    },
    SyncDir {
        path: PathBuf,
    },
}

/// What a disk in trouble does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No space: nothing is written but the first half of it; removing works.
    Full,
    /// Mounted read-only while files are open.
    ReadOnly,
    /// Nothing works but reading.
    Io,
    /// The same, and opening for writing does not either.
    NoWriter,
}

#[derive(Default)]
struct Tap {
    dir: PathBuf,
    trouble: Option<Trouble>,
    /// Bytes of every file that cannot be read.
    bad: std::ops::Range<u64>,
    calls: Vec<Call>,
    files: HashMap<PathBuf, u64>,
    numbers: u64,
}

thread_local! {
    static TAP: RefCell<Option<Tap>> = const { RefCell::new(None) };
}

/// From now on calls of this thread below `dir` are kept.
pub fn watch(dir: &Path) {
    let tap = Tap { dir: dir.to_owned(), ..Tap::default() };
    TAP.with_borrow_mut(|slot| *slot = Some(tap));
}

/// How many were kept so far.
pub fn count() -> usize {
    TAP.with_borrow(|tap| tap.as_ref().map_or(0, |tap| tap.calls.len()))
}

/// Ends it, and the trouble with it.
pub fn calls() -> Vec<Call> {
    TAP.with_borrow_mut(Option::take).map(|tap| tap.calls).unwrap_or_default()
}

/// From now on calls of this thread below `dir` meet this trouble; `None`: the disk is well again.
pub fn trouble(dir: &Path, trouble: Option<Trouble>) {
    TAP.with_borrow_mut(|slot| {
        let tap = slot.get_or_insert_default();
        tap.dir = dir.to_owned();
        tap.trouble = trouble;
    });
}

/// From now on these bytes of all files below `dir` cannot be read by this thread.
pub fn unreadable(dir: &Path, bad: std::ops::Range<u64>) {
    TAP.with_borrow_mut(|slot| {
        let tap = slot.get_or_insert_default();
        tap.dir = dir.to_owned();
        tap.bad = bad;
    });
}

impl Tap {
    fn file(&mut self, path: &Path) -> u64 {
        if let Some(number) = self.files.get(path) {
            return *number;
        }
        let file = self.begin(path);
        self.calls.push(Call::Known { path: path.to_owned(), file });
        file
    }

    fn begin(&mut self, path: &Path) -> u64 {
        self.numbers += 1;
        self.files.insert(path.to_owned(), self.numbers);
        self.numbers
    }

    fn path_of(&self, fd: c_int) -> Option<PathBuf> {
        // one that was unlinked has another name there, and so another number, of which nobody knows
        let path = std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
        path.starts_with(&self.dir).then_some(path)
    }
}

/// Runs `work` with the tap of this thread, if the path or file is below its directory.
fn with<T>(fd: Option<c_int>, path: Option<&Path>, work: impl FnOnce(&mut Tap, &Path) -> T) -> Option<T> {
    let mut tap = TAP.try_with(|slot| slot.try_borrow_mut().ok()?.take()).ok()??;
    let found = match fd {
        Some(fd) => tap.path_of(fd),
        None => path.filter(|path| path.starts_with(&tap.dir)).map(Path::to_owned),
    };
    let result = found.map(|path| work(&mut tap, &path));
    let _ = TAP.try_with(|slot| *slot.borrow_mut() = Some(tap));
    result
}

unsafe extern "C" {
    fn __errno_location() -> *mut c_int;
}

fn fail(errno: Errno) -> c_int {
    // SAFETY: the C library's own errno of this thread.
    unsafe { *__errno_location() = errno.raw_os_error() };
    -1
}

fn done(result: Result<(), Errno>) -> c_int {
    result.map_or_else(fail, |()| 0)
}

fn borrowed(fd: &c_int) -> BorrowedFd<'_> {
    // SAFETY: the caller of the C function lends it for the call.
    unsafe { BorrowedFd::borrow_raw(*fd) }
}

fn path_at<'a>(path: *const c_char) -> &'a CStr {
    // SAFETY: what these C functions ask of their caller.
    unsafe { CStr::from_ptr(path) }
}

// SAFETY, for all below: names and signatures are the C library's on purpose, and what they promise is
// kept: each does what the original does, or fails as it may. `open64` takes its third argument the
// same way variadic or not on the targets this is built for.

#[unsafe(no_mangle)]
extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    let name = path_at(path);
    let path = Path::new(OsStr::from_bytes(name.to_bytes())).to_owned();
    let flags = OFlags::from_bits_retain(flags as u32);
    let writes = flags.intersects(OFlags::WRONLY | OFlags::RDWR);
    let trouble = with(None, Some(&path), |tap, _| tap.trouble).flatten();
    let refused = match trouble {
        Some(Trouble::ReadOnly) if writes => Some(Errno::ROFS),
        Some(Trouble::NoWriter) if writes => Some(Errno::IO),
        Some(Trouble::Io) if flags.contains(OFlags::CREATE) && !exists(name) => Some(Errno::IO),
        Some(Trouble::Full) if flags.contains(OFlags::CREATE) && !exists(name) => Some(Errno::NOSPC),
        _ => None,
    };
    if let Some(errno) = refused {
        return fail(errno);
    }
    let is_new = flags.contains(OFlags::CREATE) && !exists(name);
    let fd = match rustix::fs::open(name, flags, Mode::from_bits_retain(mode)) {
        Ok(fd) => fd.into_raw_fd(),
        Err(errno) => return fail(errno),
    };
    with(None, Some(&path), |tap, path| {
        if is_new {
            let file = tap.begin(path);
            tap.calls.push(Call::Create { path: path.to_owned(), file });
        } else if flags.contains(OFlags::TRUNC) {
            let file = tap.file(path);
            tap.calls.push(Call::SetLen { file, len: 0 });
        }
    });
    fd
}

#[unsafe(no_mangle)]
extern "C" fn pwrite64(fd: c_int, bytes: *const c_void, len: usize, at: i64) -> isize {
    // SAFETY: what pwrite asks of its caller.
    let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), len) };
    let trouble = with(Some(fd), None, |tap, _| tap.trouble).flatten();
    let bytes = match trouble {
        Some(Trouble::ReadOnly) => return fail(Errno::ROFS) as isize,
        Some(Trouble::Io | Trouble::NoWriter) => return fail(Errno::IO) as isize,
        Some(Trouble::Full) if grows(fd, at, len) && len < 2 => return fail(Errno::NOSPC) as isize,
        Some(Trouble::Full) if grows(fd, at, len) => &bytes[..len / 2],
        Some(Trouble::Full) | None => bytes,
    };
    let written = match rustix::io::pwrite(borrowed(&fd), bytes, at as u64) {
        Ok(written) => written,
        Err(errno) => return fail(errno) as isize,
    };
    with(Some(fd), None, |tap, path| {
        let file = tap.file(path);
        tap.calls.push(Call::Write { file, at: at as u64, bytes: bytes[..written].to_vec() });
    });
    written as isize
}

#[unsafe(no_mangle)]
extern "C" fn pread64(fd: c_int, bytes: *mut c_void, len: usize, at: i64) -> isize {
    let bad = with(Some(fd), None, |tap, _| tap.bad.clone()).unwrap_or_default();
    if (at as u64) < bad.end && bad.start < at as u64 + len as u64 {
        return fail(Errno::IO) as isize;
    }
    // SAFETY: what pread asks of its caller.
    let bytes = unsafe { std::slice::from_raw_parts_mut(bytes.cast::<u8>(), len) };
    match rustix::io::pread(borrowed(&fd), bytes, at as u64) {
        Ok(read) => read as isize,
        Err(errno) => fail(errno) as isize,
    }
}

#[unsafe(no_mangle)]
extern "C" fn ftruncate64(fd: c_int, len: i64) -> c_int {
    if let Some(errno) = with(Some(fd), None, |tap, _| refused(tap.trouble)).flatten() {
        return fail(errno);
    }
    let result = rustix::fs::ftruncate(borrowed(&fd), len as u64);
    if result.is_ok() {
        with(Some(fd), None, |tap, path| {
            let file = tap.file(path);
            tap.calls.push(Call::SetLen { file, len: len as u64 });
        });
    }
    done(result)
}

#[unsafe(no_mangle)]
extern "C" fn unlink(path: *const c_char) -> c_int {
    let name = path_at(path);
    let path = Path::new(OsStr::from_bytes(name.to_bytes())).to_owned();
    if let Some(errno) = with(None, Some(&path), |tap, _| refused(tap.trouble)).flatten() {
        return fail(errno);
    }
    let result = rustix::fs::unlink(name);
    if result.is_ok() {
        with(None, Some(&path), |tap, path| {
            tap.files.remove(path);
            tap.calls.push(Call::Unlink { path: path.to_owned() });
        });
    }
    done(result)
}

#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync(fd, |fd| rustix::fs::fdatasync(fd))
}

#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    sync(fd, |fd| rustix::fs::fsync(fd))
}

fn sync(fd: c_int, call: impl FnOnce(BorrowedFd<'_>) -> Result<(), Errno>) -> c_int {
    if let Some(errno) = with(Some(fd), None, |tap, _| refused(tap.trouble)).flatten() {
        return fail(errno);
    }
    let result = call(borrowed(&fd));
    if result.is_ok() {
        with(Some(fd), None, |tap, path| {
            let call = if path.is_dir() {
                Call::SyncDir { path: path.to_owned() }
            } else {
                Call::Sync { file: tap.file(path) }
            };
            tap.calls.push(call);
        });
    }
    done(result)
}

/// Whether the file would be longer afterwards.
fn grows(fd: c_int, at: i64, len: usize) -> bool {
    rustix::fs::fstat(borrowed(&fd)).is_ok_and(|stat| at as u64 + len as u64 > stat.st_size as u64)
}

/// What a full disk does not refuse.
fn refused(trouble: Option<Trouble>) -> Option<Errno> {
    match trouble? {
        Trouble::Full => None,
        Trouble::ReadOnly => Some(Errno::ROFS),
        Trouble::Io | Trouble::NoWriter => Some(Errno::IO),
    }
}

fn exists(path: &CStr) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXISTS).is_ok()
}
