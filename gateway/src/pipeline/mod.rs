//! From a driver's batch to a stored row, and from a stored row to its end.
//!
//! Always true: a batch is in the buffer before it is acknowledged; one thread owns all of it.
//!
//! In reading order: [`handle`] is the door, [`task`] the thread behind it and [`writer`] its hand on the
//! buffer, [`unwritten`] what is on its way there, [`head`] how far it may be read, [`scan`] what it finds
//! there at start and [`tally`] what it need not look at, [`trouble`] when the disk takes no data, [`unreadable`] when it cannot be read; [`points`]
//! decides what of a batch is news and makes rows, by the [`layout`] of its device; [`record`] is how rows lie in
//! the buffer and how they are remembered; [`book`] accounts
//! for every sample, [`taken`] for every batch, [`drops`] for what had to go and [`left_out`] for what nobody
//! wants any more; [`latest`] remembers values for the next start; [`timekeeper`] tells the time by the rules
//! of [`wall`], and [`boots`] that of what was stored before it was known; [`snapshot`] is what status sees,
//! [`flow`] how fast it goes.

pub mod book;
pub mod boots;
pub mod drops;
pub mod flow;
pub mod handle;
pub mod head;
pub mod latest;
pub mod layout;
pub mod left_out;
pub mod points;
pub mod record;
pub mod scan;
pub mod snapshot;
pub mod taken;
pub mod tally;
pub mod task;
pub mod timekeeper;
pub mod trouble;
pub mod unreadable;
pub mod unwritten;
pub mod wall;
pub mod writer;

pub use handle::Handle;
