//! The one read of the buffer that is under way.
//!
//! Always true: there is one at a time, and it goes on whatever else happens meanwhile.

use std::future::Future;
use std::pin::Pin;

use super::reader::{CHUNK_BYTES, For};
use crate::class::Class;
use crate::pipeline;
use crate::pipeline::handle::{Gone, Stored};

/// Of which class and for whom, the head at that time, and from where what was read.
pub type Read = ((Class, For), u64, Result<(u64, Option<Vec<Stored>>), Gone>);

/// It is under way.
pub type Reading = Pin<Box<dyn Future<Output = Read> + Send>>;

/// Reads from a record on; `None`: from where the segment with the head begins.
pub fn begin(
    pipeline: pipeline::Handle,
    (class, who): (Class, For),
    from: Option<u64>,
    head: u64,
) -> Reading {
    let read = async move {
        let from = match from {
            Some(from) => from,
            None => pipeline.begins(class, head).await?,
        };
        Ok((from, pipeline.read(class, from, CHUNK_BYTES).await?))
    };
    Box::pin(async move { ((class, who), head, read.await) })
}

/// What was read; waits for ever where nothing is.
pub async fn end(reading: &mut Option<Reading>) -> Read {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}
