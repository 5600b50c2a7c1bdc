//! One run: a profile played against servers, watched second by second, and judged.
//!
//! [`execute`] plays one process's share ([`RunPlan`]) and yields a [`RunOutcome`]. Outcomes of several shares merge, and
//! [`RunVerdict`] judges the whole. Everything is in open loop: who comes when and which message is due when follows from
//! profile and seed alone, whatever the server does.

mod answer;
mod args;
mod clock;
mod command;
mod counted;
mod crowd;
mod execute;
mod facts;
mod http;
mod latencies;
mod outcome;
mod own_server;
mod plan;
mod presence;
mod progress;
mod reader;
mod requests;
mod schedule;
mod senders;
mod settled;
mod watch;
mod wire;

pub(crate) use self::{
    args::RunArgs,
    command::{ProfilesArgs, profiles, run},
    counted::{Counted, counted},
    execute::{check_files, execute},
    facts::{Finding, RunVerdict},
    latencies::{Latencies, LatencyRecorder},
    outcome::{RunOutcome, Sample, ServerSample},
    plan::{RunPlan, Target},
    schedule::{Curve, RateTimes, due_times, exponential, rank},
};
#[cfg(test)]
pub(crate) use self::{
    outcome::{ClientCost, Counters},
    presence::Span,
};
