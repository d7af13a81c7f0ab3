//! `order`: which byte stands where on the wire.
//!
//! Always true: `A` is the most significant byte, so `CDAB` sends the low word first; the order of a
//! longer thing (a list, a text, a time) is said for one group of its bytes and holds for each; a dot is a
//! byte that holds nothing, for texts of one character a register.

/// Which byte stands where on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Order {
    /// `places[i]` is the significance of wire byte `i`, 0 is `A`.
    places: [u8; 8],
    len: u8,
}

/// Stands in the places for a byte that holds nothing.
const NOTHING: u8 = u8::MAX;

impl Order {
    /// Most significant byte first, for a value of `bytes` bytes.
    pub(crate) fn plain(bytes: u8) -> Self {
        Self { places: [0, 1, 2, 3, 4, 5, 6, 7], len: bytes }
    }

    /// `AB`, `BA`, the four usual orders of 32 bits, or any order of eight letters.
    pub(crate) fn parse(letters: &str) -> Option<Self> {
        let known = match letters.len() {
            2 => matches!(letters, "AB" | "BA"),
            4 => matches!(letters, "ABCD" | "CDAB" | "BADC" | "DCBA"),
            8 => ('A'..='H').all(|letter| letters.contains(letter)),
            _ => false,
        };
        known.then(|| Self::of(letters))
    }

    /// The orders of a text: those of numbers, and `A.` and `.A`, one character a register.
    pub(crate) fn parse_for_text(letters: &str) -> Option<Self> {
        if matches!(letters, "A." | ".A") { Some(Self::of(letters)) } else { Self::parse(letters) }
    }

    fn of(letters: &str) -> Self {
        let mut order = Self { places: [0; 8], len: letters.len() as u8 };
        for (place, letter) in order.places.iter_mut().zip(letters.bytes()) {
            *place = if letter == b'.' { NOTHING } else { letter - b'A' };
        }
        order
    }

    /// Bytes of the group it orders.
    pub(crate) fn bytes(&self) -> usize {
        self.len.into()
    }

    /// Whether every byte of a group holds something.
    pub(crate) fn is_whole(&self) -> bool {
        self.held() == self.bytes()
    }

    /// Bytes of a group that hold something.
    pub(crate) fn held(&self) -> usize {
        self.group().iter().filter(|place| **place != NOTHING).count()
    }

    fn group(&self) -> &[u8] {
        &self.places[..self.bytes()]
    }

    /// One group from the wire as a number.
    pub(crate) fn gather(&self, wire: &[u8]) -> u64 {
        let mut plain = [0u8; 8];
        for (byte, place) in wire.iter().zip(self.group()) {
            plain[8 - self.bytes() + usize::from(*place)] = *byte;
        }
        u64::from_be_bytes(plain)
    }

    /// A number as one group on the wire.
    pub(crate) fn spread(&self, value: u64) -> Vec<u8> {
        let plain = value.to_be_bytes();
        let start = 8 - self.bytes();
        self.group().iter().map(|place| plain[start + usize::from(*place)]).collect()
    }

    /// Whole groups from the wire, the most significant byte of each first.
    pub(crate) fn sorted(&self, wire: &[u8]) -> Vec<u8> {
        let mut plain = Vec::with_capacity(wire.len());
        for bytes in wire.chunks(self.bytes()) {
            let start = plain.len();
            plain.resize(start + self.held(), 0);
            for (byte, place) in bytes.iter().zip(self.group()).filter(|(_, place)| **place != NOTHING) {
                plain[start + usize::from(*place)] = *byte;
            }
        }
        plain
    }

    /// The other way round; the last group is filled up with zeros.
    pub(crate) fn wire(&self, plain: &[u8]) -> Vec<u8> {
        let group = |bytes: &[u8]| {
            let at = |place: &u8| bytes.get(usize::from(*place)).copied().unwrap_or(0);
            self.group().iter().map(at).collect::<Vec<u8>>()
        };
        plain.chunks(self.held()).flat_map(group).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Made by hand: the number 0x0102…08 with its bytes laid out by each order.
    #[test]
    fn every_byte_order_is_what_its_letters_say() {
        for (order, wire) in [
            ("AB", &[1, 2][..]),
            ("BA", &[2, 1]),
            ("ABCD", &[1, 2, 3, 4]),
            ("CDAB", &[3, 4, 1, 2]),
            ("BADC", &[2, 1, 4, 3]),
            ("DCBA", &[4, 3, 2, 1]),
            ("ABCDEFGH", &[1, 2, 3, 4, 5, 6, 7, 8]),
            ("GHEFCDAB", &[7, 8, 5, 6, 3, 4, 1, 2]),
            ("BADCFEHG", &[2, 1, 4, 3, 6, 5, 8, 7]),
            ("HGFEDCBA", &[8, 7, 6, 5, 4, 3, 2, 1]),
            ("EFGHABCD", &[5, 6, 7, 8, 1, 2, 3, 4]),
            ("BCDAFGHE", &[2, 3, 4, 1, 6, 7, 8, 5]),
        ] {
            let number = 0x0102_0304_0506_0708 >> (64 - wire.len() * 8);
            let parsed = Order::parse(order).unwrap();
            assert_eq!(parsed.gather(wire), number, "{order}");
            assert_eq!(parsed.spread(number), wire, "{order}");
            assert_eq!(parsed.sorted(wire), (1..=wire.len() as u8).collect::<Vec<_>>(), "{order}");
        }
    }

    #[test]
    fn an_order_that_is_none_is_refused() {
        for wrong in ["", "A", "ABC", "ACBD", "AABB", "abcd", "ABCDEFGG", "ABCDEFGI", "ABCDEFGHA", "ÄB", "A."]
        {
            assert_eq!(Order::parse(wrong), None, "{wrong}");
        }
        for wrong in ["..", "B.", "A.B."] {
            assert_eq!(Order::parse_for_text(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_dot_is_a_byte_that_holds_nothing() {
        let low = Order::parse_for_text(".A").unwrap();
        assert_eq!(low.sorted(&[9, b'o', 9, b'k']), b"ok");
        assert_eq!(low.wire(b"ok"), [0, b'o', 0, b'k']);
        assert_eq!(Order::parse_for_text("A.").unwrap().wire(b"ok"), [b'o', 0, b'k', 0]);
    }

    proptest! {
        #[test]
        fn what_is_sorted_goes_back(wire in proptest::collection::vec(any::<u8>(), 8..=8), pick in 0..6usize) {
            let order = Order::parse(["AB", "BA", "CDAB", "DCBA", "HGFEDCBA", "BCDAFGHE"][pick]).unwrap();
            prop_assert_eq!(order.wire(&order.sorted(&wire)), wire);
        }
    }
}
