//! Drivers' plans, put together per connection.
//!
//! Always true: each connection is there once, with its devices in the order of their names.

use std::collections::{BTreeMap, HashMap};

use sagoo_edge_proto::driver as wire;

use crate::status::plan::{ConnectionPlan, DevicePlan, Learned, PlannedRequest, Strain};

/// What driver `id` plans for these devices (`owners`: device → connection), connection by connection.
pub fn of_driver<'a>(
    id: &str,
    connections: impl IntoIterator<Item = &'a String>,
    owners: &HashMap<String, String>,
    plans: Vec<wire::DevicePlan>,
) -> Vec<ConnectionPlan> {
    // a driver may only speak of devices it was told of, and need not speak of each
    let mut planned: HashMap<String, DevicePlan> =
        plans.into_iter().map(|plan| (plan.device.clone(), device(plan))).collect();
    let mut devices: BTreeMap<&str, Vec<DevicePlan>> = BTreeMap::new();
    for (name, connection) in owners {
        let plan = planned.remove(name).unwrap_or_else(|| DevicePlan::left_out(name.clone()));
        devices.entry(connection).or_default().push(plan);
    }
    let connections = connections.into_iter().map(|name| {
        let mut here = devices.remove(name.as_str()).unwrap_or_default();
        here.sort_by(|a, b| a.name.cmp(&b.name));
        ConnectionPlan::new(name, id, here)
    });
    connections.collect()
}

/// Lines whose wire is full, or nearly.
pub fn strains(
    id: &str,
    owners: &HashMap<String, String>,
    plans: Vec<wire::DevicePlan>,
) -> BTreeMap<String, Strain> {
    let lines: std::collections::BTreeSet<&String> = owners.values().collect();
    let plans = of_driver(id, lines, owners, plans).into_iter();
    plans.filter_map(|plan| Some((plan.name.clone(), plan.strain()?))).collect()
}

fn device(plan: wire::DevicePlan) -> DevicePlan {
    let wire::DevicePlan { device, requests, learned } = plan;
    let requests = requests.into_iter().map(|planned| {
        let wire::PlannedRequest { poll, period_ms, request, wanted, wasted, predicted_ms } = planned;
        let known = predicted_ms.is_finite() && predicted_ms > 0.0;
        let request = PlannedRequest { request, wanted, wasted, predicted_ms: known.then_some(predicted_ms) };
        (poll, period_ms, request)
    });
    let learned = learned.into_iter().map(|wire::Learned { what, paste }| Learned { what, paste });
    DevicePlan::new(device, requests.collect(), learned.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_stand_under_their_connection_and_strangers_nowhere() {
        let plan = |device: &str, predicted_ms: f64| wire::DevicePlan {
            device: device.to_owned(),
            requests: vec![wire::PlannedRequest { period_ms: 100, predicted_ms, ..Default::default() }],
            learned: Vec::new(),
        };
        let owner = |device: &str, line: &str| (device.to_owned(), line.to_owned());
        let owners = HashMap::from([owner("a", "left"), owner("b", "left"), owner("c", "right")]);
        let plans = vec![plan("b", 60.0), plan("a", 60.0), plan("c", f64::NAN), plan("stranger", 90.0)];
        let names = ["left".to_owned(), "right".to_owned(), "spare".to_owned()];
        let found = of_driver("fake", &names, &owners, plans.clone());
        let shown: Vec<_> = found.iter().map(|plan| (plan.name.as_str(), plan.devices.len())).collect();
        assert_eq!(shown, [("left", 2), ("right", 1), ("spare", 0)]);
        assert_eq!(found[0].devices[0].name, "a");
        let without_c = of_driver("fake", &names, &owners, plans[..2].to_vec());
        assert!(without_c[1].devices[0].error.contains("refuses"), "{without_c:?}");
        assert_eq!(found[1].share, None, "what is no number is not known");
        let strains = strains("fake", &owners, plans);
        assert_eq!(strains.keys().collect::<Vec<_>>(), ["left"]);
        assert!(strains["left"].refused);
    }
}
