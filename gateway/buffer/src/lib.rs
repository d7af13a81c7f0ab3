//! Store and forward of opaque bytes, and small durable state beside it.
//!
//! Always true: the buffer never sees a sample, only bytes and a sequence number. It is synchronous and
//! has one owner, who gives it a thread. In reading order:
//!
//! - [`options`]: what a buffer is opened with, and the limits.
//! - [`format`](mod@format): segment header and record frame, drawn and encoded; pure functions.
//! - `store`: [`Buffer`]: what it is made of; releasing and evicting.
//! - `append`: how a record gets in.
//! - `segment`: one segment file.
//! - `held`: records in memory while the disk takes none.
//! - `space`: what is left free on the filesystem.
//! - `reader`: records in order, damage stepped over.
//! - `scan`: frames of one segment file, and where they begin again after damage.
//! - `recover`: what `open` does with whatever it finds.
//! - `late`: what of it is done later, on a disk that takes no data.
//! - `cursor`: how far the records are settled, in a file that survives any cut.
//! - `sync`: group commit, here or on another thread.
//! - `origins`: the last number taken from each sender, so that doubles are told.
//! - `aside`: damaged bytes kept for whoever wants to look.
//! - `lock`: one owner per directory.
//! - `error`: what can go wrong, with its path.
//! - `slots`: one small value in a file of its own, for what must not depend on `sled`.
//! - [`state`]: small durable values in `sled`, behind guard rails.

mod append;
mod aside;
mod cursor;
mod error;
pub mod format;
mod held;
mod late;
mod lock;
pub mod options;
mod origins;
mod reader;
mod recover;
mod scan;
mod segment;
mod slots;
mod space;
pub mod state;
mod store;
mod sync;

pub use cursor::{Cursor, MAX_DETAIL};
pub use error::Error;
pub use format::Origin;
pub use options::{Durability, Options, WhenFull};
pub use reader::{Damage, Record};
pub use recover::{CursorFound, Recovery};
pub use slots::{MAX_VALUE, Slots};
pub use store::{Appended, Buffer, Evicted, Outcome, Released, Stats};
pub use sync::{SyncJob, Synced};
