//! A serial port of this machine.
//!
//! Always true: it is opened by its path each time, so a replugged adapter is found again; it is ours
//! alone while it is open; an error names the path and the remedy. Without `rs485` no modem line is
//! touched.

use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tokio_serial::{DataBits, FlowControl, SerialPort, SerialPortBuilderExt, SerialStream, StopBits};

use super::alarm::Alarm;
use super::rs485;
use crate::connection::serial::{Mode, Parity, Rs485, Rts, Serial};

/// Longest wait, past the computed end, for the kernel to have sent everything.
const LONGEST_DRAIN: Duration = Duration::from_millis(200);
/// Pause between two looks at what the kernel still has to send.
const LOOK: Duration = Duration::from_micros(200);
/// Where Linux keeps its pseudo terminals, which have no parity.
const PSEUDO: &str = "/dev/pts/";

/// An open port.
#[derive(Debug)]
pub(super) struct Port {
    stream: SerialStream,
    mode: Mode,
    rts: Option<Rs485>,
    alarm: Alarm,
}

impl Port {
    /// Opens it in its mode.
    pub(super) fn open(settings: &Serial) -> Result<Self, String> {
        let Serial { port, mode, .. } = settings;
        let stream = open_stream(port, *mode)?;
        let mut rts = None;
        match settings.rs485 {
            Some(Rs485 { rts: Rts::Kernel, before, after }) => rs485::enable(&stream, before, after)
                .map_err(|error| {
                    format!(
                        "cannot open {port}: its driver in the kernel does not switch RS-485: {error}; \
                         rts = \"up\" or \"down\" lets this driver do it, and an adapter that switches by \
                         itself needs no rs485"
                    )
                })?,
            Some(by_hand) => rts = Some(by_hand),
            None => {}
        }
        let mut port = Self { stream, mode: *mode, rts, alarm: Alarm::default() };
        if port.rts.is_some() {
            let told =
                |error| format!("cannot open {}: it has no RTS: {error}; leave rs485 out", settings.port);
            port.direct(false).map_err(told)?;
        }
        Ok(port)
    }

    /// Gives these bytes to the line; the moment its last character leaves.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<Instant> {
        let Some(rs485) = self.rts else {
            let end = Instant::now() + self.mode.time_of(bytes.len());
            self.stream.write_all(bytes).await?;
            return Ok(end);
        };
        self.direct(true)?;
        let sent = self.send_directed(bytes, rs485).await;
        // Whatever became of it: a line that is held is no use to anybody.
        self.direct(false)?;
        sent
    }

    async fn send_directed(&mut self, bytes: &[u8], rs485: Rs485) -> io::Result<Instant> {
        self.alarm.wait(Instant::now() + rs485.before).await;
        let end = Instant::now() + self.mode.time_of(bytes.len());
        self.stream.write_all(bytes).await?;
        self.alarm.wait(end).await;
        let give_up = end + LONGEST_DRAIN;
        while self.stream.bytes_to_write().is_ok_and(|left| left > 0) && Instant::now() < give_up {
            self.alarm.wait(Instant::now() + LOOK).await;
        }
        let sent = Instant::now();
        self.alarm.wait(sent + rs485.after).await;
        Ok(sent)
    }

    pub(super) async fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.read(bytes).await
    }

    pub(super) fn try_read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.try_read(bytes)
    }

    /// Waits until something can be read.
    #[cfg(test)]
    pub(super) async fn something_waits(&self) {
        self.stream.readable().await.expect("a living runtime");
    }

    /// Turns the line towards us or towards the devices.
    fn direct(&mut self, is_sending: bool) -> io::Result<()> {
        let up = self.rts.is_some_and(|rs485| (rs485.rts == Rts::Up) == is_sending);
        self.stream.write_request_to_send(up).map_err(io::Error::from)
    }
}

/// A port in a mode, and ours alone.
pub(crate) fn open_stream(port: &str, mode: Mode) -> Result<SerialStream, String> {
    let builder = tokio_serial::new(port, mode.baud)
        .data_bits(if mode.data_bits == 7 { DataBits::Seven } else { DataBits::Eight })
        .stop_bits(if mode.stop_bits == 2 { StopBits::Two } else { StopBits::One })
        .flow_control(FlowControl::None);
    let mut stream = builder.open_native_async().map_err(|error| cannot_open(port, &error))?;
    let parity = match mode.parity {
        Parity::None => tokio_serial::Parity::None,
        Parity::Even => tokio_serial::Parity::Even,
        Parity::Odd => tokio_serial::Parity::Odd,
    };
    if let Err(error) = stream.set_parity(parity)
        && !is_pseudo(port)
    {
        return Err(format!("cannot open {port}: it has no mode {mode}: {error}"));
    }
    Ok(stream)
}

/// Why a port cannot be opened, and what helps.
fn cannot_open(port: &str, error: &tokio_serial::Error) -> String {
    let told = match error.kind {
        // What tokio-serial makes of EBUSY, and of a lock that somebody else holds.
        tokio_serial::ErrorKind::NoDevice => "another program, or another connection, has it open".to_owned(),
        tokio_serial::ErrorKind::Io(ErrorKind::NotFound) => {
            "there is no such port; is the adapter plugged in? ls -l /dev/serial/by-path shows what is"
                .to_owned()
        }
        tokio_serial::ErrorKind::Io(ErrorKind::PermissionDenied) => {
            format!("{error}; the user that the driver runs as belongs into the group dialout")
        }
        _ => error.to_string(),
    };
    format!("cannot open {port}: {told}")
}

/// Whether a path leads to a pseudo terminal.
fn is_pseudo(port: &str) -> bool {
    std::fs::canonicalize(port).is_ok_and(|path| path.starts_with(PSEUDO))
}
