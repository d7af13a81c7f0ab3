//! The account of samples, as people and as Prometheus see it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::rig::{Plan, Site, eventually, python};
use serde_json::{Value as Json, json};

const SOON: Duration = Duration::from_secs(30);
/// Every number of a page as Prometheus' own parser understands it: name, labels, value, type.
const PARSER: &str = r#"
import json, sys
from prometheus_client.parser import text_string_to_metric_families
families = list(text_string_to_metric_families(sys.stdin.read()))
print(json.dumps([[s.name, s.labels, s.value, f.type] for f in families for s in f.samples]))
"#;

#[test]
fn prometheus_reads_the_numbers_of_the_ledger_and_nothing_else_is_served() {
    let plan = Plan::meters(&["meter-a", "meter-b"]);
    let plan =
        plan.may_log("device is offline connection=meter-a").may_log("device is offline connection=meter-b");
    let mut site = Site::prepare(&plan);
    site.gateway.configure("conf.d/metrics.toml", "[metrics]\nlisten = \"127.0.0.1:0\"\n");
    site.gateway.start();
    site.await_count("meter-a", 3, SOON);
    for meter in ["meter-a", "meter-b"] {
        site.device(meter).leave();
    }
    eventually("nothing waits any more", SOON, || {
        let totals = site.gateway.status()["totals"].clone();
        let quiet = totals["waiting"] == json!(0) && totals["acknowledged"] == totals["stored"];
        quiet.then_some(()).ok_or_else(|| format!("{totals:#}"))
    });
    let address = site.gateway.status()["metrics"].clone();
    let address: SocketAddr = address.as_str().expect("metrics have an address").parse().unwrap();
    assert!(address.ip().is_loopback());

    let silent = [(); 3].map(|()| TcpStream::connect(address).expect("it listens"));
    // a device that does not answer is asked again now and then, which counts as well
    let (head, page, told) = eventually("the ledger is the same before and after a page", SOON, || {
        let before = site.gateway.command(&["ledger"]);
        let (head, page) = ask(address, "GET /metrics");
        let after = site.gateway.command(&["ledger"]);
        let same = before.json == after.json;
        same.then_some((head, page, after)).ok_or(before.out)
    });
    drop(silent);
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("version=0.0.4"), "{head}");
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    let found = parsed(&page);
    let number = |name: &str, labels: Json| {
        let name = format!("sagoo_edge_{name}");
        let same = found.iter().find(|one| one[0] == json!(name) && one[1] == labels);
        same.unwrap_or_else(|| panic!("no {name} {labels} in\n{page}"))[2].as_f64()
    };
    let devices = told.json["devices"].as_array().expect("devices");
    for device in devices {
        let (name, ledger) = (&device["name"], &device["ledger"]);
        for entry in ["read", "suppressed", "dropped_by_driver", "stored", "acknowledged", "merged"] {
            let on_page = number(&format!("samples_{entry}_total"), json!({ "device": name }));
            assert_eq!(on_page, ledger[entry].as_f64(), "{entry} of {name}");
        }
        for entry in ["waiting", "parked"] {
            assert_eq!(
                number(&format!("samples_{entry}"), json!({ "device": name })),
                ledger[entry].as_f64()
            );
        }
        for reason in ["full", "damaged", "too_large", "unwritten"] {
            let on_page = number("samples_evicted", json!({ "device": name, "reason": reason }));
            assert_eq!(on_page, ledger[format!("evicted_{reason}")].as_f64(), "{reason} of {name}");
        }
        for identity in ["read", "stored"] {
            let off = number("ledger_off_samples", json!({ "device": name, "identity": identity }));
            assert_eq!(off, device[format!("{identity}_off")].as_f64());
        }
    }
    assert!(devices.len() >= 2 && told.json["totals"]["acknowledged"].as_u64() > Some(0), "{}", told.out);
    assert_eq!(number("driver_up", json!({ "driver": "modbus" })), Some(1.0));
    assert_eq!(number("platform_connected", json!({})), Some(1.0));
    assert!(number("driver_resident_memory_bytes", json!({ "driver": "modbus" })) > Some(1e6));

    assert!(ask(address, "GET /").0.starts_with("HTTP/1.1 404 "));
    assert!(ask(address, "POST /metrics").0.starts_with("HTTP/1.1 405 "));
    assert!(ask(address, "rubbish").0.starts_with("HTTP/1.1 400 "));
    site.gateway.stop();
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    site.assert_unharmed();
}

/// Head and body of the answer.
fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(SOON)).expect("it is a socket");
    let request = format!("{request} HTTP/1.1\r\nHost: gateway\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it takes a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and closes");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_owned(), body.to_owned())
}

fn parsed(page: &str) -> Vec<Json> {
    let mut parser = Command::new(python())
        .args(["-c", PARSER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    parser.stdin.take().expect("it is piped").write_all(page.as_bytes()).expect("the parser reads");
    let output = parser.wait_with_output().expect("the parser ends");
    assert!(output.status.success(), "the parser does not understand\n{page}");
    serde_json::from_slice(&output.stdout).expect("the parser says JSON")
}
