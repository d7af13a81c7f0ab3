//! A scan: one read of one unit in one mode at each step, and its name when somebody is there.
//!
//! Always true: it only reads; any answer is a find, a refusal too; after each step the line is as it
//! was, so that the polls between two steps go out in the connection's own mode.

use std::time::Duration;

use sagoo_driver_sdk::{Found, LineError, Scanned};
use serde_json::{Map, Value as Json, json};

use super::ModbusLine;
use crate::connection::serial::Mode;
use crate::connection::{Connection, Transport};
use crate::learn::means::Means;
use crate::point::address::{self, Notation, Table};
use crate::transport::{Said, Wire};
use crate::wire::pdu::Scope;
use crate::wire::{Answer, Request};

/// Longest wait for one unit: what is there answers sooner, and most units are not there.
const SCAN_TIMEOUT: Duration = Duration::from_millis(250);
/// Modes that are tried behind the connection's own, the usual ones first.
const USUAL_MODES: [&str; 8] =
    ["9600-8E1", "9600-8N1", "19200-8E1", "19200-8N1", "38400-8N1", "57600-8N1", "115200-8N1", "4800-8N1"];
/// Most steps of one scan.
const MOST_STEPS: usize = 20_000;
/// Options, for whoever misspelt one.
const OPTIONS: &str = "units=1-247, modes=9600-8E1,19200-8N1, address=holding:0";

/// What is to be tried, mode by mode.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sweep {
    /// `None`: the connection as it is.
    modes: Vec<Option<Mode>>,
    units: Vec<u8>,
    table: Table,
    address: u16,
}

impl Sweep {
    /// From the options of a scan, texts all of them.
    pub(crate) fn read(connection: &Connection, options: &Json) -> Result<Self, String> {
        let none = Map::new();
        let options = options.as_object().unwrap_or(&none);
        let known = |key: &&String| ["units", "modes", "address"].contains(&key.as_str());
        if let Some(unknown) = options.keys().find(|key| !known(key)) {
            return Err(format!("{unknown:?} is no option of a scan; there are {OPTIONS}"));
        }
        let text = |key: &str| match options.get(key) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text.as_str())),
            Some(other) => Err(format!("{key} = {other} is not a text; like {OPTIONS}")),
        };
        let units = units(text("units")?.unwrap_or("1-247"))?;
        let modes = modes(connection, text("modes")?)?;
        let at = text("address")?.unwrap_or("holding:0");
        let place = address::parse(&json!(at), Notation::Unstated);
        let (table, address) = match place {
            Ok(address::Address { table: Some(table), number }) if Table::ALL.contains(&table) => {
                (table, number)
            }
            Ok(_) => return Err(format!("address {at:?} is in none of the four tables, like holding:0")),
            Err(wrong) => return Err(format!("address {}; {}", wrong.message, wrong.hint)),
        };
        let sweep = Self { modes, units, table, address };
        match sweep.steps() {
            steps if steps > MOST_STEPS => {
                Err(format!("{steps} steps, at most {MOST_STEPS} are made; name fewer units or modes"))
            }
            _ => Ok(sweep),
        }
    }

    /// How many steps it has.
    pub(crate) fn steps(&self) -> usize {
        self.modes.len() * self.units.len()
    }

    fn step(&self, step: usize) -> Option<(Option<Mode>, u8)> {
        let mode = self.modes.get(step / self.units.len().max(1))?;
        Some((*mode, self.units[step % self.units.len()]))
    }
}

fn units(text: &str) -> Result<Vec<u8>, String> {
    let wrong =
        |part: &str| format!("units {part:?}: numbers and ranges from 0 to 255, like 1-247 or 1,3,10-20");
    let mut units: Vec<u8> = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<u8>().map_err(|_| wrong(part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(wrong(part));
        }
        units.extend((first..=last).filter(|unit| !units.contains(unit)).collect::<Vec<u8>>());
    }
    Ok(units)
}

fn modes(connection: &Connection, text: Option<&str>) -> Result<Vec<Option<Mode>>, String> {
    let Transport::Serial(serial) = &connection.transport else {
        return match text {
            None => Ok(vec![None]),
            Some(_) => Err("modes are for serial lines, and this connection is none".to_owned()),
        };
    };
    let own = serial.mode;
    let mut modes = Vec::new();
    match text {
        None => {
            modes.push(own);
            let fits = |mode: &Mode| mode.data_bits == own.data_bits;
            modes.extend(USUAL_MODES.iter().filter_map(|mode| Mode::parse(mode)).filter(fits));
        }
        Some(text) => {
            for mode in text.split(',') {
                let wrong = || format!("modes {mode:?}: like 9600-8E1 or 9600-8E1,19200-8N1");
                modes.push(Mode::parse(mode).ok_or_else(wrong)?);
            }
        }
    }
    let mut once: Vec<Option<Mode>> = Vec::new();
    for mode in modes {
        if !once.contains(&Some(mode)) {
            once.push(Some(mode));
        }
    }
    Ok(once)
}

impl ModbusLine {
    pub(super) async fn scan_step(&mut self, step: usize, options: &Json) -> Result<Scanned, LineError> {
        // It was read once when the scan began.
        let sweep = Sweep::read(&self.connection, options).map_err(LineError::Silent)?;
        let Some((mode, unit)) = sweep.step(step) else { return Ok(Scanned::default()) };
        let own = match &self.connection.transport {
            Transport::Serial(serial) => Some(serial.mode),
            _ => None,
        };
        let timeout = SCAN_TIMEOUT.min(self.connection.timeout);
        let found = if mode == own || mode.is_none() {
            let before = std::mem::replace(&mut self.wire.timeout, timeout);
            let found = find(&mut self.wire, unit, &sweep).await;
            self.wire.timeout = before;
            found
        } else {
            self.wire.close().await;
            let mut other = self.connection.clone();
            if let (Transport::Serial(serial), Some(mode)) = (&mut other.transport, mode) {
                serial.mode = mode;
            }
            other.timeout = timeout;
            let mut wire = Wire::new(&other, self.tap.clone(), self.memory.host());
            let found = find(&mut wire, unit, &sweep).await;
            wire.close().await;
            found
        };
        let at = mode.map_or_else(String::new, |mode| format!(" at {mode}"));
        let tried = format!("unit {unit}{at}");
        let found = found?.map(|description| Found {
            address: tried.clone(),
            description,
            settings: json!({ "unit": unit }),
        });
        Ok(Scanned { tried, found: found.into_iter().collect() })
    }
}

/// What a unit says of itself, or at least how it answered; `None` when nobody did.
async fn find(wire: &mut Wire, unit: u8, sweep: &Sweep) -> Result<Option<String>, LineError> {
    let (table, address) = (sweep.table, sweep.address);
    let said = match wire.exchange(unit, &Request::Read { table, address, cells: 1 }).await {
        Ok(said) => said,
        Err(LineError::Silent(_) | LineError::Postponed(_)) => return Ok(None),
        Err(broken) => return Err(broken),
    };
    let answered = match said {
        Said::Answer(Answer::Refused(why)) if Means::of(why) == Means::Silence => return Ok(None),
        Said::Answer(Answer::Refused(why)) => format!("answers {table}:{address} with {why}"),
        Said::Answer(_) => format!("has {table}:{address}"),
        Said::Nonsense(reason) => format!("answers with {reason}"),
    };
    // Few devices know it; that they do not is no news.
    match wire.exchange(unit, &Request::Identify { scope: Scope::Basic, object: 0 }).await {
        Ok(Said::Answer(Answer::Identity { objects, .. })) if !objects.is_empty() => {
            let text = |(_, bytes): &(u8, Vec<u8>)| String::from_utf8_lossy(bytes).trim().to_owned();
            let name: Vec<String> = objects.iter().map(text).collect();
            Ok(Some(format!("{}; {answered}", name.join(" "))))
        }
        Err(broken @ LineError::Broken(_)) => Err(broken),
        _ => Ok(Some(answered)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Report;

    fn connection(settings: Json) -> Connection {
        let table = sagoo_driver_sdk::ConnectionTable { name: "c".to_owned(), settings };
        crate::connection::read_connection(&table, &mut Report::default()).unwrap().0
    }

    fn serial() -> Connection {
        connection(json!({ "serial": { "port": "/dev/ttyS1", "mode": "19200-8N1" } }))
    }

    #[test]
    fn a_scan_begins_with_the_own_mode_of_the_line_and_tries_each_unit_in_it() {
        let sweep = Sweep::read(&serial(), &json!({})).unwrap();
        let told = |step| sweep.step(step).map(|(mode, unit)| (mode.unwrap().to_string(), unit));
        assert_eq!(told(0), Some(("19200-8N1".to_owned(), 1)));
        assert_eq!(told(246), Some(("19200-8N1".to_owned(), 247)));
        assert_eq!(told(247), Some(("9600-8E1".to_owned(), 1)));
        assert_eq!(sweep.steps(), 8 * 247, "no mode twice");
        assert_eq!(told(sweep.steps()), None);
    }

    #[test]
    fn options_say_what_is_tried() {
        let options = json!({ "units": "7, 1-3,2", "modes": "9600-8E1,9600-8O1", "address": "input:0x10" });
        let sweep = Sweep::read(&serial(), &options).unwrap();
        assert_eq!(
            (sweep.units.clone(), sweep.modes.len(), sweep.table, sweep.address),
            (vec![7, 1, 2, 3], 2, Table::Input, 16)
        );
        let hall = connection(json!({ "tcp": { "host": "h" } }));
        assert_eq!(Sweep::read(&hall, &json!({ "units": "0-255" })).unwrap().steps(), 256);
        for (connection, options, wrong) in [
            (
                &hall,
                json!({ "modes": "9600-8E1" }),
                "modes are for serial lines, and this connection is none",
            ),
            (&hall, json!({ "unit": "1" }), "\"unit\" is no option of a scan; "),
            (&hall, json!({ "units": "1-300" }), "units \"1-300\": numbers and ranges from 0 to 255"),
            (&hall, json!({ "units": "9-3" }), "units \"9-3\": "),
            (&hall, json!({ "units": 3 }), "units = 3 is not a text"),
            (&hall, json!({ "address": "40001" }), "address \"40001\" alone could mean two registers"),
            (&serial(), json!({ "modes": "9600" }), "modes \"9600\": like 9600-8E1"),
        ] {
            let told = Sweep::read(connection, &options).unwrap_err();
            assert!(told.starts_with(wrong), "{told}");
        }
    }
}
