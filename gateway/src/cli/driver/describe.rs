//! `sagoo-edge driver describe`
//!
//! Always true: only an installed driver that may run is started; a package file is only read.

use std::path::Path;
use std::process::ExitCode;

use sagoo_edge_package::info::Info;
use sagoo_edge_package::manifest::Manifest;
use sagoo_edge_package::{Installed, KeyId, Package, Trust};
use sagoo_edge_proto::driver::DescribeResponse;
use serde_json::{Value as Json, json};

use super::{DescribeArgs, key_json, not_installed, own_store, store};
use crate::cli::human::bytes;
use crate::cli::print::{self, Tone, harmless};
use crate::cli::table::{Cell, table};
use crate::config::types::DriversConfig;

/// Tables of the configuration that hold a driver's settings.
const TABLES: [&str; 3] = ["connection", "model", "device"];

/// All that is known of a driver.
#[derive(Debug, Default)]
pub(super) struct About {
    pub(super) path: String,
    pub(super) info: Option<Info>,
    pub(super) manifest: Option<Manifest>,
    pub(super) schema: Option<Json>,
    pub(super) signed: Option<KeyId>,
    /// Why nobody vouches for it.
    pub(super) doubt: Option<String>,
    /// What it said itself, or why it did not; `None`: it was not asked.
    pub(super) said: Option<Result<DescribeResponse, String>>,
}

/// Looks, perhaps asks, and shows.
pub(super) async fn describe(
    args: &DescribeArgs,
    ask: impl AsyncFn(&DriversConfig, &Installed) -> Result<DescribeResponse, String>,
) -> ExitCode {
    let as_json = args.common.json || args.schema;
    let about = match args.common.drivers() {
        Err(error) => Err(error),
        Ok(drivers) if is_file(&args.driver) => of_package(Path::new(&args.driver), &drivers),
        Ok(drivers) => of_installed(args, &drivers, ask).await,
    };
    let about = match about {
        Ok(about) => about,
        Err(error) => return print::failure(&error, args.common.json),
    };
    let done = !matches!(about.said, Some(Err(_)));
    match about.schema() {
        Some(schema) if args.schema => print::json(&schema, true),
        None if args.schema => print::failure("the driver shows no schema", args.common.json),
        _ if as_json => print::json(&about.document(), done),
        _ => print::out(&about.text(print::colours()), done),
    }
}

/// A path and not an id.
fn is_file(driver: &str) -> bool {
    driver.contains('/') || driver.ends_with(".zip")
}

fn of_package(path: &Path, drivers: &DriversConfig) -> Result<About, String> {
    let package =
        Package::open(path, &Trust::read(&drivers.trusted_keys)).map_err(|error| error.to_string())?;
    Ok(About {
        path: path.display().to_string(),
        info: Some(package.info().clone()),
        manifest: Some(package.manifest().clone()),
        schema: Some(package.schema().clone()),
        signed: package.signed().ok().cloned(),
        doubt: package.signed().err().map(ToString::to_string),
        said: None,
    })
}

async fn of_installed(
    args: &DescribeArgs,
    drivers: &DriversConfig,
    ask: impl AsyncFn(&DriversConfig, &Installed) -> Result<DescribeResponse, String>,
) -> Result<About, String> {
    let id = &args.driver;
    let listed = store(drivers).list(Some(id));
    let driver = listed.iter().find(|driver| driver.in_use).or(listed.first());
    let driver = driver.ok_or_else(|| not_installed(id, drivers))?;
    let in_use = driver.versions.iter().find(|version| version.current);
    let version = in_use.or(driver.versions.first()).ok_or_else(|| not_installed(id, drivers))?;
    let said = match args.no_start {
        true => None,
        // resolved again: what is started is what was verified just before
        false => Some(match own_store(drivers).resolve(id) {
            Ok(installed) => ask(drivers, &installed).await,
            Err(refused) => Err(refused.to_string()),
        }),
    };
    let doubts: Vec<String> =
        version.doubts.iter().map(ToString::to_string).chain(version.broken.clone()).collect();
    Ok(About {
        path: version.path.display().to_string(),
        info: version.info.clone(),
        manifest: version.manifest.clone(),
        schema: version.schema(),
        signed: version.signed.clone(),
        doubt: (!doubts.is_empty()).then(|| doubts.join("; ")),
        said,
    })
}

impl About {
    /// What the driver itself says holds; the file of the package is for when it cannot be asked.
    fn schema(&self) -> Option<Json> {
        let said = self.said.as_ref().and_then(|said| said.as_ref().ok());
        said.and_then(|said| serde_json::from_str(&said.config_schema).ok()).or_else(|| self.schema.clone())
    }

    pub(super) fn text(&self, colours: bool) -> String {
        let mut rows = Vec::new();
        let mut row = |head: &str, text: &str, tone: Tone| {
            if !text.is_empty() {
                rows.push(vec![Cell::text(head).tone(Tone::Faint), Cell::text(text).tone(tone)]);
            }
        };
        if let Some(info) = &self.info {
            row("driver", &format!("{} {}", info.id, info.version), Tone::Strong);
            row("title", &info.title, Tone::Plain);
            row("protocol", &info.handle_type, Tone::Plain);
            row("about", &info.description, Tone::Plain);
            row("author", &info.author, Tone::Plain);
            let words: Vec<&str> =
                [&info.command].into_iter().chain(&info.args).map(String::as_str).collect();
            row("started by", &words.join(" "), Tone::Plain);
        }
        row("path", &self.path, Tone::Plain);
        if let Some(manifest) = &self.manifest {
            let size = bytes(manifest.size());
            row(
                "content",
                &format!("{} files, {size}, for {}", manifest.files.len(), manifest.arch),
                Tone::Plain,
            );
        }
        match (&self.signed, &self.doubt) {
            (Some(key), _) => row("signed by", &key.to_string(), Tone::Good),
            (None, Some(doubt)) => row("trusted", &format!("no: {doubt}"), Tone::Warn),
            (None, None) => {}
        }
        match &self.said {
            Some(Ok(said)) => {
                let known = self.info.as_ref().map(|info| info.version.to_string());
                let tone =
                    if known.is_none_or(|known| known == said.version) { Tone::Plain } else { Tone::Warn };
                row("it says", &format!("{} {}, {}", said.name, said.version, said.title), tone);
                row("abilities", &said.abilities.join(", "), Tone::Plain);
            }
            Some(Err(why)) => row("it says", &format!("nothing: {why}"), Tone::Bad),
            None => {}
        }
        row("settings", &settings(self.schema().as_ref()), Tone::Plain);
        table(&["", ""], rows, colours).trim_start_matches('\n').to_owned()
    }

    fn document(&self) -> Json {
        let (said, silent) = match &self.said {
            Some(Ok(said)) => (Some(said), None),
            Some(Err(why)) => (None, Some(why)),
            None => (None, None),
        };
        json!({
            "path": self.path,
            "info": self.info.as_ref().map(|info| &info.all),
            "arch": self.manifest.as_ref().map(|manifest| manifest.arch.to_string()),
            "files": self.manifest.as_ref().map(|manifest| manifest.files.len()),
            "bytes": self.manifest.as_ref().map(Manifest::size),
            "signed": self.signed.as_ref().map(key_json),
            "doubt": self.doubt,
            "says": said.map(|said| json!({
                "name": said.name, "version": said.version, "title": said.title, "abilities": said.abilities,
            })),
            "says_nothing": silent,
            "schema": self.schema(),
        })
    }
}

/// Names of the settings, table by table; the whole schema is for `--schema`.
fn settings(schema: Option<&Json>) -> String {
    let Some(schema) = schema else { return String::new() };
    let places = [&schema["properties"], &schema["$defs"], schema];
    let table = |name: &str| {
        let table = places.iter().find_map(|place| place.get(name)?.get("properties")?.as_object())?;
        let keys: Vec<String> = table.keys().map(|key| harmless(key)).collect();
        (!keys.is_empty()).then(|| format!("{name}: {}", keys.join(" ")))
    };
    TABLES.iter().filter_map(|name| table(name)).collect::<Vec<_>>().join("; ")
}
