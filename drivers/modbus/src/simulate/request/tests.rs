//! The device's side of the codec against the master's, and any bytes.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::wire::{Answer, Request};

fn requests() -> impl Strategy<Value = Request> {
    let table =
        prop_oneof![Just(Table::Coil), Just(Table::Discrete), Just(Table::Input), Just(Table::Holding)];
    prop_oneof![
        (table, any::<u16>(), 1..=125u16).prop_map(|(table, address, cells)| Request::Read {
            table,
            address,
            cells
        }),
        (any::<u16>(), any::<bool>()).prop_map(|(address, on)| Request::WriteCoil { address, on }),
        (any::<u16>(), any::<[u8; 2]>())
            .prop_map(|(address, value)| Request::WriteRegister { address, value }),
        (any::<u16>(), vec(any::<bool>(), 1..1_969))
            .prop_map(|(address, coils)| Request::WriteCoils { address, coils }),
        (any::<u16>(), vec(any::<[u8; 2]>(), 1..124))
            .prop_map(|(address, values)| { Request::WriteRegisters { address, values: values.concat() } }),
    ]
}

proptest! {
    #[test]
    fn what_the_driver_asks_is_understood_and_what_is_said_counts(request in requests(), bytes in any::<u8>()) {
        let pdu = request.pdu();
        let asked = Asked::parse(&pdu).unwrap();
        let (told, meant) = match (&asked, &request) {
            (Asked::Read { table, address, cells }, Request::Read { table: t, address: a, cells: c }) => {
                prop_assert_eq!((table, address, cells), (t, a, c));
                let data = vec![bytes; usize::from(*cells) * 2];
                if table.is_bits() {
                    let bits = vec![bytes % 2 == 1; usize::from(*cells)];
                    let packed = (0..usize::from(*cells).div_ceil(8)).map(|byte| {
                        (0..8).filter(|bit| bytes % 2 == 1 && byte * 8 + bit < usize::from(*cells)).map(|bit| 1 << bit).sum()
                    });
                    (Told::Bits(bits), Answer::Data(packed.collect()))
                } else {
                    (Told::Registers(data.clone()), Answer::Data(data))
                }
            }
            (Asked::WriteCoils { address, coils }, Request::WriteCoil { address: a, on }) => {
                prop_assert_eq!((address, coils), (a, &vec![*on]));
                (Told::Written, Answer::Written)
            }
            (Asked::WriteCoils { address, coils }, Request::WriteCoils { address: a, coils: c }) => {
                prop_assert_eq!((address, coils), (a, c));
                (Told::Written, Answer::Written)
            }
            (Asked::WriteRegisters { address, values }, Request::WriteRegister { address: a, value }) => {
                prop_assert_eq!((address, &values[..]), (a, &value[..]));
                (Told::Written, Answer::Written)
            }
            (Asked::WriteRegisters { address, values }, Request::WriteRegisters { address: a, values: v }) => {
                prop_assert_eq!((address, values), (a, v));
                (Told::Written, Answer::Written)
            }
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        };
        prop_assert_eq!(request.answer(&answer(&pdu, Ok(told))), Ok(meant));
        let refused = answer(&pdu, Err(Exception(6)));
        prop_assert_eq!(request.answer(&refused), Ok(Answer::Refused(Exception(6))));
    }

    #[test]
    fn any_bytes_are_a_request_or_a_refusal(pdu in vec(any::<u8>(), 0..260), function in 0..48u8) {
        let _ = Asked::parse(&pdu);
        let _ = Asked::parse(&[vec![function], pdu].concat());
    }
}

/// The examples of Modbus Application Protocol V1.1b3, 6.14 to 6.17 and 6.21.
#[test]
fn the_examples_of_the_standard_are_answered() {
    let files = [0x14, 0x0E, 6, 0, 4, 0, 1, 0, 2, 6, 0, 3, 0, 9, 0, 2];
    assert_eq!(
        Asked::parse(&files),
        Ok(Asked::ReadFile(vec![
            Records { file: 4, first: 1, count: 2 },
            Records { file: 3, first: 9, count: 2 }
        ]))
    );
    assert_eq!(
        answer(&files, Ok(Told::Files(vec![vec![0x0D, 0xFE, 0, 0x20], vec![0x33, 0xCD, 0, 0x40]]))),
        [0x14, 0x0C, 5, 6, 0x0D, 0xFE, 0, 0x20, 5, 6, 0x33, 0xCD, 0, 0x40]
    );
    let write = [0x15, 0x0D, 6, 0, 4, 0, 7, 0, 3, 6, 0xAF, 4, 0xBE, 0x10, 0x0D];
    let data = vec![6, 0xAF, 4, 0xBE, 0x10, 0x0D];
    assert_eq!(
        Asked::parse(&write),
        Ok(Asked::WriteFile(vec![(Records { file: 4, first: 7, count: 3 }, data)]))
    );
    assert_eq!(answer(&write, Ok(Told::Written)), write);
    let mask = [0x16, 0, 4, 0, 0xF2, 0, 0x25];
    assert_eq!(Asked::parse(&mask), Ok(Asked::MaskRegister { address: 4, and: 0xF2, or: 0x25 }));
    assert_eq!(answer(&mask, Ok(Told::Written)), mask);
    let both = [0x17, 0, 3, 0, 6, 0, 0x0E, 0, 3, 6, 0, 0xFF, 0, 0xFF, 0, 0xFF];
    assert_eq!(
        Asked::parse(&both),
        Ok(Asked::WriteAndRead { write: 14, values: [0, 0xFF].repeat(3), address: 3, cells: 6 })
    );
    let objects: BTreeMap<u8, Vec<u8>> =
        [(0, b"Company".to_vec()), (1, b"XL".to_vec()), (2, b"V2.11".to_vec())].into();
    let asked = [0x2B, 0x0E, 1, 0];
    assert_eq!(Asked::parse(&asked), Ok(Asked::Identify { group: 1, object: 0 }));
    let mut told = vec![0x2B, 0x0E, 1, 0x81, 0, 0, 3, 0, 7];
    told.extend(b"Company\x01\x02XL\x02\x05V2.11");
    assert_eq!(answer(&asked, Ok(Told::Objects(objects.clone()))), told);
    let one = answer(&[0x2B, 0x0E, 4, 1], Ok(Told::Objects(objects.clone())));
    assert_eq!(one, [0x2B, 0x0E, 4, 0x81, 0, 0, 1, 1, 2, b'X', b'L']);
    assert_eq!(answer(&[0x2B, 0x0E, 4, 9], Ok(Told::Objects(objects))), [0xAB, 2]);
}

#[test]
fn objects_that_do_not_fit_come_with_the_next_request() {
    let objects: BTreeMap<u8, Vec<u8>> = (0..6).map(|id| (id, vec![b'x'; 100])).collect();
    let (mut object, mut seen) = (0, Vec::new());
    loop {
        let told = answer(&[0x2B, 0x0E, 2, object], Ok(Told::Objects(objects.clone())));
        assert!(told.len() <= MOST_PDU_BYTES);
        let mut left = &told[7..];
        for _ in 0..told[6] {
            seen.push(left[0]);
            left = &left[2 + usize::from(left[1])..];
        }
        assert!(left.is_empty());
        if told[4] == 0 {
            break;
        }
        object = told[5];
    }
    assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn more_than_the_standard_allows_is_an_illegal_value() {
    for pdu in [
        &[3, 0, 0, 0, 126][..],
        &[3, 0, 0, 0, 0],
        &[1, 0, 0, 0x07, 0xD1],
        &[5, 0, 0, 1, 0],
        &[16, 0, 0, 0, 2, 2, 0, 0],
        &[15, 0, 0, 0, 9, 1, 0],
        &[3, 0],
        &[0x2B, 0x0E, 9, 0],
    ] {
        assert_eq!(Asked::parse(pdu), Err(Exception::ILLEGAL_DATA_VALUE), "{pdu:?}");
    }
    for pdu in [&[][..], &[7], &[0x2B, 0x0D, 1, 1]] {
        assert_eq!(Asked::parse(pdu), Err(Exception::ILLEGAL_FUNCTION), "{pdu:?}");
    }
}
