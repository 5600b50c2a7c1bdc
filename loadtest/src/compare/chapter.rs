//! What can be measured.

use clap::ValueEnum;

/// A group of scenarios.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub(crate) enum Chapter {
    /// Parked polls of one room: processor time a delivery, memory a poll
    Parked,
    /// Polls that need not wait
    Backlog,
    /// New connections
    Connections,
    /// Clients that pause between polls, many messages
    Storm,
    /// The same, held back by the server instead
    Hold,
    /// Durable sends
    Sends,
    /// How costs grow with viewers, rooms, message rate, message size and senders; only when named
    Growth,
    /// Memory of a room, a parked poll, a TLS connection, an HTTP/2 stream; only when named
    Memory,
    /// Parked polls, waiting data and new connections over TLS; only when named
    Tls,
    /// Message ages at half of what a core can do, and whether they stay; only when named
    Latency,
    /// goim's published profile: 40 messages a second to one crowd; only when named
    Goim,
    /// What 10,000 questions a second for a room's numbers do to polls; only when named
    Queries,
}

impl Chapter {
    /// Whether it belongs to a comparison for which no chapters are named.
    pub(crate) const fn is_played_unnamed(self) -> bool {
        match self {
            Self::Parked | Self::Backlog | Self::Connections | Self::Storm | Self::Hold | Self::Sends => true,
            Self::Growth | Self::Memory | Self::Tls | Self::Latency | Self::Goim | Self::Queries => false,
        }
    }
}
