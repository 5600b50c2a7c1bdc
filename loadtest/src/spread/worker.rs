//! The worker: plays the shares that it is given, one at a time.

use std::{pin::Pin, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{Semaphore, mpsc, watch},
    time,
};
use tokio_stream::{
    Stream,
    wrappers::{ReceiverStream, TcpListenerStream},
};
use tonic::{
    Request, Response, Status, Streaming, service::interceptor::InterceptedService, transport::Server,
};

use super::{
    KEEP_ALIVE, MESSAGE_BYTES_MAX,
    access::{Secret, check_address},
    args::WorkerArgs,
    clock::unix_us,
    session::{EVENTS_MAX, Player, Session, next_command},
    wire::{
        PlayRequest, PlayResponse, ReadClockRequest, ReadClockResponse,
        play_request::Command,
        worker_server::{Worker as WorkerService, WorkerServer},
    },
};
use crate::run::{self, RunPlan};

/// How long a controller may take from its call to the plan.
const ASSIGN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a worker for one run waits for it.
const FIRST_RUN_TIMEOUT: Duration = Duration::from_secs(60);
/// How long connections may take to close when the worker ends.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a share that was told to stop may take when the worker itself is told to end.
const END_TIMEOUT: Duration = Duration::from_secs(20);
/// Message of the line that tells the address.
pub(super) const LISTENING: &str = "worker listening";

/// What a worker is allowed, and how long it stays.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) secret: Secret,
    /// Whether targets may be elsewhere than on this machine.
    pub(super) allow_remote: bool,
    /// Whether it ends after one run.
    pub(super) once: bool,
}

/// `loadtest worker`: serves until it is told to end, or, if for one run alone, until that is over.
pub(crate) fn serve(args: &WorkerArgs) -> Result<()> {
    let secret = Secret::read(args.secret_file.as_deref())?;
    check_address("--listen", args.listen, args.allow_remote)?;
    ensure!(
        secret.is_there() || check_address("--listen", args.listen, false).is_ok(),
        "--listen {} can be reached by others, who could make this machine send load: add --secret-file",
        args.listen
    );
    let terms = Terms { secret, allow_remote: args.allow_remote, once: args.once };
    // The share itself has threads of its own; this one only talks to the controller.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("start the worker")?.block_on(async {
        let listener =
            TcpListener::bind(args.listen).await.with_context(|| format!("listen on {}", args.listen))?;
        let address = listener.local_addr().context("read the address that it listens on")?;
        let mut terminated = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
        let mut interrupted = signal(SignalKind::interrupt()).context("watch for SIGINT")?;
        eprintln!("{}", serde_json::json!({ "message": LISTENING, "listen": address.to_string() }));
        serve_on(listener, terms, Arc::new(run::execute), async move {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
        })
        .await
    })
}

/// Serves until `told_to_end`, or, if for one run alone, until that is over; `player` plays the shares.
pub(super) async fn serve_on(
    listener: TcpListener,
    terms: Terms,
    player: Player,
    told_to_end: impl Future<Output = ()>,
) -> Result<()> {
    let (end, ending) = watch::channel(false);
    let (run_over, mut runs_over) = watch::channel(0_u64);
    let place = Arc::new(Semaphore::new(1));
    let is_for_one_run = terms.once;
    let checker = terms.secret.checker();
    let worker =
        Worker { place: place.clone(), terms, player, ending: ending.clone(), run_over: Arc::new(run_over) };
    let service = WorkerServer::new(worker)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let mut closing = ending.clone();
    let serving = Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .add_service(InterceptedService::new(service, checker))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async move {
            // An error would mean that the sender is gone, which ends it all the same.
            let _ = closing.wait_for(|is_ending| *is_ending).await;
        });
    tokio::pin!(serving);

    tokio::select! {
        served = &mut serving => return served.context("serve"),
        () = told_to_end => {}
        () = only_run_over(&place, &mut runs_over), if is_for_one_run => {}
    }
    end.send_replace(true);
    // Whoever holds the place is playing, and has just been told to stop.
    let ended = async {
        let _ = time::timeout(END_TIMEOUT, place.acquire()).await;
        time::sleep(CLOSE_TIMEOUT).await;
    };
    tokio::select! {
        served = &mut serving => served.context("serve"),
        // A controller that keeps its connection open does not keep the worker.
        () = ended => Ok(()),
    }
}

/// Waits until a run is over, or until none has begun for too long.
async fn only_run_over(place: &Semaphore, runs_over: &mut watch::Receiver<u64>) {
    let is_over = runs_over.wait_for(|runs| *runs > 0);
    tokio::pin!(is_over);
    loop {
        // With the place taken, a run is under way, whose length is the controller's to say.
        match time::timeout(FIRST_RUN_TIMEOUT, &mut is_over).await {
            Err(_) if place.available_permits() == 0 => {}
            _ => return,
        }
    }
}

/// The gRPC service.
struct Worker {
    /// One permit: for the run under way.
    place: Arc<Semaphore>,
    terms: Terms,
    player: Player,
    /// Whether the process is about to end.
    ending: watch::Receiver<bool>,
    /// Runs that are over.
    run_over: Arc<watch::Sender<u64>>,
}

#[tonic::async_trait]
impl WorkerService for Worker {
    type PlayStream = Pin<Box<dyn Stream<Item = Result<PlayResponse, Status>> + Send>>;

    async fn read_clock(&self, _: Request<ReadClockRequest>) -> Result<Response<ReadClockResponse>, Status> {
        Ok(Response::new(ReadClockResponse { unix_us: unix_us() }))
    }

    async fn play(
        &self,
        request: Request<Streaming<PlayRequest>>,
    ) -> Result<Response<Self::PlayStream>, Status> {
        let Ok(place) = self.place.clone().try_acquire_owned() else {
            return Err(Status::failed_precondition("a run is under way here: try again when it is over"));
        };
        let mut commands = request.into_inner();
        let plan = self.accept(next_command(&mut commands, ASSIGN_TIMEOUT).await?)?;
        let (events, stream) = mpsc::channel(EVENTS_MAX);
        let session = Session {
            plan,
            player: self.player.clone(),
            commands,
            events,
            ending: self.ending.clone(),
            run_over: self.run_over.clone(),
        };
        // Owned by its place: whoever ends the process waits for that.
        tokio::spawn(session.run(place));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

impl Worker {
    fn accept(&self, command: Command) -> Result<RunPlan, Status> {
        let Command::Assignment(assignment) = command else {
            return Err(Status::invalid_argument("the first command must be an assignment"));
        };
        let own = env!("CARGO_PKG_VERSION");
        if assignment.version != own {
            let theirs = assignment.version;
            return Err(Status::failed_precondition(format!(
                "this worker is load test {own}, the controller {theirs}: use the same on both sides"
            )));
        }
        let plan: RunPlan = serde_json::from_slice(&assignment.plan)
            .map_err(|error| Status::invalid_argument(format!("the plan can't be read: {error}")))?;
        for target in plan.targets.iter().chain(&plan.ops) {
            // The controller's own permission is not this worker's.
            check_address("target", target.address, self.terms.allow_remote)
                .map_err(|error| Status::invalid_argument(format!("{error}")))?;
        }
        run::check_files(&plan).map_err(|error| Status::invalid_argument(format!("{error:#}")))?;
        Ok(RunPlan { allow_remote: self.terms.allow_remote, shows_progress: false, ..plan })
    }
}
