//! What the command line can ask, whichever round runs.
//!
//! Always true: between two rounds it waits for the next one; what a driver says in a stream is passed
//! on in its words.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::StreamExt as _;
use tonic::Status;

use super::Ask;
use super::round::Desk;
use crate::commands::{Action, Outcome, Quality, Request};
use crate::control::message::{Explained, Found, Progress, Reply};
use crate::control::{Answer, Door, Look, Replies};
use crate::northbound::deadletter;
use crate::pipeline::snapshot::TIME_DOUBTED;
use crate::southbound::reach;

use sagoo_edge_proto::driver as wire;

/// The door's other side.
pub(super) fn door(desk: &watch::Sender<Option<Desk>>, ask: &mpsc::Sender<Ask>) -> Door {
    let (reload, handover) = (ask.clone(), ask.clone());
    Door {
        status: at(desk, |desk, ()| async move { desk.board.status().await }),
        execute: at(desk, |desk, request| async move { execute(&desk, request).await }),
        dead_letters: at(desk, |desk, (what, ids)| async move {
            let gone = || "the gateway is stopping".to_owned();
            let (reply, answer) = oneshot::channel();
            desk.dead_letters.send(deadletter::Ask { what, ids, reply }).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())
        }),
        explain: at(desk, |desk, ()| async move {
            Explained { config: desk.dir.clone(), connections: desk.drivers.plans().await }
        }),
        look: at(desk, |desk, look| async move { replies(&desk, look).await }),
        reload: Arc::new(move |()| Box::pin(put(reload.clone(), Ask::Reload))),
        handover: Arc::new(move |()| Box::pin(put(handover.clone(), Ask::Handover))),
    }
}

/// What is read has a time, like every other sample; while that may be wrong it is said.
async fn execute(desk: &Desk, request: Request) -> Outcome {
    let reads = matches!(request.action, Action::Read(_));
    let mut outcome = desk.commands.execute(request).await;
    if reads && desk.board.clock_is_uncertain().await {
        for point in outcome.points.iter_mut().filter(|point| point.quality == Quality::Good) {
            (point.quality, point.message) = (Quality::Uncertain, TIME_DOUBTED.to_owned());
        }
    }
    outcome
}

/// Answered by whoever is there now, or as soon as the next round runs.
fn at<A, T, F>(
    desk: &watch::Sender<Option<Desk>>,
    answer: impl Fn(Desk, A) -> F + Clone + Send + Sync + 'static,
) -> Arc<dyn Fn(A) -> Answer<T> + Send + Sync>
where
    A: Send + 'static,
    F: Future<Output = T> + Send,
{
    let desk = desk.subscribe();
    Arc::new(move |asked| {
        let (mut desk, answer) = (desk.clone(), answer.clone());
        Box::pin(async move {
            let there = match desk.wait_for(Option::is_some).await.map(|desk| desk.clone()) {
                Ok(Some(desk)) => desk,
                // the process ends; the door closes before anybody waits long
                _ => std::future::pending().await,
            };
            answer(there, asked).await
        })
    })
}

/// What a driver finds, or hears.
async fn replies(desk: &Desk, look: Look) -> Result<Replies, String> {
    match look {
        Look::Scan { connection, options, for_ms } => {
            let found = desk.drivers.scan(&connection, options, for_ms).await?;
            Ok(Box::pin(found.filter_map(move |said| of_scan(&connection, said))))
        }
        Look::Capture { connection, for_ms } => {
            let heard = desk.drivers.capture(&connection, for_ms).await?;
            let lines = move |said: Result<wire::CaptureResponse, Status>| match said {
                Ok(wire::CaptureResponse { lines }) => Reply::Captured { lines },
                Err(status) => broke(&connection, &status),
            };
            Ok(Box::pin(heard.map(lines)))
        }
    }
}

fn of_scan(connection: &str, said: Result<wire::ScanResponse, Status>) -> Option<Reply> {
    use wire::scan_response::Message;
    Some(match said.map(|said| said.message) {
        Ok(Some(Message::Found(wire::ScanFound { address, description, settings }))) => {
            // what is no table is nothing to paste
            let settings = serde_json::from_str(&settings).unwrap_or_default();
            Reply::Found { found: Found { address, description, settings } }
        }
        Ok(Some(Message::Progress(wire::ScanProgress { done, total, now }))) => {
            Reply::Progress { progress: Progress { done, total, now } }
        }
        // a newer driver may say what we do not know
        Ok(None) => return None,
        Err(status) => broke(connection, &status),
    })
}

fn broke(connection: &str, status: &Status) -> Reply {
    Reply::error(reach::why(connection, status))
}

/// Puts a request to the process and waits for its answer.
async fn put<T>(
    process: mpsc::Sender<Ask>,
    ask: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Ask,
) -> Result<T, String> {
    let gone = || "the gateway is stopping".to_owned();
    let (reply, answer) = oneshot::channel();
    process.send(ask(reply)).await.map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}
