//! One run, as a worker sees it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, watch},
    time,
};
use tonic::{Status, Streaming};

use super::{
    PART_BYTES, SILENCE_MAX,
    wire::{End, PlayRequest, PlayResponse, Ready, play_request::Command, play_response::Event},
};
use crate::run::{RunOutcome, RunPlan, Sample};

/// How long a controller may take from the plan to the start: as long as the slowest other worker.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Events that wait for a slow controller. One that is a minute of seconds behind is as good as gone: the share ends.
pub(super) const EVENTS_MAX: usize = 64;

/// Plays one share: [`crate::run::execute`], with its contract.
pub(super) type Player =
    Arc<dyn Fn(&RunPlan, &AtomicBool, &mut dyn FnMut(&Sample)) -> Result<RunOutcome> + Send + Sync>;

/// One share, from its acceptance to its outcome.
pub(super) struct Session {
    pub(super) plan: RunPlan,
    pub(super) player: Player,
    pub(super) commands: Streaming<PlayRequest>,
    pub(super) events: mpsc::Sender<Result<PlayResponse, Status>>,
    /// Whether the process is about to end.
    pub(super) ending: watch::Receiver<bool>,
    /// Runs that are over.
    pub(super) run_over: Arc<watch::Sender<u64>>,
}

impl Session {
    /// Plays it; gives the place back at the end.
    pub(super) async fn run(mut self, place: OwnedSemaphorePermit) {
        if let Err(status) = self.play().await {
            // A controller that is gone can't be told.
            let _ = time::timeout(SILENCE_MAX, self.events.send(Err(status))).await;
        }
        drop(place);
        self.run_over.send_modify(|runs| *runs += 1);
    }

    async fn play(&mut self) -> Result<(), Status> {
        self.tell(Event::Ready(Ready {})).await?;
        let Command::Start(start) = next_command(&mut self.commands, START_TIMEOUT).await? else {
            return Err(Status::invalid_argument("the second command must be the start"));
        };
        self.plan.start_at_unix_ms = start.at_unix_ms;
        let outcome = self.execute().await?;

        let text = serde_json::to_vec(&outcome)
            .map_err(|error| Status::internal(format!("the outcome can't be encoded: {error}")))?;
        drop(outcome);
        let (outcome_bytes, mut rest) = (text.len() as u64, Bytes::from(text));
        while !rest.is_empty() {
            self.tell(Event::OutcomePart(rest.split_to(rest.len().min(PART_BYTES)))).await?;
        }
        self.tell(Event::End(End { outcome_bytes })).await
    }

    /// Plays the share on a thread of its own, and ends it when the controller says so or is gone.
    async fn execute(&mut self) -> Result<RunOutcome, Status> {
        let stop = Arc::new(AtomicBool::new(false));
        let (plan, player) = (self.plan.clone(), self.player.clone());
        let (events, told) = (self.events.clone(), stop.clone());
        let mut playing = tokio::task::spawn_blocking(move || {
            player(&plan, &told, &mut |second| {
                let event = serde_json::to_vec(second)
                    .map(|second| PlayResponse { event: Some(Event::Second(second.into())) });
                // Full: the controller is far behind. Closed: it is gone.
                if event.is_ok_and(|event| events.try_send(Ok(event)).is_err()) {
                    told.store(true, Ordering::Relaxed);
                }
            })
        });
        let mut is_gone = false;
        let ended = loop {
            if stop.load(Ordering::Relaxed) {
                break (&mut playing).await;
            }
            tokio::select! {
                ended = &mut playing => break ended,
                command = self.commands.message() => {
                    is_gone = !matches!(command, Ok(Some(PlayRequest { command: Some(Command::Stop(_)) })));
                    stop.store(true, Ordering::Relaxed);
                }
                () = self.events.closed() => {
                    is_gone = true;
                    stop.store(true, Ordering::Relaxed);
                }
                _ = self.ending.wait_for(|is_ending| *is_ending) => stop.store(true, Ordering::Relaxed),
            }
        };
        if is_gone {
            return Err(Status::cancelled("the controller is gone, or told something out of place"));
        }
        match ended {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(error)) => Err(Status::aborted(format!("{error:#}"))),
            Err(error) => Err(Status::internal(format!("the share did not come to its end: {error}"))),
        }
    }

    async fn tell(&self, event: Event) -> Result<(), Status> {
        let sending = self.events.send(Ok(PlayResponse { event: Some(event) }));
        match time::timeout(SILENCE_MAX, sending).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Status::cancelled("the controller is gone")),
        }
    }
}

/// The next command, if it comes within a time.
pub(super) async fn next_command(
    commands: &mut Streaming<PlayRequest>,
    within: Duration,
) -> Result<Command, Status> {
    match time::timeout(within, commands.message()).await {
        Ok(Ok(Some(PlayRequest { command: Some(command) }))) => Ok(command),
        Ok(Ok(_)) => Err(Status::invalid_argument("a command was left out")),
        Ok(Err(status)) => Err(status),
        Err(_) => Err(Status::deadline_exceeded(format!("no command came within {within:?}"))),
    }
}
