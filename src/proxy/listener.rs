//! Sockets and threads: one single-threaded runtime a core, all listening on one port.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener as StdListener},
    rc::Rc,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use recvsvr::Worker;
use room::Problem;
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::LocalOptions,
    sync::watch,
    task::spawn_local,
};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::{
    addresses::{AddressPlace, PerAddress, Relay},
    clocks::Clocks,
    connection::{SCRATCH_BYTES, Served},
    front::{Admitted, Context, Front},
    http2,
    presence::Presence,
    proxy_protocol::{self, HeaderError},
    session::Connected,
};

/// Connections that wait to be accepted, for each worker.
const BACKLOG: i32 = 4096;

/// How long a worker waits when it can't accept for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often a worker that is to end looks whether it still serves somebody.
const BUSY_CHECK: Duration = Duration::from_millis(10);

/// Stack of a worker's thread: futures live on the heap, so little is needed.
const STACK_BYTES: usize = 2 << 20;

/// Binds the public address once for each worker (`SO_REUSEPORT`): the kernel spreads connections over them.
///
/// # Errors
/// Why the address can't be bound. A port that another process listens on is in use, also if that process would
/// share it.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<StdListener>> {
    // With SO_REUSEPORT set, a second server on the same port would be let in, and take half of the clients.
    let probe = socket(address)?;
    probe.bind(&address.into())?;
    probe.listen(1)?;
    let bound = probe.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    drop(probe);
    (0..workers)
        .map(|_| {
            let socket = socket(bound)?;
            socket.set_reuse_port(true)?;
            // Answers are written whole: nothing is gained by waiting for more to send. What is accepted inherits it.
            socket.set_tcp_nodelay(true)?;
            socket.bind(&bound.into())?;
            socket.listen(BACKLOG)?;
            Ok(socket.into())
        })
        .collect()
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The threads that serve clients.
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    stop: watch::Sender<Option<Instant>>,
}

/// How a worker hears that it is to end, and by when.
struct Stop(watch::Receiver<Option<Instant>>);

impl Stop {
    async fn asked(mut self) -> Instant {
        match self.0.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(deadline)) => *deadline,
            // Whoever could have asked is gone.
            _ => Instant::now(),
        }
    }
}

impl Workers {
    /// Starts a worker for each listener.
    ///
    /// # Errors
    /// Why a thread could not be started.
    pub fn start(
        front: &Arc<Front>,
        tls: Option<&Arc<ServerConfig>>,
        listeners: Vec<StdListener>,
    ) -> io::Result<Self> {
        let (stop, asked) = watch::channel(None);
        let mut threads = Vec::new();
        for (index, listener) in listeners.into_iter().enumerate() {
            let (front, stop, tls) = (Arc::clone(front), Stop(asked.clone()), tls.map(Arc::clone));
            threads.push(
                thread::Builder::new().name(format!("worker-{index}")).stack_size(STACK_BYTES).spawn(
                    move || {
                        let mut runtime = tokio::runtime::Builder::new_current_thread();
                        runtime.enable_all();
                        match runtime.build_local(LocalOptions::default()) {
                            Ok(runtime) => runtime.block_on(work(front, index, listener, tls, stop)),
                            Err(error) => warn!(index, %error, "worker failed to start"),
                        }
                    },
                )?,
            );
        }
        Ok(Self { threads, stop })
    }

    /// Ends the workers as soon as none of them serves a request any more, and at `deadline` whatever they do.
    /// Blocks until they have ended.
    pub fn stop(self, deadline: Instant) {
        // Fails only if no worker is left.
        let _ = self.stop.send(Some(deadline));
        for thread in self.threads {
            if thread.join().is_err() {
                warn!("a worker ended by a panic");
            }
        }
    }
}

async fn work(
    front: Arc<Front>,
    index: usize,
    listener: StdListener,
    tls: Option<Arc<ServerConfig>>,
    stop: Stop,
) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return warn!(index, %error, "worker failed to listen"),
    };
    let worker = Worker::new(Arc::clone(&front.rooms), index);
    let clocks = Clocks::new(front.timeouts);
    let presence = Presence::new(&front.stats, &worker, front.salt);
    let context = Rc::new(Context {
        front,
        presence: Rc::clone(&presence),
        worker: Rc::clone(&worker),
        clocks: Rc::clone(&clocks),
        connections: metrics::gauge!(crate::metrics::CONNECTIONS),
        reconnects: metrics::counter!(crate::metrics::RECONNECTS),
        unannounced: metrics::counter!(crate::metrics::UNANNOUNCED),
        scratch: std::cell::RefCell::new(vec![0; SCRATCH_BYTES].into()),
    });
    spawn_local(Rc::clone(&worker).follow_canary());
    let acceptor = tls.map(TlsAcceptor::from);
    let closing = async {
        let deadline = stop.asked().await;
        while clocks.is_busy() && Instant::now() < deadline {
            tokio::time::sleep(BUSY_CHECK).await;
        }
    };
    tokio::select! {
        () = Rc::clone(&worker).run() => {}
        () = worker.measure_lag() => {}
        () = Rc::clone(&clocks).sweep() => {}
        () = Rc::clone(&presence).run() => {}
        () = accept(&listener, &context, acceptor.as_ref()) => {}
        () = closing => {}
    }
    presence.flush();
}

async fn accept(listener: &TcpListener, context: &Rc<Context>, tls: Option<&TlsAcceptor>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (peer, front) = (peer.ip().to_canonical(), &context.front);
                if front.proxy_protocol && front.per_address.trusts(peer) {
                    spawn_local(announced(stream, peer, Rc::clone(context), tls.cloned()));
                } else {
                    admit(stream, peer, context, tls);
                }
            }
            Err(error) if is_of_the_client(&error) => {
                debug!(%error, "connection was gone before it was accepted")
            }
            Err(error) => {
                warn!(%error, "connections can't be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

/// Lets in a connection that a balancer announces by a header, as whoever's it says; ends it if there is none. The task ends
/// with the header: what is in it is not kept for as long as the connection.
async fn announced(mut stream: TcpStream, peer: IpAddr, context: Rc<Context>, tls: Option<TlsAcceptor>) {
    let most = context.front.timeouts.header;
    let why = match tokio::time::timeout(most, proxy_protocol::read(&mut stream)).await {
        Ok(Ok(source)) => return admit(stream, source.unwrap_or(peer), &context, tls.as_ref()),
        // It looked whether somebody listens.
        Ok(Err(HeaderError::Gone { had_begun: false })) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("its PROXY header was not there after {} s", most.as_secs_f32()),
    };
    context.unannounced.increment(1);
    debug!(%peer, why, "a balancer's connection was ended");
}

/// Lets a client in, or turns it away. Without TLS, the connection itself is the task.
fn admit(stream: TcpStream, address: IpAddr, context: &Rc<Context>, tls: Option<&TlsAcceptor>) {
    let let_in = PerAddress::let_in(&context.front, address);
    let (place, relay) = match let_in {
        Ok((place, relay)) => (place, Ok(relay)),
        Err(problem) => (AddressPlace::default(), Err(problem)),
    };
    let admitted = Admitted::new(Rc::clone(context), place);
    match (tls, relay) {
        (None, Ok(relay)) => drop(spawn_local(Served::new(stream, admitted, relay))),
        (None, Err(problem)) => drop(spawn_local(Served::turned_away(stream, admitted, problem))),
        (Some(tls), relay) => drop(spawn_local(secure(stream, admitted, relay, tls.clone()))),
    }
}

/// Shakes hands with a client, then serves it, or tells it why not.
async fn secure(stream: TcpStream, admitted: Admitted, relay: Result<Relay, Problem>, tls: TlsAcceptor) {
    let shaken = tokio::time::timeout(admitted.context.front.timeouts.header, tls.accept(stream)).await;
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%error, "TLS handshake failed"),
        Err(_) => return debug!("TLS handshake took too long"),
    };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    // Each on the heap: the task that remains is as large as the largest of what it has been through.
    match relay {
        Err(problem) => Box::pin(Served::turned_away(stream, admitted, problem)).await,
        Ok(relay) if is_http2 => {
            let context = Rc::clone(&admitted.context);
            let connected = Connected::new(&context, relay);
            Box::pin(http2::serve(stream, context, connected)).await;
        }
        Ok(relay) => Box::pin(Served::new(stream, admitted, relay)).await,
    }
}
