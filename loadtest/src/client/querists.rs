//! Whoever asks for a room's numbers: together at a set rate, whatever the server does, in a thread of their own.
//!
//! A question that could not go out when it was due goes out later, and its answer's time counts from when it was due. A
//! connection carries the next question while it waits for the answer to the one before it (pipelining), up to a bound.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use mio::{Events, Poll, Token};

use super::{
    AGE_MAX_US, Histogram,
    answer::head_of,
    connect::connect,
    histogram,
    stream::{Stream, Target},
};

const EVENTS_MAX: usize = 256;
/// Header fields of an answer.
const HEADERS_MAX: usize = 32;
/// Bytes that are read at a time: many answers.
const READ_BYTES: usize = 64 * 1024;
/// Questions under way on one connection; beyond it, the run is given up.
const UNDER_WAY_MAX: usize = 1_000;
/// Longest time between two looks at what is due: with ten thousand a second, ten at a time.
const TURN: Duration = Duration::from_millis(1);
/// How long the last answers may take.
const LAST_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections come from addresses after those of any sender.
const FIRST_SOURCE: u32 = 15_100_000;
const USERS: &[u8] = b"\"num_users\":";

/// What is asked, how often, and what may be answered.
#[derive(Clone, Debug)]
pub(crate) struct Questions {
    /// The request, whole.
    pub(crate) request: Vec<u8>,
    /// Questions a second.
    pub(crate) rate: f64,
    /// Keep-alive connections that they share.
    pub(crate) connections: u32,
    /// Least and most users that a right answer has.
    pub(crate) num_users: (u64, u64),
}

/// What was answered.
pub(crate) struct Answered {
    /// Answers with status 200 and a right number of users.
    pub(crate) right: u64,
    /// From when a question was due to its answer (microseconds).
    pub(crate) latencies: Histogram,
}

/// Askers at work. Dropped, they stop.
pub(crate) struct Querists {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Answered>>>,
}

impl Querists {
    /// Connects, and begins to ask.
    pub(crate) fn start(server: &Target, questions: Questions) -> Result<Self> {
        let mut lines = Lines::open(server, questions)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("querists".to_owned())
            .spawn(move || lines.run(&stopped))
            .context("start a thread for questions")?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends asking, once all answers are there.
    ///
    /// # Errors
    /// If an answer was wrong, or did not come.
    pub(crate) fn stop(mut self) -> Result<Answered> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("questions end once")?;
        thread.join().ok().context("the thread for questions panicked")?
    }
}

impl Drop for Querists {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// All connections.
struct Lines {
    questions: Questions,
    lines: Vec<Line>,
    poll: Poll,
    buffer: Box<[u8]>,
    answered: Answered,
}

struct Line {
    stream: Stream,
    output: Vec<u8>,
    input: Vec<u8>,
    /// When the questions under way were due, in their order.
    due: VecDeque<Instant>,
}

impl Lines {
    fn open(server: &Target, questions: Questions) -> Result<Self> {
        let poll = Poll::new().context("open an epoll instance")?;
        let line = |nth: u32| {
            let mut stream = connect(server, FIRST_SOURCE + nth)?;
            stream.register(poll.registry(), Token(nth as usize))?;
            Ok(Line { stream, output: Vec::new(), input: Vec::new(), due: VecDeque::new() })
        };
        let lines = (0..questions.connections).map(line).collect::<Result<_>>()?;
        let answered = Answered { right: 0, latencies: histogram() };
        Ok(Self { questions, lines, poll, buffer: vec![0; READ_BYTES].into(), answered })
    }

    fn run(&mut self, stop: &AtomicBool) -> Result<Answered> {
        let interval = Duration::from_secs_f64(1.0 / self.questions.rate);
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut due = Instant::now() + interval;
        let mut next = 0;
        let mut deadline = None;
        loop {
            let now = Instant::now();
            if deadline.is_none() && stop.load(Ordering::Relaxed) {
                deadline = Some(now + LAST_TIMEOUT);
            }
            match deadline {
                Some(_) if self.lines.iter().all(|line| line.due.is_empty()) => break,
                Some(deadline) => ensure!(now < deadline, "questions stay without an answer"),
                None => {
                    while due <= now {
                        self.lines[next].add(&self.questions.request, due)?;
                        next = (next + 1) % self.lines.len();
                        due += interval;
                    }
                }
            }
            for line in &mut self.lines {
                line.send()?;
            }
            match self.poll.poll(&mut events, Some(TURN)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    return Err(error).context("wait for answers");
                }
                _ => {}
            }
            for event in &events {
                let line = &mut self.lines[event.token().0];
                line.read(&mut self.buffer, self.questions.num_users, &mut self.answered)?;
            }
        }
        let empty = Answered { right: 0, latencies: histogram() };
        Ok(std::mem::replace(&mut self.answered, empty))
    }
}

impl Line {
    fn add(&mut self, request: &[u8], due: Instant) -> Result<()> {
        ensure!(self.due.len() < UNDER_WAY_MAX, "{UNDER_WAY_MAX} questions wait on one connection");
        self.output.extend_from_slice(request);
        self.due.push_back(due);
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(count) => drop(self.output.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("ask for a room's numbers"),
            }
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8], right: (u64, u64), answered: &mut Answered) -> Result<()> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => bail!("the server closed a connection that asks for a room's numbers"),
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("read a room's numbers"),
            }
        }
        let mut taken = 0;
        while let Some((num_users, length)) = answer_in(&self.input[taken..])? {
            let due = self.due.pop_front().context("an answer came that was not asked for")?;
            ensure!(
                (right.0..=right.1).contains(&num_users),
                "{num_users} users were told, {} to {} are there",
                right.0,
                right.1
            );
            let us = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
            answered.latencies.saturating_record(us.clamp(1, AGE_MAX_US));
            answered.right += 1;
            taken += length;
        }
        self.input.drain(..taken);
        Ok(())
    }
}

/// Users and length (bytes) of the answer that `bytes` begin with, once it is whole.
fn answer_in(bytes: &[u8]) -> Result<Option<(u64, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let Some(head) = head_of(bytes, &mut headers)? else { return Ok(None) };
    let length = head.head + head.body;
    if bytes.len() < length {
        return Ok(None);
    }
    ensure!(head.status == 200, "a room's numbers were answered with status {}", head.status);
    let body = &bytes[head.head..length];
    let number = num_users_in(body).context("find num_users in a room's numbers")?;
    Ok(Some((number, length)))
}

/// The users that a room's numbers tell of.
pub(crate) fn num_users_in(body: &[u8]) -> Option<u64> {
    let at = memchr::memmem::find(body, USERS)? + USERS.len();
    let digits = body[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&body[at..at + digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_one_after_the_other() {
        let one =
            b"HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\n{\"num_clients\":9,\"num_users\":12} ".to_vec();
        let both = [&one[..], &one[..]].concat();
        for end in 0..one.len() {
            assert!(answer_in(&both[..end]).unwrap().is_none(), "{end} bytes");
        }
        assert_eq!(answer_in(&both).unwrap(), Some((12, one.len())));
    }

    #[test]
    fn answer_without_a_number_is_refused() {
        assert!(answer_in(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").is_err());
        assert!(answer_in(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").is_err());
    }
}
