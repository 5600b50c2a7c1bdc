//! The controller's side of one worker.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::{
    sync::{mpsc, watch},
    time,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status, Streaming,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};

use super::{
    CALL_TIMEOUT, KEEP_ALIVE, MESSAGE_BYTES_MAX, OUTCOME_BYTES_MAX, SILENCE_MAX,
    access::Secret,
    clock::{Reading, unix_us},
    wire::{
        Assignment, PlayRequest, PlayResponse, ReadClockRequest, Start, Stop, play_request::Command,
        play_response::Event, worker_client::WorkerClient,
    },
};
use crate::run::{RunOutcome, RunPlan, Sample};

/// How long a worker may take to accept its share.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a clock is read: the quickest answer counts.
const CLOCK_READINGS: u32 = 8;
/// How much longer than planned a share may take, from start to the last byte of its outcome.
const OVERTIME_MAX: Duration = Duration::from_secs(120);
/// How long a worker may take to end, and to hand over its outcome, after it was told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Commands under way: there are three at most.
const COMMANDS_MAX: usize = 4;

/// A worker that has accepted its share.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) address: SocketAddr,
    pub(super) clock: Reading,
    commands: mpsc::Sender<PlayRequest>,
    events: Streaming<PlayResponse>,
    /// How long it is to take.
    planned: Duration,
}

impl Share {
    /// Connects to a worker, reads its clock, and has it accept its share.
    pub(super) async fn assign(address: SocketAddr, secret: Secret, plan: RunPlan) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?
            .connect_timeout(CALL_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true);
        let channel = endpoint.connect().await.context("connect: does `loadtest worker` run there?")?;
        let channel = InterceptedService::new(channel, secret.adder());
        let mut client = WorkerClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let clock = read_clock(&mut client).await?;

        let assignment = Assignment {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            plan: serde_json::to_vec(&plan).context("encode the plan")?.into(),
        };
        let (commands, requests) = mpsc::channel(COMMANDS_MAX);
        commands
            .send(PlayRequest { command: Some(Command::Assignment(assignment)) })
            .await
            .context("send the plan")?;
        let accept = async {
            let mut events = client.play(ReceiverStream::new(requests)).await?.into_inner();
            let first = events.message().await?;
            Ok::<_, Status>((events, first))
        };
        let (events, first) = time::timeout(READY_TIMEOUT, accept)
            .await
            .with_context(|| format!("accept its share within {READY_TIMEOUT:?}"))?
            .map_err(refusal)?;
        let is_ready = matches!(first, Some(PlayResponse { event: Some(Event::Ready(_)) }));
        ensure!(is_ready, "it did not say that it is ready");
        let planned = plan.profile.clock_duration() + plan.profile.settle;
        Ok(Self { address, clock, commands, events, planned })
    }

    /// Has it start at a time of this machine's clock.
    pub(super) fn start(&self, at_unix_ms: u64) -> Result<()> {
        let start = Start { at_unix_ms: self.clock.there_ms(at_unix_ms) };
        self.commands
            .try_send(PlayRequest { command: Some(Command::Start(start)) })
            .context("send the time to start at")
    }

    /// Takes what it tells until it has handed over its outcome; once `stop` says so, has it end early.
    ///
    /// # Errors
    /// If the worker is gone, is silent for [`SILENCE_MAX`], takes longer than it may, or can't go on.
    pub(super) async fn play(
        mut self,
        seconds: mpsc::Sender<Sample>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<RunOutcome> {
        let mut deadline = Instant::now() + self.planned + OVERTIME_MAX;
        let mut outcome = Vec::new();
        let mut is_stopping = false;
        loop {
            let silent_at = (Instant::now() + SILENCE_MAX).min(deadline);
            // Neither side loses anything when the other is first: `message` and `wait_for` are cancel-safe.
            let event = tokio::select! {
                event = time::timeout_at(silent_at.into(), self.events.message()) => event,
                _ = stop.wait_for(|stop| *stop), if !is_stopping => {
                    is_stopping = true;
                    deadline = deadline.min(Instant::now() + STOP_TIMEOUT);
                    // A worker that does not take it ends when it is let go of.
                    let _ = self.commands.try_send(PlayRequest { command: Some(Command::Stop(Stop {})) });
                    continue;
                }
            };
            let Ok(event) = event else { bail!("it was silent, or did not end in time") };
            let event = event.map_err(refusal)?.context("it ended without an outcome")?;
            match event.event {
                Some(Event::Second(second)) => {
                    let second = serde_json::from_slice(&second).context("read a second of it")?;
                    // Nobody wants to see it any more: the outcome has it all the same.
                    let _ = seconds.send(second).await;
                }
                Some(Event::OutcomePart(part)) => {
                    ensure!(
                        (outcome.len() + part.len()) as u64 <= OUTCOME_BYTES_MAX,
                        "its outcome is too long"
                    );
                    outcome.extend_from_slice(&part);
                }
                Some(Event::End(end)) => {
                    let got = outcome.len() as u64;
                    ensure!(
                        got == end.outcome_bytes,
                        "{got} of {} bytes of its outcome came",
                        end.outcome_bytes
                    );
                    return serde_json::from_slice(&outcome).context("read its outcome");
                }
                Some(Event::Ready(_)) | None => bail!("it told something out of place"),
            }
        }
    }
}

type Client<I> = WorkerClient<InterceptedService<Channel, I>>;

async fn read_clock<I: tonic::service::Interceptor>(client: &mut Client<I>) -> Result<Reading> {
    let mut best: Option<Reading> = None;
    for _ in 0..CLOCK_READINGS {
        let (asked_us, asked) = (unix_us(), Instant::now());
        let answer = time::timeout(CALL_TIMEOUT, client.read_clock(ReadClockRequest {}))
            .await
            .with_context(|| format!("read its clock within {CALL_TIMEOUT:?}"))?
            .map_err(refusal)?;
        let reading = Reading::new(asked_us, asked, answer.into_inner().unix_us);
        best = Some(best.map_or(reading, |best| best.or_better(reading)));
    }
    best.context("read its clock")
}

/// A worker's refusal as an error of one line.
fn refusal(status: Status) -> anyhow::Error {
    anyhow::anyhow!("{}: {}", status.code(), status.message())
}
