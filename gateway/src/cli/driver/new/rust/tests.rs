//! The driver with a gateway in the same process.

use sagoo_driver_sdk::Value;
use sagoo_driver_sdk::serde_json::{self, Value as Json, json};
use sagoo_driver_sdk::testing::{TestHost, tables};

use super::*;

fn site(device: Json) -> Configuration {
    tables(json!({ "connection": { "here": {} }, "device": { "one": device } }))
}

#[tokio::test]
async fn a_device_is_read_and_written() {
    let mut host = TestHost::new(__Type__).await;
    let problems = host.configure(&site(json!({ "connection": "here", "period_ms": 10 }))).await;
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(host.sample_of("one", "height").await.value, Some(Value::Float(1.0)));
    host.write("one", &[("height", Value::Float(2.5))]).await;
    while host.sample_of("one", "height").await.value != Some(Value::Float(2.5)) {}
    host.write("one", &[("height", Value::Int(3))]).await;
    while host.sample_of("one", "height").await.value != Some(Value::Float(3.0)) {}
    host.stop().await;
}

#[test]
fn a_mistake_is_told_with_its_place() {
    let checked = __Type__.check(&site(json!({ "connection": "here", "period_ms": 1 })));
    assert_eq!(checked.problems[0].path, ["device", "one", "period_ms"]);
}

#[test]
fn the_package_is_of_this_very_driver() {
    let info: Json = serde_json::from_str(include_str!("../package/info.json")).expect("info.json is JSON");
    let described = __Type__.describe();
    assert_eq!((&info["name"], &info["version"]), (&json!(described.name), &json!(described.version)));
    assert!(serde_json::from_str::<Json>(described.config_schema).expect("schema.json is JSON").is_object());
}
