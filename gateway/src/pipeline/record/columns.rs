//! The changed cells of a row, column by column: kinds, places, ages, values.
//!
//! Always true: they can be read without knowing the set, so a row that cannot be rebuilt does not hide
//! the next one; a column that does not fit the others is an error; nothing is allocated that the input
//! does not hold a bit for at least.
//!
//! ```text
//! columns = shape, ages, values
//! shape   count of changed cells
//!         kinds    runs of up to 16: kind 4 bits, length - 1 4 bits
//!         places   nothing if all cells changed; one bit per cell of the set; or, for less than an
//!                  eighth of it, how many cells are skipped before each
//!         A row whose shape is that of the row before it in the record says so instead (flag LIKE).
//! ages    row's time minus cell's time. Only with flag AGES: n <= 16 and n ages, then per cell
//!         which of them in 0, 1, 2 or 4 bits; or 0 and one age per cell
//! values  flags (bools), one bit each; then the others in turn:
//!         whole numbers and decimals   minus that of the row before, if LIKE
//!         single, double               as they are; if LIKE, xor the row before, n and its n low bytes
//!         text, bytes, JSON            length + 1 and bytes; 0: as in the row before, if LIKE
//! ```

use super::Malformed;
use super::kind::{self, Kind, Written};
use super::wire::{Input, put_bytes, put_codes, put_number, put_signed};
use crate::row::{Row, Value};

/// Different ages that are listed once.
const LISTED_AGES: usize = 16;

/// The flags of a row that are about its columns.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Form {
    /// Its shape is that of the row before.
    pub(super) like: bool,
    /// Not every cell has the row's time.
    pub(super) ages: bool,
}

/// Some cells of a row. The buffers are used again from row to row.
#[derive(Debug, Default)]
pub(super) struct Columns<'a> {
    /// Cells in the whole set.
    size: usize,
    places: Vec<usize>,
    kinds: Vec<Kind>,
    ages: Vec<i64>,
    /// Values that are numbers; 0 for the others.
    numbers: Vec<u64>,
    /// Values that are runs of bytes, in turn.
    runs: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    /// Takes these cells of a row. `before` is the row before it in the record.
    pub(super) fn gather(&mut self, row: &'a Row, places: impl Iterator<Item = usize>, before: &Self) {
        self.clear(row.cells.len());
        for place in places {
            let cell = &row.cells[place];
            let neighbours =
                [before.kinds.get(self.kinds.len()), self.kinds.last()].map(Option::<&Kind>::copied);
            let (kind, written) = kind::of(&cell.value, neighbours);
            self.places.push(place);
            self.kinds.push(kind);
            self.ages.push(row.time_ms.wrapping_sub(cell.time_ms));
            self.numbers.push(match written {
                Written::Number(number) => number,
                Written::Bytes(bytes) => {
                    self.runs.push(bytes);
                    0
                }
            });
        }
    }

    /// How they are best written after `before`.
    pub(super) fn form(&self, before: &Self) -> Form {
        let like = self.size == before.size && self.places == before.places && self.kinds == before.kinds;
        Form { like: like && !self.kinds.is_empty(), ages: self.ages.iter().any(|age| *age != 0) }
    }

    /// Writes them.
    pub(super) fn write(&self, out: &mut Vec<u8>, form: Form, before: &Self) {
        if !form.like {
            self.write_shape(out);
        }
        if form.ages {
            self.write_ages(out);
        }
        let cells = || self.kinds.iter().zip(&self.numbers);
        put_codes(out, cells().filter(|(kind, _)| **kind == Kind::BOOL).map(|(_, on)| *on as u8), 1);
        let (mut runs, mut runs_before) = (self.runs.iter(), before.runs.iter());
        for (i, (kind, number)) in cells().enumerate() {
            let reference = form.like.then(|| before.numbers[i]);
            match *kind {
                Kind::BOOL => {}
                Kind::SINGLE => put_float(out, *number, reference, size_of::<f32>()),
                Kind::DOUBLE => put_float(out, *number, reference, size_of::<f64>()),
                kind if kind.is_bytes() => {
                    let (run, earlier) = (runs.next().copied().unwrap_or_default(), runs_before.next());
                    if form.like && earlier == Some(&run) {
                        put_number(out, 0);
                    } else {
                        put_number(out, run.len() as u64 + 1);
                        out.extend_from_slice(run);
                    }
                }
                _ => put_signed(out, number.wrapping_sub(reference.unwrap_or(0)) as i64),
            }
        }
    }

    /// Reads those of a row with `size` cells.
    pub(super) fn read(
        &mut self,
        input: &mut Input<'a>,
        size: usize,
        form: Form,
        before: &Self,
    ) -> Result<(), Malformed> {
        self.clear(size);
        if form.like {
            if before.size != size {
                return Err(Malformed("it refers to a row of another size"));
            }
            self.kinds.clone_from(&before.kinds);
            self.places.clone_from(&before.places);
        } else {
            self.read_shape(input)?;
        }
        if form.ages {
            self.read_ages(input)?;
        } else {
            self.ages.resize(self.kinds.len(), 0);
        }
        let flags = self.kinds.iter().filter(|kind| **kind == Kind::BOOL).count();
        let mut flags = input.codes(flags, 1)?;
        let mut runs_before = before.runs.iter();
        for (i, kind) in self.kinds.iter().enumerate() {
            let reference = form.like.then(|| before.numbers[i]);
            self.numbers.push(match *kind {
                Kind::BOOL => flags.next().map_or(0, u64::from),
                Kind::SINGLE => float(input, reference, size_of::<f32>())?,
                Kind::DOUBLE => float(input, reference, size_of::<f64>())?,
                kind if kind.is_bytes() => {
                    let earlier = runs_before.next().filter(|_| form.like);
                    let run = match input.count()?.checked_sub(1) {
                        Some(len) => input.take(len)?,
                        None => *earlier.ok_or(Malformed("it refers to a text that is not there"))?,
                    };
                    kind.check(run)?;
                    self.runs.push(run);
                    0
                }
                _ => (input.signed()? as u64).wrapping_add(reference.unwrap_or(0)),
            });
        }
        Ok(())
    }

    /// Place, value and age of each.
    pub(super) fn cells(&self) -> impl Iterator<Item = (usize, Value, i64)> {
        let mut runs = self.runs.iter();
        (0..self.kinds.len()).map(move |i| {
            let kind = self.kinds[i];
            let value = match kind.is_bytes() {
                true => kind.value_of_bytes(runs.next().copied().unwrap_or_default()),
                false => kind.value_of_number(self.numbers[i]),
            };
            (self.places[i], value, self.ages[i])
        })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.kinds.len()
    }

    fn clear(&mut self, size: usize) {
        self.size = size;
        self.places.clear();
        self.kinds.clear();
        self.ages.clear();
        self.numbers.clear();
        self.runs.clear();
    }

    fn write_shape(&self, out: &mut Vec<u8>) {
        put_number(out, self.kinds.len() as u64);
        for run in self.kinds.chunk_by(|a, b| a == b).flat_map(|run| run.chunks(16)) {
            out.push(run[0].code() << 4 | (run.len() - 1) as u8);
        }
        if self.places.len() == self.size {
            return;
        }
        if is_sparse(self.places.len(), self.size) {
            let mut next = 0;
            for place in &self.places {
                put_number(out, (place - next) as u64);
                next = place + 1;
            }
        } else {
            let mut places = self.places.iter().peekable();
            put_codes(out, (0..self.size).map(|i| places.next_if(|place| **place == i).is_some().into()), 1);
        }
    }

    fn read_shape(&mut self, input: &mut Input<'_>) -> Result<(), Malformed> {
        let count = input.count()?;
        if count > self.size {
            return Err(Malformed("more cells changed than there are"));
        }
        while self.kinds.len() < count {
            let run = input.byte()?;
            self.kinds.extend(std::iter::repeat_n(Kind::new(run >> 4), usize::from(run & 15) + 1));
        }
        if count == self.size {
            self.places.extend(0..count);
        } else if is_sparse(count, self.size) {
            let mut next = 0usize;
            for _ in 0..count {
                let place = next.checked_add(input.count()?).filter(|place| *place < self.size);
                let place = place.ok_or(Malformed("a place is outside the set"))?;
                self.places.push(place);
                next = place + 1;
            }
        } else {
            let bits = input.codes(self.size, 1)?;
            self.places.extend(bits.enumerate().filter(|(_, set)| *set != 0).map(|(place, _)| place));
        }
        match self.kinds.len() == count && self.places.len() == count {
            true => Ok(()),
            false => Err(Malformed("its columns differ in length")),
        }
    }

    fn write_ages(&self, out: &mut Vec<u8>) {
        let mut listed: Vec<i64> = Vec::with_capacity(LISTED_AGES);
        for age in &self.ages {
            if !listed.contains(age) {
                if listed.len() == LISTED_AGES {
                    out.push(0);
                    self.ages.iter().for_each(|age| put_signed(out, *age));
                    return;
                }
                listed.push(*age);
            }
        }
        out.push(listed.len() as u8);
        listed.iter().for_each(|age| put_signed(out, *age));
        let place = |age| listed.iter().position(|listed| listed == age).unwrap_or_default() as u8;
        put_codes(out, self.ages.iter().map(place), age_bits(listed.len()));
    }

    fn read_ages(&mut self, input: &mut Input<'_>) -> Result<(), Malformed> {
        let listed = usize::from(input.byte()?);
        if listed > LISTED_AGES {
            return Err(Malformed("too many ages"));
        }
        if listed == 0 {
            for _ in 0..self.kinds.len() {
                self.ages.push(input.signed()?);
            }
            return Ok(());
        }
        let listed = (0..listed).map(|_| input.signed()).collect::<Result<Vec<i64>, Malformed>>()?;
        for code in input.codes(self.kinds.len(), age_bits(listed.len()))? {
            let age = listed.get(usize::from(code)).ok_or(Malformed("an age is not listed"))?;
            self.ages.push(*age);
        }
        Ok(())
    }
}

/// Whether naming the changed places is shorter than a bit for every cell.
fn is_sparse(changed: usize, size: usize) -> bool {
    changed < size / 8
}

/// Bits to tell so many ages apart.
fn age_bits(ages: usize) -> usize {
    match ages {
        0..=1 => 0,
        2 => 1,
        3..=4 => 2,
        _ => 4,
    }
}

fn put_float(out: &mut Vec<u8>, bits: u64, reference: Option<u64>, len: usize) {
    match reference {
        None => out.extend_from_slice(&bits.to_le_bytes()[..len]),
        Some(reference) => {
            let changed = bits ^ reference;
            let len = 8 - changed.leading_zeros() as usize / 8;
            put_bytes(out, &changed.to_le_bytes()[..len]);
        }
    }
}

fn float(input: &mut Input<'_>, reference: Option<u64>, len: usize) -> Result<u64, Malformed> {
    let bytes = match reference {
        None => input.take(len)?,
        Some(_) => input.bytes()?,
    };
    if bytes.len() > len {
        return Err(Malformed("a float is too long"));
    }
    let mut low = [0; size_of::<u64>()];
    low.iter_mut().zip(bytes).for_each(|(low, byte)| *low = *byte);
    Ok(u64::from_le_bytes(low) ^ reference.unwrap_or(0))
}
