//! A simulated SagooIOT platform, open-source edition, as an MQTT client of a real broker.
//!
//! Always true: it behaves as sagooiot.md says, traps included, and notes every message that would
//! have crashed, poisoned or starved the real one, so that a case can fail on it.
//!
//! Reading order: `topic` and `envelope` (what arrives), `registry` (what is known), `judge` (what a
//! message does) and `careful` (what it had better not do), `again` and `pulse` (what messages had better not do
//! one after the other), `storage`, `calls`, `timing`, `core` (memory), `link` (the socket).

pub(crate) mod again;
mod calls;
mod careful;
mod core;
mod envelope;
mod judge;
mod link;
mod pulse;
mod registry;
mod storage;
#[cfg(test)]
mod tests;
mod timing;
mod topic;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rumqttc::QoS;
use serde_json::Value as Json;

pub use self::calls::{Answered, Call, Publish, Target};
pub use self::core::{Arrival, Core, Event, Mishap, Violation};
pub use self::judge::{Cell, Effect, Finding, Harm, Judgement, Message, judge};
pub use self::link::Endpoint;
use self::link::{Shared, Wanted};
pub use self::pulse::Silence;
pub use self::registry::{KnownDevice, Registry, Tsl};
pub use self::storage::Row;
pub use self::timing::{Sender, Timing};

/// Longest wait for the platform's own connection to come or go.
const LINK_WAIT: Duration = Duration::from_secs(20);
/// Violations shown in a failing case; the rest is counted.
const SHOWN: usize = 5;

/// A running platform; ends with its value.
pub struct Platform {
    shared: Arc<Shared>,
    endpoint: Endpoint,
    thread: Option<JoinHandle<()>>,
}

impl Platform {
    /// Connects, and returns once it is subscribed.
    pub fn start(endpoint: Endpoint, timing: Timing, known: impl IntoIterator<Item = KnownDevice>) -> Self {
        let shared = Shared::new(Core::new(Registry::new(known), timing));
        let (of_thread, to) = (Arc::clone(&shared), endpoint.clone());
        let thread = std::thread::spawn(move || link::run(&of_thread, &to));
        let platform = Self { shared, endpoint, thread: Some(thread) };
        platform.await_subscribed();
        platform
    }

    /// Gone behind a living broker: what is published meanwhile is lost.
    pub fn pause(&self) {
        self.leave(Wanted::Away);
        let gone =
            self.shared.wait(LINK_WAIT, |state| (!state.subscribed && state.client.is_none()).then_some(()));
        assert!(gone.is_some(), "the platform's client did not leave within {LINK_WAIT:?}");
    }

    /// Back again, subscribed.
    pub fn resume(&self) {
        self.shared.lock().wanted = Wanted::Here;
        self.shared.notify();
        self.await_subscribed();
    }

    /// Whether it is connected and subscribed.
    pub fn is_here(&self) -> bool {
        self.shared.lock().subscribed
    }

    /// Waits for the subscription, which comes back by itself with the broker.
    pub fn await_subscribed(&self) {
        if self.shared.wait(LINK_WAIT, |state| state.subscribed.then_some(())).is_none() {
            let error = self.shared.lock().last_error.clone();
            let Endpoint { host, port, .. } = &self.endpoint;
            panic!("the platform is not subscribed at {host}:{port} after {LINK_WAIT:?}: {error}");
        }
    }

    /// Looks at everything at once, the storage settled up to now.
    pub fn look<T>(&self, at: impl FnOnce(&Core) -> T) -> T {
        let mut state = self.shared.lock();
        state.core.settle(Instant::now());
        at(&state.core)
    }

    fn change<T>(&self, with: impl FnOnce(&mut Core) -> T) -> T {
        let mut state = self.shared.lock();
        with(&mut state.core)
    }

    /// Makes a device known, or replaces it.
    pub fn know(&self, device: KnownDevice) {
        self.change(|core| core.known.know(device));
    }

    /// Makes a device unknown.
    pub fn forget(&self, device: &str) {
        self.change(|core| core.known.forget(device));
    }

    /// Enables or disables a device.
    pub fn set_enabled(&self, device: &str, enabled: bool) {
        self.change(|core| core.known.set_enabled(device, enabled));
    }

    /// The next `count` acknowledgements get lost on their way.
    pub fn lose_acks(&self, count: usize) {
        self.mishaps(std::iter::repeat_n(Mishap::Lost, count));
    }

    /// What happens to the next acknowledgements, one after the other.
    pub fn mishaps(&self, mishaps: impl IntoIterator<Item = Mishap>) {
        self.change(|core| core.mishaps(mishaps));
    }

    /// From now on messages with one of these texts in them are stored and never acknowledged.
    pub fn never_answer(&self, parts: &[&str]) {
        self.change(|core| core.never_answer(parts));
    }

    /// A person asks the gateway to send this message once more; call it before.
    pub fn asked_for(&self, id: &str) {
        self.change(|core| core.asked_for(id));
    }

    /// The gateway knows that the device is down: from now on a sign of life of it is a violation.
    pub fn is_down(&self, device: &str) {
        self.change(|core| core.set_down(device, true, Instant::now()));
    }

    /// The device is about to come back.
    pub fn comes_back(&self, device: &str) {
        self.change(|core| core.set_down(device, false, Instant::now()));
    }

    /// Messages to it are taken on their way from now on, or no longer: see [`Core::set_deaf`].
    pub fn set_deaf(&self, deaf: bool) {
        self.change(|core| core.set_deaf(deaf));
    }

    /// Devices of which nothing was heard for longer than a healthy one may be silent.
    pub fn silences(&self) -> Vec<Silence> {
        self.look(|core| core.silences(Instant::now()))
    }

    /// Whether all of them have happened.
    pub fn mishaps_are_over(&self) -> bool {
        self.look(Core::mishaps_are_over)
    }

    /// Whether the device counts as online.
    pub fn is_online(&self, device: &str) -> bool {
        self.look(|core| core.is_online(device, Instant::now()))
    }

    /// Stored rows of a device in order, resends left out.
    pub fn rows(&self, device: &str) -> Vec<Row> {
        self.look(|core| {
            core.rows.iter().filter(|row| row.device == device && !row.resent).cloned().collect()
        })
    }

    /// A property's value in each stored row, in order.
    pub fn values(&self, device: &str, key: &str) -> Vec<Json> {
        let rows = self.rows(device);
        rows.iter().filter_map(|row| row.cells.get(key)).map(|cell| cell.value.clone()).collect()
    }

    /// The newest value of a property.
    pub fn latest(&self, device: &str, key: &str) -> Option<Json> {
        self.look(|core| {
            let newest = core.rows.iter().rev().find(|row| row.device == device)?;
            newest.cells.get(key).map(|cell| cell.value.clone())
        })
    }

    /// Everything that arrived, in order.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.look(|core| core.arrivals.iter().cloned().collect())
    }

    /// Every harm so far.
    pub fn violations(&self) -> Vec<Violation> {
        self.look(|core| core.violations.clone())
    }

    /// Fails the case if any message would have harmed the real platform.
    #[track_caller]
    pub fn assert_unharmed(&self) {
        let violations = self.violations();
        assert!(violations.is_empty(), "{}", describe(&violations));
    }

    /// Sends a property set and waits for what the caller would see.
    pub fn property_set(&self, device: &str, params: &Json) -> Answered {
        match self.begin_property_set(device, params) {
            Ok(id) => self.answer(&id),
            Err(refused) => refused,
        }
    }

    /// Sends a property set and returns its id at once.
    pub fn begin_property_set(&self, device: &str, params: &Json) -> Result<String, Answered> {
        self.begin(|core| core.property_set(device, params, Instant::now()))
    }

    /// Calls a service and waits for what the caller would see.
    pub fn service_call(&self, device: &str, function: &str, params: &Json) -> Answered {
        match self.begin_service_call(device, function, params) {
            Ok(id) => self.answer(&id),
            Err(refused) => refused,
        }
    }

    /// Calls a service and returns its id at once.
    pub fn begin_service_call(
        &self,
        device: &str,
        function: &str,
        params: &Json,
    ) -> Result<String, Answered> {
        self.begin(|core| core.service_call(device, function, params, Instant::now()))
    }

    fn begin(
        &self,
        order: impl FnOnce(&mut Core) -> Result<(Publish, String), Answered>,
    ) -> Result<String, Answered> {
        let (publish, id) = self.change(order)?;
        self.publish_raw(&publish.topic, publish.body.as_bytes(), false);
        Ok(id)
    }

    /// Waits for the answer to a call; ends by itself when the caller's time is over.
    pub fn answer(&self, id: &str) -> Answered {
        let forever = Duration::from_secs(3600);
        self.shared
            .wait(forever, |state| state.core.calls.answer(id, Instant::now()))
            .expect("a call is answered or times out long before this")
    }

    /// Every reply to a call so far: how long after it, and the body.
    pub fn replies(&self, id: &str) -> Vec<(Duration, Json)> {
        self.look(|core| core.calls.get(id).map(|call| call.replies.clone()).unwrap_or_default())
    }

    /// Sends the request of a call once more, as a broker may do.
    pub fn repeat(&self, id: &str) {
        let request = self.look(|core| core.calls.get(id).map(|call| call.request.clone()));
        let request = request.expect("the id is one of ours");
        self.publish_raw(&request.topic, request.body.as_bytes(), false);
    }

    /// Publishes anything at all, QoS 2.
    pub fn publish_raw(&self, topic: &str, payload: &[u8], retain: bool) {
        let client = self.shared.lock().client.clone();
        let client = client.expect("the platform is paused: resume it before it publishes");
        client
            .publish(topic, QoS::ExactlyOnce, retain, payload)
            .expect("the link's thread lives as long as we");
    }

    fn leave(&self, wanted: Wanted) {
        let mut state = self.shared.lock();
        state.wanted = wanted;
        // An error means that the thread is between two connections; it will see `wanted` itself.
        let _ = state.client.as_ref().map(rumqttc::Client::try_disconnect);
        drop(state);
        self.shared.notify();
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.leave(Wanted::Ended);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed already.
            let _ = thread.join();
        }
    }
}

/// Violations for people.
pub(crate) fn describe(violations: &[Violation]) -> String {
    let mut text = format!("{} messages would have harmed the platform:", violations.len());
    for Violation { kind, topic, payload, why } in violations.iter().take(SHOWN) {
        text.push_str(&format!("\n  {kind:?}: {why}\n    topic   {topic}\n    payload {payload}"));
    }
    text
}
