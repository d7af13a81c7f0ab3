//! Calls the platform made and waits for: property sets and services (sagooiot.md §3.4, §3.5).
//!
//! Always true: a call has one answer; an early reply is lost, a second one takes an error slot, and
//! `code` is not looked at: any reply to a property set is a success.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

/// Real platforms wait this long; a later reply takes an error slot.
const REAL_WAIT: Duration = Duration::from_secs(45);

/// A message to publish, QoS 2, not retained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Where.
    pub topic: String,
    /// What.
    pub body: String,
}

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// `…/service/property/set`
    PropertySet,
    /// `…/service/{function}`
    Service,
}

/// What the platform's caller sees.
#[derive(Debug, Clone, PartialEq)]
pub enum Answered {
    /// A reply, whole, and how long after the request.
    Reply {
        /// The JSON body.
        body: Json,
        /// Since the request was published.
        after: Duration,
    },
    /// None within the time a caller waits.
    Timeout,
    /// Not sent: the device is unknown, disabled or offline.
    Offline,
}

/// One call.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The request.
    pub request: Publish,
    /// Every reply that came, early and late ones too.
    pub replies: Vec<(Duration, Json)>,
    published: Instant,
    registered: Instant,
    deadline: Instant,
    answer: Option<(Duration, Json)>,
}

impl Call {
    /// A call published now, whose id is known from `registered` until `deadline`.
    pub fn new(request: Publish, published: Instant, registered: Instant, deadline: Instant) -> Self {
        Self { request, replies: Vec::new(), published, registered, deadline, answer: None }
    }
}

/// All calls, by id.
#[derive(Debug, Default)]
pub struct Calls {
    calls: HashMap<String, Call>,
}

impl Calls {
    /// A new call. The ids are ours and random; the map is bounded by the cases that call.
    pub fn register(&mut self, id: &str, call: Call) {
        self.calls.insert(id.to_owned(), call);
    }

    /// Takes a reply; `Err` is what would take an error slot.
    pub fn reply(&mut self, id: &str, topic: &str, body: Json, now: Instant) -> Result<(), String> {
        let Some(call) = self.calls.get_mut(id) else {
            return Err(format!("reply to the unknown id {id:?}"));
        };
        let after = now.saturating_duration_since(call.published);
        call.replies.push((after, body.clone()));
        let expected = format!("{}_reply", call.request.topic);
        if topic != expected {
            return Err(format!("reply on {topic}, expected on {expected}"));
        }
        if now < call.registered {
            return Err(format!("reply after {after:?}: earlier than the platform registers its call"));
        }
        if call.answer.is_some() {
            return Err(format!("second reply to {id:?}"));
        }
        if now >= call.deadline {
            return if after > REAL_WAIT { Err(format!("reply to {id:?} after {after:?}")) } else { Ok(()) };
        }
        call.answer = Some((after, body));
        Ok(())
    }

    /// What the caller sees by now; `None` while it waits.
    pub fn answer(&self, id: &str, now: Instant) -> Option<Answered> {
        let call = self.calls.get(id)?;
        match &call.answer {
            Some((after, body)) => Some(Answered::Reply { body: body.clone(), after: *after }),
            None => (now >= call.deadline).then_some(Answered::Timeout),
        }
    }

    /// The call as it stands.
    pub fn get(&self, id: &str) -> Option<&Call> {
        self.calls.get(id)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn called(now: Instant) -> Calls {
        let mut calls = Calls::default();
        let request = Publish { topic: "t".into(), body: String::new() };
        calls.register("a", Call::new(request, now, now + 50 * MS, now + 3000 * MS));
        calls
    }

    #[test]
    fn an_early_reply_is_lost_and_the_caller_waits() {
        let now = Instant::now();
        let mut calls = called(now);
        assert!(calls.reply("a", "t_reply", json!({}), now + 20 * MS).unwrap_err().contains("earlier"));
        assert_eq!(calls.answer("a", now + 2999 * MS), None);
        assert_eq!(calls.answer("a", now + 3000 * MS), Some(Answered::Timeout));
    }

    #[test]
    fn a_second_or_foreign_reply_takes_an_error_slot() {
        let now = Instant::now();
        let mut calls = called(now);
        calls.reply("a", "t_reply", json!({"code": 500}), now + 60 * MS).unwrap();
        let answer = Answered::Reply { body: json!({"code": 500}), after: 60 * MS };
        assert_eq!(calls.answer("a", now + 60 * MS), Some(answer));
        assert!(calls.reply("a", "t_reply", json!({}), now + 70 * MS).unwrap_err().contains("second"));
        assert!(calls.reply("b", "t_reply", json!({}), now + 70 * MS).unwrap_err().contains("unknown"));
    }

    #[test]
    fn a_reply_on_another_topic_is_no_answer() {
        let now = Instant::now();
        let mut calls = called(now);
        assert!(
            calls.reply("a", "other_reply", json!({}), now + 60 * MS).unwrap_err().contains("expected on")
        );
        assert_eq!(calls.answer("a", now + 60 * MS), None);
    }
}
