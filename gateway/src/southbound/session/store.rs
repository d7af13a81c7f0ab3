//! The way of a driver's batches into the buffer, and of what has to come after them.

use sagoo_edge_proto::driver as wire;
use sagoo_edge_proto::driver::host_message::Message as Down;
use tokio::sync::mpsc;

use super::{Ended, Setup, host};
use crate::pipeline::handle::Arrived;
use crate::southbound::instance::Report;
use crate::southbound::life::seat::Lines;
use crate::southbound::life::{Errors, News};

/// What keeps its order.
pub(super) enum Item {
    /// Samples.
    Batch(Arrived),
    /// Lines are closed; whoever opens them next reads later than everything stored before.
    Released(Lines),
    /// A configuration is taken. It says, too, that no answer to a release asked before is to come.
    Configured { turn: u64, errors: Errors },
}

/// Batches → buffer → acknowledgement, in order.
pub(super) async fn store(
    mut arriving: mpsc::Receiver<Item>,
    setup: &Setup<'_>,
    down: mpsc::Sender<wire::HostMessage>,
) -> Ended {
    while let Some(item) = arriving.recv().await {
        match item {
            Item::Batch(arrived) => {
                let seq = arrived.seq;
                if setup.context.pipeline.batch(arrived).await.is_err() {
                    return Ended::Gone;
                }
                // nobody to tell when the stream is closed; what arrived is stored all the same
                let _ = down.send(host(Down::Ack(wire::Ack { seq }))).await;
            }
            Item::Released(lines) => {
                let _ = setup.news.send(Report::News(News::Released(setup.number, lines))).await;
            }
            Item::Configured { turn, errors } => {
                let news = News::Configured { number: setup.number, turn, errors };
                let _ = setup.news.send(Report::News(news)).await;
            }
        }
    }
    Ended::Stopped
}
