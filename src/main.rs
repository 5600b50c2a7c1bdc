//! The `bigroom` binary: parse, check, build, run, report.

use std::{
    env,
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use bigroom::{
    cli::{self, Action, Failure, Role},
    logging, roles, serve, statistics,
};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell if stderr is closed.
            let _ = writeln!(io::stderr(), "bigroom: {failure}");
            ExitCode::from(failure.exit_code)
        }
    }
}

fn run() -> Result<(), Failure> {
    match cli::parse(env::args_os(), env::vars_os())? {
        Action::Print(text) => print(&text)?,
        Action::Pressure(drill) => print(&drill.run()?)?,
        Action::Serve(config) => {
            logging::init(&config.log)?;
            serve::run(*config)?;
        }
        Action::Role(role, config) => {
            logging::init(&config.log)?;
            match role {
                Role::Proxy => roles::proxy::run(&config)?,
                Role::Sendsvr => roles::sendsvr::run(&config)?,
                Role::Recvsvr => roles::recvsvr::run(&config)?,
                Role::Statsvr => statistics::run(&config)?,
            }
        }
    }
    Ok(())
}

fn print(text: &str) -> Result<(), Failure> {
    Ok(io::stdout().write_all(text.as_bytes()).context("write to stdout")?)
}
