//! The bench's program: reads its arguments, measures part after part, shows and keeps the results.
//!
//! Always true: exit status 0 means that every part named was measured; 2 is a mistake in the arguments.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use bench::options::{self, Asked, HELP, Options, Part};
use bench::places::Places;
use bench::progress::Progress;
use bench::report::{self, Section};
use bench::{Bench, boundary, buffer, modbus_rtu, modbus_tcp, reattach, start, update, whole};
use serde_json::{Map, Value as Json};

fn main() -> ExitCode {
    let options = match options::parse(std::env::args().skip(1)) {
        Ok(Asked::Measure(options)) => options,
        Ok(Asked::Help) => {
            print(HELP);
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            complain(&problem);
            return ExitCode::from(2);
        }
    };
    // Two workers, as the gateway has.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let measured = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(measure(options)));
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn measure(options: Options) -> Result<()> {
    let places = Places::new(options.programs, options.out)?;
    let bench = Bench { places, quick: options.quick, progress: Progress::new() };
    if cfg!(debug_assertions) && !options.quick {
        bench.progress.say("a debug build: its figures mean nothing");
    }
    let mut sections: Vec<Section> = Vec::new();
    for part in options.parts {
        let section = match part {
            Part::Boundary => boundary::measure(&bench).await?,
            Part::Start => start::measure(&bench).await?,
            Part::Reattach => reattach::measure(&bench).await?,
            Part::Update => update::measure(&bench).await?,
            Part::Buffer => buffer::measure(&bench).await?,
            Part::Gateway => whole::measure(&bench).await?,
            Part::ModbusTcp => modbus_tcp::measure(&bench).await?,
            Part::ModbusRtu => modbus_rtu::measure(&bench).await?,
            Part::ThingsBoard => modbus_tcp::beside_thingsboard(&bench).await?,
        };
        // At once: a later part may fail.
        report::keep(&bench.places.out, &section)?;
        sections.push(section);
    }
    let out = bench.places.out.join("results.json");
    drop(bench);
    if options.json {
        let mut all = Map::new();
        for section in &sections {
            all.insert(section.part.to_owned(), serde_json::to_value(section)?);
        }
        print(&(serde_json::to_string_pretty(&Json::Object(all))? + "\n"));
    } else {
        let texts: Vec<String> = sections.iter().map(Section::text).collect();
        print(&format!("{}\nkept in {}\n", texts.join("\n"), out.display()));
    }
    Ok(())
}

/// A closed pipe is the reader's decision.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
