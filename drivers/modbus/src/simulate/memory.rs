//! The cells of one simulated device, and what it answers. Pure.
//!
//! Always true: only cells of points can be read or written, everything else is an illegal address;
//! a read longer than `max_read` and a value outside of a point's limits are illegal values, and
//! then nothing is written; what was written stays.

use std::collections::BTreeMap;

use super::motion::{Held, Moment, Motion};
use super::request::{Asked, Records, Told};
use crate::device::Device;
use crate::plan::Limits;
use crate::point::Point;
use crate::point::address::Table;
use crate::point::kind::Kind;
use crate::wire::Exception;

/// What is between the points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gaps {
    /// Nothing: an illegal address.
    Refused,
    /// Zeros, between the first and the last point of a table, holes left out.
    Zero,
}

/// A device.
#[derive(Debug)]
pub(crate) struct Memory {
    name: String,
    unit: u8,
    points: Vec<(Point, Motion)>,
    limits: Limits,
    gaps: Gaps,
    /// Which points a cell is of.
    of: BTreeMap<(Table, u16), Vec<usize>>,
    /// Cells that were written; a bit is its second byte.
    written: BTreeMap<(Table, u16), [u8; 2]>,
}

impl Memory {
    /// A device as the driver would read it.
    pub(crate) fn new(name: String, device: &Device, gaps: Gaps) -> Self {
        let mut of: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (number, point) in device.points.iter().enumerate() {
            for cell in 0..point.codec.cells() {
                of.entry((point.table, point.address + cell)).or_default().push(number);
            }
        }
        let points = device.points.iter().map(|point| (point.clone(), Motion::of(point))).collect();
        let (unit, limits) = (device.unit, device.limits.clone());
        Self { name, unit, points, limits, gaps, of, written: BTreeMap::new() }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its unit.
    pub(crate) fn unit(&self) -> u8 {
        self.unit
    }

    /// How one of its points moves; `None`: it has none of this name.
    pub(crate) fn motion(&mut self, point: &str) -> Option<(&Point, &mut Motion)> {
        let found = self.points.iter_mut().find(|(known, _)| known.name == point);
        found.map(|(point, motion)| (&*point, motion))
    }

    /// Names of its points.
    pub(crate) fn points(&self) -> impl Iterator<Item = &str> {
        self.points.iter().map(|(point, _)| point.name.as_str())
    }

    /// Does what is asked.
    pub(crate) fn answer(&mut self, asked: &Asked, seconds: u64) -> Result<Told, Exception> {
        let moment = Moment { seconds, unit: self.unit };
        match asked {
            Asked::Read { table, address, cells } => self.read(*table, *address, *cells, moment),
            Asked::WriteCoils { address, coils } => {
                let cells: Vec<[u8; 2]> = coils.iter().map(|on| [0, u8::from(*on)]).collect();
                self.write(Table::Coil, *address, &cells)
            }
            Asked::WriteRegisters { address, values } => {
                self.write(Table::Holding, *address, &in_twos(values))
            }
            Asked::MaskRegister { address, and, or } => {
                let now = self.cell(Table::Holding, *address, moment);
                let now = u16::from_be_bytes(now.ok_or(Exception::ILLEGAL_DATA_ADDRESS)?);
                let masked = now & and | or & !and;
                self.write(Table::Holding, *address, &[masked.to_be_bytes()])
            }
            Asked::WriteAndRead { write, values, address, cells } => {
                // Refused as a whole or done as a whole.
                self.check_read(Table::Holding, *address, *cells, moment)?;
                self.write(Table::Holding, *write, &in_twos(values))?;
                self.read(Table::Holding, *address, *cells, moment)
            }
            Asked::ReadFile(parts) => {
                let read = |part: &Records| match self.read(
                    Table::File(part.file),
                    part.first,
                    part.count,
                    moment,
                )? {
                    Told::Registers(data) => Ok(data),
                    _ => Err(Exception::ILLEGAL_DATA_ADDRESS),
                };
                parts.iter().map(read).collect::<Result<_, _>>().map(Told::Files)
            }
            Asked::WriteFile(parts) => {
                for (part, data) in parts {
                    self.write(Table::File(part.file), part.first, &in_twos(data))?;
                }
                Ok(Told::Written)
            }
            Asked::Identify { .. } => Ok(Told::Objects(self.objects(moment))),
        }
    }

    fn check_read(&self, table: Table, address: u16, cells: u16, moment: Moment) -> Result<(), Exception> {
        if cells > self.limits.cells(table) {
            return Err(Exception::ILLEGAL_DATA_VALUE);
        }
        let is_there = |cell: u16| {
            address.checked_add(cell).is_some_and(|address| self.cell(table, address, moment).is_some())
        };
        if (0..cells).all(is_there) { Ok(()) } else { Err(Exception::ILLEGAL_DATA_ADDRESS) }
    }

    fn read(&mut self, table: Table, address: u16, cells: u16, moment: Moment) -> Result<Told, Exception> {
        self.check_read(table, address, cells, moment)?;
        let last = address + (cells - 1);
        for (point, motion) in &mut self.points {
            if let Motion::Counts(reads) = motion
                && (point.table, point.address >= address) == (table, true)
                && point.address + (point.codec.cells() - 1) <= last
            {
                *reads += 1;
            }
        }
        let read = (address..=last).filter_map(|address| self.cell(table, address, moment));
        Ok(if table.is_bits() {
            Told::Bits(read.map(|cell| cell[1] != 0).collect())
        } else {
            Told::Registers(read.flatten().collect())
        })
    }

    /// A cell as it is now; `None` where nothing may be read.
    fn cell(&self, table: Table, address: u16, moment: Moment) -> Option<[u8; 2]> {
        if let Some(written) = self.written.get(&(table, address)) {
            return Some(*written);
        }
        let Some(of) = self.of.get(&(table, address)) else { return self.between(table, address) };
        let mut cell = [0, 0];
        for number in of {
            let (point, motion) = &self.points[*number];
            let Held(bytes) = motion.at(point, moment);
            let place = usize::from(address - point.address);
            if table.is_bits() {
                return Some([0, bytes.get(place).copied()?]);
            }
            let own: [u8; 2] = bytes.get(place * 2..place * 2 + 2)?.try_into().ok()?;
            if point.codec.mask().is_none() {
                return Some(own);
            }
            // Several points have a part of it each.
            cell = [cell[0] | own[0], cell[1] | own[1]];
        }
        Some(cell)
    }

    /// What is where no point is.
    fn between(&self, table: Table, address: u16) -> Option<[u8; 2]> {
        let of_table = || self.of.range((table, 0)..=(table, u16::MAX)).map(|((_, address), _)| *address);
        let is_inside = of_table().next()? < address && address < of_table().next_back()?;
        let is_zero =
            self.gaps == Gaps::Zero && is_inside && self.limits.hole(table, address, address).is_none();
        is_zero.then_some([0, 0])
    }

    /// All of the cells or none.
    fn write(&mut self, table: Table, address: u16, cells: &[[u8; 2]]) -> Result<Told, Exception> {
        let mut touched: Vec<usize> = Vec::new();
        let mut after = BTreeMap::new();
        for (place, cell) in (address..=u16::MAX).zip(cells) {
            let of = self.of.get(&(table, place)).ok_or(Exception::ILLEGAL_DATA_ADDRESS)?;
            if !of.iter().any(|number| self.points[*number].0.write.is_some()) {
                return Err(Exception::ILLEGAL_DATA_ADDRESS);
            }
            touched.extend(of);
            after.insert(place, *cell);
        }
        if after.len() != cells.len() {
            return Err(Exception::ILLEGAL_DATA_ADDRESS);
        }
        touched.dedup();
        for number in touched {
            let point = &self.points[number].0;
            let own = point.address..=point.address + (point.codec.cells() - 1);
            // A part of a point may be written on its own; only the whole has limits.
            let whole: Option<Vec<[u8; 2]>> = own.map(|address| after.get(&address).copied()).collect();
            if let (Some(whole), Some(_)) = (whole, point.write)
                && !is_allowed(point, &whole)
            {
                return Err(Exception::ILLEGAL_DATA_VALUE);
            }
        }
        self.written.extend(after.into_iter().map(|(address, cell)| ((table, address), cell)));
        Ok(Told::Written)
    }

    /// What it says it is: the simulator, and over that the points that are about it.
    fn objects(&self, moment: Moment) -> BTreeMap<u8, Vec<u8>> {
        let basic = ["Sagoo Edge simulator", &self.name, env!("CARGO_PKG_VERSION")];
        let mut objects: BTreeMap<u8, Vec<u8>> =
            (0..).zip(basic.map(|text| text.as_bytes().to_vec())).collect();
        for (point, motion) in self.points.iter().filter(|(point, _)| point.table == Table::Identity) {
            let Held(text) = motion.at(point, moment);
            objects.extend(u8::try_from(point.address).ok().map(|object| (object, text)));
        }
        objects
    }
}

fn is_allowed(point: &Point, cells: &[[u8; 2]]) -> bool {
    let bytes = match point.codec.kind {
        Kind::Bool => cells.iter().map(|cell| cell[1]).collect(),
        _ => cells.concat(),
    };
    point.codec.decode(&bytes).and_then(|value| point.to_write(&value)).is_ok()
}

fn in_twos(values: &[u8]) -> Vec<[u8; 2]> {
    values.chunks_exact(2).map(|two| [two[0], two[1]]).collect()
}
