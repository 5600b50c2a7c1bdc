//! A client's stream, shared by the task that serves it and the worker that answers its parked polls.
//!
//! While a plain poll is parked, the worker writes its answer right into the stream, and the task, which waits for what
//! the client sends next, does not wake. At all other times the stream is the task's alone.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context as Task, Poll},
};

use bytes::Bytes;
use recvsvr::{Answer, Delivery, Outlet};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::{
    access::PollPlace,
    clocks::{Phase, Ticket},
    front::{Admitted, Context},
    response::wire,
    stream::Stream,
};

/// A client's stream, as it was accepted.
pub(crate) trait Client: Stream {
    /// Writes what the client takes at once.
    ///
    /// # Errors
    /// `WouldBlock` if it takes nothing; whatever ends the stream.
    fn write_now(&mut self, bytes: &[u8]) -> io::Result<usize>;
}

impl Client for TcpStream {
    fn write_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write(bytes)
    }
}

impl Client for TlsStream<TcpStream> {
    /// Takes nothing: to encrypt is work for the task, where it does not hold up the answers of others.
    fn write_now(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

/// A client's stream and what belongs to it.
pub(crate) struct Line<S>(Rc<Shared<S>>);

struct Shared<S> {
    stream: RefCell<S>,
    ticket: Ticket,
    admitted: Admitted,
    /// The worker may write: a poll is parked, whose client takes the prepared bytes and has asked for nothing else.
    is_open: Cell<bool>,
    /// Bytes of the answer that the worker had written when the client took no more.
    written: Cell<usize>,
    /// The place of the poll that is parked.
    place: Cell<PollPlace>,
}

impl<S: Client> Line<S> {
    pub(crate) fn new(stream: S, admitted: Admitted) -> Self {
        Self(Rc::new(Shared {
            stream: RefCell::new(stream),
            ticket: admitted.context.clocks.register(),
            admitted,
            is_open: Cell::new(false),
            written: Cell::new(0),
            place: Cell::default(),
        }))
    }

    pub(crate) fn context(&self) -> &Rc<Context> {
        &self.0.admitted.context
    }

    pub(crate) fn ticket(&self) -> &Ticket {
        &self.0.ticket
    }

    /// The way by which the worker answers.
    pub(crate) fn outlet(&self) -> Rc<dyn Outlet> {
        Rc::clone(&self.0) as Rc<dyn Outlet>
    }

    /// Keeps the place of a poll that was parked until it is answered. With `is_open`, the worker may answer it.
    pub(crate) fn park(&self, place: PollPlace, is_open: bool) {
        self.0.place.set(place);
        self.0.is_open.set(is_open);
        self.0.written.set(0);
    }

    /// From now on the stream is the task's alone, whatever becomes of the poll.
    pub(crate) fn close(&self) {
        self.0.is_open.set(false);
    }

    /// Ends a poll that was parked: gives back its place.
    pub(crate) fn unpark(&self) -> PollPlace {
        self.close();
        self.0.place.take()
    }

    /// Writes what is left of an answer of which the worker may have written a part. False if the client is gone.
    pub(crate) fn poll_finish(&mut self, answer: &Answer, task: &mut Task<'_>) -> Poll<bool> {
        let shared = Rc::clone(&self.0);
        let mut written = shared.written.get();
        let poll = self.poll_write_all(shared.wire(answer), &mut written, task);
        shared.written.set(if poll.is_pending() { written } else { 0 });
        poll
    }

    /// Writes what is left of `bytes`. False if the client is gone or takes too long.
    pub(crate) fn poll_write_all(
        &mut self,
        bytes: &[u8],
        written: &mut usize,
        task: &mut Task<'_>,
    ) -> Poll<bool> {
        let poll = loop {
            if *written == bytes.len() {
                // What TLS keeps back goes out with this.
                break Pin::new(&mut *self).poll_flush(task).map(|flushed| flushed.is_ok());
            }
            match Pin::new(&mut *self).poll_write(task, &bytes[*written..]) {
                Poll::Ready(Ok(count)) if count > 0 => *written += count,
                Poll::Ready(_) => break Poll::Ready(false),
                Poll::Pending => break Poll::Pending,
            }
        };
        if poll.is_pending() {
            self.ticket().enter_once(Phase::Write);
            if self.ticket().is_over(task.waker()) {
                return Poll::Ready(false);
            }
        }
        poll
    }
}

impl<S> Shared<S> {
    /// The whole response with this answer, made once for all who get it.
    fn wire<'a>(&self, answer: &'a Answer) -> &'a Bytes {
        answer.wire.get_or_init(|| wire(answer, &self.admitted.context.front.cors))
    }
}

impl<S: Client> Outlet for Shared<S> {
    fn deliver(&self, answer: &Answer) -> Delivery {
        // After the answer of a drain the connection ends, which is for the task to see to.
        if !self.is_open.replace(false) || answer.is_drain {
            return Delivery::Left;
        }
        let wire = self.wire(answer);
        // The task meets an error again.
        let count = self.stream.borrow_mut().write_now(wire).unwrap_or(0);
        if count < wire.len() {
            self.written.set(count);
            return Delivery::Left;
        }
        self.place.take().answered();
        self.ticket.enter(Phase::Idle);
        Delivery::Written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Line<S> {
    fn poll_read(self: Pin<&mut Self>, task: &mut Task<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_read(task, space)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Line<S> {
    fn poll_write(self: Pin<&mut Self>, task: &mut Task<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_write(task, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_flush(task)
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_shutdown(task)
    }
}
