//! What becomes of an acknowledgement: it is given, or the case bends it or takes it away.
//!
//! Always true: what the sender may know of its message is noted as it was given.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::{Answer, Core, Mishap, Publish};
use crate::platform::topic;

impl Core {
    /// What the sender will know of its message.
    pub(super) fn watch_answer(&mut self, id: &str, mishap: Option<Mishap>, now: Instant) -> Answer {
        match mishap {
            None | Some(Mishap::Twice) => self.again.answered(id, now),
            Some(Mishap::Late(by)) => self.again.answered(id, now + by),
            Some(Mishap::Lost | Mishap::Misplaced) => {}
        }
        if matches!(mishap, None | Some(Mishap::Twice)) { Answer::Given } else { Answer::Taken }
    }

    pub(super) fn acknowledge(
        &mut self,
        topic: String,
        body: &Json,
        mishap: Option<Mishap>,
    ) -> Vec<(Duration, Publish)> {
        let ack = Publish { topic, body: body.to_string() };
        let before = self.last_ack.replace(ack.clone());
        let at_once = |publish: Publish| (Duration::ZERO, publish);
        match mishap {
            None => vec![at_once(ack)],
            Some(Mishap::Lost) => Vec::new(),
            Some(Mishap::Late(by)) => vec![(by, ack)],
            Some(Mishap::Twice) => vec![at_once(ack.clone()), at_once(ack)],
            Some(Mishap::Misplaced) => {
                let mut unused = body.clone();
                unused["id"] = json!(format!("{}0", body["id"].as_str().unwrap_or_default()));
                let unused = Publish { topic: ack.topic.clone(), body: unused.to_string() };
                let elsewhere = Publish { topic: topic::reply_of_the_other_form(&ack.topic), body: ack.body };
                [Some(unused), before, Some(elsewhere)].into_iter().flatten().map(at_once).collect()
            }
        }
    }
}
