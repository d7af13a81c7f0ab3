//! `raw × scale + offset` as people mean it, and back.
//!
//! Always true: 2301 with scale 0.1 is 230.1 and not 230.10000000000002. A scale and an offset are
//! decimal fractions for the person who wrote them, so the sum is done in whole numbers,
//! `(raw × m + o) / 10^k`, with one rounding at its end. Where whole numbers run out, floats do.

/// Most decimal places done in whole numbers: 10^22 is the last power of ten that a float holds exactly.
const MOST_PLACES: u32 = 22;

/// A scale and an offset.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    factor: f64,
    offset: f64,
    exact: Option<Exact>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Exact {
    factor: i128,
    offset: i128,
    divisor: f64,
}

impl Scale {
    /// `factor` must be finite and not zero, `offset` finite.
    pub(crate) fn new(factor: f64, offset: f64) -> Self {
        Self { factor, offset, exact: Exact::new(factor, offset) }
    }

    /// What the register means.
    pub(crate) fn of_integer(&self, raw: i128) -> f64 {
        let sum = |exact: &Exact| {
            let sum = raw.checked_mul(exact.factor)?.checked_add(exact.offset)?;
            Some(sum as f64 / exact.divisor)
        };
        self.exact.as_ref().and_then(sum).unwrap_or(raw as f64 * self.factor + self.offset)
    }

    /// What the register means.
    pub(crate) fn of_float(&self, raw: f64) -> f64 {
        match &self.exact {
            Some(exact) => (raw * exact.factor as f64 + exact.offset as f64) / exact.divisor,
            None => raw * self.factor + self.offset,
        }
    }

    /// What the register has to hold; whole registers take the nearest step.
    pub(crate) fn inverse(&self, value: f64) -> f64 {
        match &self.exact {
            Some(exact) => (value * exact.divisor - exact.offset as f64) / exact.factor as f64,
            None => (value - self.offset) / self.factor,
        }
    }
}

impl Exact {
    fn new(factor: f64, offset: f64) -> Option<Self> {
        let (factor, factor_places) = decimal(factor)?;
        let (offset, offset_places) = decimal(offset)?;
        let places = factor_places.max(offset_places);
        Some(Self {
            factor: factor.checked_mul(10i128.pow(places - factor_places))?,
            offset: offset.checked_mul(10i128.pow(places - offset_places))?,
            divisor: 10f64.powi(places as i32),
        })
    }
}

/// The shortest decimal that reads back as `number`, as digits and places: 0.05 is (5, 2).
fn decimal(number: f64) -> Option<(i128, u32)> {
    let text = number.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let places = u32::try_from(fraction.len()).ok().filter(|places| *places <= MOST_PLACES)?;
    Some((format!("{whole}{fraction}").parse().ok()?, places))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_scaled_register_reads_like_its_display() {
        assert_eq!(Scale::new(0.1, 0.0).of_integer(2301), 230.1);
        assert_eq!(Scale::new(0.3, 0.0).of_integer(3), 0.9);
        assert_eq!(Scale::new(0.05, 0.0).of_integer(-7), -0.35);
        assert_eq!(Scale::new(0.001, 0.0).of_integer(123_456_789_012), 123_456_789.012);
        assert_eq!(Scale::new(0.1, -40.0).of_integer(215), -18.5);
        assert_eq!(Scale::new(0.1, 0.05).of_integer(1), 0.15);
        assert_eq!(Scale::new(-0.1, 0.0).of_integer(3), -0.3);
        assert_eq!(Scale::new(100.0, 0.0).of_integer(12), 1_200.0);
        assert_eq!(Scale::new(1e-300, 0.0).of_integer(2), 2e-300);
        assert_eq!(Scale::new(1e300, 0.0).of_integer(2), 2e300);
        assert_eq!(Scale::new(10.0, 0.0).of_float(12.34), 123.4);
    }

    proptest! {
        #[test]
        fn a_value_finds_its_register_again(
            raw in -(1i128 << 32)..(1i128 << 32),
            factor in prop_oneof![Just(0.1), Just(0.001), Just(0.25), Just(0.3), Just(-2.5), Just(1.0 / 3.0)],
            offset in -1_000i32..1_000,
        ) {
            let scale = Scale::new(factor, f64::from(offset) / 100.0);
            prop_assert_eq!(scale.inverse(scale.of_integer(raw)).round() as i128, raw);
        }

        #[test]
        fn the_sum_is_near_the_plain_product(raw in any::<i32>(), factor in 1e-6..1e6f64, offset in -1e6..1e6f64) {
            let plain = f64::from(raw) * factor + offset;
            let ours = Scale::new(factor, offset).of_integer(raw.into());
            let size = (f64::from(raw) * factor).abs().max(offset.abs());
            prop_assert!((plain - ours).abs() <= size * 1e-15, "{} {}", plain, ours);
        }
    }
}
