//! `loadtest run` and `loadtest profiles`.

use std::{
    io::Write as _,
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::{Context as _, Result};
use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::{Finding, RunArgs, own_server::OwnServer, progress::Progress};
use crate::{
    machine::Machine,
    profile::{Overrides, Profile, SHIPPED, Shipped},
    report::RunReport,
    spread::Players,
};

/// Lists the profiles that ship with the load test, or prints one as a start for your own.
#[derive(Args, Clone, Debug)]
pub(crate) struct ProfilesArgs {
    /// Print the file of that profile
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// Plays a run by whoever plays, and reports it; tells whether it counts.
///
/// Ctrl-C ends it early: what there is by then is settled, judged and reported.
///
/// # Errors
/// If the run did not start, or its report can't be written.
pub(crate) fn run(args: &RunArgs, players: &Players) -> Result<bool> {
    let mut plan = args.plan()?;
    let machine = Machine::look();
    let server = args.server.as_deref().map(|binary| OwnServer::start(binary, &plan.profile)).transpose()?;
    let about = match &server {
        Some(server) => {
            server.be_target_of(&mut plan);
            server.about().to_owned()
        }
        None => "started by others; its settings are not known here".to_owned(),
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("listen for Ctrl-C")?;
    }
    let progress = Progress::new(&plan);
    let played = players.play(&mut plan, &stop, &mut |second| progress.show(second));
    progress.finish();
    let played = played?;
    let mut verdict = played.verdict(&plan.profile.expect);
    if let Some(Err(error)) = server.map(OwnServer::stop) {
        verdict.findings.push(Finding { what: format!("{error:#}"), count: 1 });
    }
    let is_clean = verdict.is_clean();
    let mut report = RunReport::of(&plan, played.outcome, verdict, machine, about);
    report.workers = played.workers;
    write!(std::io::stdout(), "{}", report.table()).context("write the report")?;
    if let Some(directory) = &args.out {
        for path in report.write(directory)? {
            eprintln!("{}", path.display());
        }
    }
    Ok(is_clean)
}

/// Lists profiles, or prints one.
///
/// # Errors
/// If there is none of that name.
pub(crate) fn profiles(args: &ProfilesArgs) -> Result<()> {
    let mut out = std::io::stdout();
    if let Some(name) = &args.name {
        return write!(out, "{}", Shipped::named(name)?.text).context("write the profile");
    }
    for shipped in &SHIPPED {
        let profile = Profile::load(shipped.name, Overrides::default())?;
        let title = shipped.text.lines().next().unwrap_or_default().trim_start_matches("# ");
        writeln!(
            out,
            "{:15} {:>6} clients {:>7}  {title}",
            shipped.name,
            profile.clients.count,
            humantime::format_duration(profile.clock_duration()).to_string()
        )
        .context("write the list")?;
    }
    Ok(())
}
