//! The gateway and its command line. Start, run and stop are on this screen; `app` wires.

mod app;
mod class;
mod cli;
mod commands;
mod config;
mod control;
mod heap;
mod log;
mod metrics;
mod northbound;
mod pipeline;
mod row;
mod southbound;
mod state;
mod status;

use std::process::ExitCode;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::Signals;
use crate::cli::{Cli, Command, RunArgs};

fn main() -> ExitCode {
    heap::share();
    let cli = Cli::typed();
    let mut runtime = Builder::new_multi_thread();
    // two workers carry every target of the design; the pipeline and the state have threads of their own
    let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime can be started");
    let code = runtime.block_on(async {
        match &cli.command {
            Command::Run(args) => run(args).await,
            Command::Check(args) => cli::check(args, southbound::check::check).await,
            Command::Explain(args) => cli::explain(args, southbound::check::plans).await,
            Command::Scan(args) => cli::scan(args).await,
            Command::Probe(args) => cli::probe(args).await,
            Command::Invoke(args) => cli::invoke(args).await,
            Command::Capture(args) => cli::capture(args).await,
            Command::Deadletter(args) => cli::deadletter(args).await,
            Command::Status(args) => cli::status(args).await,
            Command::Ledger(args) => cli::ledger(args).await,
            Command::Read(args) => cli::read(args).await,
            Command::Write(args) => cli::write(args).await,
            Command::Reload(args) => cli::reload(args).await,
            Command::Handover(args) => cli::handover(args).await,
            Command::Driver(args) => cli::driver(args, southbound::ask::describe).await,
        }
    });
    // a name that is still being looked up must not hold the process
    runtime.shutdown_background();
    code
}

async fn run(args: &RunArgs) -> ExitCode {
    let mut loaded = config::load(&args.config);
    let Some(config) = loaded.config.take() else {
        return cli::refuse(loaded, southbound::check::check).await;
    };
    log::begin();
    for warning in &loaded.problems {
        tracing::warn!(problem = %warning, "configuration");
    }
    let config::Loaded { sources, draft, problems, .. } = loaded;
    // it would live as long as the gateway, for nobody
    drop((draft, problems));
    match app::run(config, sources, signals()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "gateway failed");
            ExitCode::FAILURE
        }
    }
}

/// SIGTERM or Ctrl-C: stop. SIGHUP: read the configuration again.
fn signals() -> Signals {
    let signals = Signals::default();
    let (stop, reload) = (signals.stop.clone(), signals.reload.clone());
    on_each(SignalKind::hangup(), move || reload.notify_one());
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let stop = stop.clone();
        on_each(kind, move || stop.cancel());
    }
    signals
}

fn on_each(kind: SignalKind, act: impl Fn() + Send + 'static) {
    let mut signal = signal(kind).expect("signals can be listened to");
    tokio::spawn(async move {
        while signal.recv().await.is_some() {
            act();
        }
    });
}
