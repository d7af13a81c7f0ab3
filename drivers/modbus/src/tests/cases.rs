//! Runs the folders of `cases/`. Adding one needs no code:
//! - `settings.toml`: connections, models and devices as in the gateway's files;
//! - `registers.json`: cells of the simulated device; what is not there is an illegal address;
//! - `writes.json`, where a case writes: a list of `[device, point, value]`, each a command of its own;
//! - `expected.json`: `problems` with their places, per device its `plan` (unless it is left out) and its
//!   `values`, and for each write what became of it and the requests that were `sent` for it, in hexadecimal.
//!
//! `every_type/make.py` makes its folder from a table of Python's own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sagoo_driver_sdk::{CheckedDevice, Deadline, Driver, Line, Outcome, Problem, Readings, Tap, Value};
use serde_json::{Value as Json, json};

use super::device::{Cells, Device, Does};
use super::{PATIENT, configuration, connection, told};
use crate::driver::Modbus;

#[tokio::test]
async fn every_case_is_planned_and_read_as_expected() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(&root).unwrap() {
        let folder = entry.unwrap().path();
        let read = |file: &str| {
            fs::read_to_string(folder.join(file))
                .unwrap_or_else(|error| panic!("{}/{file}: {error}", folder.display()))
        };
        let parsed = |file: &str| -> Json {
            serde_json::from_str(&read(file))
                .unwrap_or_else(|error| panic!("{}/{file}: {error}", folder.display()))
        };
        let expected = parsed("expected.json");
        let writes = folder.join("writes.json").exists().then(|| parsed("writes.json"));
        let mut actual = run(&read("settings.toml"), &parsed("registers.json"), writes.as_ref()).await;
        for (name, device) in expected["devices"].as_object().unwrap() {
            if device.get("plan").is_none() {
                actual["devices"][name].as_object_mut().unwrap().remove("plan");
            }
        }
        if actual != expected {
            let actual = serde_json::to_string_pretty(&actual).unwrap();
            wrong.push(format!("{} gave\n{actual}", folder.display()));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(count >= 8, "only {count} cases in {}", root.display());
}

async fn run(settings: &str, registers: &Json, writes: Option<&Json>) -> Json {
    let mut cells = Cells::of(registers);
    let mut server = Device::start(move |asked| Does::Send(vec![cells.answer(asked)])).await;
    let checked = Modbus::default().check(&configuration(settings));
    let mut devices = BTreeMap::new();
    for of in &checked.connections {
        let mut line = Modbus::default().line(&connection(server.port, PATIENT), Tap::default());
        for device in &of.devices {
            devices.insert(device.name.clone(), read(device, &mut line).await);
        }
    }
    let mut told =
        json!({ "problems": checked.problems.iter().map(problem).collect::<Vec<_>>(), "devices": devices });
    if let Some(writes) = writes {
        let devices: Vec<_> = checked.connections.iter().flat_map(|of| &of.devices).collect();
        let mut outcomes = Vec::new();
        for write in writes.as_array().unwrap() {
            outcomes.push(written(write, &devices, &mut server).await);
        }
        told["writes"] = json!(outcomes);
    }
    told
}

/// One command, what became of it and what it took.
async fn written(command: &Json, devices: &[&CheckedDevice<Modbus>], server: &mut Device) -> Json {
    let (device, point) = (command[0].as_str().unwrap(), command[1].as_str().unwrap());
    let device = devices.iter().find(|known| known.name == device).unwrap();
    let point = device.points.iter().position(|known| known.name == point).unwrap();
    let value = match &command[2] {
        Json::Bool(value) => Value::Bool(*value),
        Json::String(text) => Value::Text(text.clone()),
        list @ Json::Array(_) => Value::Json(list.to_string()),
        number if number.is_i64() => Value::Int(number.as_i64().unwrap()),
        number => Value::Float(number.as_f64().unwrap()),
    };
    server.pdus();
    let mut line = Modbus::default().line(&connection(server.port, PATIENT), Tap::default());
    let outcome = line.write(&device.settings, &[(point, value)], Deadline::after(PATIENT)).await;
    let hex = |pdu: &Vec<u8>| pdu.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let sent: Vec<String> = server.pdus().iter().map(hex).collect();
    let outcome = match &outcome[..] {
        [Outcome::Applied(back)] => {
            format!("applied {}", back.as_ref().map_or(String::new(), Value::to_string))
        }
        [Outcome::Differs(back)] => format!("differs {back}"),
        [Outcome::Refused(reason)] => format!("refused {reason}"),
        [Outcome::Unknown(reason)] => format!("unknown {reason}"),
        [Outcome::Expired] => "expired".to_owned(),
        other => panic!("{} outcomes of one write", other.len()),
    };
    json!({ "outcome": outcome, "sent": sent })
}

async fn read(device: &CheckedDevice<Modbus>, line: &mut <Modbus as Driver>::Line) -> Json {
    let mut plan = BTreeMap::new();
    let mut out = Readings::default();
    for (place, poll) in device.polls.iter().enumerate() {
        let request = |request: &sagoo_driver_sdk::PlannedRequest| {
            format!("{}, {} wanted, {} wasted", request.request, request.wanted, request.wasted)
        };
        let requests: Vec<String> = poll.requests.iter().map(request).collect();
        plan.insert(format!("{} {:?}", poll.name, poll.period), requests);
        line.poll(&device.settings, place, &mut out).await.unwrap();
    }
    let mut values = told(&device.settings, &out);
    let all: Vec<usize> = (0..device.points.len()).collect();
    let mut again = Readings::default();
    line.read(&device.settings, &all, &mut again).await.unwrap();
    assert_eq!(told(&device.settings, &again), values, "a read differs from the polls");
    shorten(&mut values);
    json!({ "plan": plan, "values": values })
}

/// A run of many points called `p000`, `p001`, … is told by its sum.
fn shorten(values: &mut Json) {
    let object = values.as_object_mut().unwrap();
    let run: Vec<String> =
        object.keys().filter(|name| name.len() == 5 && name.starts_with('p')).cloned().collect();
    if run.len() > 20 {
        let on: Vec<String> = run.iter().filter(|name| object[*name] == json!(true)).cloned().collect();
        for name in &run {
            object.remove(name);
        }
        object.insert("on".to_owned(), json!(on));
        object.insert("of".to_owned(), json!(run.len()));
    }
}

fn problem(problem: &Problem) -> Json {
    let kind = if problem.warning { "warning" } else { "error" };
    json!({ kind: problem.path.join("."), "message": problem.message, "hint": problem.hint })
}
