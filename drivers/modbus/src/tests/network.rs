//! Several requests in flight, datagrams, TLS.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, Issuer, KeyPair};
use sagoo_driver_sdk::{LineError, Tap};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::device::{Asked, Device as Peer, Does, frame};
use super::lends::gateway;
use super::turns::{pattern, read, silence};
use super::{PATIENT, SHORT, connection};
use crate::connection::ends::{Endpoint, Tls};
use crate::connection::{Connection, Framing, Transport};
use crate::transport::{SILENT_LIMIT, Said, Wire};
use crate::wire::Request;

fn local(port: u16) -> Endpoint {
    Endpoint { host: "127.0.0.1".to_owned(), port }
}

fn wide(port: u16, in_flight: usize, timeout: Duration) -> Wire {
    let transport = Transport::Tcp { endpoint: local(port), in_flight };
    Wire::new(&Connection { transport, ..connection(port, timeout) }, Tap::default(), None)
}

/// Answers with the addresses it was asked for.
fn well(asked: &Asked) -> Vec<u8> {
    let (first, count) = asked.numbers();
    let mut pdu = vec![3, count as u8 * 2];
    pdu.extend((first..first + count).flat_map(u16::to_be_bytes));
    asked.answer(&pdu)
}

async fn all(line: &mut Wire, requests: &[Request]) -> Vec<Option<Result<Said, LineError>>> {
    let mut told: Vec<_> = requests.iter().map(|_| None).collect();
    line.exchange_many(7, requests, |place, said| {
        assert!(told[place].is_none(), "{place} is told twice");
        told[place] = Some(said);
    })
    .await;
    told
}

#[tokio::test]
async fn several_requests_are_in_flight_and_each_gets_its_own_answer_in_any_order() {
    let most = Arc::new(Mutex::new((0usize, Vec::new())));
    let seen = most.clone();
    // Answers come three at a time, the newest first.
    let peer = Peer::start(move |asked| {
        let mut seen = seen.lock().unwrap();
        seen.1.push(well(asked));
        seen.0 = seen.0.max(seen.1.len());
        let is_last = asked.numbers().0 == 8;
        if seen.1.len() < 3 && !is_last {
            return Does::Send(vec![]);
        }
        let mut answers = std::mem::take(&mut seen.1);
        answers.reverse();
        Does::Send(answers)
    })
    .await;
    let mut line = wide(peer.port, 3, PATIENT);
    assert_eq!(line.in_flight(), 3);
    let requests: Vec<Request> = (0..9).map(|address| read(address, 1 + address % 2)).collect();
    for (address, said) in (0..9).zip(all(&mut line, &requests).await) {
        assert_eq!(said, Some(pattern(address, 1 + address % 2)));
    }
    assert_eq!(most.lock().unwrap().0, 3);
    assert_eq!(line.exchange(7, &read(8, 1)).await, pattern(8, 1), "the line is as well as before");
}

#[tokio::test]
async fn a_timeout_of_one_request_does_not_lose_the_others_and_its_late_answer_is_dropped() {
    let mut late = None;
    let mut peer = Peer::start(move |asked| match asked.numbers().0 {
        1 => {
            late = Some(well(asked));
            Does::Send(vec![])
        }
        9 => Does::Send(vec![late.take().unwrap(), well(asked)]),
        _ => Does::Send(vec![well(asked)]),
    })
    .await;
    let mut line = wide(peer.port, 3, SHORT * 5);
    let requests: Vec<Request> = [0, 1, 2, 3, 4].map(|address| read(address, 1)).to_vec();
    let told = all(&mut line, &requests).await;
    for (address, said) in (0..).zip(told) {
        match said.unwrap() {
            Err(LineError::Silent(reason)) if address == 1 => {
                assert!(reason.contains("did not answer"), "{reason}")
            }
            other => assert_eq!(other, pattern(address, 1)),
        }
    }
    assert_eq!(peer.pdus().len(), 5);
    line.timeout = PATIENT;
    assert_eq!(line.exchange(7, &read(9, 1)).await, pattern(9, 1));
}

#[tokio::test]
async fn after_a_silence_nothing_more_is_sent_and_all_is_told() {
    let mut peer = Peer::start(|_| Does::Send(vec![])).await;
    let mut line = wide(peer.port, 2, SHORT);
    let requests: Vec<Request> = (0..6).map(|address| read(address, 1)).collect();
    for said in all(&mut line, &requests).await {
        silence(said.unwrap());
    }
    assert_eq!(peer.pdus().len(), 2);
    let peer = Peer::start(|_| Does::SendAndClose(vec![])).await;
    for said in all(&mut wide(peer.port, 2, PATIENT), &requests).await {
        assert!(matches!(said, Some(Err(LineError::Broken(_)))), "{said:?}");
    }
}

#[tokio::test]
async fn a_datagram_is_a_frame_and_late_doubled_and_broken_ones_are_dropped() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut bytes = [0; 300];
        let mut last: Vec<u8> = frame(77, 7, &[3, 2, 0, 9]);
        while let Ok((count, from)) = socket.recv_from(&mut bytes).await {
            let asked = Asked {
                connection: 0,
                transaction: u16::from_be_bytes([bytes[0], bytes[1]]),
                unit: bytes[6],
                pdu: bytes[7..count].to_vec(),
            };
            let answer = well(&asked);
            // The answer before, half an answer, nothing, noise; then the answer, twice.
            for said in [&last[..], &answer[..8], &[], b"GET / HTTP/1.1", &answer, &answer] {
                socket.send_to(said, from).await.unwrap();
            }
            last = answer;
        }
    });
    let transport = Transport::Udp(local(port));
    let connection = Connection { transport, ..connection(port, PATIENT) };
    let mut line = Wire::new(&connection, Tap::default(), None);
    for address in 0..5 {
        assert_eq!(line.exchange(7, &read(address, 2)).await, pattern(address, 2));
    }
}

#[tokio::test]
async fn after_a_long_silence_datagrams_go_out_of_a_new_socket_to_where_the_name_leads_by_then() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let transport = Transport::Udp(local(socket.local_addr().unwrap().port()));
    let mut line = Wire::new(&Connection { transport, ..connection(1, SHORT) }, Tap::default(), None);
    let (mut from, mut bytes) = (Vec::new(), [0; 300]);
    for address in 0..=SILENT_LIMIT as u16 {
        silence(line.exchange(7, &read(address, 1)).await);
        from.push(socket.recv_from(&mut bytes).await.unwrap().1);
    }
    let (last, before) = from.split_last().unwrap();
    assert!(before.iter().all(|one| *one == before[0] && one != last), "{from:?}");
}

#[tokio::test]
async fn rtu_goes_in_datagrams_as_well_and_nobody_there_is_told() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        let mut bytes = [0; 300];
        let (count, from) = socket.recv_from(&mut bytes).await.unwrap();
        assert_eq!(count, 8);
        socket.send_to(&super::bus::rtu(7, &[3, 2, 0, 5]), from).await.unwrap();
    });
    let transport = Transport::Udp(local(port));
    let connection = Connection { transport, framing: Framing::Rtu, ..connection(port, PATIENT) };
    let mut line = Wire::new(&connection, Tap::default(), None);
    assert_eq!(line.exchange(7, &read(5, 1)).await, pattern(5, 1));
    serving.await.unwrap();
    // The socket is gone: the kernel tells, and so do we.
    let said = line.exchange(7, &read(6, 1)).await;
    let Err(LineError::Broken(reason)) = said else { panic!("{said:?}") };
    assert!(reason.contains(&format!("127.0.0.1:{port}: Connection refused")), "{reason}");
}

/// An authority, and who it vouches for.
struct Vouched {
    ca: String,
    device: (String, String),
    us: (String, String),
}

fn vouched() -> Vouched {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let issuer: &Issuer<'_, KeyPair> = &authority;
    let vouch = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
    };
    Vouched { ca: authority.pem(), device: vouch("plc.example"), us: vouch("gateway.example") }
}

/// A device that lets in whom its authority vouches for.
async fn secured(by: &Vouched) -> u16 {
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&by.ca)).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![certificate(&by.device.0)],
            PrivateKeyDer::from_pem_slice(by.device.1.as_bytes()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut bytes = [0; 12];
            while stream.read_exact(&mut bytes).await.is_ok() {
                let asked = Asked {
                    connection: 0,
                    transaction: u16::from_be_bytes([bytes[0], bytes[1]]),
                    unit: bytes[6],
                    pdu: bytes[7..].to_vec(),
                };
                if stream.write_all(&well(&asked)).await.is_err() {
                    break;
                }
            }
        }
    });
    port
}

#[tokio::test]
async fn modbus_security_verifies_both_sides() {
    let (by, other) = (vouched(), vouched());
    let port = secured(&by).await;
    let (us, nothing) = (Some(by.us.clone()), "no PEM".to_owned());
    for (server_name, ca, identity, told) in [
        ("plc.example", &by.ca, us.clone(), None),
        ("plc.example", &other.ca, us.clone(), Some("invalid peer certificate")),
        (
            "another.example",
            &by.ca,
            us.clone(),
            Some("invalid peer certificate: certificate not valid for name"),
        ),
        ("plc.example", &by.ca, None, Some("fatal alert: CertificateRequired")),
        ("plc.example", &by.ca, Some(other.us.clone()), Some("fatal alert: ")),
        ("plc.example", &nothing, us, Some("connection.c.tls.ca has no certificate in PEM")),
    ] {
        let tls = Tls {
            endpoint: local(port),
            server_name: server_name.to_owned(),
            ca: "connection.c.tls.ca".to_owned(),
            identity: identity.is_some().then(|| ("c".to_owned(), "k".to_owned())),
        };
        let transport = Transport::Tls(tls);
        let connection = Connection { transport, ..connection(port, PATIENT) };
        let (certificate, key) = identity.unwrap_or_default();
        let host = gateway(&[("connection.c.tls.ca", ca), ("c", &certificate), ("k", &key)]).await;
        let mut line = Wire::new(&connection, Tap::default(), Some(host));
        let said = line.exchange(7, &read(3, 1)).await;
        match (said, told) {
            (said, None) => {
                assert_eq!(said, pattern(3, 1));
                assert_eq!(line.exchange(7, &read(4, 1)).await, pattern(4, 1), "and again on it");
            }
            (Err(LineError::Broken(reason)), Some(told)) => assert!(reason.contains(told), "{reason}"),
            (said, Some(told)) => panic!("{said:?} where {told} belongs"),
        }
    }
}
