//! Which machines a package is for, and what the header of a program says about it.
//!
//! Always true: a program is believed to be for a machine only when its ELF header names it.

use std::fmt;

/// Bytes of an ELF header that are looked at.
pub(crate) const HEADER: usize = 20;
/// `e_type`: a program at a fixed place, or one that can be anywhere.
const PROGRAMS: [u16; 2] = [2, 3];

/// Name, ELF class (1: 32 bit, 2: 64 bit), `e_machine`; all are little endian.
const MACHINES: [(Arch, &str, u8, u16); 6] = [
    (Arch::X86_64, "x86_64", 2, 62),
    (Arch::Aarch64, "aarch64", 2, 183),
    (Arch::Armv7, "armv7", 1, 40),
    (Arch::Riscv64, "riscv64", 2, 243),
    (Arch::I686, "i686", 1, 3),
    (Arch::Loongarch64, "loongarch64", 2, 258),
];

/// What a package runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// Any machine, by an interpreter.
    Any,
    /// 64-bit PCs.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM.
    Armv7,
    /// 64-bit RISC-V.
    Riscv64,
    /// 32-bit PCs.
    I686,
    /// 64-bit LoongArch.
    Loongarch64,
}

impl Arch {
    /// The machine this was built for; `None`: one no package can be for.
    pub fn of_this_machine() -> Option<Self> {
        match std::env::consts::ARCH {
            "arm" => Some(Self::Armv7),
            "x86" => Some(Self::I686),
            name => Self::parse(name),
        }
    }

    /// As a package names it.
    pub fn parse(name: &str) -> Option<Self> {
        if name == "any" {
            return Some(Self::Any);
        }
        MACHINES.iter().find(|machine| machine.1 == name).map(|machine| machine.0)
    }

    /// What `header`, the first bytes of a file, is a program for; `None`: no program.
    pub(crate) fn of_program(header: &[u8]) -> Option<Result<Self, String>> {
        let header: &[u8; HEADER] = header.first_chunk()?;
        if !header.starts_with(b"\x7fELF") {
            return None;
        }
        let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let (class, little, kind, machine) = (header[4], header[5] == 1, half(16), half(18));
        if !little || !PROGRAMS.contains(&kind) {
            return Some(Err("an ELF file that is no program for a little-endian machine".to_owned()));
        }
        let known = MACHINES.iter().find(|known| known.2 == class && known.3 == machine);
        Some(
            known.map(|known| known.0).ok_or_else(|| format!("a program for an unknown machine ({machine})")),
        )
    }

    /// Names that [`Arch::parse`] knows.
    pub fn names() -> String {
        let names: Vec<&str> = MACHINES.iter().map(|machine| machine.1).chain(["any"]).collect();
        names.join(", ")
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = MACHINES.iter().find(|machine| machine.0 == *self).map_or("any", |machine| machine.1);
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(class: u8, data: u8, kind: u16, machine: u16) -> Vec<u8> {
        let mut header = b"\x7fELF".to_vec();
        header.extend([class, data, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        header.extend(kind.to_le_bytes());
        header.extend(machine.to_le_bytes());
        header
    }

    #[test]
    fn the_program_of_this_test_is_for_this_machine() {
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(Arch::of_program(&this), Some(Ok(Arch::of_this_machine().unwrap())));
    }

    #[test]
    fn machines_are_told_by_class_and_number() {
        assert_eq!(Arch::of_program(&header(2, 1, 3, 183)), Some(Ok(Arch::Aarch64)));
        assert_eq!(Arch::of_program(&header(1, 1, 2, 40)), Some(Ok(Arch::Armv7)));
        for wrong in [header(1, 1, 3, 183), header(2, 2, 3, 62), header(2, 1, 1, 62), header(2, 1, 3, 9999)] {
            assert!(matches!(Arch::of_program(&wrong), Some(Err(_))), "{wrong:?}");
        }
        assert_eq!(Arch::of_program(b"#!/bin/sh\nexec something\n"), None);
        assert_eq!(Arch::of_program(b"\x7fELF"), None);
    }

    #[test]
    fn names_go_both_ways() {
        for name in Arch::names().split(", ") {
            assert_eq!(Arch::parse(name).unwrap().to_string(), name);
        }
        assert_eq!(Arch::parse("X86_64"), None);
    }
}
