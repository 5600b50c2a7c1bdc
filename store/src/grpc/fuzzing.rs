//! Fuzz target of what the nodes of a log say to each other.

use prost::Message as _;
use proto::{
    internal::{self as wire, follow_event::Event},
    log::{messages, view, view_parts},
};
use room::{Bounds, Notice, RoomKey};

/// Notices, pages and the events of a stream of notices. The first byte says which.
///
/// # Panics
/// If something that was understood is not understood the same once more, or is not what it must be.
pub fn log_wire(data: &[u8]) {
    let Some((which, data)) = data.split_first() else { return };
    match which % 3 {
        0 => notice(data),
        1 => page(data),
        _ => {
            let Ok(events) = wire::FollowEvents::decode(data) else { return };
            for event in events.events.into_iter().filter_map(|event| event.event) {
                match event {
                    Event::Notice(bytes) => notice(&bytes),
                    Event::Followed(followed) => {
                        if let Some(Ok((settings, bounds))) = followed.view.map(view_parts) {
                            let again = view_parts(view(&settings, &bounds));
                            assert_eq!(again, Ok((settings, bounds)));
                        }
                        if let Some(Ok(room)) = followed.room.map(RoomKey::try_from) {
                            assert_eq!(RoomKey::try_from(wire::RoomKey::from(&room)), Ok(room));
                        }
                    }
                    Event::Hello(_) | Event::Tick(_) => {}
                }
            }
        }
    }
}

fn notice(data: &[u8]) {
    let Ok(read) = wire::LogNotice::decode(data) else { return };
    let Ok(notice) = Notice::try_from(read) else { return };
    if let room::Change::Appended { prev, messages, .. } = &notice.change {
        let seqs = std::iter::once(prev.0).chain(messages.iter().map(|message| message.seq.0));
        assert!(seqs.clone().zip(seqs.skip(1)).all(|(one, next)| one.checked_add(1) == Some(next)));
    }
    let told = wire::LogNotice::from(&notice);
    let heard = wire::LogNotice::decode(told.encode_to_vec().as_slice()).expect("our own");
    assert_eq!(wire::LogNotice::from(&Notice::try_from(heard).expect("our own")), told);
}

fn page(data: &[u8]) {
    let Ok(page) = wire::LogPage::decode(data) else { return };
    if let Some(bounds) = page.bounds.map(Bounds::from) {
        assert_eq!(Bounds::from(wire::Bounds::from(bounds)), bounds);
    }
    let Ok(read) = messages(page.messages) else { return };
    assert!(read.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    let told: Vec<_> = read.iter().map(|message| (&**message).into()).collect();
    assert_eq!(messages(told), Ok(read));
}

#[cfg(test)]
mod tests {
    use super::log_wire;
    use crate::replay::replay;

    #[test]
    fn corpora_are_read_without_a_finding() {
        replay("log_wire", log_wire);
    }
}
