//! What Prometheus sees of the gateway, at `[metrics] listen`.
//!
//! Always true: nothing listens unless the configuration says where; whoever reaches the address may read,
//! and nobody can change anything; the numbers are those of `sagoo-edge status` and `sagoo-edge ledger`,
//! because they come from the same tree. A scrape costs one look at that tree, and between two nothing runs.
//!
//! In reading order: [`names`] is every metric there is; [`page`] the text format; [`collect`] puts the
//! status tree on a page; [`listen`] hands it out; [`process`] is what the kernel says of a process.

mod collect;
mod listen;
mod names;
mod page;
mod process;

pub use listen::serve;
