//! One point: where it is, how its bytes read, whether it may be written.
//!
//! - `address`: where; `kind`, `order`: what the cells hold, in which order;
//! - `value`: cells ↔ values, with `half`, `text` and `time` for what is no plain number;
//! - `meaning`: what a number stands for: `scale`, `labels` or an `expression`;
//! - `keys`: a table of settings → a checked point; `write`: whether and how it is written.
//!
//! Always true: a [`Point`] can be read by its table's function in one request, its codec fits its
//! cells, and its limits for writing fit its codec.

pub(crate) mod address;
pub(crate) mod expression;
mod half;
pub(crate) mod keys;
pub(crate) mod kind;
pub(crate) mod labels;
pub(crate) mod meaning;
pub(crate) mod order;
pub(crate) mod scale;
pub(crate) mod text;
mod time;
pub(crate) mod value;
pub(crate) mod write;

use self::address::Table;
use self::value::Codec;
use self::write::rule::WriteRule;

/// A point, checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    pub(crate) name: String,
    pub(crate) table: Table,
    pub(crate) address: u16,
    pub(crate) codec: Codec,
    /// Place of its rate in [`Model::rates`](crate::model::Model::rates).
    pub(crate) rate: usize,
    /// `None`: it must not be written.
    pub(crate) write: Option<WriteRule>,
}
