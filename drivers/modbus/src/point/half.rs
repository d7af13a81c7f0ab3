//! Floats of 16 bits (IEEE 754 binary16), which the compiler does not have yet.
//!
//! Always true: a value takes the nearest one, ties to the even one; what is past the largest does not fit.

/// A float of 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Half(pub(crate) u16);

/// Smallest step: 2^-24.
const LEAST: f64 = 1.0 / 16_777_216.0;
/// What rounds to 65 504, the largest one, ends before this.
const PAST: f64 = 65_520.0;

impl Half {
    /// The nearest one; `None` past the largest.
    pub(crate) fn of(value: f64) -> Option<Self> {
        let size = value.abs();
        if size >= PAST || value.is_nan() {
            return None;
        }
        // The step between neighbours: 2^-24 for the smallest ones, else 2^-10 of the power of two below.
        let exponent = ((size.to_bits() >> 52) as i32 - 1_023).max(-14);
        let steps = (size / 2f64.powi(exponent - 10)).round_ties_even() as u16;
        // Steps count on into the next exponent, as the bits do.
        let bits = steps + ((exponent + 14) as u16) * 0x400;
        Some(Self(bits | u16::from(value.is_sign_negative()) << 15))
    }

    /// Exactly.
    pub(crate) fn exact(self) -> f64 {
        let sign = if self.0 >> 15 == 0 { 1.0 } else { -1.0 };
        let (exponent, fraction) = (i32::from(self.0 >> 10 & 0x1F), f64::from(self.0 & 0x3FF));
        match exponent {
            0 => sign * fraction * LEAST,
            31 if fraction == 0.0 => sign * f64::INFINITY,
            31 => f64::NAN,
            _ => sign * (1_024.0 + fraction) * 2f64.powi(exponent - 25),
        }
    }

    /// The shortest decimal that names it.
    pub(crate) fn shortest(self) -> f64 {
        let exact = self.exact();
        if !exact.is_finite() || exact.fract() == 0.0 {
            return exact;
        }
        let decimal = |digits: usize| format!("{exact:.digits$e}").parse::<f64>().ok();
        let names = |decimal: &f64| Self::of(*decimal) == Some(self);
        (0..5).filter_map(decimal).find(names).unwrap_or(exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From IEEE 754's own table of binary16.
    #[test]
    fn known_floats_are_read_and_written() {
        for (bits, value) in [
            (0x3C00, 1.0),
            (0xC000, -2.0),
            (0x7BFF, 65_504.0),
            (0x0001, LEAST),
            (0x0400, 2f64.powi(-14)),
            (0x3555, 0.333_251_953_125),
            (0x0000, 0.0),
        ] {
            assert_eq!(Half(bits).exact(), value);
            assert_eq!(Half::of(value), Some(Half(bits)));
        }
        assert_eq!(Half(0x2E66).shortest(), 0.1);
        assert_eq!(Half(0x56C0).shortest(), 108.0);
        assert!(Half(0x7C00).exact().is_infinite() && Half(0x7E01).exact().is_nan());
        assert_eq!(Half::of(65_519.9), Some(Half(0x7BFF)));
        assert_eq!([Half::of(65_520.0), Half::of(f64::NAN), Half::of(f64::NEG_INFINITY)], [None; 3]);
    }

    #[test]
    fn every_one_finds_itself_again() {
        for bits in 0..=u16::MAX {
            let half = Half(bits);
            if half.exact().is_finite() {
                assert_eq!(Half::of(half.exact()), Some(half));
                assert_eq!(Half::of(half.shortest()), Some(half));
            }
        }
    }
}
