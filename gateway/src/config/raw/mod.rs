//! The files as they are: text, the merged tree with spans, and reading single values from it.
//!
//! In reading order:
//! - [`file`]: which files there are, and their text;
//! - [`tree`]: one tree of all files, every value with its span;
//! - [`fields`]: taking keys out of a table; unknown ones are mistakes with "did you mean";
//! - [`read`]: one value to one type, with its range;
//! - [`units`]: durations and sizes;
//! - [`json`]: a driver's part as JSON.

pub(super) mod fields;
pub(super) mod file;
pub(super) mod json;
pub(super) mod read;
pub(super) mod tree;
pub(super) mod units;
