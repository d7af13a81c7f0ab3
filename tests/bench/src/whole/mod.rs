//! The whole gateway in figures: idle, at its start, with a backlog, after an outage, at its limit, and what
//! it does to a flash.
//!
//! Always true: the real program and real drivers, a real broker where there is one; whoever acknowledges
//! runs on the same cores and is not counted.

mod away;
mod backlog;
mod carries;
mod flash;
mod idle;
mod site;

use anyhow::Result;

use crate::Bench;
use crate::conditions::Conditions;
use crate::options::Part;
use crate::report::Section;

/// One after the other.
pub async fn measure(bench: &Bench) -> Result<Section> {
    let conditions = Conditions::now();
    let mut tables = vec![idle::measure(bench).await?];
    tables.extend([carries::measure(bench).await?, flash::measure(bench).await?]);
    tables.extend([away::measure(bench).await?, backlog::measure(bench).await?]);
    let notes = [idle::note(), carries::note(), flash::note(), away::note(), backlog::note()];
    Ok(bench.section(Part::Gateway, conditions, notes.into(), tables))
}
