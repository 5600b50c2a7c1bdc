//! A client over its requests: who it is, which room it follows, the poll that it waits for.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
};

use recvsvr::{Answer, Ask, Compression, Follower, Form, Format, Start, Started, now_ms};
use room::{
    AppId, Cursor, ErrorCode, POLL_LIMIT_DEFAULT, POLL_LIMIT_MAX, POLL_TIMEOUT_DEFAULT_MS,
    POLL_TIMEOUT_MAX_MS, Problem, RoomHash, RoomId, RoomKey, TAIL_MAX,
};

use super::{
    access::{Caller, PollPlace},
    addresses::{AddressPlace, PerAddress, Relay},
    fields::{Field, Fields, Key, Query, invalid},
    front::Context,
};

/// A client: an HTTP/1 connection, or one request of an HTTP/2 connection.
pub(crate) struct Session {
    pub(crate) context: Rc<Context>,
    pub(crate) caller: Option<Box<Caller>>,
    room: Option<RoomKey>,
    pub(crate) follower: Option<Follower>,
    /// What it shares with the other requests of its connection.
    pub(crate) connection: Rc<Connected>,
}

/// A connection, as its requests see it.
pub(crate) struct Connected {
    /// A number that no other connection of this process has.
    pub(crate) number: u64,
    has_polled: Cell<bool>,
    /// The balancer that it comes from.
    relay: Relay,
    /// Whom the requests of an HTTP/2 connection saw last: each borrows it while it is served.
    pub(crate) caller: RefCell<Option<Box<Caller>>>,
}

impl Connected {
    pub(crate) fn new(context: &Context, relay: Relay) -> Rc<Self> {
        Rc::new(Self {
            number: context.front.next_connection(),
            has_polled: Cell::new(false),
            relay,
            caller: RefCell::default(),
        })
    }

    /// Lets in a request with this `X-Forwarded-For`: if a balancer passes it on, it counts as its client's.
    ///
    /// # Errors
    /// `rate_limited` if the client has too much under way.
    pub(crate) fn let_request_in(
        &self,
        context: &Context,
        forwarded: Option<&str>,
    ) -> Result<AddressPlace, Problem> {
        PerAddress::let_request_in(&context.front, &self.relay, forwarded)
    }
}

/// A poll that has begun.
pub(crate) struct Begun {
    pub(crate) ask: Ask,
    pub(crate) started: Started,
    place: PollPlace,
}

impl Begun {
    /// The poll counts against its address's limit for as long as it lasts.
    pub(crate) fn hold(&mut self, address: AddressPlace) {
        self.place.hold(address);
    }

    pub(crate) fn into_parts(self) -> (Ask, Started, PollPlace) {
        (self.ask, self.started, self.place)
    }
}

/// A poll's answer, and whether the client had to wait for it.
pub(crate) struct Finished {
    pub(crate) answer: Answer,
    pub(crate) was_parked: bool,
}

impl Session {
    pub(crate) fn new(context: &Rc<Context>, connection: &Rc<Connected>) -> Self {
        let connection = Rc::clone(connection);
        Self { context: Rc::clone(context), caller: None, room: None, follower: None, connection }
    }

    /// Finds out who is asking. Whether a room is theirs to enter is another question.
    pub(crate) fn identify(&mut self, fields: &Fields<'_>, query: &Query<'_>) -> Result<&Caller, Problem> {
        let front = &self.context.front;
        front.access.identify(&mut self.caller, fields, query, now_ms())
    }

    /// Checks a room's id, unless it is that of the request before.
    ///
    /// # Errors
    /// `invalid_room` with the rule that it breaks.
    pub(crate) fn check_room(&self, room: &str) -> Result<(), Problem> {
        if self.room.as_ref().is_some_and(|key| key.room.as_str() == room) {
            return Ok(());
        }
        room_id(room).map(drop)
    }

    /// The key of a room in the caller's app; the one of the request before where it is the same.
    pub(crate) fn key(&mut self, app: &AppId, room: &str) -> Result<&RoomKey, Problem> {
        let is_same = self.room.as_ref().is_some_and(|key| key.room.as_str() == room && key.app == *app);
        if !is_same {
            self.room = Some(RoomKey::new(app.clone(), room_id(room)?));
        }
        Ok(self.room.as_ref().expect("set above"))
    }

    /// The room and the caller of the request that is being checked, once both are known.
    pub(crate) fn entering(&self) -> Option<(&RoomKey, &Caller)> {
        Some((self.room.as_ref()?, self.caller.as_deref()?))
    }

    /// Begins a poll of `room`: all of a poll's checks are here.
    ///
    /// # Errors
    /// Whatever of the request is wrong; nothing is parked then.
    pub(crate) fn begin_poll(
        &mut self,
        room: &str,
        fields: &Fields<'_>,
        query: &Query<'_>,
    ) -> Result<Begun, Problem> {
        self.context.front.check_open()?;
        let now_ms = now_ms();
        let access = &self.context.front.access;
        let caller = access.identify(&mut self.caller, fields, query, now_ms)?;
        let (identity, expires_at_ms) = (Rc::clone(&caller.identity), caller.expires_at_ms);
        self.key(&identity.app, room)?;
        let Self { context, connection, follower, caller: Some(caller), room: Some(key) } = self else {
            unreachable!("caller and room were set above");
        };
        caller.enter(&key.room)?;
        let start = start(fields, query, key.hash48())?;
        let timeout_ms = timeout_ms(query)?;
        let deadline_ms = match wants_events(fields) {
            // Every answer of a stream of events but the first is asked for by the stream itself.
            true => now_ms + super::events::TOKEN_CHECK_MS,
            false => context.worker.deadline_ms(timeout_ms, now_ms),
        };
        let ask = Ask {
            start,
            limit: limit(query)?,
            deadline_ms: deadline_ms.min(expires_at_ms),
            form: if wants_events(fields) { Form::JSON } else { form(fields) },
        };
        let mut place = context.front.access.take_poll_place(caller)?;
        // A client that has a cursor, on a connection that has not polled yet, was connected before.
        if !connection.has_polled.replace(true) && matches!(start, Start::At(_)) {
            context.reconnects.increment(1);
        }
        let follower = follower.get_or_insert_with(|| Follower::new(&context.worker));
        let started = follower.ask(key, &ask)?;
        // All who follow a room share one copy of its name.
        let shared = follower.room().filter(|shared| !std::ptr::eq(shared.room.as_str(), key.room.as_str()));
        if let Some(shared) = shared.cloned() {
            *key = shared;
        }
        let visitor = context.presence.visitor(&identity, connection.number);
        match &started {
            Started::Answer(_) => context.presence.seen(key, &visitor, follower),
            Started::Parked | Started::Later(_) => {
                place.set_present(context.presence.park(key, visitor, follower));
            }
        }
        Ok(Begun { ask, started, place })
    }

    /// The follower and the room of a poll that has begun.
    pub(crate) fn following(&mut self) -> Option<(&mut Follower, &RoomKey)> {
        Some((self.follower.as_mut()?, self.room.as_ref()?))
    }

    /// Waits for the answer of a poll that has begun. Cancel-safe.
    pub(crate) async fn finish_poll(&mut self, begun: Begun) -> Result<Finished, Problem> {
        let (follower, key) = self.following().expect("a poll that has begun has both");
        let (ask, started, place) = begun.into_parts();
        let finished = finish(follower, key, &ask, started).await;
        place.answered();
        finished
    }

    /// The room and the follower of a poll that has begun, for whoever goes on with it.
    pub(crate) fn take_following(&mut self) -> Option<(Follower, RoomKey, Option<Box<Caller>>)> {
        Some((self.follower.take()?, self.room.take()?, self.caller.take()))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.context.front.access.forget(self.caller.take());
    }
}

fn room_id(room: &str) -> Result<RoomId, Problem> {
    RoomId::new(room)
        .map_err(|rule| Problem::new(ErrorCode::InvalidRoom, format!("the room in the path: {rule}")))
}

/// Reads for a poll what the store has, until it is answered or parked.
pub(crate) async fn settle(
    follower: &mut Follower,
    key: &RoomKey,
    ask: &Ask,
    mut started: Started,
) -> Result<Started, Problem> {
    while let Started::Later(read) = started {
        started = match read.await? {
            Some(answer) => Started::Answer(answer),
            None => follower.ask_again(key, ask)?,
        };
    }
    Ok(started)
}

/// Waits for a poll's answer.
pub(crate) async fn finish(
    follower: &mut Follower,
    key: &RoomKey,
    ask: &Ask,
    mut started: Started,
) -> Result<Finished, Problem> {
    let mut was_parked = false;
    loop {
        started = match started {
            Started::Answer(answer) => return Ok(Finished { answer, was_parked }),
            Started::Parked => {
                was_parked = true;
                poll_fn(|task| follower.poll_answer(task)).await
            }
            // Boxed: it is rare, and a parked poll should not keep space for it.
            later @ Started::Later(_) => Box::pin(settle(follower, key, ask, later)).await?,
        };
    }
}

/// Where a poll begins, by `Last-Event-ID`, `cursor` and `tail`.
pub(crate) fn start(fields: &Fields<'_>, query: &Query<'_>, room: RoomHash) -> Result<Start, Problem> {
    let last_event = fields.get(Field::LastEventId).filter(|id| !id.is_empty() && wants_events(fields));
    let start = cursor(last_event.or(query.get(Key::Cursor)).unwrap_or("now"), room)?;
    match (start, query.get(Key::Tail)) {
        (start, None) => Ok(start),
        (Start::Now { .. }, Some(_)) => {
            Ok(Start::Now { tail: Some(query.number(Key::Tail, 0..=TAIL_MAX as u64, 0)? as usize) })
        }
        _ => Err(invalid(Key::Tail, "goes with cursor=now only")),
    }
}

/// Reads a cursor's text: `now`, `-1`, or one of an earlier answer.
pub(crate) fn cursor(text: &str, room: RoomHash) -> Result<Start, Problem> {
    match text {
        "now" => Ok(Start::Now { tail: None }),
        "-1" => Ok(Start::Oldest),
        text => Cursor::decode(text.as_bytes(), room)
            .map(Start::At)
            .map_err(|error| Problem::new(ErrorCode::InvalidCursor, error.to_string())),
    }
}

pub(crate) fn limit(query: &Query<'_>) -> Result<usize, Problem> {
    query.number(Key::Limit, 1..=POLL_LIMIT_MAX as u64, POLL_LIMIT_DEFAULT as u64).map(|limit| limit as usize)
}

pub(crate) fn timeout_ms(query: &Query<'_>) -> Result<u64, Problem> {
    query.number(Key::TimeoutMs, 0..=POLL_TIMEOUT_MAX_MS, POLL_TIMEOUT_DEFAULT_MS)
}

/// What the client reads: JSON unless it asks for protobuf; the best compression that it takes.
pub(crate) fn form(fields: &Fields<'_>) -> Form {
    let format = if accepts(fields, Field::Accept, "application/x-protobuf") {
        Format::Protobuf
    } else {
        Format::Json
    };
    let compression = if accepts(fields, Field::AcceptEncoding, "zstd") {
        Compression::Zstd
    } else if accepts(fields, Field::AcceptEncoding, "gzip") {
        Compression::Gzip
    } else {
        Compression::None
    };
    Form { format, compression }
}

/// Whether the client wants server-sent events.
pub(crate) fn wants_events(fields: &Fields<'_>) -> bool {
    accepts(fields, Field::Accept, "text/event-stream")
}

/// Whether a field names `wanted`, and not with a weight of zero.
fn accepts(fields: &Fields<'_>, field: Field, wanted: &str) -> bool {
    let Some(list) = fields.get(field) else { return false };
    list.split(',').any(|item| {
        let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
        let is_refused = parameters.split(';').any(|parameter| {
            parameter
                .trim()
                .strip_prefix("q=")
                .is_some_and(|weight| weight.parse::<f32>().is_ok_and(|q| q <= 0.0))
        });
        name.trim().eq_ignore_ascii_case(wanted) && !is_refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_is_negotiated() {
        let form_of = |accept: &'static str, encoding: &'static str| {
            let mut fields = Fields::default();
            fields.add("accept", accept.as_bytes()).unwrap();
            fields.add("accept-encoding", encoding.as_bytes()).unwrap();
            let form = form(&fields);
            (form.format, form.compression)
        };
        assert_eq!(form_of("*/*", "identity"), (Format::Json, Compression::None));
        assert_eq!(form_of("application/x-protobuf", "gzip, zstd"), (Format::Protobuf, Compression::Zstd));
        assert_eq!(
            form_of("text/html, Application/X-Protobuf;q=0.5", "br, GZIP;q=0.5"),
            (Format::Protobuf, Compression::Gzip)
        );
        assert_eq!(
            form_of("application/x-protobuf;q=0", "zstd;q=0,gzip;q=0.0"),
            (Format::Json, Compression::None)
        );
    }

    #[test]
    fn tail_goes_with_now_only() {
        let room = RoomKey::canary().hash48();
        let start =
            |query: &str| start(&Fields::default(), &Query::parse(query).unwrap(), room).map_err(|p| p.code);
        assert_eq!(start(""), Ok(Start::Now { tail: None }));
        assert_eq!(start("tail=0"), Ok(Start::Now { tail: Some(0) }));
        assert_eq!(start("cursor=-1"), Ok(Start::Oldest));
        assert_eq!(start("cursor=-1&tail=5"), Err(ErrorCode::InvalidParameter));
        assert_eq!(start("cursor=now&tail=1001"), Err(ErrorCode::InvalidParameter));
        assert_eq!(start("cursor="), Err(ErrorCode::InvalidCursor));
    }
}
