//! Dates and times of day of devices ↔ ISO 8601.
//!
//! ```text
//! unix32, unix64   seconds since 1970 in two or four registers; unix64ms: milliseconds in four
//! ymdhms           six registers: year, month, day, hour, minute, second
//! bytes            three registers, a byte each: year of the century, month, day, hour, minute, second
//! bcd              the same, two decimal digits a byte
//! s7               four registers: bcd, then three digits of milliseconds and the day of the week
//! cp56             CP56Time2a of IEC 60870-5 in four registers, as one 64-bit value in its byte order:
//!                  0 year month weekday|day summer|hour invalid|minute milliseconds:u16
//! ```
//!
//! Always true: any registers are a time that exists or a reason; a time is written in the zone of the
//! device's clock, and what its layout cannot hold is refused.

use std::fmt;

const MOST_YEAR: i64 = 9_999;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Bits of CP56Time2a beside the numbers.
const INVALID: u64 = 0x80;
const SUMMER: u64 = 0x80;

/// How a time lies in its registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    Unix32,
    Unix64,
    Unix64Ms,
    Words,
    Bytes,
    Bcd,
    S7,
    Cp56,
}

impl Layout {
    /// Every layout and its word.
    pub(crate) const WORDS: [(&'static str, Self); 8] = [
        ("unix32", Self::Unix32),
        ("unix64", Self::Unix64),
        ("unix64ms", Self::Unix64Ms),
        ("ymdhms", Self::Words),
        ("bytes", Self::Bytes),
        ("bcd", Self::Bcd),
        ("s7", Self::S7),
        ("cp56", Self::Cp56),
    ];

    /// By its word.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, layout)| *layout)
    }

    /// Registers it takes.
    pub(crate) fn cells(self) -> u16 {
        match self {
            Self::Unix32 => 2,
            Self::Bytes | Self::Bcd => 3,
            Self::Unix64 | Self::Unix64Ms | Self::S7 | Self::Cp56 => 4,
            Self::Words => 6,
        }
    }

    /// Bytes that its order is about: all of a number, each register of the others.
    pub(crate) fn ordered(self) -> u8 {
        match self {
            Self::Unix32 => 4,
            Self::Unix64 | Self::Unix64Ms | Self::Cp56 => 8,
            Self::Words | Self::Bytes | Self::Bcd | Self::S7 => 2,
        }
    }

    /// Whether it counts from 1970, in UTC by definition.
    pub(crate) fn is_unix(self) -> bool {
        matches!(self, Self::Unix32 | Self::Unix64 | Self::Unix64Ms)
    }

    fn has_millis(self) -> bool {
        matches!(self, Self::Unix64Ms | Self::S7 | Self::Cp56)
    }

    /// The time in these bytes, which are in order; `zone` is what the device's clock is ahead of UTC.
    pub(crate) fn decode(self, bytes: &[u8], zone: Zone) -> Result<String, String> {
        let whole = |bytes: &[u8]| bytes.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        let fields = match self {
            Self::Unix32 | Self::Unix64 => return of_unix(whole(bytes).checked_mul(1_000), self),
            Self::Unix64Ms => return of_unix(Some(whole(bytes)), self),
            Self::Words => bytes.chunks(2).map(whole).collect(),
            Self::Bytes => bytes.iter().map(|byte| u64::from(*byte)).collect(),
            Self::Bcd | Self::S7 => {
                let digits = bytes.iter().map(|byte| digits(*byte));
                let mut fields = digits.take(6).collect::<Result<Vec<u64>, String>>()?;
                if let [tens, last] = bytes[6..] {
                    fields.push(digits2(tens, last)?);
                }
                fields
            }
            Self::Cp56 => return of_cp56(whole(bytes), zone),
        };
        let [year, month, day, hour, minute, second] = fields[..6] else {
            return Err("too short".to_owned());
        };
        let year = match (self, year) {
            (Self::S7, 90..) => 1_900 + year,
            (_, ..100) => 2_000 + year,
            (Self::Words, _) => year,
            _ => return Err(format!("{year} is no year of a century")),
        };
        let millis = fields.get(6).copied().unwrap_or_default();
        Ok(Civil::checked([year, month, day, hour, minute, second, millis])?.text(zone, self.has_millis()))
    }

    /// The bytes of a time, in order, or why it cannot be held.
    pub(crate) fn encode(self, text: &str, zone: Zone) -> Result<Vec<u8>, String> {
        let utc_ms = parse(text, zone)
            .ok_or_else(|| format!("{text:?} is not a time, write it like \"2024-02-29T12:30:00{zone}\""))?;
        let cannot = || format!("{text} does not fit time[{self}]");
        let part = |number: i64| u8::try_from(number).map_err(|_| cannot());
        let local = Civil::of(utc_ms + zone.ms());
        let century = match self {
            Self::S7 => 1_990..2_090,
            _ => 2_000..2_100,
        };
        let is_unix = self.is_unix();
        if !is_unix && self != Self::Words && !century.contains(&local.year) {
            return Err(cannot());
        }
        if is_unix || self == Self::Words {
            let words = [local.year, local.month, local.day, local.hour, local.minute, local.second];
            return match self {
                Self::Unix32 => {
                    u32::try_from(utc_ms.div_euclid(1_000)).map(|s| s.to_be_bytes().to_vec()).ok()
                }
                Self::Unix64 => {
                    u64::try_from(utc_ms.div_euclid(1_000)).map(|s| s.to_be_bytes().to_vec()).ok()
                }
                Self::Unix64Ms => u64::try_from(utc_ms).map(|ms| ms.to_be_bytes().to_vec()).ok(),
                _ => Some(words.iter().flat_map(|word| (*word as u16).to_be_bytes()).collect()),
            }
            .ok_or_else(cannot);
        }
        let year = part(local.year % 100)?;
        let rest = [local.month, local.day, local.hour, local.minute, local.second];
        let mut bytes = vec![year];
        for number in rest {
            bytes.push(part(number)?);
        }
        Ok(match self {
            Self::Bytes => bytes,
            Self::Bcd => bytes.into_iter().map(bcd).collect(),
            Self::S7 => {
                // Days of the week count from Sunday, 1.
                let weekday = local.weekday() % 7 + 1;
                let mut all: Vec<u8> = bytes.into_iter().map(bcd).collect();
                all.push(bcd(part(local.millis / 10)?));
                all.push(part(local.millis % 10 * 16 + weekday)?);
                all
            }
            _ => {
                let millis = (local.second * 1_000 + local.millis) as u16;
                let day = local.weekday() << 5 | local.day;
                let [high, low] = millis.to_be_bytes();
                vec![0, year, bytes[1], part(day)?, bytes[3], bytes[4], high, low]
            }
        })
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::WORDS.iter().find(|(_, layout)| layout == self).map_or("", |(word, _)| word))
    }
}

/// What a clock is ahead of UTC, in minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Zone(i16);

impl Zone {
    /// `Z`, `UTC`, `+08:00` or `-03:30`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if matches!(text, "Z" | "UTC") {
            return Some(Self::default());
        }
        let [sign, h1, h0, b':', m1, m0] = text.as_bytes() else { return None };
        let hours = number(&[*h1, *h0]).filter(|hours| *hours <= 14)?;
        let minutes = number(&[*m1, *m0]).filter(|minutes| *minutes < 60)?;
        let ahead = (hours * 60 + minutes) as i16;
        match sign {
            b'+' => Some(Self(ahead)),
            b'-' => Some(Self(-ahead)),
            _ => None,
        }
    }

    fn ms(self) -> i64 {
        i64::from(self.0) * MINUTE_MS
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("Z"),
            ahead => {
                let sign = if ahead < 0 { '-' } else { '+' };
                write!(f, "{sign}{:02}:{:02}", ahead.unsigned_abs() / 60, ahead.unsigned_abs() % 60)
            }
        }
    }
}

/// A day of the calendar and a time of it, of no particular zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Civil {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    millis: i64,
}

impl Civil {
    /// Year, month, day, hour, minute, second and millisecond, or why there is no such time.
    fn checked(fields: [u64; 7]) -> Result<Self, String> {
        let [year, month, day, hour, minute, second, millis] = fields.map(|field| field.min(99_999) as i64);
        if !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) || year > MOST_YEAR {
            return Err(format!("{year:04}-{month:02}-{day:02} is no date"));
        }
        if hour > 23 || minute > 59 || second > 59 || millis > 999 {
            return Err(format!("{hour:02}:{minute:02}:{second:02}.{millis:03} is no time of day"));
        }
        Ok(Self { year, month, day, hour, minute, second, millis })
    }

    /// From milliseconds since 1970 on its own clock.
    fn of(ms: i64) -> Self {
        // Days since 0000-03-01, in eras of 400 years: Howard Hinnant, "chrono-compatible low-level date
        // algorithms".
        let days = ms.div_euclid(DAY_MS) + 719_468;
        let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let from_march = (5 * of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let of_day = ms.rem_euclid(DAY_MS);
        Self {
            year: year + era * 400 + i64::from(month <= 2),
            month,
            day: of_year - (153 * from_march + 2) / 5 + 1,
            hour: of_day / HOUR_MS,
            minute: of_day / MINUTE_MS % 60,
            second: of_day / 1_000 % 60,
            millis: of_day % 1_000,
        }
    }

    fn days(&self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let from_march = (self.month + 9) % 12;
        let of_year = (153 * from_march + 2) / 5 + self.day - 1;
        era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
    }

    fn ms(&self) -> i64 {
        let of_day = self.hour * HOUR_MS + self.minute * MINUTE_MS + self.second * 1_000 + self.millis;
        self.days() * DAY_MS + of_day
    }

    /// Monday is 1.
    fn weekday(&self) -> i64 {
        (self.days() + 3).rem_euclid(7) + 1
    }

    fn text(&self, zone: Zone, has_millis: bool) -> String {
        let Self { year, month, day, hour, minute, second, millis } = self;
        let fraction = if has_millis { format!(".{millis:03}") } else { String::new() };
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}")
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn of_unix(ms: Option<u64>, layout: Layout) -> Result<String, String> {
    let civil = ms.and_then(|ms| i64::try_from(ms).ok()).filter(|ms| *ms < i64::MAX / 2).map(Civil::of);
    match civil.filter(|civil| civil.year <= MOST_YEAR) {
        Some(civil) => Ok(civil.text(Zone::default(), layout.has_millis())),
        None => Err(format!("a time after the year {MOST_YEAR}")),
    }
}

fn of_cp56(bits: u64, zone: Zone) -> Result<String, String> {
    let part = |byte: u32, mask: u64| bits >> (byte * 8) & mask;
    if part(2, INVALID) != 0 {
        return Err("the device says that its clock is not right".to_owned());
    }
    let millis = bits & 0xFFFF;
    let date = [2_000 + part(6, 0x7F), part(5, 0x0F), part(4, 0x1F)];
    let [year, month, day] = date;
    let civil =
        Civil::checked([year, month, day, part(3, 0x1F), part(2, 0x3F), millis / 1_000, millis % 1_000])?;
    // In summer the clock is an hour further ahead than its zone.
    let summer = if part(3, SUMMER) != 0 { 60 } else { 0 };
    Ok(civil.text(Zone(zone.0 + summer), true))
}

/// Two decimal digits.
fn digits(byte: u8) -> Result<u64, String> {
    let (tens, ones) = (byte >> 4, byte & 0x0F);
    if tens > 9 || ones > 9 {
        return Err(format!("{byte:#04x} is not two decimal digits"));
    }
    Ok(u64::from(tens) * 10 + u64::from(ones))
}

/// Three digits of milliseconds; the last four bits are the day of the week.
fn digits2(two: u8, last: u8) -> Result<u64, String> {
    Ok(digits(two)? * 10 + digits(last >> 4)?)
}

fn bcd(number: u8) -> u8 {
    number / 10 * 16 + number % 10
}

fn number(digits: &[u8]) -> Option<u64> {
    let add = |sum: u64, digit: &u8| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0'));
    digits.iter().try_fold(0, add)
}

/// `2024-02-29T12:30:00.5+08:00` → milliseconds since 1970; without a zone it is the device's.
fn parse(text: &str, zone: Zone) -> Option<i64> {
    let text = text.trim();
    let (date, rest) = (text.get(..10)?.as_bytes(), text.get(10..)?.strip_prefix(['T', ' '])?);
    let (time, rest) = (rest.get(..8)?.as_bytes(), rest.get(8..)?);
    let [y3, y2, y1, y0, b'-', m1, m0, b'-', d1, d0] = date else { return None };
    let [h1, h0, b':', n1, n0, b':', s1, s0] = time else { return None };
    let (millis, rest) = match rest.strip_prefix('.') {
        None => (0, rest),
        Some(fraction) => {
            let end = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
            let (fraction, rest) = fraction.split_at(end);
            let three = format!("{fraction:0<3}");
            ((1..=9).contains(&end).then(|| number(&three.as_bytes()[..3]))??, rest)
        }
    };
    let zone = if rest.is_empty() { zone } else { Zone::parse(rest)? };
    let year = number(&[*y3, *y2, *y1, *y0])?;
    let (month, day) = (number(&[*m1, *m0])?, number(&[*d1, *d0])?);
    let (hour, minute, second) = (number(&[*h1, *h0])?, number(&[*n1, *n0])?, number(&[*s1, *s0])?);
    let civil = Civil::checked([year, month, day, hour, minute, second, millis]).ok()?;
    Some(civil.ms() - zone.ms())
}

#[cfg(test)]
mod tests;
