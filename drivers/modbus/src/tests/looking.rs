//! What people ask of a line: scans and probes.

use sagoo_driver_sdk::{Deadline, Driver, Line, Outcome, Tap, Value};
use serde_json::{Value as Json, json};

use super::bus::Bus;
use super::device::{Cells, Device as Peer, Does};
use super::{PATIENT, SHORT, connection, device};
use crate::connection::{Connection, Framing};
use crate::device::Device;
use crate::driver::Modbus;

#[tokio::test]
async fn a_scan_finds_who_answers_and_who_refuses_and_asks_for_names() {
    let mut peer = Peer::start(|asked| {
        let pdu: &[u8] = match (asked.unit, asked.pdu[0]) {
            (2, 3) => &[3, 2, 0, 9],
            (2, 43) => &[43, 14, 1, 1, 0, 0, 2, 0, 4, b'A', b'c', b'm', b'e', 1, 2, b'P', b'1'],
            (4, 3) => &[0x83, 2],
            (4, _) => &[0xAB, 1],
            (5, _) => &[0x83, 11],
            _ => return Does::Send(vec![]),
        };
        Does::Send(vec![asked.answer(pdu)])
    })
    .await;
    let connection = connection(peer.port, SHORT);
    let driver = Modbus::default();
    let options = json!({ "units": "1-5" });
    assert_eq!(driver.scan_steps(&connection, &options), Ok(5));
    let mut line = driver.line(&connection, Tap::default());
    let mut found = Vec::new();
    for step in 0..5 {
        let scanned = line.scan(step, &options).await.unwrap();
        assert_eq!(scanned.tried, format!("unit {}", step + 1));
        found.extend(
            scanned.found.into_iter().map(|found| (found.address, found.description, found.settings)),
        );
    }
    let wanted = [
        ("unit 2".to_owned(), "Acme P1; has holding:0".to_owned(), json!({ "unit": 2 })),
        (
            "unit 4".to_owned(),
            "answers holding:0 with illegal data address (exception 2)".to_owned(),
            json!({ "unit": 4 }),
        ),
    ];
    assert_eq!(found, wanted);
    let functions: Vec<u8> = peer.pdus().iter().map(|pdu| pdu[0]).collect();
    assert!(functions.iter().all(|function| [3, 43].contains(function)), "a scan only reads: {functions:?}");
}

async fn probe(cells: Json, points: &str, input: Json) -> Result<Json, Outcome> {
    let device = device("", points);
    let mut cells = Cells::of(&cells);
    let peer = Peer::start(move |asked| Does::Send(vec![cells.answer(asked)])).await;
    let mut line = Modbus::default().line(&connection(peer.port, PATIENT), Tap::default());
    line.invoke(&device, "probe", &input, Deadline::after(PATIENT)).await
}

const POINT: &str = "p = { at = \"input:0\", type = \"u16\" }";

fn row<'a>(table: &'a Json, name: &str) -> Vec<&'a str> {
    let rows = table["rows"].as_array().unwrap();
    let row = rows.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("no row {name} in {table}"));
    row.as_array().unwrap()[1..].iter().map(|cell| cell.as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_probe_shows_every_decoding_with_its_neighbours() {
    let input = json!({ "address": "input:0x10", "count": 2 });
    // 230.5 is 0x43668000.
    let cells = json!({ "input": { "0x000e": [1, 2, 0x4366, 0x8000, 5, 6, 7] } });
    let table = probe(cells, POINT, input).await.unwrap();
    let columns = json!(["", "(0x000e)", "(0x000f)", "0x0010", "0x0011", "(0x0012)", "(0x0013)", "(0x0014)"]);
    assert_eq!(table["columns"], columns);
    assert_eq!(row(&table, "u16"), ["1", "2", "17254", "32768", "5", "6", "7"]);
    assert_eq!(row(&table, "f32 ABCD")[2], "230.5");
    assert_eq!(row(&table, "u64 ABCDEFGH")[0], "281484697436160");
    assert!(table["rows"].as_array().unwrap().iter().all(|row| row.as_array().unwrap().len() == 8));
}

#[tokio::test]
async fn a_refused_neighbour_hides_nothing_of_a_probe() {
    let cells = json!({ "input": { "0x0000": [0x1234, 0x5678], "0x0003": [9] } });
    let table = probe(cells, POINT, json!({ "address": "input:0", "count": "2" })).await.unwrap();
    assert_eq!(table["columns"], json!(["", "0x0000", "0x0001", "(0x0002)", "(0x0003)", "(0x0004)"]));
    assert_eq!(row(&table, "hex"), ["1234", "5678", "—", "0009", "—"]);
    assert_eq!(row(&table, "u32 ABCD"), ["305419896", "", "", "", ""]);
    assert!(table["title"].as_str().unwrap().ends_with("— is refused: illegal data address (exception 2)"));
    let bits = json!({ "coil": { "0x0005": [1, 0, 1] } });
    let table = probe(bits, POINT, json!({ "address": "coil:6", "count": 1 })).await.unwrap();
    assert_eq!(table["rows"], json!([["bit", "—", "1", "0", "1", "—", "—"]]));
}

#[tokio::test]
async fn a_probe_reads_no_neighbour_that_must_never_be_read() {
    let device = device(
        "holes = [[\"input:1\", \"input:1\"], [\"input:5\", \"input:9\"]]",
        "p = { at = \"input:0\", type = \"u16\" }",
    );
    let mut cells = Cells::of(&json!({ "input": { "0x0000": [0, 1, 2, 3, 4, 5, 6, 7] } }));
    let peer = Peer::start(move |asked| Does::Send(vec![cells.answer(asked)])).await;
    let mut line = Modbus::default().line(&connection(peer.port, PATIENT), Tap::default());
    let input = json!({ "address": "input:3", "count": 1 });
    let table = line.invoke(&device, "probe", &input, Deadline::after(PATIENT)).await.unwrap();
    assert_eq!(table["columns"], json!(["", "(0x0002)", "0x0003", "(0x0004)"]));
    assert_eq!(row(&table, "u16"), ["2", "3", "4"]);
}

#[tokio::test]
async fn a_probe_of_a_file_asks_for_the_file() {
    let peer = Peer::start(|asked| {
        assert_eq!(asked.pdu[0], 20, "file records have a function of their own");
        let registers = usize::from(asked.pdu[8]);
        let mut pdu = vec![20, registers as u8 * 2 + 2, registers as u8 * 2 + 1, 6];
        pdu.extend([0x12, 0x34].repeat(registers));
        Does::Send(vec![asked.answer(&pdu)])
    })
    .await;
    let mut line = Modbus::default().line(&connection(peer.port, PATIENT), Tap::default());
    let input = json!({ "address": "file:4:1", "count": 1 });
    let table = line.invoke(&device("", POINT), "probe", &input, Deadline::after(PATIENT)).await.unwrap();
    assert_eq!(row(&table, "hex")[1], "1234");
}

#[tokio::test]
async fn a_probe_of_nonsense_says_what_is_wrong() {
    for (input, wrong) in [
        (json!({}), "address is missing"),
        (json!({ "address": "input:0", "count": 99 }), "99 is not a count, 1 to 32 are"),
        (json!({ "address": "tape:0" }), "\"tape\" is not a table"),
        (json!({ "address": "id:0" }), "an identification has no neighbours"),
        (json!({ "address": "input:65535", "count": 2 }), "2 cells from 65535 are past the end"),
    ] {
        let Err(Outcome::Refused(told)) = probe(json!({}), POINT, input).await else { panic!("{wrong}") };
        assert!(told.starts_with(wrong), "{told}");
    }
}

#[test]
fn a_port_of_two_connections_is_a_mistake_and_unit_0_of_a_serial_line_is_never_read() {
    let toml = "[connection.a]\nserial = { port = \"/dev/ttyS9\", mode = \"9600-8E1\" }\n\
                [connection.b]\nserial = { port = \"/dev/ttyS9\", mode = \"9600-8E1\" }\n\
                [model.m.points]\np = { at = \"holding:0\", type = \"u16\", write = {} }\n\
                [device.all]\nconnection = \"a\"\nmodel = \"m\"\nunit = 0\n";
    let checked = Modbus::default().check(&super::configuration(toml));
    let told: Vec<(String, bool)> =
        checked.problems.iter().map(|problem| (problem.path.join("."), problem.warning)).collect();
    assert_eq!(told, [("device.all.unit".to_owned(), true), ("connection.b.serial.port".to_owned(), false)]);
    assert_eq!(checked.connections.len(), 1, "the first one runs");
    assert!(checked.connections[0].devices[0].polls.is_empty());
}

#[tokio::test]
async fn a_broadcast_is_sent_once_and_nobody_claims_that_it_was_done() {
    let mut bus = Bus::tcp(|_| vec![]).await;
    let connection = Connection { framing: Framing::Rtu, ..connection(bus.port, PATIENT) };
    let point = "p = { at = \"holding:5\", type = \"u16\", write = { verify = true } }";
    let everybody = Device { unit: 0, ..device("", point) };
    let mut line = Modbus::default().line(&connection, Tap::default());
    let outcomes = line.write(&everybody, &[(0, Value::Uint(9))], Deadline::after(PATIENT)).await;
    let [Outcome::Unknown(told)] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert!(told.contains("a broadcast has no answer"), "{told}");
    line.close().await;
    let heard = loop {
        // It was sent when the write came back, and reaches the other end when that runs.
        let heard = bus.heard();
        if !heard.is_empty() {
            break heard;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((heard.len(), heard[0].unit, &heard[0].pdu[..]), (1, 0, &[6, 0, 5, 0, 9][..]));
}
