//! How devices will be read, in their drivers' words, and what of each connection's wire that takes.
//!
//! Always true: a request whose time no driver predicts takes part in no sum; what needs more than all
//! of a wire is a strain that must not run, what needs nearly all of it one that is said.

use serde::{Deserialize, Serialize};

/// A connection that needs this part of its wire is near its limit: whatever goes wrong costs polls.
const NEAR: f64 = 0.8;
/// Devices' polls that a sentence names; the rest is one number.
const NAMED: usize = 4;

/// One connection and the devices on it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ConnectionPlan {
    /// In the configuration.
    pub name: String,
    /// Who speaks on it.
    pub driver: String,
    /// Why there is no plan; empty: there is one.
    pub error: String,
    /// Part of the wire's time, 1 is all of it; nothing when no driver predicts it.
    pub share: Option<f64>,
    /// Those on it.
    pub devices: Vec<DevicePlan>,
}

/// One device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DevicePlan {
    /// In the configuration.
    pub name: String,
    /// Why it is not read; empty: it is.
    pub error: String,
    /// Part of the wire's time.
    pub share: Option<f64>,
    /// Per poll rate, the fastest first.
    pub cycles: Vec<Cycle>,
    /// What the driver found out by reading it.
    pub learned: Vec<Learned>,
}

/// What is read at one rate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cycle {
    /// Name of the rate.
    pub poll: String,
    /// How often.
    pub period_ms: u32,
    /// Of all its requests.
    pub predicted_ms: Option<f64>,
    /// Part of the wire's time.
    pub share: Option<f64>,
    /// One after the other.
    pub requests: Vec<PlannedRequest>,
}

/// One request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PlannedRequest {
    /// In the protocol's words.
    pub request: String,
    /// Units that points ask for.
    pub wanted: u32,
    /// Units read only to merge.
    pub wasted: u32,
    /// On the wire.
    pub predicted_ms: Option<f64>,
}

/// Something the driver found out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// In the driver's words.
    pub what: String,
    /// The line for the model that says so for good; may be empty.
    pub paste: String,
}

/// A connection that asks too much of its wire, or nearly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strain {
    /// The arithmetic.
    pub message: String,
    /// The remedy.
    pub hint: String,
    /// More than there is: it must not run.
    pub refused: bool,
}

impl ConnectionPlan {
    /// With the sum of its devices.
    pub fn new(name: &str, driver: &str, devices: Vec<DevicePlan>) -> Self {
        let share = sum(devices.iter().map(|device| device.share));
        Self { name: name.to_owned(), driver: driver.to_owned(), error: String::new(), share, devices }
    }

    /// One of which nothing is known.
    pub fn unknown(name: &str, driver: &str, error: String) -> Self {
        Self { error, ..Self::new(name, driver, Vec::new()) }
    }

    /// What is to be said when its wire is full, or nearly.
    pub fn strain(&self) -> Option<Strain> {
        let share = self.share.filter(|share| *share >= NEAR)?;
        let refused = share > 1.0;
        let mut terms: Vec<(f64, String)> = Vec::new();
        for device in &self.devices {
            for cycle in &device.cycles {
                let (Some(ms), Some(share)) = (cycle.predicted_ms, cycle.share) else { continue };
                let Cycle { poll, period_ms, .. } = cycle;
                let term =
                    format!("{} {poll} {ms:.1} of every {period_ms} ms = {}", device.name, percent(share));
                terms.push((share, term));
            }
        }
        terms.sort_by(|a, b| b.0.total_cmp(&a.0));
        let rest = terms.split_off(terms.len().min(NAMED));
        let mut words: Vec<String> = terms.into_iter().map(|(_, term)| term).collect();
        if !rest.is_empty() {
            let together = percent(rest.iter().map(|(share, _)| share).sum());
            words.push(format!("{} more polls = {together}", rest.len()));
        }
        let message =
            format!("the polls of its devices need {} of the wire: {}", percent(share), words.join(", "));
        let hint = match refused {
            true => format!(
                "poll {:.1} times more slowly, make the line faster, or give some devices a connection of their own",
                (share * 10.0).ceil() / 10.0
            ),
            false => "commands, retries and devices that answer slowly find little room".to_owned(),
        };
        Some(Strain { message, hint, refused })
    }
}

impl DevicePlan {
    /// With the sums of what is asked; each request with its rate and the time between two.
    pub fn new(name: String, requests: Vec<(String, u32, PlannedRequest)>, learned: Vec<Learned>) -> Self {
        let mut cycles: Vec<Cycle> = Vec::new();
        for (poll, period_ms, request) in requests {
            let there = cycles.iter_mut().find(|cycle| cycle.poll == poll && cycle.period_ms == period_ms);
            match there {
                Some(cycle) => cycle.requests.push(request),
                None => cycles.push(Cycle { poll, period_ms, requests: vec![request], ..Cycle::default() }),
            }
        }
        for cycle in &mut cycles {
            cycle.predicted_ms = sum(cycle.requests.iter().map(|request| request.predicted_ms));
            let period = f64::from(cycle.period_ms);
            cycle.share = cycle.predicted_ms.filter(|_| period > 0.0).map(|ms| ms / period);
        }
        cycles.sort_by_key(|cycle| cycle.period_ms);
        let share = sum(cycles.iter().map(|cycle| cycle.share));
        Self { name, error: String::new(), share, cycles, learned }
    }

    /// One that its driver leaves out.
    pub fn left_out(name: String) -> Self {
        let error = "the driver refuses its configuration; see sagoo-edge check".to_owned();
        Self { name, error, ..Self::default() }
    }
}

/// Of what is known; nothing when nothing is.
fn sum(parts: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    parts.flatten().fold(None, |sum, part| Some(sum.unwrap_or(0.0) + part))
}

/// `126.4 %`; a little too much is never shown as just enough, and a little is never nothing.
pub fn percent(share: f64) -> String {
    if share > 0.0 && share < 0.000_5 {
        return "< 0.1 %".to_owned();
    }
    let tenths = share * 1_000.0;
    let tenths = if share > 1.0 { (tenths - 1e-6).ceil() } else { tenths.round() };
    format!("{:.1} %", tenths / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str, polls: &[(&str, u32, f64)]) -> DevicePlan {
        let requests = polls.iter().map(|(poll, period_ms, ms)| {
            let predicted_ms = (*ms > 0.0).then_some(*ms);
            let request = PlannedRequest { request: "r".into(), wanted: 1, wasted: 0, predicted_ms };
            ((*poll).to_owned(), *period_ms, request)
        });
        DevicePlan::new(name.to_owned(), requests.collect(), Vec::new())
    }

    fn bus(devices: Vec<DevicePlan>) -> ConnectionPlan {
        ConnectionPlan::new("bus", "fake", devices)
    }

    #[test]
    fn what_needs_more_than_the_wire_is_refused_with_the_arithmetic() {
        let a = device("a", &[("fast", 200, 60.0), ("fast", 200, 66.4), ("slow", 1_000, 1.0)]);
        let plan = bus(vec![a, device("b", &[("fast", 100, 63.2)])]);
        let strain = plan.strain().unwrap();
        assert!(strain.refused);
        assert_eq!(
            strain.message,
            "the polls of its devices need 126.5 % of the wire: a fast 126.4 of every 200 ms = 63.2 %, \
             b fast 63.2 of every 100 ms = 63.2 %, a slow 1.0 of every 1000 ms = 0.1 %"
        );
        assert!(strain.hint.starts_with("poll 1.3 times more slowly"), "{}", strain.hint);
    }

    #[test]
    fn what_nearly_fills_the_wire_is_said_and_what_does_not_is_not() {
        let at = |ms: f64| bus(vec![device("a", &[("p", 100, ms)])]).strain();
        assert_eq!(at(79.9), None);
        assert_eq!(at(80.0).map(|strain| strain.refused), Some(false));
        assert_eq!(at(100.0).map(|strain| strain.refused), Some(false), "all of it is not more");
        let over = at(100.01).unwrap();
        assert!(over.refused && over.message.contains("100.1 % of the wire"), "{}", over.message);
    }

    #[test]
    fn requests_without_a_time_count_nothing() {
        let plan = bus(vec![device("a", &[("p", 1, 0.0)]), device("b", &[("p", 1_000, 500.0)])]);
        assert_eq!(plan.share, Some(0.5));
        assert_eq!((plan.devices[0].share, plan.devices[0].cycles[0].predicted_ms), (None, None));
        assert_eq!(bus(vec![device("a", &[("p", 1, 0.0)])]).share, None);
        assert_eq!(device("a", &[("never", 0, 5.0)]).share, None);
    }

    #[test]
    fn a_little_is_not_nothing() {
        let shown = [0.0, 0.000_1, 0.000_5, 0.126_4, 1.0, 1.000_001].map(percent);
        assert_eq!(shown, ["0.0 %", "< 0.1 %", "0.1 %", "12.6 %", "100.0 %", "100.1 %"]);
    }

    #[test]
    fn many_polls_are_named_by_the_heaviest() {
        let devices = (0..20).map(|n| device(&format!("d{n}"), &[("p", 1_000, 60.0)])).collect();
        let message = bus(devices).strain().unwrap().message;
        assert!(message.ends_with(", 16 more polls = 96.0 %") && message.contains("d0 p"), "{message}");
    }
}
