//! Cases are folders under `cases/`: `row.json` in, `expected.json` out, byte for byte; adding one needs no code.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value as Json;

use super::clean::{self, MAX_TEXT_CHARS};
use super::parse::{self, Odd};
use super::{build, clean::Losses};
use crate::row::{Cell, Event, Identity, Row, Value};

#[derive(Deserialize)]
struct Case {
    form: String,
    id: String,
    rows: Vec<CaseRow>,
}

#[derive(Deserialize)]
struct CaseRow {
    device: String,
    product: String,
    key: String,
    cells: Vec<(String, CaseValue, i64)>,
    #[serde(default)]
    event: Option<(String, String)>,
    #[serde(default)]
    time_ms: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum CaseValue {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Json(String),
}

impl From<CaseValue> for Value {
    fn from(value: CaseValue) -> Self {
        match value {
            CaseValue::Bool(v) => Self::Bool(v),
            CaseValue::Int(v) => Self::Int(v),
            CaseValue::Uint(v) => Self::Uint(v),
            CaseValue::Float(v) => Self::Float(v),
            CaseValue::Text(v) => Self::Text(v),
            CaseValue::Bytes(v) => Self::Bytes(v),
            CaseValue::Json(v) => Self::Json(v),
        }
    }
}

impl From<CaseRow> for Row {
    fn from(row: CaseRow) -> Self {
        Self {
            device: row.device.as_str().into(),
            identity: Identity {
                product_key: row.product.as_str().into(),
                device_key: row.key.as_str().into(),
            },
            time_ms: row.time_ms,
            cells: row
                .cells
                .into_iter()
                .map(|(key, value, time_ms)| Cell { key: key.as_str().into(), value: value.into(), time_ms })
                .collect(),
            event: row.event.map(|(name, value)| Event { name, value }),
            samples: 0,
        }
    }
}

#[test]
fn every_case_is_said_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/northbound/sagoo/payload/cases");
    let mut cases = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let case: Case = serde_json::from_str(&fs::read_to_string(path.join("row.json")).unwrap()).unwrap();
        let expected = fs::read_to_string(path.join("expected.json")).unwrap();
        let rows: Vec<Row> = case.rows.into_iter().map(Row::from).collect();
        let said = match case.form.as_str() {
            "property" => build::property_post(&case.id, &rows[0]).map(|said| said.0),
            "pack" => Some(build::pack_post(&case.id, &rows.iter().collect::<Vec<_>>()).0),
            other => panic!("unknown form {other}"),
        };
        assert_eq!(said.unwrap_or_else(|| "null".into()), expected.trim_end(), "{}", path.display());
        cases += 1;
    }
    assert!(cases >= 6, "{cases} cases");
}

#[test]
fn the_probe_is_the_empty_pack() {
    assert_eq!(
        build::probe("x"),
        r#"{"id":"x","version":"1.0","sys":{"ack":1},"params":{"properties":{},"events":{},"subDevices":[]},"method":"thing.event.property.pack.post"}"#
    );
}

#[test]
fn replies_have_an_object_for_data() {
    assert_eq!(
        build::set_reply("i", &[("temp".into(), Value::Float(25.5)), ("no".into(), Value::Float(f64::NAN))]),
        r#"{"code":200,"data":{"temp":25.5},"id":"i","message":"success","version":"1.0"}"#
    );
    assert_eq!(
        build::service_reply("i", 460, "no such function 'x'", "[1]"),
        r#"{"code":460,"data":{},"id":"i","message":"no such function ’x’","version":"1.0"}"#
    );
    assert_eq!(
        build::service_reply("i", 200, "success", r#"{"resp":1}"#),
        r#"{"code":200,"data":{"resp":1},"id":"i","message":"success","version":"1.0"}"#
    );
}

#[test]
fn a_long_text_is_cut_and_a_long_object_left_out() {
    let row = row(vec![Value::Text("x".repeat(200)), Value::Json(format!("[{}1]", "1,".repeat(100)))]);
    let (said, losses) = build::pack_post("i", &[&row]);
    assert_eq!(losses, Losses { left_out: 1, cut: 1, rounded: 0 });
    let said: Json = serde_json::from_str(&said).unwrap();
    let properties = &said["params"]["subDevices"][0]["properties"];
    assert_eq!(properties["k0"]["value"].as_str().unwrap().len(), MAX_TEXT_CHARS);
    assert!(properties.get("k1").is_none());
}

#[test]
fn downlinks_are_read_with_their_types() {
    let set = parse::set(br#"{"id":"a","version":"1.0.0","params":{"b":true,"f":1.5,"i":-2,"o":{"x":[1]},"t":"x","u":18446744073709551615},"method":"thing.service.property.set"}"#).unwrap();
    assert_eq!(
        set.params,
        [
            ("b".to_owned(), Value::Bool(true)),
            ("f".to_owned(), Value::Float(1.5)),
            ("i".to_owned(), Value::Int(-2)),
            ("o".to_owned(), Value::Json(r#"{"x":[1]}"#.into())),
            ("t".to_owned(), Value::Text("x".into())),
            ("u".to_owned(), Value::Uint(u64::MAX)),
        ]
    );
    assert_eq!(
        parse::call(br#"{"id":"a","params":{"channel1":true}}"#).unwrap().params,
        r#"{"channel1":true}"#
    );
    assert_eq!(parse::reply(br#"{"id":"a","code":200,"data":{}}"#).unwrap().id, "a");
}

#[test]
fn odd_downlinks_are_refused_with_a_reason() {
    assert!(matches!(parse::set(b"hello"), Err(Odd::NotJson(_))));
    assert!(matches!(parse::set(b"[]"), Err(Odd::NotJson(_))));
    assert_eq!(parse::set(br#"{"params":{}}"#), Err(Odd::Id));
    assert_eq!(parse::set(br#"{"id":7,"params":{}}"#), Err(Odd::Id));
    assert_eq!(parse::set(br#"{"id":"","params":{}}"#), Err(Odd::Id));
    let odd = parse::set(br#"{"id":"a","params":null}"#).unwrap_err();
    assert_eq!((odd.id(), odd.to_string().as_str()), (Some("a"), "`params` of a is null, not an object"));
    assert!(matches!(parse::set(br#"{"id":"a","params":[]}"#), Err(Odd::Params { found: "an array", .. })));
    assert!(matches!(parse::call(br#"{"id":"a"}"#), Err(Odd::Params { found: "missing", .. })));
    assert!(matches!(parse::set(br#"{"id":"a","params":{"k":null}}"#), Err(Odd::Null { .. })));
    assert!(matches!(parse::call(br#"{"id":"a","params":{"k":null}}"#), Err(Odd::Null { .. })));
    assert_eq!(parse::set(&vec![b' '; 65_537]), Err(Odd::TooLong(65_537)));
    assert!(parse::reply(br#"{"id":7,"code":200}"#).is_err());
}

fn row(values: Vec<Value>) -> Row {
    let cells = values.into_iter().enumerate();
    Row {
        device: "d".into(),
        identity: Identity { product_key: "p".into(), device_key: "k".into() },
        time_ms: 0,
        cells: cells
            .map(|(i, value)| Cell { key: format!("k{i}").as_str().into(), value, time_ms: i as i64 * 777 })
            .collect(),
        event: None,
        samples: 0,
    }
}

fn event((value, time_ms): (String, i64)) -> Row {
    Row { event: Some(Event { name: "e".to_owned(), value }), time_ms, ..row(Vec::new()) }
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        ".{0,12}".prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            proptest::collection::hash_map(".{0,4}", inner, 0..4)
                .prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    })
    .prop_map(|json| json.to_string())
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(Value::Uint),
        any::<f64>().prop_map(Value::Float),
        Just(Value::Float(f64::INFINITY)),
        ".{0,20}".prop_map(Value::Text),
        ".{140,160}".prop_map(Value::Text),
        "['\"\\\\\u{0}-\u{1f}\u{7f}a]{0,20}".prop_map(Value::Text),
        proptest::collection::vec(any::<u8>(), 0..9).prop_map(Value::Bytes),
        json().prop_map(Value::Json),
        ".{0,9}".prop_map(Value::Json),
    ]
}

/// Every trap of sagooiot.md §4.7 a single message could fall into.
fn assert_safe(said: &str, json: &Json) {
    assert!(!said.contains('\\') && !said.contains('\''), "{said}");
    assert!(!said.chars().any(char::is_control), "{said:?}");
    no_null(json);
    for entry in
        std::iter::once(&json["params"]).chain(json["params"]["subDevices"].as_array().into_iter().flatten())
    {
        assert!(entry["properties"].is_object() && entry["events"].is_object(), "{said}");
        for cell in entry["properties"]
            .as_object()
            .unwrap()
            .values()
            .chain(entry["events"].as_object().unwrap().values())
        {
            assert!(cell["time"].is_i64() || cell["time"].is_u64(), "{said}");
            assert!(cell.get("value").is_some(), "{said}");
        }
        for cell in entry["properties"].as_object().unwrap().values() {
            let value = &cell["value"];
            let length = value.as_str().map_or_else(|| value.to_string(), str::to_owned).chars().count();
            assert!(length <= MAX_TEXT_CHARS || value.is_number(), "{length} characters: {said}");
        }
        for event in entry["events"].as_object().unwrap().values() {
            assert!(event["value"].is_object(), "{said}");
        }
    }
}

fn no_null(json: &Json) {
    match json {
        Json::Null => panic!("a null"),
        Json::Array(elements) => elements.iter().for_each(no_null),
        Json::Object(members) => members.values().for_each(no_null),
        _ => {}
    }
}

proptest! {
    #[test]
    fn whatever_the_values_a_pack_is_safe(
        values in proptest::collection::vec(value(), 0..9),
        events in proptest::collection::vec((prop_oneof![json(), ".{0,9}"], any::<i64>()), 0..3),
    ) {
        let rows: Vec<Row> = std::iter::once(row(values)).chain(events.into_iter().map(event)).collect();
        let rows: Vec<&Row> = rows.iter().collect();
        let (said, _) = build::pack_post("id-1", &rows);
        let json: Json = serde_json::from_str(&said).unwrap();
        assert_safe(&said, &json);
        prop_assert_eq!(build::pack_post("id-1", &rows).0, said);
    }

    #[test]
    fn whatever_the_values_a_report_is_safe_or_not_made(values in proptest::collection::vec(value(), 0..9)) {
        let row = row(values);
        if let Some((said, _)) = build::property_post("id-1", &row) {
            let json: Json = serde_json::from_str(&said).unwrap();
            prop_assert!(!said.contains('\\') && !said.contains('\''));
            no_null(&json);
            let params = json["params"].as_object().unwrap();
            prop_assert!(!params.is_empty());
            prop_assert!(params.values().all(|cell| cell["time"].is_i64()));
        }
    }

    #[test]
    fn what_is_said_is_known_before(value in value()) {
        let said = clean::push_value(&mut String::new(), &value, &mut Losses::default());
        prop_assert_eq!(clean::can_be_said(&value), said, "{:?}", value);
    }

    #[test]
    fn a_whole_number_the_platform_cannot_hold_is_said(signed in any::<i64>(), unsigned in any::<u64>()) {
        for (value, exact) in [
            (Value::Int(signed), signed as f64 as i128 == i128::from(signed)),
            (Value::Uint(unsigned), unsigned as f64 as u128 == u128::from(unsigned)),
            (Value::Uint(unsigned >> 11), true),
        ] {
            let (mut out, mut losses) = (String::new(), Losses::default());
            clean::push_value(&mut out, &value, &mut losses);
            prop_assert_eq!((out, losses.rounded == 0), (value.to_string(), exact));
        }
    }

    #[test]
    fn finite_numbers_arrive_unchanged(number in any::<f64>().prop_filter("finite", |v| v.is_finite())) {
        let row = row(vec![Value::Float(number)]);
        let said = build::pack_post("i", &[&row]).0;
        let (_, said) = said.split_once("\"k0\":{\"value\":").unwrap();
        let (said, _) = said.split_once(',').unwrap();
        prop_assert_eq!(said.parse::<f64>().unwrap(), number);
    }

    #[test]
    fn any_bytes_are_a_downlink_or_a_reason(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = (parse::set(&bytes), parse::call(&bytes), parse::reply(&bytes));
    }

    #[test]
    fn any_json_is_a_downlink_or_a_reason(id in json(), params in json()) {
        let text = format!("{{\"id\":{id},\"params\":{params},\"code\":{id}}}");
        let _ = (parse::set(text.as_bytes()), parse::call(text.as_bytes()), parse::reply(text.as_bytes()));
    }
}
