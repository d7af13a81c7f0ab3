//! An answer of many lines: passed on as it comes, until its end.
//!
//! Always true: the last line is `end` or an error, unless the client has gone; a client that hangs up
//! or says anything ends the stream, and with it the work behind it; what the client does not take waits
//! where it comes from.

use std::pin::Pin;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;

use super::message::Reply;
use super::tell;

/// Lines on their way to a client. An error is the last one.
pub type Replies = Pin<Box<dyn Stream<Item = Reply> + Send>>;

/// Passes everything on; false when the client is to be let go.
pub(super) async fn pass_on(
    mut replies: Replies,
    read: &mut BufReader<OwnedReadHalf>,
    write: &mut OwnedWriteHalf,
    stop: &CancellationToken,
) -> bool {
    loop {
        let next = tokio::select! {
            next = replies.next() => next,
            more = read.fill_buf() => match more {
                Ok([_, ..]) => None,
                Ok([]) | Err(_) => return false,
            },
            () = stop.cancelled() => Some(Reply::error("the gateway is stopping")),
        };
        let reply = next.unwrap_or(Reply::End);
        if !tell(write, &reply).await {
            return false;
        }
        match reply {
            Reply::End => return true,
            Reply::Error { .. } => return !stop.is_cancelled(),
            _ => {}
        }
    }
}
