//! Polls and reads: requests go out, answers are filed, and what the device refuses is learned.
//!
//! Always true: a command waits for one request of a poll, or for one window where several are in
//! flight; what was learned is kept at the end of the poll it was learned in, or at a later one when
//! the gateway does not answer: a line waits for it in vain once in [`KEEP_AGAIN`], whatever devices it has.

use std::time::Duration;

use sagoo_driver_sdk::{HostError, LineError, PlannedRequest, Readings, Value};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::ModbusLine;
use crate::device::Device;
use crate::learn::lesson::Lesson;
use crate::learn::means::Means;
use crate::learn::memory::Told;
use crate::learn::search::{Search, Verdict};
use crate::learn::student::Student;
use crate::learn::told;
use crate::plan::{Block, Cost, Span};
use crate::point::address::Table;
use crate::transport::Said;
use crate::wire::pdu::{FilePart, Scope};
use crate::wire::{Answer, Request};

/// Pause before the gateway is asked again for what it keeps.
const KEEP_AGAIN: Duration = Duration::from_secs(30);
/// The same when it only had too much to do: that cost no waiting.
const BUSY_AGAIN: Duration = Duration::from_secs(1);

/// A device on this line.
#[derive(Debug)]
pub(super) struct Known {
    student: Student,
    /// What was kept of it has been asked for.
    is_loaded: bool,
}

/// A poll that goes on later.
#[derive(Debug)]
pub(super) struct Paused {
    device: String,
    poll: usize,
    search: Search,
}

impl ModbusLine {
    pub(super) async fn poll_device(
        &mut self,
        device: &Device,
        poll: usize,
        out: &mut Readings,
    ) -> Result<(), LineError> {
        let paused = self
            .paused
            .take()
            .filter(|paused| out.resumes() && paused.device == device.name && paused.poll == poll);
        let mut search = match paused {
            Some(paused) => paused.search,
            None => {
                let student = self.student(device).await;
                student.poll(device, poll, Instant::now(), &mut |span, reason| out.bad(span.point, reason))
            }
        };
        let outcome = self.read_on(device, &mut search, out, true).await;
        if let Ok(false) = outcome {
            self.paused = Some(Paused { device: device.name.clone(), poll, search });
            return Ok(());
        }
        self.learn(device, search).await;
        outcome.map(|_| ())
    }

    pub(super) async fn read_points(
        &mut self,
        device: &Device,
        points: &[usize],
        out: &mut Readings,
    ) -> Result<(), LineError> {
        let bad = &mut |span: &Span, reason: String| out.bad(span.point, reason);
        let mut search = self.student(device).await.read(device, points, bad);
        let outcome = self.read_on(device, &mut search, out, false).await;
        self.learn(device, search).await;
        outcome.map(|_| ())
    }

    /// Makes the requests that are left; false when it stopped for a command.
    async fn read_on(
        &mut self,
        device: &Device,
        search: &mut Search,
        out: &mut Readings,
        may_pause: bool,
    ) -> Result<bool, LineError> {
        let window = match self.wire.in_flight() {
            1 => 1,
            several => several * 2,
        };
        let mut is_first = true;
        while !search.is_over() {
            if !is_first && may_pause && out.pauses() {
                return Ok(false);
            }
            is_first = false;
            let tasks = search.take(window);
            let requests: Vec<Request> = tasks.iter().map(|task| request(&task.block)).collect();
            let mut said = vec![Err(LineError::Broken("the line told nothing".to_owned())); tasks.len()];
            self.wire
                .exchange_many(device.unit, &requests, |place, answer| {
                    let filed = tasks[place].is_filed().then_some(&*tasks[place].block);
                    said[place] = verdict(device, filed, answer, out);
                })
                .await;
            let mut failure = None;
            let mut unsent = Vec::new();
            let mut is_silent = false;
            for (task, said) in tasks.into_iter().zip(said) {
                let bad = &mut |block: &Block, reason: String| tell_bad(block, &reason, out);
                match said {
                    // Behind a silence nothing more of a window is sent.
                    Ok(Verdict::Silent(_)) if is_silent => unsent.push(task),
                    Ok(verdict) => {
                        is_silent |= matches!(verdict, Verdict::Silent(_));
                        let silent = search.hear(task, verdict, bad).err();
                        failure = failure.or(silent.map(LineError::Silent));
                    }
                    Err(broken) => failure = Some(broken),
                }
            }
            search.put_back(unsent);
            if let Some(failure) = failure {
                return Err(failure);
            }
        }
        Ok(true)
    }

    /// What is known of a device; asks the gateway for it once.
    async fn student(&mut self, device: &Device) -> &mut Student {
        let is_it = |known: &Known| known.student.fingerprint == device.fingerprint;
        if !self.known.get(&device.name).is_some_and(is_it) {
            let student = Student::new(device, Lesson::default());
            let known = Known { student, is_loaded: false };
            self.known.insert(device.name.clone(), known);
        }
        let known = self.known.get_mut(&device.name).expect("it was just put there");
        if !known.is_loaded && self.ask_at.is_none_or(|at| at <= Instant::now()) {
            let mut rolls = Student::new(device, Lesson::default());
            match self.memory.load(&device.name, device.fingerprint, || rolls.roll()).await {
                Ok(lesson) => {
                    known.is_loaded = true;
                    known.student.take_up(device, lesson);
                    self.memory.tell(&device.name, tell(device, &known.student));
                }
                Err(error) => {
                    debug!(device = device.name, %error, "what was learned earlier is not known yet");
                    self.ask_at = Some(Instant::now() + pause(&error));
                }
            }
        }
        &mut known.student
    }

    /// Forgets what was learned of a device, here and where it is kept: it is found out anew.
    pub(super) async fn forget(&mut self, device: &Device) -> Result<(), String> {
        let student = Student::new(device, Lesson::default());
        let kept = self.memory.keep(&device.name, device.fingerprint, &student.lesson).await;
        kept.map_err(|error| error.to_string())?;
        self.memory.tell(&device.name, tell(device, &student));
        self.known.insert(device.name.clone(), Known { student, is_loaded: true });
        Ok(())
    }

    /// Takes in what a poll or a read showed, says what is new, and has it kept.
    async fn learn(&mut self, device: &Device, search: Search) {
        // Of several in flight, each takes as long as all of them.
        let alone = self.wire.in_flight() == 1;
        let turnaround = self.wire.turnaround_of(device.unit).filter(|_| alone);
        let Some(known) = self.known.get_mut(&device.name) else { return };
        let student = &mut known.student;
        let before = told::tell(device, &student.lesson);
        let mut changed = student.learn(device, search, Instant::now());
        if changed {
            let now = told::tell(device, &student.lesson);
            for learned in now.iter().filter(|learned| !before.contains(learned)) {
                let (what, paste) = (&learned.what, &learned.paste);
                warn!(device = device.name, what, paste, "learned of a device, reads are planned around it");
            }
        }
        changed |= turnaround.is_some_and(|turnaround| student.measure(device, turnaround));
        if changed {
            self.memory.tell(&device.name, tell(device, student));
        }
        let may_ask = self.ask_at.is_none_or(|at| at <= Instant::now());
        if student.is_news && may_ask {
            match self.memory.keep(&device.name, device.fingerprint, &student.lesson).await {
                Ok(()) => student.is_news = false,
                Err(error) => {
                    debug!(device = device.name, %error, "what was learned is kept later");
                    self.ask_at = Some(Instant::now() + pause(&error));
                }
            }
        }
    }
}

fn pause(error: &HostError) -> Duration {
    if *error == HostError::Busy { BUSY_AGAIN } else { KEEP_AGAIN }
}

/// What to say of a device to whoever asks.
fn tell(device: &Device, student: &Student) -> Told {
    let cost = student.cost(device);
    let reads = |poll| student.reads(poll).iter().map(|block| planned(block, &cost)).collect();
    Told {
        fingerprint: device.fingerprint,
        learned: told::tell(device, &student.lesson),
        polls: (0..device.polls.len()).map(reads).collect(),
    }
}

/// A read for `explain`.
pub(crate) fn planned(block: &Block, cost: &Cost) -> PlannedRequest {
    PlannedRequest {
        request: name(block),
        wanted: u32::from(block.cells - block.wasted),
        wasted: block.wasted.into(),
        predicted_ms: cost.time(block.table, block.cells).as_secs_f64() * 1_000.0,
    }
}

/// A block in the words of `explain`: `input 0x0000 × 12`.
pub(crate) fn name(block: &Block) -> String {
    format!("{} {:#06x} × {}", block.table, block.address, block.cells)
}

fn request(block: &Block) -> Request {
    let Block { table, address, cells, .. } = *block;
    match table {
        Table::File(file) => Request::ReadFile { parts: vec![FilePart { file, record: address, cells }] },
        // An object's number is one byte.
        Table::Identity => Request::Identify { scope: Scope::One, object: address as u8 },
        table => Request::Read { table, address, cells },
    }
}

/// Files an answer at once, so that it carries the time it came at; `filed` is `None` when its points
/// have been filed already. `Err` is a broken line.
fn verdict(
    device: &Device,
    filed: Option<&Block>,
    answer: Result<Said, LineError>,
    out: &mut Readings,
) -> Result<Verdict, LineError> {
    Ok(match answer {
        Ok(Said::Answer(Answer::Data(cells))) => {
            if let Some(block) = filed {
                file(device, block, &cells, out);
            }
            Verdict::Answered
        }
        Ok(Said::Answer(Answer::Identity { objects, .. })) => {
            if let (Some(block), [(_, text)]) = (filed, &objects[..]) {
                file(device, block, text, out);
            }
            Verdict::Answered
        }
        Ok(Said::Answer(Answer::Refused(why))) if Means::of(why) == Means::Silence => {
            Verdict::Silent(format!("unit {}: {why}", device.unit))
        }
        Ok(Said::Answer(Answer::Refused(why))) => Verdict::Refused(why),
        Ok(Said::Answer(_)) => Verdict::Nonsense("an answer to something else than a read".to_owned()),
        Ok(Said::Nonsense(reason)) => Verdict::Nonsense(reason),
        Err(LineError::Silent(reason)) => Verdict::Silent(reason),
        Err(broken) => return Err(broken),
    })
}

fn tell_bad(block: &Block, reason: &str, out: &mut Readings) {
    for span in &block.spans {
        out.bad(span.point, format!("{}: {reason}", name(block)));
    }
}

/// Files each point's cells of a block's answer; all of them carry the time of the first one.
fn file(device: &Device, block: &Block, cells: &[u8], out: &mut Readings) {
    let mut arrived = None;
    for span in &block.spans {
        match (decode(device, block, span, cells), arrived) {
            (Ok(value), Some(boot_ns)) => out.good_at(span.point, value, boot_ns),
            (Ok(value), None) => {
                out.good(span.point, value);
                arrived = out.readings().last().map(|reading| reading.boot_ns);
            }
            (Err(reason), _) => out.bad(span.point, reason),
        }
    }
}

/// A point's own cells; the answer was checked to be as long as its block.
fn decode(device: &Device, block: &Block, span: &Span, cells: &[u8]) -> Result<Value, String> {
    let codec = &device.points[span.point].codec;
    let first = usize::from(span.address - block.address);
    let count = usize::from(span.cells);
    if block.table.is_bits() {
        let bits: Vec<u8> = (first..first + count).map(|place| bit(cells, place)).collect();
        return codec.decode(&bits);
    }
    if block.table == Table::Identity {
        return codec.decode(cells);
    }
    codec.decode(cells.get(first * 2..(first + count) * 2).unwrap_or_default())
}

/// Bits are packed from the lowest one up.
pub(super) fn bit(packed: &[u8], place: usize) -> u8 {
    packed.get(place / 8).map_or(0, |byte| byte >> (place % 8) & 1)
}
