//! Every way of writing a point, on a device nobody here wrote.

use e2e::platform::Tsl;
use e2e::rig::Site;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::maps::peer;
use super::{Expected, Field};

#[test]
fn bits_texts_lists_and_times_are_written_and_what_a_device_is_called_is_read() {
    let dir = TempDir::with_prefix("sagoo-e2e-").expect("a temporary directory");
    let mut field = Field::default();
    let device = peer(&dir, &mut field, "written", 1, &[]);
    let point = |name: &str, settings: &str| Expected {
        name: name.to_owned(),
        settings: settings.to_owned(),
        tsl: Tsl::Text,
        value: None,
    };
    let named = |name: &str, object: &str, text: &str| {
        Expected::new(name, format!(r#"at = "id:{object}""#), Tsl::Text, json!(text))
    };
    let points = vec![
        point("word", r#"at = "holding:3", type = "u16", write = true"#),
        point("bits", r#"at = "holding:3", type = "bits[4..9]", write = { verify = true }"#),
        point("high", r#"at = "holding:3", type = "u8.high", write = { verify = true }"#),
        point(
            "low",
            r#"at = "holding:3", type = "u8.low", write = { via = "read-modify-write", verify = true }"#,
        ),
        point("both", r#"at = "holding:10", type = "f32", order = "CDAB", write = { function = 23 }"#),
        point(
            "text",
            r#"at = "holding:20", type = "string[12]", encoding = "gbk", write = { verify = true }"#,
        ),
        point("list", r#"at = "holding:30", type = "i32[3]", write = { verify = true }"#),
        point(
            "clock",
            r#"at = "holding:50", type = "time[cp56]", zone = "+08:00", write = { verify = true }"#,
        ),
        point(
            "formula",
            r#"at = "holding:60", type = "u16", expression = "x * 10 + 5", write = { inverse = "(x - 5) / 10", verify = true }"#,
        ),
        named("vendor", "vendor", "Peer"),
        named("code", "product-code", "PY-1"),
        named("revision", "2", "3.16"),
    ];
    field.device("written", "written", 1, 300, "", points);
    let mut site = Site::prepare_in(dir, &field.plan());
    site.gateway.start();
    field.assert_read(&site);
    for (name, value, back, at, registers) in [
        ("word", "65535", Json::Null, 3, vec![0xFFFF]),
        ("bits", "21", json!(21), 3, vec![0xFD5F]),
        ("high", "18", json!(18), 3, vec![0x125F]),
        ("low", "52", json!(52), 3, vec![0x1234]),
        ("both", "12.34", json!(12.34), 10, vec![0x70A4, 0x4145]),
        ("text", "1号泵", json!("1号泵"), 20, vec![0x31BA, 0xC5B1, 0xC300, 0, 0, 0]),
        ("list", "[1, -2, 65536]", json!([1, -2, 65_536]), 30, vec![0, 1, 0xFFFF, 0xFFFE, 1, 0]),
        (
            "clock",
            "2024-02-29T12:36:24.347Z",
            json!("2024-02-29T20:36:24.347+08:00"),
            50,
            vec![0x0018, 0x029D, 0x1424, 0x5F1B],
        ),
        ("formula", "1005", json!(1_005.0), 60, vec![100]),
    ] {
        let told = site.gateway.write("written", name, value);
        assert_eq!(told.code, 0, "{name}: {}{}", told.out, told.err);
        let point = &told.json["points"][0];
        assert_eq!(point["value"], back, "{name}: {:#}", told.json);
        assert_eq!(device.registers(at, registers.len() as u16), registers, "{name}");
    }
}
