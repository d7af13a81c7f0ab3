//! Rows of lists: points out of them, and what is refused.

use super::*;
use crate::import::csv::cells;

fn made<const N: usize>(of: [(Column, &str); N], counting: Option<Counting>) -> Result<Made, String> {
    let mut row = Row { cells: cells(of), ..Row::default() };
    row.cells.entry(Column::Name).or_insert_with(|| "p".to_owned());
    row.make(counting)
}

fn at(text: &str, table: Option<&str>, counting: Option<Counting>) -> Result<String, String> {
    let mut row = Row { cells: cells([(Column::Name, "p"), (Column::At, text)]), ..Row::default() };
    row.cells.extend(table.map(|table| (Column::Table, table.to_owned())));
    Ok(row.make(counting)?.keys[0].1.as_str().unwrap_or_default().to_owned())
}

#[test]
fn addresses_of_every_kind_of_list_are_read() {
    let (zero, modicon) = (Some(Counting::FromZero), Some(Counting::Modicon));
    for (text, table, counting, wanted) in [
        ("40001", None, None, "holding:0"),
        ("1!400011#LB", None, None, "holding:10"),
        ("30108", None, modicon, "input:107"),
        ("00017", None, None, "coil:16"),
        ("holding:0x10", None, None, "holding:16"),
        ("HR 7", None, None, "holding:7"),
        ("17", Some("Holding Register"), zero, "holding:17"),
        ("17", Some("04"), modicon, "input:16"),
        ("40001", Some("3"), zero, "holding:40001"),
        ("1Fh", Some("线圈"), zero, "coil:31"),
    ] {
        assert_eq!(at(text, table, counting).as_deref(), Ok(wanted), "{text}");
    }
    for (text, table, counting, why) in [
        ("17", None, zero, "\"17\" names no table"),
        ("17", Some("3"), None, "\"17\" may count from 0 or from 1"),
        ("0", Some("3"), modicon, "0 is before the first one"),
        ("40001", Some("coil"), None, "the address says holding and"),
        ("holding:99999", None, None, "\"99999\" is not an address"),
        ("1", Some("x"), zero, "\"x\" is not a table"),
    ] {
        let told = at(text, table, counting).unwrap_err();
        assert!(told.starts_with(why), "{text}: {told}");
    }
}

#[test]
fn types_orders_and_scales_are_the_drivers_own() {
    let keys = |kind: &str, order: &str, scale: &str| {
        let of =
            [(Column::At, "40001"), (Column::Type, kind), (Column::Order, order), (Column::Scale, scale)];
        made(of, None).map(|made| serde_json::to_string(&made.keys[1..]).unwrap())
    };
    assert_eq!(keys("FLOAT32-IEEE", "little-endian", "1").unwrap(), r#"[["type","f32"],["order","DCBA"]]"#);
    assert_eq!(keys("INT16", "CDAB", "/10").unwrap(), r#"[["type","i16"],["scale",0.1]]"#);
    assert_eq!(
        keys("uint64", "3412", "x100").unwrap(),
        r#"[["type","u64"],["order","GHEFCDAB"],["scale",100]]"#
    );
    assert_eq!(keys("word", "little", "0.010").unwrap(), r#"[["type","u16"],["order","BA"],["scale",0.01]]"#);
    assert!(keys("int", "big", "1").unwrap_err().contains("write int16, int32 or int64"));
    assert!(keys("u16", "upside down", "1").unwrap_err().contains("order \"upside down\""));
    assert!(keys("u16", "big", "ten").unwrap_err().contains("scale \"ten\""));
    let bit = made([(Column::At, "40001.3"), (Column::Type, "BIT")], None).unwrap();
    assert_eq!(bit.keys[1], ("type", json!("bits[3]")));
    assert!(made([(Column::At, "40001"), (Column::Type, "bool")], None).unwrap_err().contains("which?"));
}

#[test]
fn names_access_and_rates_are_read() {
    let of = |name: &str, access: &str, poll: &str| {
        made(
            [
                (Column::Name, name),
                (Column::At, "40001"),
                (Column::Access, access),
                (Column::Poll, poll),
                (Column::Max, "90"),
            ],
            None,
        )
    };
    let made = of("Energy total-1", "Read Write", "1 m").unwrap();
    assert_eq!((made.name.as_str(), made.poll.as_deref()), ("Energy_total_1", Some("1m")));
    assert_eq!(made.note, "Energy total-1");
    assert_eq!(made.keys.last(), Some(&("write", json!({ "max": 90 }))));
    assert!(of("2nd", "只读", "1s").unwrap().keys.iter().all(|(key, _)| *key != "write"));
    assert!(of("温度", "r", "1s").unwrap_err().contains("latin letters"));
    assert!(of("a", "maybe", "1s").unwrap_err().contains("r or rw"));
    assert!(of("a", "r", "5").unwrap_err().contains("like 500ms"));
}
