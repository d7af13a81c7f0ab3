//! A driver's files: looked for, asked, verified before they run, remembered and put back when they fail.

use sagoo_edge_package::Installed;
use sagoo_edge_plugin_host::Keep;

use super::{Done, Shell};
use crate::southbound::ask::ask;
use crate::southbound::instance::Begin;
use crate::southbound::kind::{Fingerprint, Kind};
use crate::southbound::life::{Fault, News, Number, Role};
use crate::southbound::note::Note;
use crate::southbound::program::{self, Purpose};

/// Where files that failed at work are remembered, by driver.
pub(super) const BAD: &str = "bad drivers";

impl Shell {
    pub(super) fn look(&mut self) {
        self.looks += 1;
        let (look, store, driver) = (self.looks, self.store.clone(), self.context.driver.clone());
        self.chores
            .spawn(async move { Done::Looked(look, program::resolve(store, &driver).await.map(Box::new)) });
    }

    pub(super) fn ask(&mut self, fingerprint: Fingerprint) {
        if let Some(known) = self.said.iter().find(|known| known.kind.fingerprint == fingerprint) {
            let known = known.clone();
            return self.tell(News::Asked(fingerprint, Ok(known)));
        }
        let Some(build) = self.build.clone().filter(|build| build.fingerprint == fingerprint) else {
            let why = "its files changed meanwhile".to_owned();
            return self.tell(News::Asked(fingerprint, Err(Fault { why, ..Fault::default() })));
        };
        let drivers = self.drivers.clone();
        let plugins = self.context.fleet.plugins();
        let context = self.context.clone();
        self.chores.spawn(async move {
            let configuration = (*context.configuration).clone();
            let answer = ask(&build, &drivers, plugins, configuration).await;
            Done::Asked(fingerprint, answer.map(|answer| answer.known(&build, &context.owners)))
        });
    }

    /// Every byte is looked at right before it runs.
    pub(super) fn start(&mut self, number: Number, role: Role, kind: Kind) {
        self.starting.insert(number, (role, kind));
        let (store, driver) = (self.store.clone(), self.context.driver.clone());
        self.chores.spawn(async move {
            Done::Verified(number, program::resolve(store, &driver).await.map(Box::new))
        });
    }

    pub(super) fn verified(&mut self, number: Number, found: Result<Box<Installed>, (&'static str, String)>) {
        // told to end meanwhile
        let Some((role, kind)) = self.starting.remove(&number) else { return };
        let build = match found {
            Ok(build) if build.fingerprint == kind.fingerprint => build,
            Ok(_) => return self.unborn(number, "its files changed meanwhile".to_owned()),
            // changed since it was found: nothing was begun, and nothing of it runs
            Err((state, why)) => {
                self.tell(News::Looked(Err((state, why.clone()))));
                return self.unborn(number, why);
            }
        };
        let known = self.said.iter().find(|known| known.kind.is(&kind)).cloned();
        let note = Note {
            kind,
            role,
            instance: None,
            program: build.program.display().to_string(),
            signed: build.signed.is_some(),
            said: known.map(|known| (self.digest, known)),
        };
        let fleet = &self.context.fleet;
        let keep = fleet.record_dir(&self.context.driver).map(|dir| Keep { dir, note: note.to_text() });
        let purpose = Purpose { rights: note.kind.rights.as_ref(), keep, plugins: fleet.plugins() };
        let launch = program::launch(&build, &self.drivers, purpose);
        self.begin(number, note, Begin::Launch(Box::new(launch)));
    }

    /// A restart of the gateway must not try bad files again.
    pub(super) fn remember(&mut self, kind: Option<Kind>) {
        let (state, driver) = (self.state.clone(), self.context.driver.clone());
        self.tasks.spawn(async move {
            let text = kind.map(|kind| serde_json::to_vec(&kind).expect("numbers and words are JSON"));
            let kept = match text {
                Some(text) => state.put(BAD, driver.as_bytes(), &text).await,
                None => state.delete(BAD, driver.as_bytes()).await,
            };
            if let Err(error) = kept {
                tracing::warn!(%driver, %error, "it is not remembered across a restart which files failed");
            }
        });
    }

    /// Only packages have a version to go back to; a program alone stays where it is, and is not used.
    pub(super) fn revert(&mut self, files: Fingerprint, why: String) {
        let build = self.build.as_ref().filter(|build| build.fingerprint == files);
        let Some(version) = build.and_then(|build| build.version.clone()) else { return };
        let (store, driver) = (self.store.clone(), self.context.driver.clone());
        self.chores.spawn(async move {
            let name = driver.clone();
            let put_aside = tokio::task::spawn_blocking(move || store.revert(&name, &version, &why)).await;
            match put_aside {
                Ok(Ok(now)) => {
                    let version = now.version.unwrap_or_default();
                    tracing::warn!(%driver, version, "package was put back to the version before");
                }
                Ok(Err(error)) => tracing::error!(%driver, %error, "package cannot be put back to the version before"),
                Err(broken) => tracing::error!(%driver, error = %broken, "package cannot be put back to the version before"),
            }
            Done::Reverted
        });
    }
}
