//! From nothing to a plugin that answers its health check, in milliseconds.
//!
//! Always true: the plugins take turns, so that a busy moment of the machine meets all of them; each is
//! stopped before the next one starts.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use sagoo_edge_plugin_host::{Confinement, Grace, Launch, Plugin};

use crate::Bench;
use crate::conditions::Conditions;
use crate::figures::{Figure, percentile};
use crate::options::Part;
use crate::report::{Section, Table};

const ROUNDS: usize = 50;
const QUICK_ROUNDS: usize = 2;
/// The gateway gives a driver so many.
const OPEN_FILES: u64 = 1_024;

/// A plugin and how it is started.
struct Entrant {
    key: &'static str,
    title: &'static str,
    launch: Launch,
    took_ms: Vec<f64>,
}

/// Starts each so many times, in turns.
pub async fn measure(bench: &Bench) -> Result<Section> {
    let conditions = Conditions::now();
    let rounds = if bench.quick { QUICK_ROUNDS } else { ROUNDS };
    let modbus = bench.places.program("driver-modbus")?;
    let go = bench.places.go_pair()?;
    let mut entrants = [
        Entrant::new("modbus", "driver-modbus", &modbus, None),
        Entrant::new("modbus_confined", "driver-modbus, confined", &modbus, Some(confinement(&modbus))),
        Entrant::new("go", "Go plugin", &go.plugin, None),
    ];
    let mut notes =
        vec![format!("{rounds} starts each, in turns, AutoMTLS. The ratio is taken start by start.")];
    for round in 0..rounds {
        bench.progress.say(&format!("start: round {} of {rounds}", round + 1));
        for entrant in &mut entrants {
            let lacks = entrant.start().await?;
            if round == 0 {
                notes.extend(lacks.into_iter().map(|lack| format!("{}: {lack}", entrant.title)));
            }
        }
    }
    Ok(bench.section(Part::Start, conditions, notes, vec![table(&entrants)]))
}

/// As the gateway confines it, with one device's port.
fn confinement(program: &Path) -> Confinement {
    Confinement {
        read: program.parent().map(Path::to_owned).into_iter().collect(),
        write: Vec::new(),
        connect_tcp: Some(vec![502]),
        listen_tcp: Some(Vec::new()),
        open_files: OPEN_FILES,
        user: None,
        memory_max: None,
        cpu_percent: None,
    }
}

impl Entrant {
    fn new(key: &'static str, title: &'static str, program: &Path, confinement: Option<Confinement>) -> Self {
        let launch = Launch { confinement, ..Launch::new(key, program) };
        Self { key, title, launch, took_ms: Vec::new() }
    }

    /// One start; gives back what it is not held by.
    async fn start(&mut self) -> Result<Vec<String>> {
        let began = Instant::now();
        let plugin = Plugin::start(self.launch.clone()).await.with_context(|| self.title)?;
        self.took_ms.push(began.elapsed().as_secs_f64() * 1e3);
        let lacks =
            plugin.lacks().iter().map(|lack| format!("not held by {}: {}", lack.what, lack.why)).collect();
        let stopped = plugin.stop(Grace::default()).await;
        ensure!(!stopped.killed, "{} did not stop when asked to", self.title);
        Ok(lacks)
    }
}

fn table(entrants: &[Entrant]) -> Table {
    let columns =
        [("ready", "ready, ms"), ("p95", "95 % within, ms"), ("times_go", "as a multiple of the Go plugin")];
    let mut table = Table::new("start", "Start to healthy", &columns);
    let go = entrants.iter().find(|entrant| entrant.key == "go").and_then(Entrant::figure);
    for entrant in entrants {
        let mut sorted = entrant.took_ms.clone();
        sorted.sort_by(f64::total_cmp);
        let own = entrant.figure();
        let times_go = own.as_ref().zip(go.as_ref()).and_then(|(own, go)| own.over(go));
        let figures = [
            ("ready", own),
            ("p95", Figure::of("ms", vec![percentile(&sorted, 95.0)])),
            ("times_go", times_go.filter(|_| entrant.key != "go")),
        ];
        table.row(entrant.key, entrant.title, figures);
    }
    table
}

impl Entrant {
    fn figure(&self) -> Option<Figure> {
        Figure::of("ms", self.took_ms.clone())
    }
}
