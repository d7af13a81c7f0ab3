//! Between messages on the wire and the types an author sees.
//!
//! Always true: settings that are not a JSON object become a [`Problem`] with their place, never a
//! guess; the tables around them still reach the driver's `check`.

use std::collections::BTreeSet;

use sagoo_edge_proto::driver as wire;
use serde_json::Value as Json;

use crate::driver::{
    Checked, Configuration, ConnectionTable, Description, DeviceTable, Driver, Learned, ModelTable,
    PlannedRequest, Poll, Problem,
};

/// Tables as JSON text → tables as JSON, and what is wrong with the text.
pub(crate) fn configuration(message: wire::Configuration) -> (Configuration, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut table = |kind: &str, name: &str, text: &str| {
        object(text).map_err(|message| {
            problems.push(Problem {
                path: vec![kind.to_owned(), name.to_owned()],
                message,
                hint: "the gateway sends each table as a JSON object".to_owned(),
                warning: false,
            });
        })
    };
    let mut tables = Configuration::default();
    for wire::Connection { name, settings } in message.connections {
        if let Ok(settings) = table("connection", &name, &settings) {
            tables.connections.push(ConnectionTable { name, settings });
        }
    }
    for wire::Model { name, settings } in message.models {
        if let Ok(settings) = table("model", &name, &settings) {
            tables.models.push(ModelTable { name, settings });
        }
    }
    for wire::Device { name, connection, model, settings } in message.devices {
        if let Ok(settings) = table("device", &name, &settings) {
            tables.devices.push(DeviceTable { name, connection, model, settings });
        }
    }
    (tables, problems)
}

/// Tables as JSON → tables as JSON text; what a gateway does.
pub(crate) fn configuration_message(tables: &Configuration) -> wire::Configuration {
    wire::Configuration {
        connections: tables
            .connections
            .iter()
            .map(|table| wire::Connection { name: table.name.clone(), settings: table.settings.to_string() })
            .collect(),
        models: tables
            .models
            .iter()
            .map(|table| wire::Model { name: table.name.clone(), settings: table.settings.to_string() })
            .collect(),
        devices: tables
            .devices
            .iter()
            .map(|table| wire::Device {
                name: table.name.clone(),
                connection: table.connection.clone(),
                model: table.model.clone(),
                settings: table.settings.to_string(),
            })
            .collect(),
    }
}

/// JSON text of an object; empty text is an empty object.
pub(crate) fn object(text: &str) -> Result<Json, String> {
    if text.trim().is_empty() {
        return Ok(Json::Object(serde_json::Map::new()));
    }
    match serde_json::from_str(text) {
        Ok(Json::Object(object)) => Ok(Json::Object(object)),
        Ok(_) => Err("not a JSON object".to_owned()),
        Err(error) => Err(format!("not JSON: {error}")),
    }
}

impl From<Problem> for wire::Problem {
    fn from(problem: Problem) -> Self {
        let Problem { path, message, hint, warning } = problem;
        Self { path, message, hint, warning }
    }
}

impl From<wire::Problem> for Problem {
    fn from(problem: wire::Problem) -> Self {
        let wire::Problem { path, message, hint, warning } = problem;
        Self { path, message, hint, warning }
    }
}

impl From<Learned> for wire::Learned {
    fn from(learned: Learned) -> Self {
        let Learned { what, paste } = learned;
        Self { what, paste }
    }
}

impl From<Description> for wire::DescribeResponse {
    fn from(description: Description) -> Self {
        Self {
            name: description.name.to_owned(),
            version: description.version.to_owned(),
            title: description.title.to_owned(),
            config_schema: description.config_schema.to_owned(),
            abilities: description.abilities.iter().map(|&ability| ability.to_owned()).collect(),
        }
    }
}

/// The read plan of everything that can run, as this driver would carry it out now.
pub(crate) fn plans<D: Driver>(driver: &D, checked: &Checked<D>) -> Vec<wire::DevicePlan> {
    let mut plans = Vec::new();
    for connection in &checked.connections {
        for device in &connection.devices {
            let measured = driver.measured(&connection.settings, device).unwrap_or_default();
            let requests = device.polls.iter().enumerate().flat_map(|(place, poll)| {
                let requests = measured.get(place).unwrap_or(&poll.requests);
                requests.iter().map(move |request| planned(poll, request))
            });
            plans.push(wire::DevicePlan {
                device: device.name.clone(),
                requests: requests.collect(),
                learned: driver.learned(&device.name).into_iter().map(Into::into).collect(),
            });
        }
    }
    plans
}

/// What all connections together need; `None` when the driver does not say it of each of them.
pub(crate) fn rights<D: Driver>(driver: &D, checked: &Checked<D>) -> Option<wire::Rights> {
    if checked.connections.is_empty() {
        return None;
    }
    let (mut connect, mut listen) = (BTreeSet::new(), BTreeSet::new());
    for connection in &checked.connections {
        let rights = driver.rights(&connection.settings)?;
        connect.extend(rights.connect_tcp.into_iter().map(u32::from));
        listen.extend(rights.listen_tcp.into_iter().map(u32::from));
    }
    let (connect_tcp, listen_tcp) = (connect.into_iter().collect(), listen.into_iter().collect());
    Some(wire::Rights { connect_tcp, listen_tcp })
}

fn planned(poll: &Poll, request: &PlannedRequest) -> wire::PlannedRequest {
    wire::PlannedRequest {
        poll: poll.name.clone(),
        period_ms: u32::try_from(poll.period.as_millis()).unwrap_or(u32::MAX),
        request: request.request.clone(),
        wanted: request.wanted,
        wasted: request.wasted,
        predicted_ms: request.predicted_ms,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::session::fake::{Fake, World};
    use crate::testing::tables;

    fn rights_of(connections: Json) -> Option<wire::Rights> {
        let driver = Fake(World::new());
        rights(&driver, &driver.check(&tables(json!({ "connection": connections }))))
    }

    #[test]
    fn rights_are_those_of_all_connections_each_port_once() {
        let told = rights_of(json!({ "a": { "port": 502 }, "b": { "port": 102 }, "c": { "port": 502 } }));
        assert_eq!(told, Some(wire::Rights { connect_tcp: vec![102, 502], listen_tcp: Vec::new() }));
    }

    #[test]
    fn one_connection_that_does_not_say_leaves_the_whole_unsaid() {
        assert_eq!(rights_of(json!({ "a": { "port": 502 }, "b": {} })), None);
        assert_eq!(rights_of(json!({})), None);
    }

    #[test]
    fn a_plan_is_the_measured_one_where_something_was_measured_and_tells_what_was_learned() {
        let driver = Fake(World::new());
        let field = json!({
            "connection": { "bus": {} },
            "device": {
                "known": { "connection": "bus", "measured_ms": 31.5 },
                "new": { "connection": "bus" },
            },
        });
        let told = plans(&driver, &driver.check(&tables(field)));
        let told: Vec<_> = told
            .iter()
            .map(|plan| {
                let learned: Vec<_> = plan.learned.iter().map(|one| one.paste.as_str()).collect();
                let request = &plan.requests[0];
                (plan.device.as_str(), request.poll.as_str(), request.predicted_ms, learned)
            })
            .collect();
        assert_eq!(told, [("known", "all", 31.5, vec!["holes = [1]"]), ("new", "all", 0.0, vec![])]);
    }

    #[test]
    fn a_table_that_is_no_object_is_a_problem_with_its_place() {
        let message = wire::Configuration {
            connections: vec![wire::Connection { name: "bus".into(), settings: "[1]".into() }],
            models: vec![wire::Model { name: "em24".into(), settings: "{".into() }],
            devices: vec![wire::Device { name: "meter".into(), settings: "{}".into(), ..Default::default() }],
        };
        let (tables, problems) = configuration(message);
        assert_eq!(tables.devices.len(), 1);
        let places: Vec<_> = problems.iter().map(|problem| problem.path.join(".")).collect();
        assert_eq!(places, ["connection.bus", "model.em24"]);
    }
}
