//! A serial bus in this process, behind a socket or at the other end of a pty: what is on it says whatever
//! a test makes it say. It shares no code with the driver's codec.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// A frame that the driver sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) unit: u8,
    pub(super) pdu: Vec<u8>,
    /// The frame as it came.
    pub(super) bytes: Vec<u8>,
    /// When its last byte was there.
    pub(super) at: Instant,
}

impl Heard {
    /// Address and count (or value) of the request.
    pub(super) fn numbers(&self) -> (u16, u16) {
        let byte = |at: usize| self.pdu.get(at).copied().unwrap_or_default();
        let number = |at: usize| u16::from_be_bytes([byte(at), byte(at + 1)]);
        (number(1), number(3))
    }

    /// The answer that reads every register as its own address.
    pub(super) fn pattern(&self) -> Vec<u8> {
        let (first, count) = self.numbers();
        let mut pdu = vec![self.pdu[0], count as u8 * 2];
        pdu.extend((first..first + count).flat_map(u16::to_be_bytes));
        rtu(self.unit, &pdu)
    }
}

/// What happens on the bus then: bytes, each after a pause from the one before. Later frames do not wait.
pub(super) type Says = Vec<(Duration, Vec<u8>)>;

/// At once.
pub(super) fn now(bytes: Vec<u8>) -> Says {
    vec![(Duration::ZERO, bytes)]
}

type Behaviour = Box<dyn FnMut(&Heard) -> Says + Send>;

/// A bus that does what a test says.
pub(super) struct Bus {
    /// Where a socket listens.
    pub(super) port: u16,
    heard: mpsc::UnboundedReceiver<Heard>,
    /// Says something unasked on the newest connection.
    pub(super) says: mpsc::UnboundedSender<Vec<u8>>,
    task: JoinHandle<()>,
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Bus {
    /// Behind a serial server.
    pub(super) async fn tcp(behaviour: impl FnMut(&Heard) -> Says + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (heard_in, heard) = mpsc::unbounded_channel();
        let (says, unasked) = mpsc::unbounded_channel();
        let unasked = Arc::new(Mutex::new(unasked));
        let behaviour: Arc<Mutex<Behaviour>> = Arc::new(Mutex::new(Box::new(behaviour)));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                tokio::spawn(serve(stream, behaviour.clone(), heard_in.clone(), unasked.clone()));
            }
        });
        Self { port, heard, says, task }
    }

    /// At the end of a line.
    pub(super) fn on(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        behaviour: impl FnMut(&Heard) -> Says + Send + 'static,
    ) -> Self {
        let (heard_in, heard) = mpsc::unbounded_channel();
        let (says, unasked) = mpsc::unbounded_channel();
        let behaviour: Arc<Mutex<Behaviour>> = Arc::new(Mutex::new(Box::new(behaviour)));
        let task = tokio::spawn(serve(stream, behaviour, heard_in, Arc::new(Mutex::new(unasked))));
        Self { port: 0, heard, says, task }
    }

    /// All frames so far.
    pub(super) fn heard(&mut self) -> Vec<Heard> {
        std::iter::from_fn(|| self.heard.try_recv().ok()).collect()
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    behaviour: Arc<Mutex<Behaviour>>,
    heard: mpsc::UnboundedSender<Heard>,
    unasked: Arc<Mutex<mpsc::UnboundedReceiver<Vec<u8>>>>,
) {
    let (mut reader, writer) = tokio::io::split(stream);
    let writer = Arc::new(Mutex::new(writer));
    let (mut waiting, mut bytes) = (Vec::new(), [0; 600]);
    let mut unasked = unasked.lock().await;
    loop {
        let count = tokio::select! {
            Some(bytes) = unasked.recv() => {
                let _ = writer.lock().await.write_all(&bytes).await;
                continue;
            }
            read = reader.read(&mut bytes) => match read {
                Ok(0) | Err(_) => return,
                Ok(count) => count,
            },
        };
        waiting.extend_from_slice(&bytes[..count]);
        while let Some((unit, pdu, length)) = request(&waiting) {
            let bytes = waiting.drain(..length).collect();
            let frame = Heard { unit, pdu, bytes, at: Instant::now() };
            let says = (behaviour.lock().await)(&frame);
            let _ = heard.send(frame);
            let writer = writer.clone();
            tokio::spawn(async move {
                for (pause, bytes) in says {
                    if !pause.is_zero() {
                        sleep(pause).await;
                    }
                    // The driver may have gone.
                    let _ = writer.lock().await.write_all(&bytes).await;
                }
            });
        }
    }
}

/// Unit, PDU and length of the request that the bytes begin with, in either framing.
fn request(bytes: &[u8]) -> Option<(u8, Vec<u8>, usize)> {
    if bytes.first() == Some(&b':') {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let text = std::str::from_utf8(&bytes[1..end - 1]).unwrap();
        let raw: Vec<u8> =
            (0..text.len() / 2).map(|n| u8::from_str_radix(&text[2 * n..2 * n + 2], 16).unwrap()).collect();
        assert_eq!(raw.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0, "a wrong sum in {text}");
        return Some((raw[0], raw[1..raw.len() - 1].to_vec(), end + 1));
    }
    let length = match bytes.get(1)? {
        15 | 16 => 9 + usize::from(*bytes.get(6)?),
        43 => 7,
        _ => 8,
    };
    let frame = bytes.get(..length)?;
    let pdu = frame[1..length - 2].to_vec();
    assert_eq!(rtu(frame[0], &pdu), frame, "a wrong check");
    Some((frame[0], pdu, length))
}

/// A frame of RTU, its check reckoned bit by bit.
pub(super) fn rtu(unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut frame = [&[unit], pdu].concat();
    let mut crc = 0xFFFFu16;
    for byte in &frame {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc % 2 == 1 { (crc / 2) ^ 0xA001 } else { crc / 2 };
        }
    }
    frame.extend([crc as u8, (crc >> 8) as u8]);
    frame
}

/// A frame of ASCII.
pub(super) fn ascii(unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut frame = [&[unit], pdu].concat();
    frame.push(0u8.wrapping_sub(frame.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))));
    let digits: String = frame.iter().map(|byte| format!("{byte:02X}")).collect();
    format!(":{digits}\r\n").into_bytes()
}
