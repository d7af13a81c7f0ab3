//! A gateway between TCP and a slow line: it asks its device one thing at a time and hands the answers
//! on when it likes, later than anybody waits and in any order.
//!
//! Always true: each answer keeps the transaction of its request; what is late is chance, the same in
//! every run; it ends with its value.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often the listener looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);

/// The gateway between.
#[derive(Debug)]
pub struct LateAnswers {
    /// Where it listens, on the loopback.
    pub port: u16,
    ended: Arc<AtomicBool>,
}

impl LateAnswers {
    /// In front of a Modbus TCP device; each answer is late by chance within `late`.
    pub fn before(device: u16, late: Range<Duration>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the loopback has a free port");
        listener.set_nonblocking(true).expect("a listener need not block");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        std::thread::spawn(move || {
            let mut seed = 4;
            while !end.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((above, _)) => {
                        let (late, end) = (late.clone(), Arc::clone(&end));
                        seed += 1;
                        std::thread::spawn(move || pass(&above, device, &late, seed, &end));
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(LOOK),
                    Err(_) => return,
                }
            }
        });
        Self { port, ended }
    }
}

impl Drop for LateAnswers {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// One connection from above, until either side ends it.
fn pass(above: &TcpStream, device: u16, late: &Range<Duration>, seed: u64, end: &AtomicBool) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let Ok(mut below) = TcpStream::connect(("127.0.0.1", device)) else { return };
    let (Ok(mut asks), Ok(answers)) = (above.try_clone(), above.try_clone()) else { return };
    // Not waiting for each other is the point, and a frame is written whole.
    let answers = Arc::new(Mutex::new(answers));
    above.set_nonblocking(false).expect("a connection may block");
    while !end.load(Ordering::Relaxed) {
        let answer = frame(&mut asks).and_then(|request| {
            below.write_all(&request).ok()?;
            frame(&mut below)
        });
        let Some(answer) = answer else { break };
        let spread = (late.end - late.start).as_micros() as u64;
        let after = late.start + Duration::from_micros(rng.u64(0..spread.max(1)));
        let answers = Arc::clone(&answers);
        std::thread::spawn(move || {
            std::thread::sleep(after);
            let mut answers = answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let _ = answers.write_all(&answer);
        });
    }
    let _ = above.shutdown(Shutdown::Both);
}

/// One whole frame of Modbus TCP.
fn frame(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut frame = vec![0; 6];
    from.read_exact(&mut frame).ok()?;
    let rest = usize::from(u16::from_be_bytes([frame[4], frame[5]]));
    frame.resize(6 + rest, 0);
    from.read_exact(&mut frame[6..]).ok()?;
    Some(frame)
}
