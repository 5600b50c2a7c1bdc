//! The JSON of messages and answers, written by hand: one pass, no intermediate tree.

use std::io::Write as _;

use room::{Content, CursorText, List, Message, PerList};

use super::{Messages, Parts};
use crate::slice::Gap;

/// A message as JSON.
pub(crate) fn message(message: &Message) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.size_hint());
    write_message(&mut out, message);
    out
}

/// Appends a message as JSON. Ids and types need no escaping: their rules leave nothing to escape.
pub(crate) fn write_message(out: &mut Vec<u8>, message: &Message) {
    out.extend_from_slice(b"{\"seq\":");
    number(out, message.seq.0);
    out.extend_from_slice(b",\"id\":\"");
    out.extend_from_slice(message.id.as_str().as_bytes());
    out.extend_from_slice(b"\",\"type\":\"");
    out.extend_from_slice(message.kind().as_bytes());
    out.push(b'"');
    match &message.content {
        Content::Post(post) => {
            out.extend_from_slice(b",\"sender\":{\"id\":\"");
            out.extend_from_slice(post.sender.id.as_str().as_bytes());
            out.extend_from_slice(b"\",\"role\":\"");
            out.extend_from_slice(post.sender.role.as_str().as_bytes());
            out.extend_from_slice(b"\"}");
            if let Some(text) = &post.text {
                out.extend_from_slice(b",\"text\":");
                serde_json::to_writer(&mut *out, text)
                    .expect("a string is JSON, and memory takes all writes");
            }
            if let Some(data) = &post.data {
                out.extend_from_slice(b",\"data\":");
                out.extend_from_slice(data.as_bytes());
            }
        }
        Content::Redact { list, seq, id } => {
            write!(out, ",\"data\":{{\"list\":\"{}\",\"seq\":{seq},\"id\":\"{id}\"}}", list.as_str())
                .expect("memory takes all writes");
        }
        Content::Retracted { .. } => {}
    }
    out.extend_from_slice(b",\"sent_at_ms\":");
    number(out, message.sent_at_ms);
    out.push(b'}');
}

/// An answer as JSON.
pub(super) fn answer(parts: &Parts<'_>, cursor: &CursorText) -> Vec<u8> {
    let mut out =
        Vec::with_capacity(256 + 320 * (parts.messages.priority.len() + parts.messages.normal.len()));
    write!(out, "{{\"epoch\":\"{}\"", parts.epoch).expect("memory takes all writes");
    out.extend_from_slice(b",\"priority\":");
    write_messages(&mut out, parts.messages.priority);
    out.extend_from_slice(b",\"messages\":");
    write_messages(&mut out, parts.messages.normal);
    out.extend_from_slice(b",\"next_cursor\":\"");
    out.extend_from_slice(cursor);
    out.extend_from_slice(if parts.up_to_date {
        b"\",\"up_to_date\":true"
    } else {
        b"\",\"up_to_date\":false"
    });
    if let Some(gap) = &parts.gap {
        write_gap(&mut out, gap);
    }
    out.extend_from_slice(b",\"poll_after_ms\":");
    number(&mut out, parts.poll_after_ms);
    if let Some(online) = &parts.online {
        out.extend_from_slice(b",\"stats\":{\"num_users\":");
        number(&mut out, online.num_users);
        out.extend_from_slice(b",\"num_clients\":");
        number(&mut out, online.num_clients);
        out.extend_from_slice(b",\"as_of_ms\":");
        number(&mut out, online.as_of_ms);
        out.push(b'}');
    }
    out.extend_from_slice(b",\"room\":{\"state\":\"");
    out.extend_from_slice(parts.settings.state_shown().as_bytes());
    out.extend_from_slice(b"\",\"cooldown_ms\":");
    number(&mut out, parts.settings.cooldown.as_millis() as u64);
    out.extend_from_slice(b",\"degraded\":[");
    for (at, word) in parts.degraded.iter().enumerate() {
        out.extend_from_slice(if at > 0 { b",\"" } else { b"\"" });
        out.extend_from_slice(word.as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b"]}}");
    out
}

fn write_gap(out: &mut Vec<u8>, gap: &Gap) {
    let PerList { priority, normal } = gap.missing;
    write!(out, ",\"gap\":{{\"normal\":{normal},\"priority\":{priority}").expect("memory takes all writes");
    write!(out, ",\"first_seq\":{}", gap.first[List::Normal]).expect("memory takes all writes");
    if priority > 0 {
        write!(out, ",\"first_priority_seq\":{}", gap.first[List::Priority])
            .expect("memory takes all writes");
    }
    write!(out, ",\"reason\":\"{}\"}}", gap.reason.as_str()).expect("memory takes all writes");
}

fn write_messages(out: &mut Vec<u8>, messages: Messages<'_>) {
    out.push(b'[');
    for at in 0..messages.len() {
        if at > 0 {
            out.push(b',');
        }
        match messages {
            Messages::Cached(cached) => out.extend_from_slice(cached[at].json()),
            Messages::Stored(stored) => write_message(out, &stored[at]),
        }
    }
    out.push(b']');
}

fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}
