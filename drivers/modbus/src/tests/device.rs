//! A Modbus TCP device in this process. It shares no code with the driver's codec.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value as Json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};

/// A request as the device sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// Which connection of this device, from 0.
    pub(super) connection: usize,
    pub(super) transaction: u16,
    pub(super) unit: u8,
    pub(super) pdu: Vec<u8>,
}

impl Asked {
    /// The frame that answers with `pdu`.
    pub(super) fn answer(&self, pdu: &[u8]) -> Vec<u8> {
        frame(self.transaction, self.unit, pdu)
    }

    /// Address and count (or value) of the request.
    pub(super) fn numbers(&self) -> (u16, u16) {
        let number = |at: usize| u16::from_be_bytes([self.pdu[at], self.pdu[at + 1]]);
        (number(1), number(3))
    }
}

pub(super) fn frame(transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut bytes = transaction.to_be_bytes().to_vec();
    bytes.extend([0, 0]);
    bytes.extend((pdu.len() as u16 + 1).to_be_bytes());
    bytes.push(unit);
    bytes.extend(pdu);
    bytes
}

/// What a device does on a request.
pub(super) enum Does {
    /// Sends these pieces one after the other; none at all is silence.
    Send(Vec<Vec<u8>>),
    /// Sends this and closes the connection.
    SendAndClose(Vec<u8>),
}

/// What it does, by request.
type Behaviour = Box<dyn FnMut(&Asked) -> Does + Send>;

/// A device that does what a test says.
pub(super) struct Device {
    pub(super) port: u16,
    /// Everything it was asked.
    pub(super) asked: mpsc::UnboundedReceiver<Asked>,
    /// Bytes to send unasked, on the newest connection.
    pub(super) unasked: mpsc::UnboundedSender<Vec<u8>>,
    connections: Arc<AtomicUsize>,
}

impl Device {
    pub(super) async fn start(behaviour: impl FnMut(&Asked) -> Does + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked_in, asked) = mpsc::unbounded_channel();
        let (unasked, unasked_out) = mpsc::unbounded_channel();
        let unasked_out = Arc::new(Mutex::new(unasked_out));
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let behaviour: Arc<Mutex<Behaviour>> = Arc::new(Mutex::new(Box::new(behaviour)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let connection = count.fetch_add(1, Ordering::Relaxed);
                let (behaviour, asked, unasked) = (behaviour.clone(), asked_in.clone(), unasked_out.clone());
                tokio::spawn(async move {
                    // A connection that the driver closed ends here; that is the driver's right.
                    let _ = serve(connection, stream, behaviour, asked, unasked).await;
                });
            }
        });
        Self { port, asked, unasked, connections }
    }

    /// Connections made so far.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// PDUs of all requests so far.
    pub(super) fn pdus(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.asked.try_recv().ok()).map(|asked| asked.pdu).collect()
    }
}

async fn serve(
    connection: usize,
    mut stream: TcpStream,
    behaviour: Arc<Mutex<Behaviour>>,
    asked: mpsc::UnboundedSender<Asked>,
    unasked: Arc<Mutex<mpsc::UnboundedReceiver<Vec<u8>>>>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let mut header = [0; 7];
        let mut unasked = unasked.lock().await;
        tokio::select! {
            read = stream.read_exact(&mut header) => { read?; }
            Some(bytes) = unasked.recv() => {
                stream.write_all(&bytes).await?;
                continue;
            }
        }
        drop(unasked);
        let mut pdu = vec![0; usize::from(u16::from_be_bytes([header[4], header[5]])) - 1];
        stream.read_exact(&mut pdu).await?;
        let transaction = u16::from_be_bytes([header[0], header[1]]);
        let request = Asked { connection, transaction, unit: header[6], pdu };
        let does = (behaviour.lock().await)(&request);
        let _ = asked.send(request);
        match does {
            Does::Send(pieces) => {
                for piece in pieces {
                    stream.write_all(&piece).await?;
                    tokio::task::yield_now().await;
                }
            }
            Does::SendAndClose(bytes) => return stream.write_all(&bytes).await,
        }
    }
}

/// Cells of a device by table and address; what is not there is an illegal address. A table is the function
/// that reads it, a file 1000 and its number; texts of an identification stand beside them.
#[derive(Debug, Default, Clone)]
pub(super) struct Cells(BTreeMap<(u32, u16), u16>, BTreeMap<u8, String>);

impl Cells {
    /// `{"holding": {"0x0010": [1, 2]}}`
    pub(super) fn of(image: &Json) -> Self {
        let mut cells = Self::default();
        for (table, runs) in image.as_object().unwrap() {
            let function = match table.as_str() {
                "coil" => 1,
                "discrete" => 2,
                "holding" => 3,
                "input" => 4,
                "id" => 43,
                file => 1_000 + file.strip_prefix("file ").expect("a table").parse::<u32>().unwrap(),
            };
            for (address, values) in runs.as_object().unwrap() {
                let digits = address.strip_prefix("0x").expect("addresses of an image are hexadecimal");
                let first = u16::from_str_radix(digits, 16).unwrap();
                if let Json::String(text) = values {
                    cells.1.insert(first as u8, text.clone());
                    continue;
                }
                for (place, value) in values.as_array().unwrap().iter().enumerate() {
                    let value = u16::try_from(value.as_u64().unwrap()).unwrap();
                    cells.0.insert((function, first + place as u16), value);
                }
            }
        }
        cells
    }

    /// What an honest device answers to a request.
    pub(super) fn answer(&mut self, asked: &Asked) -> Vec<u8> {
        let function = asked.pdu[0];
        let refused = |code: u8| asked.answer(&[function | 0x80, code]);
        if matches!(function, 20 | 21 | 43) {
            return self.rarer(asked).unwrap_or_else(|| refused(2));
        }
        let (first, second) = asked.numbers();
        match function {
            1..=4 => {
                let read = (0..second)
                    .map(|place| self.0.get(&(function.into(), first.wrapping_add(place))).copied());
                let Some(values) = read.collect::<Option<Vec<u16>>>() else { return refused(2) };
                let limit = if function <= 2 { 2_000 } else { 125 };
                if second == 0 || second > limit {
                    return refused(3);
                }
                let mut data = Vec::new();
                if function <= 2 {
                    data.resize(values.len().div_ceil(8), 0u8);
                    for (place, value) in values.iter().enumerate() {
                        data[place / 8] |= (*value as u8 & 1) << (place % 8);
                    }
                } else {
                    data.extend(values.iter().flat_map(|value| value.to_be_bytes()));
                }
                asked.answer(&[&[function, data.len() as u8], data.as_slice()].concat())
            }
            5 | 6 => {
                let value = if function == 5 { u16::from(second == 0xFF00) } else { second };
                match self.0.get_mut(&(if function == 5 { 1 } else { 3 }, first)) {
                    Some(cell) => *cell = value,
                    None => return refused(2),
                }
                asked.answer(&asked.pdu.clone())
            }
            16 => {
                for (place, pair) in asked.pdu[6..].chunks(2).enumerate() {
                    match self.0.get_mut(&(3, first + place as u16)) {
                        Some(cell) => *cell = u16::from_be_bytes([pair[0], pair[1]]),
                        None => return refused(2),
                    }
                }
                asked.answer(&asked.pdu[..5])
            }
            15 => {
                for place in 0..second {
                    let bit = asked.pdu[6 + usize::from(place / 8)] >> (place % 8) & 1;
                    match self.0.get_mut(&(1, first + place)) {
                        Some(cell) => *cell = bit.into(),
                        None => return refused(2),
                    }
                }
                asked.answer(&asked.pdu[..5])
            }
            22 => {
                let or = u16::from_be_bytes([asked.pdu[5], asked.pdu[6]]);
                match self.0.get_mut(&(3, first)) {
                    Some(cell) => *cell = *cell & second | or & !second,
                    None => return refused(2),
                }
                asked.answer(&asked.pdu.clone())
            }
            23 => {
                let write = u16::from_be_bytes([asked.pdu[5], asked.pdu[6]]);
                for (place, pair) in asked.pdu[10..].chunks(2).enumerate() {
                    match self.0.get_mut(&(3, write + place as u16)) {
                        Some(cell) => *cell = u16::from_be_bytes([pair[0], pair[1]]),
                        None => return refused(2),
                    }
                }
                let read = (0..second).map(|place| self.0.get(&(3, first + place)).copied());
                let Some(values) = read.collect::<Option<Vec<u16>>>() else { return refused(2) };
                let data: Vec<u8> = values.iter().flat_map(|value| value.to_be_bytes()).collect();
                asked.answer(&[&[23, data.len() as u8], data.as_slice()].concat())
            }
            _ => refused(1),
        }
    }

    /// Files with one part, and single objects of the identification; `None`: there is no such thing.
    fn rarer(&mut self, asked: &Asked) -> Option<Vec<u8>> {
        let pdu = &asked.pdu;
        if pdu[0] == 43 {
            assert_eq!(pdu[1..3], [14, 4], "only single objects are asked for");
            let text = self.1.get(&pdu[3])?;
            let head = [43, 14, 4, 0x83, 0, 0, 1, pdu[3], text.len() as u8];
            return Some(asked.answer(&[&head, text.as_bytes()].concat()));
        }
        let word = |at: usize| u16::from_be_bytes([pdu[at], pdu[at + 1]]);
        let (file, record, count) = (1_000 + u32::from(word(3)), word(5), word(7));
        if pdu[0] == 20 {
            let read = (0..count).map(|place| self.0.get(&(file, record + place)).copied());
            let values = read.collect::<Option<Vec<u16>>>()?;
            let data: Vec<u8> = values.iter().flat_map(|value| value.to_be_bytes()).collect();
            let bytes = data.len() as u8;
            return Some(asked.answer(&[&[20, bytes + 2, bytes + 1, 6], data.as_slice()].concat()));
        }
        for (place, pair) in pdu[9..].chunks(2).enumerate() {
            *self.0.get_mut(&(file, record + place as u16))? = u16::from_be_bytes([pair[0], pair[1]]);
        }
        Some(asked.answer(pdu))
    }
}
