use room::{Role, RoomState, UserId};

use super::*;

fn caller(user: &str, role: Role) -> Caller {
    let id = UserId::internal(user);
    Caller { sender: id.clone(), role, rights: role, counted_as: CountedAs::User(id) }
}

fn gate(settings: RoomSettings, limits: &SendLimits, clock: &Clock) -> Arc<Gate> {
    Arc::new(Gate::new(Arc::new(settings), limits, clock))
}

/// Sends until refused; gives back how many were taken, and the refusal.
fn flood(gate: &Arc<Gate>, caller: &Caller, list: List, clock: &Clock) -> (usize, Problem) {
    for count in 0..1_000 {
        match gate.admit(caller, list, clock) {
            Ok(permit) => permit.keep(),
            Err(problem) => return (count, problem),
        }
    }
    panic!("no limit");
}

#[test]
fn each_limit_has_its_scope() {
    let (clock, _hand) = Clock::manual();
    let limits =
        SendLimits { room_rate: 15, user_rate: 5, user_burst: 10, priority_rate: 3, ..Default::default() };
    let gate = gate(RoomSettings::default(), &limits, &clock);
    let (a, b, c) = (caller("a", Role::Speaker), caller("b", Role::Speaker), caller("c", Role::Broadcaster));
    let (count, problem) = flood(&gate, &a, List::Normal, &clock);
    assert_eq!((count, problem.code, problem.scope), (10, ErrorCode::RateLimited, Some("user")));
    assert_eq!(problem.retry_after, Some(Duration::from_millis(200)));
    let (count, problem) = flood(&gate, &b, List::Normal, &clock);
    assert_eq!((count, problem.scope), (5, Some("room")));
    let (count, problem) = flood(&gate, &c, List::Priority, &clock);
    assert_eq!((count, problem.scope), (3, Some("priority")));
    assert!(problem.retry_after_s().is_some());
}

#[test]
fn refused_send_takes_nothing() {
    let (clock, hand) = Clock::manual();
    let limits = SendLimits { room_rate: 1, user_rate: 1, user_burst: 2, ..Default::default() };
    let settings = RoomSettings { cooldown: Duration::from_millis(10), ..Default::default() };
    let gate = gate(settings, &limits, &clock);
    let a = caller("a", Role::Speaker);
    gate.admit(&a, List::Normal, &clock).unwrap().keep();
    hand.advance(Duration::from_millis(10));
    for _ in 0..20 {
        // Past slow mode and with a message to spare, but the room is full.
        assert_eq!(gate.admit(&a, List::Normal, &clock).unwrap_err().scope, Some("room"));
    }
    hand.advance(Duration::from_millis(990));
    drop(gate.admit(&a, List::Normal, &clock).unwrap());
    gate.admit(&a, List::Normal, &clock).unwrap().keep();
}

#[test]
fn slow_mode_counts_from_the_last_accepted() {
    let (clock, hand) = Clock::manual();
    let settings = RoomSettings { cooldown: Duration::from_secs(10), ..Default::default() };
    let gate = gate(settings, &SendLimits::default(), &clock);
    let a = caller("a", Role::Speaker);
    gate.admit(&a, List::Normal, &clock).unwrap().keep();
    hand.advance(Duration::from_millis(4_000));
    let problem = gate.admit(&a, List::Normal, &clock).unwrap_err();
    assert_eq!(
        (problem.code, problem.cooldown_ms, problem.retry_after_s()),
        (ErrorCode::SlowMode, Some(6_000), Some(6))
    );
    assert!(gate.admit(&caller("b", Role::Speaker), List::Normal, &clock).is_ok());
    hand.advance(Duration::from_millis(6_000));
    let pending = gate.admit(&a, List::Normal, &clock).unwrap();
    assert_eq!(gate.admit(&a, List::Normal, &clock).unwrap_err().code, ErrorCode::SlowMode);
    drop(pending);
    gate.admit(&a, List::Normal, &clock).unwrap().keep();
}

#[test]
fn broadcasters_are_exempt_from_mute_and_slow_mode() {
    let (clock, _hand) = Clock::manual();
    let settings = RoomSettings { muted: true, cooldown: Duration::from_secs(10), ..Default::default() };
    let gate = gate(settings, &SendLimits::default(), &clock);
    for (role, expect) in [
        (Role::Speaker, Some(ErrorCode::Muted)),
        (Role::Broadcaster, None),
        (Role::Moderator, None),
        (Role::Ops, None),
    ] {
        let a = caller("a", role);
        assert_eq!(gate.admit(&a, List::Normal, &clock).map(Permit::keep).err().map(|p| p.code), expect);
    }
}

#[test]
fn rights_do_not_exempt_but_the_role_does() {
    let (clock, _hand) = Clock::manual();
    let gate = gate(RoomSettings { muted: true, ..Default::default() }, &SendLimits::default(), &clock);
    let a = Caller { rights: Role::Ops, ..caller("a", Role::Speaker) };
    assert_eq!(gate.admit(&a, List::Priority, &clock).unwrap_err().code, ErrorCode::Muted);
}

#[test]
fn closed_room_refuses_everybody() {
    let (clock, _hand) = Clock::manual();
    let settings = RoomSettings { state: RoomState::Closed, muted: true, ..Default::default() };
    let gate = gate(settings, &SendLimits::default(), &clock);
    for role in Role::ALL {
        let problem = gate.admit(&caller("a", role), List::Normal, &clock).unwrap_err();
        assert_eq!(problem.code, ErrorCode::RoomClosed);
    }
}

#[test]
fn zero_is_no_limit() {
    let (clock, _hand) = Clock::manual();
    let limits =
        SendLimits { room_rate: 0, user_rate: 0, priority_rate: 0, user_burst: 0, ..Default::default() };
    let gate = gate(RoomSettings::default(), &limits, &clock);
    for list in List::ALL {
        for _ in 0..2_000 {
            gate.admit(&caller("a", Role::Broadcaster), list, &clock).unwrap().keep();
        }
    }
    assert!(gate.is_idle(&clock));
}

#[test]
fn changed_settings_keep_the_other_limits() {
    let (clock, _hand) = Clock::manual();
    let limits = SendLimits { user_burst: 2, ..Default::default() };
    let first = gate(RoomSettings::default(), &limits, &clock);
    let a = caller("a", Role::Speaker);
    assert_eq!(flood(&first, &a, List::Normal, &clock).0, 2);
    let settings = RoomSettings { room_rate: Some(1), ..Default::default() };
    let second = Arc::new(first.with_settings(Arc::new(settings), &limits, &clock));
    assert_eq!(flood(&second, &a, List::Normal, &clock), flood(&first, &a, List::Normal, &clock));
    let b = caller("b", Role::Speaker);
    assert_eq!(flood(&second, &b, List::Normal, &clock).1.scope, Some("room"));
}

#[test]
fn connections_are_counted_apart() {
    let (clock, _hand) = Clock::manual();
    let gate = gate(RoomSettings::default(), &SendLimits::default(), &clock);
    for connection in 0..3 {
        let anonymous =
            Caller { counted_as: CountedAs::Connection(connection), ..caller("anonymous", Role::Speaker) };
        assert_eq!(flood(&gate, &anonymous, List::Normal, &clock).0, 10);
    }
}
