//! What the standard's own examples and any bytes come to.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn read(table: Table, cells: u16) -> Request {
    Request::Read { table, address: 0x6B, cells }
}

/// The examples of Modbus Application Protocol V1.1b3, 6.1 to 6.12.
#[test]
fn the_examples_of_the_standard_are_spoken() {
    for (request, asked, answered, answer) in [
        (
            Request::Read { table: Table::Coil, address: 0x13, cells: 19 },
            vec![1, 0, 0x13, 0, 0x13],
            vec![1, 3, 0xCD, 0x6B, 0x05],
            Answer::Data(vec![0xCD, 0x6B, 0x05]),
        ),
        (
            read(Table::Holding, 3),
            vec![3, 0, 0x6B, 0, 3],
            vec![3, 6, 2, 0x2B, 0, 0, 0, 0x64],
            Answer::Data(vec![2, 0x2B, 0, 0, 0, 0x64]),
        ),
        (
            Request::WriteCoil { address: 0xAC, on: true },
            vec![5, 0, 0xAC, 0xFF, 0],
            vec![5, 0, 0xAC, 0xFF, 0],
            Answer::Written,
        ),
        (
            Request::WriteRegister { address: 1, value: [0, 3] },
            vec![6, 0, 1, 0, 3],
            vec![6, 0, 1, 0, 3],
            Answer::Written,
        ),
        (
            Request::WriteCoils {
                address: 0x13,
                coils: [1, 0, 1, 1, 0, 0, 1, 1, 1, 0].map(|bit| bit == 1).to_vec(),
            },
            vec![15, 0, 0x13, 0, 10, 2, 0xCD, 1],
            vec![15, 0, 0x13, 0, 10],
            Answer::Written,
        ),
        (
            Request::WriteRegisters { address: 1, values: vec![0, 10, 1, 2] },
            vec![16, 0, 1, 0, 2, 4, 0, 10, 1, 2],
            vec![16, 0, 1, 0, 2],
            Answer::Written,
        ),
    ] {
        assert_eq!(request.pdu(), asked);
        assert_eq!(request.answer(&answered), Ok(answer));
        assert_eq!(request.answer(&[asked[0] | 0x80, 2]), Ok(Answer::Refused(Exception(2))));
    }
    assert_eq!(Exception(2).to_string(), "illegal data address (exception 2)");
}

/// 6.14 to 6.17 and 6.21.
#[test]
fn the_rarer_examples_of_the_standard_are_spoken() {
    let part = |file, record| FilePart { file, record, cells: 2 };
    let read_write = Request::ReadWrite { address: 14, values: [0, 0xFF].repeat(3), read: 3, cells: 6 };
    let read_back = [0, 0xFE, 0x0A, 0xCD, 0, 1, 0, 3, 0, 0x0D, 0, 0xFF];
    for (request, asked, answered, answer) in [
        (
            Request::ReadFile { parts: vec![part(4, 1), part(3, 9)] },
            vec![20, 14, 6, 0, 4, 0, 1, 0, 2, 6, 0, 3, 0, 9, 0, 2],
            vec![20, 12, 5, 6, 0x0D, 0xFE, 0, 0x20, 5, 6, 0x33, 0xCD, 0, 0x40],
            Answer::Data(vec![0x0D, 0xFE, 0, 0x20, 0x33, 0xCD, 0, 0x40]),
        ),
        (
            Request::WriteFile { file: 4, record: 7, values: vec![6, 0xAF, 4, 0xBE, 0x10, 0x0D] },
            vec![21, 13, 6, 0, 4, 0, 7, 0, 3, 6, 0xAF, 4, 0xBE, 0x10, 0x0D],
            vec![21, 13, 6, 0, 4, 0, 7, 0, 3, 6, 0xAF, 4, 0xBE, 0x10, 0x0D],
            Answer::Written,
        ),
        (
            Request::MaskWrite { address: 4, and: 0xF2, or: 0x25 },
            vec![22, 0, 4, 0, 0xF2, 0, 0x25],
            vec![22, 0, 4, 0, 0xF2, 0, 0x25],
            Answer::Written,
        ),
        (
            read_write,
            vec![23, 0, 3, 0, 6, 0, 14, 0, 3, 6, 0, 0xFF, 0, 0xFF, 0, 0xFF],
            [&[23, 12], &read_back[..]].concat(),
            Answer::Data(read_back.to_vec()),
        ),
    ] {
        assert_eq!(request.pdu(), asked);
        assert_eq!(request.answer(&answered), Ok(answer));
        assert_eq!(request.answer(&[asked[0] | 0x80, 2]), Ok(Answer::Refused(Exception(2))));
        assert!(request.answer(&answered[..answered.len() - 1]).is_err(), "cut short");
        assert!(request.answer(&[&answered[..], &[0]].concat()).is_err(), "one byte more");
    }
}

fn told(code: u8, more: u8, next: u8, count: u8, objects: &[(u8, &str)]) -> Vec<u8> {
    let mut pdu = vec![43, 14, code, 1, more, next, count];
    for (id, text) in objects {
        pdu.extend([*id, text.len() as u8]);
        pdu.extend(text.bytes());
    }
    pdu
}

fn identity(next: Option<u8>, objects: &[(u8, &str)]) -> Result<Answer, Mismatch> {
    let objects = objects.iter().map(|(id, text)| (*id, text.as_bytes().to_vec())).collect();
    Ok(Answer::Identity { objects, next })
}

/// 6.21, in one piece and in two; and what would make an asker go on for ever.
#[test]
fn a_device_says_who_it_is_and_where_that_goes_on() {
    let asked = Request::Identify { scope: Scope::Basic, object: 0 };
    assert_eq!(asked.pdu(), [43, 14, 1, 0]);
    let all = [(0, "Company identification"), (1, "Product code XX"), (2, "V2.11")];
    assert_eq!(asked.answer(&told(1, 0, 0, 3, &all)), identity(None, &all));
    assert_eq!(asked.answer(&told(1, 0xFF, 2, 3, &all[..2])), identity(Some(2), &all[..2]));
    let rest = Request::Identify { scope: Scope::Basic, object: 2 };
    assert_eq!(rest.pdu(), [43, 14, 1, 2]);
    assert_eq!(rest.answer(&told(1, 0, 0, 3, &all[2..])), identity(None, &all[2..]));
    assert_eq!(rest.answer(&[0xAB, 2]), Ok(Answer::Refused(Exception(2))));
    let one = Request::Identify { scope: Scope::One, object: 2 };
    assert_eq!(one.pdu(), [43, 14, 4, 2]);
    assert_eq!(one.answer(&told(4, 0, 0, 1, &all[2..])), identity(None, &all[2..]));
    assert!(one.answer(&told(4, 0, 0, 1, &all[..1])).is_err(), "another object");
    assert!(asked.answer(&told(1, 0xFF, 1, 3, &all[..2])).is_err(), "it would go round");
    assert!(rest.answer(&told(1, 0xFF, 2, 0, &[])).is_err(), "it would stand still");
    assert!(asked.answer(&told(2, 0, 0, 3, &all)).is_err(), "more than was asked for");
    assert!(asked.answer(&told(1, 0, 0, 2, &all)).is_err(), "more than it counts");
    let extended = Request::Identify { scope: Scope::Extended, object: 0 };
    assert_eq!(extended.answer(&told(1, 0, 0, 3, &all)), identity(None, &all), "all it knows");
    let whole = told(1, 0, 0, 3, &all);
    assert!(asked.answer(&whole[..whole.len() - 1]).is_err() && asked.answer(&whole[..8]).is_err());
    assert!(asked.answer(&[&[43, 13], &whole[2..]].concat()).is_err(), "another kind of function 43");
}

#[test]
fn an_answer_to_something_else_is_no_answer() {
    let asked = read(Table::Holding, 2);
    assert_eq!(asked.answer(&[4, 4, 0, 1, 0, 2]), Err(Mismatch::Function { asked: 3, answered: 4 }));
    assert_eq!(asked.answer(&[0x84, 2]), Err(Mismatch::Function { asked: 3, answered: 0x84 }));
    assert_eq!(asked.answer(&[3, 2, 0, 1]), Err(Mismatch::Length { asked: 4, answered: 2 }));
    assert!(asked.answer(&[3, 4, 0, 1]).is_err(), "fewer bytes than it says");
    assert!(asked.answer(&[3, 2, 0, 1, 0, 2]).is_err(), "more bytes than it says");
    assert!(
        asked.answer(&[0x83]).is_err() && asked.answer(&[0x83, 2, 2]).is_err() && asked.answer(&[]).is_err()
    );
    let written = Request::WriteRegister { address: 7, value: [1, 2] };
    assert!(written.answer(&[6, 0, 7, 1, 3]).is_err(), "another value");
    assert!(written.answer(&[6, 0, 8, 1, 2]).is_err(), "another register");
}

fn request() -> impl Strategy<Value = Request> {
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
        (any::<u16>(), vec(any::<bool>(), 1..50))
            .prop_map(|(address, coils)| Request::WriteCoils { address, coils }),
        vec((any::<u16>(), any::<u16>(), 1..9u16), 1..4).prop_map(|parts| Request::ReadFile {
            parts: parts.into_iter().map(|(file, record, cells)| FilePart { file, record, cells }).collect()
        }),
        (any::<u16>(), any::<u16>(), any::<u16>()).prop_map(|(address, and, or)| Request::MaskWrite {
            address,
            and,
            or
        }),
        (any::<u16>(), 1..9u16).prop_map(|(read, cells)| Request::ReadWrite {
            address: 1,
            values: vec![0, 1],
            read,
            cells
        }),
        (any::<u8>(), prop_oneof![Just(Scope::Basic), Just(Scope::Extended), Just(Scope::One)])
            .prop_map(|(object, scope)| Request::Identify { scope, object }),
    ]
}

proptest! {
    #[test]
    fn any_answer_is_taken_only_if_it_fits(request in request(), pdu in vec(any::<u8>(), 0..260), own in any::<bool>()) {
        let mut pdu = pdu;
        if own && !pdu.is_empty() {
            pdu[0] = request.function();
        }
        match request.answer(&pdu) {
            Ok(Answer::Data(data)) => {
                let bytes = match &request {
                    Request::Read { table, cells, .. } if table.is_bits() => cells.div_ceil(8),
                    Request::Read { cells, .. } | Request::ReadWrite { cells, .. } => cells * 2,
                    Request::ReadFile { parts } => parts.iter().map(|part| part.cells * 2).sum(),
                    other => panic!("data for {other:?}"),
                };
                prop_assert_eq!(data.len(), usize::from(bytes));
                prop_assert_eq!(pdu[0], request.function());
            }
            Ok(Answer::Written) => prop_assert_eq!(pdu, request.head()),
            Ok(Answer::Identity { objects, next }) => {
                let bytes: usize = objects.iter().map(|(_, text)| 2 + text.len()).sum();
                prop_assert_eq!(pdu.len(), 7 + bytes);
                prop_assert!(next.is_none_or(|next| objects.iter().all(|(id, _)| *id < next)));
            }
            Ok(Answer::Refused(_)) => prop_assert_eq!((pdu[0], pdu.len()), (request.function() | 0x80, 2)),
            Err(_) => {}
        }
    }
}
