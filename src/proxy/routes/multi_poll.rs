//! Following several rooms by one request.

use std::{collections::HashMap, future::poll_fn, rc::Rc, task::Poll};

use prost::Message as _;
use proto::v1;
use recvsvr::{Answer, Ask, Compression, Follower, Form, Format, Started, now_ms};
use room::{ErrorCode, MULTI_POLL_ROOMS_MAX, Problem, RoomId, RoomKey};
use statsvr::Visitor;

use crate::proxy::{
    fields::{Key, invalid},
    presence::Present,
    request::Request,
    response::Response,
    session::{Session, cursor, finish, form, limit, settle, timeout_ms},
};

/// One room of the request.
struct Leg {
    name: String,
    state: LegState,
}

enum LegState {
    Refused(Problem),
    Parked(Box<Parked>),
    Answered(Answer),
}

struct Parked {
    follower: Follower,
    key: RoomKey,
    ask: Ask,
    present: Present,
}

/// `GET /v1/poll`: answered when one of the rooms has something to say, with all of them.
pub(super) async fn multi_poll(session: &mut Session, request: &Request) -> Result<Response, Problem> {
    let query = request.query()?;
    let identity = Rc::clone(&session.identify(&request.fields, &query)?.identity);
    let caller = session.caller.as_ref().expect("identified above");
    let form = form(&request.fields);
    let ask = (
        limit(&query)?,
        session.context.worker.deadline_ms(timeout_ms(&query)?, now_ms()).min(caller.expires_at_ms),
    );
    let wanted = split(query.get(Key::Rooms).unwrap_or(""))?;
    let visitor = session.context.presence.visitor(&identity, session.connection.number);
    let _place = session.context.front.access.take_poll_place(caller)?;

    let mut legs = Vec::with_capacity(wanted.len());
    for (name, cursor_text) in wanted {
        let begun = async {
            let room =
                RoomId::new(name).map_err(|rule| Problem::new(ErrorCode::InvalidRoom, rule.to_string()))?;
            caller.enter(&room)?;
            let key = RoomKey::new(identity.app.clone(), room);
            let start = cursor(cursor_text, key.hash48())?;
            let form = Form { format: form.format, compression: Compression::None };
            let ask = Ask { start, limit: ask.0, deadline_ms: ask.1, form };
            begin(session, key, ask, &visitor).await
        };
        let state = begun.await.unwrap_or_else(LegState::Refused);
        legs.push(Leg { name: name.to_owned(), state });
    }
    if legs.iter().all(|leg| matches!(leg.state, LegState::Parked(_))) {
        wait_for_one(&mut legs).await;
    }
    for leg in &mut legs {
        leg.end().await;
        if let LegState::Refused(problem) = &leg.state {
            metrics::counter!(crate::metrics::REFUSED, "code" => problem.code.as_str()).increment(1);
        }
    }
    let body = match form.format {
        Format::Json => json(&legs),
        Format::Protobuf => protobuf(&legs)?,
    };
    let (body, compression) = session.context.front.compress(body, form);
    Ok(Response {
        content_type: Some(form.format.content_type()),
        content_encoding: compression.content_encoding(),
        ..Response::json(200, body)
    })
}

/// Splits `a:CURSOR,b:CURSOR` at the last colon of each: ids may have colons, cursors have none.
pub(super) fn split(text: &str) -> Result<Vec<(&str, &str)>, Problem> {
    let rule = "is room:cursor, separated by commas, 1 to 20 rooms";
    let rooms: Vec<_> = text
        .split(',')
        .map(|pair| pair.rsplit_once(':').ok_or_else(|| invalid(Key::Rooms, rule)))
        .collect::<Result<_, _>>()?;
    if rooms.len() > MULTI_POLL_ROOMS_MAX {
        return Err(invalid(Key::Rooms, rule));
    }
    for (at, (name, _)) in rooms.iter().enumerate() {
        if rooms[..at].iter().any(|(earlier, _)| earlier == name) {
            return Err(invalid(Key::Rooms, "names a room twice: name it once"));
        }
    }
    Ok(rooms)
}

async fn begin(session: &Session, key: RoomKey, ask: Ask, visitor: &Visitor) -> Result<LegState, Problem> {
    let presence = &session.context.presence;
    let mut follower = Follower::new(&session.context.worker);
    let started = follower.ask(&key, &ask)?;
    if let Started::Answer(answer) = started {
        presence.seen(&key, visitor, &follower);
        follower.delivered(&answer, false);
        return Ok(LegState::Answered(answer));
    }
    // From here on, before the store is read: a leave meanwhile is later than this poll.
    let present = presence.park(&key, visitor.clone(), &follower);
    match settle(&mut follower, &key, &ask, started).await {
        Ok(Started::Answer(answer)) => {
            present.answered();
            follower.delivered(&answer, false);
            Ok(LegState::Answered(answer))
        }
        Ok(Started::Parked | Started::Later(_)) => {
            Ok(LegState::Parked(Box::new(Parked { follower, key, ask, present })))
        }
        Err(problem) => {
            present.answered();
            Err(problem)
        }
    }
}

/// Waits until one of the parked polls has its answer.
async fn wait_for_one(legs: &mut [Leg]) {
    let (at, started) = poll_fn(|task| {
        for (at, leg) in legs.iter_mut().enumerate() {
            if let LegState::Parked(parked) = &mut leg.state
                && let Poll::Ready(started) = parked.follower.poll_answer(task)
            {
                return Poll::Ready((at, started));
            }
        }
        Poll::Pending
    })
    .await;
    if let LegState::Parked(parked) = &mut legs[at].state {
        let Parked { follower, key, ask, present } = &mut **parked;
        std::mem::take(present).answered();
        legs[at].state = match finish(follower, key, ask, started).await {
            Ok(finished) => {
                follower.delivered(&finished.answer, true);
                LegState::Answered(finished.answer)
            }
            Err(problem) => LegState::Refused(problem),
        };
    }
}

impl Leg {
    /// Answers a poll that still waits with what there is.
    async fn end(&mut self) {
        let LegState::Parked(parked) = &mut self.state else { return };
        let Parked { follower, key, ask, present } = &mut **parked;
        std::mem::take(present).answered();
        let ask = Ask { deadline_ms: 0, ..*ask };
        let ended = match follower.ask_again(key, &ask) {
            Ok(started) => finish(follower, key, &ask, started).await,
            Err(problem) => Err(problem),
        };
        self.state = match ended {
            Ok(finished) => {
                follower.delivered(&finished.answer, true);
                LegState::Answered(finished.answer)
            }
            Err(problem) => LegState::Refused(problem),
        };
    }
}

fn json(legs: &[Leg]) -> Vec<u8> {
    let mut out = b"{\"rooms\":{".to_vec();
    for (at, Leg { name, state }) in legs.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut out, name).expect("a string is JSON, and memory takes all writes");
        out.push(b':');
        match state {
            LegState::Answered(answer) => out.extend_from_slice(&answer.body),
            LegState::Refused(problem) => out.extend_from_slice(problem.to_json().to_string().as_bytes()),
            LegState::Parked(_) => unreachable!("every leg was ended"),
        }
    }
    out.extend_from_slice(b"}}");
    out
}

fn protobuf(legs: &[Leg]) -> Result<Vec<u8>, Problem> {
    let mut rooms = HashMap::new();
    for Leg { name, state } in legs {
        let result = match state {
            LegState::Answered(answer) => {
                v1::PollAnswer::decode(answer.body.clone()).map(v1::room_result::Result::Answer).map_err(
                    |_| Problem::new(ErrorCode::Internal, "an answer could not be put together: try again"),
                )?
            }
            LegState::Refused(problem) => v1::room_result::Result::Problem(problem.into()),
            LegState::Parked(_) => unreachable!("every leg was ended"),
        };
        rooms.insert(name.clone(), v1::RoomResult { result: Some(result) });
    }
    Ok(v1::PollAnswers { rooms }.encode_to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_split_at_the_last_colon() {
        assert_eq!(split("a:now,b:c:-1"), Ok(vec![("a", "now"), ("b:c", "-1")]));
        for text in ["", "a", "a:now,", "a:now,a:-1", &vec!["a:now"; 21].join(",")] {
            assert_eq!(split(text).map_err(|p| p.code), Err(ErrorCode::InvalidParameter), "{text}");
        }
    }
}
