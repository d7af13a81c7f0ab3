//! The bench's arguments, read by hand: there are few.
//!
//! Always true: whatever is not understood is refused with the way to the help.

use std::path::PathBuf;

/// What `--help` prints.
pub const HELP: &str = include_str!("help.txt");

/// A measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Calls and batches between two processes.
    Boundary,
    /// From nothing to a plugin that answers.
    Start,
    /// Taking over a plugin, and a gateway its drivers.
    Reattach,
    /// How long a device waits at a hot update.
    Update,
    /// The store alone.
    Buffer,
    /// The whole gateway.
    Gateway,
    /// Modbus TCP devices from the wire to the broker.
    ModbusTcp,
    /// Modbus RTU on lines as slow as real ones.
    ModbusRtu,
    /// Modbus TCP once more, beside ThingsBoard's gateway.
    ThingsBoard,
}

impl Part {
    /// Each, in the order they run.
    pub const ALL: [Self; 9] = [
        Self::Boundary,
        Self::Start,
        Self::Reattach,
        Self::Update,
        Self::Buffer,
        Self::Gateway,
        Self::ModbusTcp,
        Self::ModbusRtu,
        Self::ThingsBoard,
    ];

    /// As it is typed, and as it is called in `results.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boundary => "boundary",
            Self::Start => "start",
            Self::Reattach => "reattach",
            Self::Update => "update",
            Self::Buffer => "buffer",
            Self::Gateway => "gateway",
            Self::ModbusTcp => "modbus-tcp",
            Self::ModbusRtu => "modbus-rtu",
            Self::ThingsBoard => "thingsboard",
        }
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What to measure.
    pub parts: Vec<Part>,
    /// One JSON document instead of tables.
    pub json: bool,
    /// As short as it may be and still go through everything: its figures mean nothing.
    pub quick: bool,
    /// Where the gateway's and the drivers' programs are; beside the bench's own if not given.
    pub programs: Option<PathBuf>,
    /// Where results are kept and the Go pair is built; `bench` in the build directory if not given.
    pub out: Option<PathBuf>,
}

/// What the caller wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Figures.
    Measure(Options),
    /// The help.
    Help,
}

/// Reads the arguments, the program's own name left out.
///
/// # Errors
/// One sentence for whoever typed them.
pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Asked, String> {
    let mut options = Options { parts: Vec::new(), json: false, quick: false, programs: None, out: None };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" | "-h" => return Ok(Asked::Help),
            "--json" => options.json = true,
            "--quick" => options.quick = true,
            "--programs" => options.programs = Some(folder("--programs", arguments.next())?),
            "--out" => options.out = Some(folder("--out", arguments.next())?),
            "all" => options.parts.extend(Part::ALL),
            name => match Part::ALL.into_iter().find(|part| part.name() == name) {
                Some(part) => options.parts.push(part),
                None => return Err(format!("\"{name}\" is not an argument of the bench: --help names them")),
            },
        }
    }
    if options.parts.is_empty() {
        return Err(
            "nothing to measure is named: \"all\" is everything, --help says what there is".to_owned()
        );
    }
    let mut seen = Vec::new();
    options.parts.retain(|part| {
        let new = !seen.contains(part);
        seen.push(*part);
        new
    });
    Ok(Asked::Measure(options))
}

fn folder(flag: &str, given: Option<String>) -> Result<PathBuf, String> {
    given.filter(|path| !path.is_empty()).map(PathBuf::from).ok_or_else(|| format!("{flag} wants a folder"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Asked, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn parts_and_flags_are_read_in_any_order() {
        let Ok(Asked::Measure(options)) = parsed("--json start --out /tmp/x boundary start") else {
            panic!("these are arguments");
        };
        assert_eq!(options.parts, [Part::Start, Part::Boundary]);
        assert!(options.json && !options.quick);
        assert_eq!(options.out, Some("/tmp/x".into()));
        let Ok(Asked::Measure(options)) = parsed("all") else { panic!("this is an argument") };
        assert_eq!(options.parts, Part::ALL);
        assert_eq!(parsed("all --help"), Ok(Asked::Help));
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (line, names) in [
            ("", "nothing to measure"),
            ("--json", "nothing to measure"),
            ("boundry", "boundry"),
            ("start --out", "--out"),
            ("start --fast", "--fast"),
        ] {
            let problem = parsed(line).expect_err(line);
            assert!(problem.contains(names), "{line}: {problem}");
        }
    }

    #[test]
    fn the_help_names_every_part_and_flag() {
        for word in
            Part::ALL.map(Part::name).into_iter().chain(["all", "--json", "--quick", "--programs", "--out"])
        {
            assert!(HELP.contains(word), "{word}");
        }
    }
}
