//! Whole files, and the driver's check over what comes of them.

use std::fs;

use sagoo_driver_sdk::{ConnectionTable, DeviceTable, Driver};
use serde_json::json;

use super::{FLAGS, run};
use crate::cli::{Failure, Words};
use crate::driver::Modbus;
use crate::simulate::site::Site;

/// The model, what is told, and how many rows are left out; `%` is the file's own name.
fn import(name: &str, bytes: &[u8], typed: &[&str]) -> Result<(String, Vec<String>, usize), Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    let path = path.to_str().unwrap();
    let typed: Vec<String> = [path].iter().chain(typed).map(|word| (*word).to_owned()).collect();
    let short = |lines: Vec<String>| lines.iter().map(|line| line.replace(path, "%")).collect();
    match run(&Words::parse(&typed, FLAGS).unwrap()) {
        Ok((text, told)) => Ok((text, short(told.lines), told.left_out)),
        Err(Failure::Told(lines) | Failure::Words(lines)) => Err(short(lines)),
    }
}

/// What the driver says to a device of this model.
fn check(model: &str, text: &str) -> usize {
    let (mut site, mut wrong) = (Site::default(), Vec::new());
    site.add("m".to_owned(), text.to_owned(), &mut wrong);
    assert_eq!(wrong, [""; 0]);
    let mut configuration = site.configuration();
    configuration
        .connections
        .push(ConnectionTable { name: "c".to_owned(), settings: json!({ "tcp": { "host": "h" } }) });
    configuration.devices.push(DeviceTable {
        name: "d".to_owned(),
        connection: "c".to_owned(),
        model: model.to_owned(),
        settings: json!({}),
    });
    let checked = Modbus::default().check(&configuration);
    assert_eq!(checked.problems, [], "{text}");
    checked.connections[0].devices[0].points.len()
}

#[test]
fn a_list_becomes_a_model_that_the_driver_accepts() {
    let list = "name,at,type,order,scale,offset,unit,poll,access,min,max,description\n\
        voltage,30001,int32,CDAB,0.1,,V,1s,r,,,Line \"1\"\n\
        limit,40017,uint16,,0.1,,A,1m,rw,0,63,\n\
        energy,30053,uint64,ABCD,0.001,,kWh,5m,,,,\n\
        run,00001,,,,,,1s,rw,,,\n\
        alarm,40020.3,bit,,,,,,,,,\n";
    let (text, told, left_out) = import("em 24.csv", list.as_bytes(), &[]).unwrap();
    assert_eq!((told, left_out), (vec![], 0));
    assert_eq!(
        text,
        "[model.em_24]\nversion = 1\naddresses = \"zero-based\"\n\
         poll = { default = \"1s\", every_1m = \"1m\", every_1s = \"1s\", every_5m = \"5m\" }\n\n\
         [model.em_24.points]\n\
         voltage = { at = \"input:0\", type = \"i32\", order = \"CDAB\", scale = 0.1, unit = \"V\", poll = \"every_1s\" }  # Line \"1\"\n\
         limit = { at = \"holding:16\", type = \"u16\", scale = 0.1, unit = \"A\", write = { max = 63, min = 0 }, poll = \"every_1m\" }\n\
         energy = { at = \"input:52\", type = \"u64\", scale = 0.001, unit = \"kWh\", poll = \"every_5m\" }\n\
         run = { at = \"coil:0\", write = true, poll = \"every_1s\" }\n\
         alarm = { at = \"holding:19\", type = \"bits[3]\" }\n"
    );
    assert_eq!(check("em_24", &text), 5);
}

#[test]
fn every_row_that_is_left_out_is_told_with_its_line_and_the_remedy() {
    let list = "group;tag;address;type;attribute\n\
        g;a;1!40001;INT16;Read Write\ng;b;1!40002;INT;Read\ng;c;40003;int61;Read\ng;a;40009;INT16;Read\n\
        g;d;7;INT16;Read\ng;e;30005;INT16;Read Write\ng;f;465536;INT32;Read\n";
    let (text, told, left_out) = import("l.csv", list.as_bytes(), &["--model", "m"]).unwrap();
    assert_eq!(check("m", &text), 1, "{text}");
    assert_eq!(left_out, 6);
    let begins = [
        "%:1: columns that are not used: group",
        "%:3: \"INT\" is 16 bits here and 32 or 64 there; write int16",
        "%:5: a is at %:2 already; ",
        "%:6: \"7\" names no table; ",
        "%:4: c: unknown type \"int61\"; ",
        "%:7: e: input cannot be written; ",
        "%:8: f: ",
    ];
    assert_eq!(told.len(), begins.len(), "{told:?}");
    for (line, begin) in told.iter().zip(begins) {
        assert!(line.starts_with(begin), "{line} begins with {begin}");
    }
}

#[test]
fn a_thing_model_becomes_a_model() {
    let tsl = r#"{"key": "meter", "properties": [
        {"key": "va", "name": "Voltage A", "accessMode": 1, "valueType": {"type": "float", "unit": "V"},
         "extConfig": {"protocol": "modbus", "config": {"registerAddr": 0, "functionCode": 4, "dataType": "float", "byteOrder": "CDAB", "interval_ms": 500}}},
        {"key": "mode", "accessMode": 0, "valueType": {"type": "enum", "elements": [{"value": "0", "text": "off"}, {"value": "1", "text": "on"}]},
         "extConfig": {"protocol": "modbus", "config": {"registerAddr": 8, "functionCode": 3, "dataType": "uint16"}}},
        {"key": "none", "accessMode": 1, "valueType": {"type": "int"}}], "functions": []}"#;
    let told = import("tsl.json", tsl.as_bytes(), &[]).unwrap_err();
    assert!(told[0].contains("--addresses zero-based (0 is the first) or modicon"), "{told:?}");
    let (text, told, left_out) = import("tsl.json", tsl.as_bytes(), &["--addresses", "zero-based"]).unwrap();
    assert_eq!(left_out, 1);
    assert_eq!(told, ["%:6: no extConfig: where is this property in the device?"]);
    assert!(text.contains("va = { at = \"input:0\", type = \"f32\", order = \"CDAB\", unit = \"V\", poll = \"every_500ms\" }  # Voltage A\n"), "{text}");
    assert!(text.contains("mode = { at = \"holding:8\", type = \"u16\", enum = { 0 = \"off\", 1 = \"on\" }, write = true }\n"), "{text}");
    assert_eq!(check("tsl", &text), 2);
}

#[test]
fn what_is_typed_wrong_names_its_argument() {
    let list = b"name,at\na,40001\n";
    assert_eq!(
        import("l.csv", list, &["--addresses", "one"]).unwrap_err(),
        ["--addresses one: zero-based (0 is the first) or modicon (40001 is)"]
    );
    assert_eq!(import("l.csv", list, &["--format", "xls"]).unwrap_err(), ["--format xls: csv or tsl"]);
    assert_eq!(import("l.csv", list, &["b.csv"]).unwrap_err().len(), 1);
    let told = import("l.csv", list, &[]).unwrap_err();
    assert!(
        told[0].starts_with("%:2: a: type is missing") && told[1].contains("no row of it can be a point"),
        "{told:?}"
    );
    let told = import("l.csv", b"name,at\n\xFF\xFE,1\n", &[]).unwrap_err();
    assert!(told[0].starts_with("%:2: neither UTF-8 nor GBK"), "{told:?}");
    // 名称,地址,数据类型,单位 and ℃, as a spreadsheet in China saves them.
    let list = b"\xC3\xFB\xB3\xC6,\xB5\xD8\xD6\xB7,\xCA\xFD\xBE\xDD\xC0\xE0\xD0\xCD,\xB5\xA5\xCE\xBB\nt,40001,int16,\xA1\xE6\n";
    let (text, ..) = import("l.csv", list, &[]).unwrap();
    assert!(text.ends_with("t = { at = \"holding:0\", type = \"i16\", unit = \"℃\" }\n"), "{text}");
}
