//! Who asks for dead letters, and how they go back into flight.
//!
//! Always true: a letter that is to be sent stays in the list until it is answered; the ledger hears of
//! the answer before the letter goes, so that a kill in between shows it once more and loses nothing.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{DeadLetters, Entry};
use crate::northbound::sagoo::flight::{Flight, GivenUp, Letter, Returned};
use crate::pipeline;
use crate::pipeline::handle::Gone;
use crate::state;
use crate::status::DeadLetterStatus;
use crate::status::letters::{Shown, What};

/// Questions that wait; more wait at the door.
pub const ASKS: usize = 4;
/// Of a row that cannot be kept, this much is told.
const TOLD_BYTES: usize = 2 * 1024;

/// A question about letters.
#[derive(Debug)]
pub struct Ask {
    /// What is asked.
    pub what: What,
    /// Of which; `None`: of all.
    pub ids: Option<Vec<String>>,
    /// The answer, letter by letter, oldest first or as asked.
    pub reply: oneshot::Sender<Vec<Shown>>,
}

/// See the module.
#[derive(Debug)]
pub struct Desk {
    letters: DeadLetters,
    pipeline: pipeline::Handle,
    asked: Option<mpsc::Receiver<Ask>>,
}

impl Desk {
    /// With what earlier processes kept in `dir`.
    pub async fn open(
        dir: PathBuf,
        state: state::Handle,
        pipeline: pipeline::Handle,
        asked: mpsc::Receiver<Ask>,
    ) -> Self {
        Self { letters: DeadLetters::open(dir, state).await, pipeline, asked: Some(asked) }
    }

    /// For people.
    pub fn status(&self) -> DeadLetterStatus {
        self.letters.status()
    }

    /// The next question.
    pub async fn hear(&mut self) -> Ask {
        if let Some(asked) = &mut self.asked {
            match asked.recv().await {
                Some(ask) => return ask,
                None => self.asked = None,
            }
        }
        std::future::pending().await
    }

    /// What was to be sent when the process, or the round, before us ended goes into flight.
    pub async fn resume(&mut self, flight: &mut Flight) {
        let all = self.letters.all().into_iter();
        let wanted: Vec<String> =
            all.filter(|(_, entry)| entry.wanted).map(|(id, _)| id.to_owned()).collect();
        for id in wanted {
            if let Err(error) = self.send(&id, flight).await {
                tracing::warn!(id, error, "a dead letter is not sent again, though somebody asked for it");
                self.letters.want(&id, false).await;
            }
        }
    }

    /// Keeps a row the flight has given up, or says what was in it: then the log is all that is left.
    pub async fn keep(&mut self, row: &GivenUp) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let kept = self.letters.keep(row, since.as_millis() as i64).await;
        let GivenUp { id, device, samples, tries, message, .. } = row;
        let reason = match tries {
            0 => "it is too large for one message",
            _ => "the platform answers others but never this one",
        };
        match kept {
            Ok(()) => tracing::error!(
                device = &**device,
                id,
                samples,
                tries,
                reason,
                remedy = "sagoo-edge deadletter shows it, sends it again or drops it",
                "a row is given up and counted as parked"
            ),
            Err(error) => tracing::error!(
                device = &**device,
                id,
                samples,
                tries,
                reason,
                %error,
                message = &message[..message.floor_char_boundary(TOLD_BYTES)],
                "a row is given up, counted as parked, and cannot be kept"
            ),
        }
    }

    /// Letters come back from the flight, answered or not.
    pub async fn returned(&mut self, returned: Vec<Returned>) -> Result<(), Gone> {
        for Returned { id, device, samples, answered } in returned {
            if answered {
                self.pipeline.redeemed(device.clone(), samples).await?;
                self.letters.acknowledged(&id).await;
                tracing::info!(id, device = &*device, samples, "a dead letter is acknowledged");
            } else {
                self.letters.want(&id, false).await;
                tracing::error!(
                    id,
                    device = &*device,
                    samples,
                    "a dead letter is not answered again and is back in the list"
                );
            }
        }
        Ok(())
    }

    /// Answers; who asked may have gone away.
    pub async fn answer(&mut self, ask: Ask, flight: &mut Flight) {
        let ids =
            ask.ids.unwrap_or_else(|| self.letters.all().into_iter().map(|(id, _)| id.to_owned()).collect());
        let mut answer = Vec::with_capacity(ids.len());
        for id in ids {
            answer.push(self.one(ask.what, &id, flight).await);
        }
        let _ = ask.reply.send(answer);
    }

    async fn one(&mut self, what: What, id: &str, flight: &mut Flight) -> Shown {
        let Some(entry) = self.letters.get(id).cloned() else {
            let error = Some("there is no such dead letter".to_owned());
            return Shown { id: id.to_owned(), error, ..Shown::default() };
        };
        let mut shown = show(id, &entry);
        let done = match what {
            What::List => Ok(()),
            What::Show => {
                let message = self.letters.message(id).await.map_err(|error| error.to_string());
                message.map(|message| shown.message = Some(message))
            }
            What::Send if entry.wanted => Ok(()),
            What::Send => self.send(id, flight).await,
            What::Drop if !flight.take_back(id) => {
                Err("it is on its way to the platform; ask again when it has an answer".to_owned())
            }
            What::Drop => {
                self.letters.drop_letter(id).await;
                Ok(())
            }
        };
        if done.is_ok() && matches!(what, What::Send | What::Drop) {
            let (device, samples) = (&entry.device, entry.samples);
            tracing::info!(target: "audit", id, device, samples, ?what, from = "cli", "a dead letter was asked for");
            shown.sending = what == What::Send;
        }
        shown.error = done.err();
        shown
    }

    async fn send(&mut self, id: &str, flight: &mut Flight) -> Result<(), String> {
        let Some(Entry { device, topic, samples, .. }) = self.letters.get(id).cloned() else { return Ok(()) };
        let message = self.letters.message(id).await.map_err(|error| error.to_string())?;
        let letter = Letter { id: id.to_owned(), device: device.into(), topic, samples, payload: message };
        flight.send_letter(letter, Instant::now().into_std()).map_err(|error| error.to_string())?;
        self.letters.want(id, true).await;
        Ok(())
    }
}

fn show(id: &str, entry: &Entry) -> Shown {
    Shown {
        id: id.to_owned(),
        device: entry.device.clone(),
        topic: entry.topic.clone(),
        samples: entry.samples,
        bytes: entry.bytes,
        tries: entry.tries,
        since_ms: entry.since_ms,
        sending: entry.wanted,
        message: None,
        error: None,
    }
}
