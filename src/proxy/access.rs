//! Who is asking: the token or the query of a request, checked once for each connection and then only compared.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use dashmap::DashMap;
use room::{AppId, DeviceId, ErrorCode, Identity, Problem, Role, RoomId, RoomPattern, UserId};

use super::{
    addresses::AddressPlace,
    fields::{Field, Fields, Key, Query, invalid},
    presence::Present,
};
use crate::auth::Verifier;

/// Who may do what, and how many polls each may park.
pub(crate) struct Access {
    /// `None` on a server without keys.
    verifier: Option<Arc<Verifier>>,
    /// The app of all callers on such a server.
    app: AppId,
    /// Polls parked, by app and user: for users with a connection.
    polls: DashMap<(AppId, UserId), Arc<AtomicU32>>,
    polls_per_user: u32,
}

/// A caller whom a connection has seen.
pub(crate) struct Caller {
    pub(crate) identity: Rc<Identity>,
    /// The texts that made it: as long as they come again, nothing is checked.
    said: Said,
    /// When the token expires (Unix milliseconds).
    pub(crate) expires_at_ms: u64,
    generation: u64,
    /// The caller's parked polls, if somebody is named.
    polls: Option<Arc<AtomicU32>>,
}

/// What a request said of its caller. What it named is in the identity, and need not be kept twice.
#[derive(Default)]
struct Said {
    token: Option<Box<str>>,
    names_user: bool,
    names_device: bool,
    names_role: bool,
}

impl Caller {
    /// Whether a request says of its caller what the one said that this caller was made from.
    fn is_same(&self, token: Option<&str>, query: &Query<'_>) -> bool {
        let Identity { user, device, role, .. } = &*self.identity;
        self.said.token.as_deref() == token
            && query.get(Key::User) == user.as_ref().filter(|_| self.said.names_user).map(UserId::as_str)
            && query.get(Key::Device)
                == device.as_ref().filter(|_| self.said.names_device).map(DeviceId::as_str)
            && query.get(Key::Role) == self.said.names_role.then(|| role.as_str())
    }
}

/// A poll that counts against the limits of its user and its address, and keeps its user online while it waits, for as long as it lives.
#[derive(Default)]
pub(crate) struct PollPlace {
    polls: Option<Arc<AtomicU32>>,
    present: Present,
    address: AddressPlace,
}

impl PollPlace {
    /// The poll counts against its address's limit, too.
    pub(crate) fn hold(&mut self, address: AddressPlace) {
        self.address = address;
    }

    /// The poll waits: dropped from now on, its client is gone.
    pub(crate) fn set_present(&mut self, present: Present) {
        self.present = present;
    }

    /// The poll was answered, and the next one goes on in its place.
    ///
    /// Gives back whether the client has left: then there should be no next one.
    pub(crate) fn rest(&mut self) -> bool {
        std::mem::take(&mut self.present).answered()
    }

    /// The poll was answered: gives the place back.
    pub(crate) fn answered(mut self) {
        self.rest();
    }
}

impl Drop for PollPlace {
    fn drop(&mut self) {
        if let Some(polls) = &self.polls {
            polls.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Access {
    pub(crate) fn new(verifier: Option<Arc<Verifier>>, polls_per_user: u32) -> Self {
        Self { verifier, app: AppId::default(), polls: DashMap::new(), polls_per_user }
    }

    /// Finds out who is asking; `seen` is whom this connection saw last, and who it sees now.
    ///
    /// # Errors
    /// `unauthorized` for a missing or bad token, `invalid_parameter` for callers that contradict each other,
    /// `invalid_id` for ids that break their rule.
    pub(crate) fn identify<'s>(
        &self,
        seen: &'s mut Option<Box<Caller>>,
        fields: &Fields<'_>,
        query: &Query<'_>,
        now_ms: u64,
    ) -> Result<&'s Caller, Problem> {
        let token = match (token(fields, query), &self.verifier) {
            (token, Some(_)) => token?,
            (Err(problem), None) if problem.code == ErrorCode::InvalidParameter => return Err(problem),
            // Without keys nothing can be said of a token, so none is asked for.
            (_, None) => None,
        };
        let is_known = seen
            .as_ref()
            .is_some_and(|caller| caller.is_same(token, query) && self.is_current(caller, now_ms));
        if !is_known {
            let caller = self.check(token, query, now_ms)?;
            self.forget(seen.replace(Box::new(caller)));
        }
        Ok(seen.as_ref().expect("set above"))
    }

    fn check(&self, token: Option<&str>, query: &Query<'_>, now_ms: u64) -> Result<Caller, Problem> {
        let (identity, expires_at_ms, generation) = match &self.verifier {
            None => (self.anybody(query)?, u64::MAX, 0),
            Some(verifier) => {
                let token = token.ok_or_else(|| {
                    Problem::new(
                        ErrorCode::Unauthorized,
                        "a token is needed: send it as Authorization: Bearer, as ?token= or as the cookie bigroom_token",
                    )
                })?;
                let verified = verifier.verify(token, now_ms / 1_000)?;
                let identity = agreed(verified.identity, query)?;
                (identity, verified.expires_at_s.saturating_mul(1_000), verified.generation)
            }
        };
        let polls = identity
            .user
            .clone()
            .map(|user| Arc::clone(&self.polls.entry((identity.app.clone(), user)).or_default()));
        let said = Said {
            token: token.map(Box::from),
            names_user: query.get(Key::User).is_some(),
            names_device: query.get(Key::Device).is_some(),
            names_role: query.get(Key::Role).is_some(),
        };
        Ok(Caller { identity: Rc::new(identity), said, expires_at_ms, generation, polls })
    }

    /// The caller of a server without keys: whoever the query names, with all rights.
    fn anybody(&self, query: &Query<'_>) -> Result<Identity, Problem> {
        let role = match query.get(Key::Role) {
            Some(role) => role.parse::<Role>().map_err(|e| invalid(Key::Role, &e.to_string()))?,
            None => Role::Speaker,
        };
        // `?role=` names a lesser role to try what its bearer could do.
        let rights = if query.get(Key::Role).is_some() { role } else { Role::Ops };
        Ok(Identity {
            app: self.app.clone(),
            user: user(query)?,
            device: device(query)?,
            role,
            rights,
            rooms: vec![RoomPattern::new("*")],
        })
    }

    /// Whether what a caller was told by its token still holds.
    pub(crate) fn is_current(&self, caller: &Caller, now_ms: u64) -> bool {
        caller.expires_at_ms > now_ms
            && self.verifier.as_ref().is_none_or(|verifier| verifier.generation() == caller.generation)
    }

    /// Lets go of a caller whom a connection no longer sees.
    pub(crate) fn forget(&self, caller: Option<Box<Caller>>) {
        let Some(caller) = caller else { return };
        let (Some(polls), Some(user)) = (caller.polls, caller.identity.user.clone()) else { return };
        drop(polls);
        // The map's own is the last one: no other connection of this user is left.
        self.polls.remove_if(&(caller.identity.app.clone(), user), |_, polls| Arc::strong_count(polls) == 1);
    }

    /// Takes one of the caller's places for parked polls.
    ///
    /// # Errors
    /// `rate_limited` if all are taken.
    pub(crate) fn take_poll_place(&self, caller: &Caller) -> Result<PollPlace, Problem> {
        let Some(polls) = caller.polls.as_ref().filter(|_| self.polls_per_user > 0) else {
            return Ok(PollPlace::default());
        };
        let mut place = PollPlace::default();
        place.polls = Some(Arc::clone(polls));
        if polls.fetch_add(1, Ordering::Relaxed) < self.polls_per_user {
            return Ok(place);
        }
        let most = self.polls_per_user;
        let detail = format!(
            "a user may have {most} polls at a time: end one first, or follow several rooms by /v1/poll"
        );
        Err(Problem::rate_limited("user", Duration::from_secs(1), detail))
    }
}

impl Caller {
    /// Checks that the caller may enter a room.
    ///
    /// # Errors
    /// `forbidden` if the token is for other rooms.
    pub(crate) fn enter(&self, room: &RoomId) -> Result<(), Problem> {
        if self.identity.may_enter(room) {
            return Ok(());
        }
        Err(Problem::new(
            ErrorCode::Forbidden,
            "the token is not for this room: get one whose rooms include it",
        ))
    }
}

/// The token of a request, wherever it is.
pub(crate) fn token<'a>(fields: &'a Fields<'_>, query: &'a Query<'_>) -> Result<Option<&'a str>, Problem> {
    let header = match fields.get(Field::Authorization) {
        None => None,
        Some(value) => match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Some(token.trim_matches(' ')),
            _ => {
                return Err(Problem::new(
                    ErrorCode::Unauthorized,
                    "the field authorization is Bearer and a token",
                ));
            }
        },
    };
    let cookies = fields.get(Field::Cookie).into_iter().flat_map(|cookies| {
        cookies.split(';').filter_map(|cookie| cookie.trim().strip_prefix("bigroom_token="))
    });
    let mut found = None;
    for token in [header, query.get(Key::Token)].into_iter().flatten().chain(cookies) {
        if found.is_some_and(|other| other != token) {
            return Err(Problem::new(
                ErrorCode::InvalidParameter,
                "the request has two different tokens: send one",
            ));
        }
        found = Some(token);
    }
    Ok(found)
}

/// The token's caller, if the query does not name somebody else.
fn agreed(identity: Identity, query: &Query<'_>) -> Result<Identity, Problem> {
    if let Some(user) = user(query)?
        && identity.user.as_ref() != Some(&user)
    {
        return Err(invalid(Key::User, "is not the token's user: leave it out"));
    }
    let device = device(query)?;
    if device.is_some() && identity.device.is_some() && device != identity.device {
        return Err(invalid(Key::Device, "is not the token's device: leave it out"));
    }
    if query.get(Key::Role).is_some_and(|role| role != identity.role.as_str()) {
        return Err(invalid(Key::Role, "is not the token's role: leave it out"));
    }
    Ok(Identity { device: identity.device.clone().or(device), ..identity })
}

fn user(query: &Query<'_>) -> Result<Option<UserId>, Problem> {
    query.get(Key::User).map(UserId::new).transpose().map_err(|rule| bad_id(Key::User, &rule))
}

fn device(query: &Query<'_>) -> Result<Option<DeviceId>, Problem> {
    query.get(Key::Device).map(DeviceId::new).transpose().map_err(|rule| bad_id(Key::Device, &rule))
}

fn bad_id(key: Key, rule: &room::IdError) -> Problem {
    Problem::new(ErrorCode::InvalidId, format!("{}: {rule}", key.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identify(
        access: &Access,
        seen: &mut Option<Box<Caller>>,
        query: &str,
    ) -> Result<Rc<Identity>, ErrorCode> {
        let query = Query::parse(query).unwrap();
        access
            .identify(seen, &Fields::default(), &query, 1_000)
            .map(|c| Rc::clone(&c.identity))
            .map_err(|p| p.code)
    }

    #[test]
    fn without_keys_the_query_names_the_caller() {
        let access = Access::new(None, 20);
        let mut seen = None;
        let caller = identify(&access, &mut seen, "").unwrap();
        assert_eq!(
            (caller.sender_id().as_str(), caller.role, caller.rights),
            ("anonymous", Role::Speaker, Role::Ops)
        );
        let caller = identify(&access, &mut seen, "user=u1&device=d1&role=viewer").unwrap();
        assert_eq!(
            (caller.sender_id().as_str(), caller.role, caller.rights),
            ("u1", Role::Viewer, Role::Viewer)
        );
        assert_eq!(identify(&access, &mut seen, "user=_x"), Err(ErrorCode::InvalidId));
        assert_eq!(identify(&access, &mut seen, "role=king"), Err(ErrorCode::InvalidParameter));
    }

    #[test]
    fn polls_of_a_user_are_counted_while_they_last() {
        let access = Access::new(None, 1);
        let mut seen = None;
        identify(&access, &mut seen, "user=u1").unwrap();
        let place = access.take_poll_place(seen.as_ref().unwrap()).unwrap();
        let refusal = access.take_poll_place(seen.as_ref().unwrap()).err().unwrap();
        assert_eq!((refusal.code, refusal.scope), (ErrorCode::RateLimited, Some("user")));
        drop(place);
        assert!(access.take_poll_place(seen.as_ref().unwrap()).is_ok());
        access.forget(seen.take());
        assert!(access.polls.is_empty());
    }

    #[test]
    fn two_different_tokens_are_refused() {
        let mut fields = Fields::default();
        fields.add("authorization", b"Bearer a").unwrap();
        assert_eq!(token(&fields, &Query::parse("token=a").unwrap()), Ok(Some("a")));
        assert_eq!(
            token(&fields, &Query::parse("token=b").unwrap()).unwrap_err().code,
            ErrorCode::InvalidParameter
        );
        fields.add("cookie", b"x=1; bigroom_token=c").unwrap();
        assert_eq!(token(&fields, &Query::default()).unwrap_err().code, ErrorCode::InvalidParameter);
    }
}
