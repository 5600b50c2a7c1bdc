//! What is measured, by name and unit.

/// A figure of the report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Figure {
    /// Server processor time a message delivered to a viewer.
    CpuPerDelivery,
    /// Server processor time a new connection with its first poll.
    CpuPerConnection,
    /// Server processor time a durable send.
    CpuPerSend,
    /// The client's own, a delivery: to be well below the server's.
    ClientCpuPerDelivery,
    /// The client's own, a send.
    ClientCpuPerSend,
    /// Growth of the server's memory a parked poll.
    MemoryPerPoll,
    /// From sending a message until the last viewer has it.
    LastViewer,
    /// Polls answered a second of server processor time.
    AnswersPerCpuSecond,
    /// Messages in an answer.
    MessagesPerAnswer,
    /// Age of normal messages when they are received.
    NormalAgeP50,
    /// The same, of the oldest hundredth.
    NormalAgeP99,
    /// Age of priority messages when they are received.
    PriorityAgeP50,
    /// The same, of the oldest hundredth.
    PriorityAgeP99,
    /// Messages that went out more than 5 ms late.
    LateSends,
    /// Durable sends a second.
    SendsPerSecond,
    /// From a send to its acknowledgement.
    SendP50,
    /// The same, of the slowest hundredth.
    SendP99,
}

impl Figure {
    /// Name in the JSON.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::CpuPerDelivery => "cpu_us_per_delivery",
            Self::CpuPerConnection => "cpu_us_per_connection",
            Self::CpuPerSend => "cpu_us_per_send",
            Self::ClientCpuPerDelivery => "client_cpu_us_per_delivery",
            Self::ClientCpuPerSend => "client_cpu_us_per_send",
            Self::MemoryPerPoll => "memory_bytes_per_poll",
            Self::LastViewer => "last_viewer_ms",
            Self::AnswersPerCpuSecond => "answers_per_cpu_s",
            Self::MessagesPerAnswer => "messages_per_answer",
            Self::NormalAgeP50 => "normal_age_p50_ms",
            Self::NormalAgeP99 => "normal_age_p99_ms",
            Self::PriorityAgeP50 => "priority_age_p50_ms",
            Self::PriorityAgeP99 => "priority_age_p99_ms",
            Self::LateSends => "late_sends",
            Self::SendsPerSecond => "sends_per_s",
            Self::SendP50 => "send_p50_ms",
            Self::SendP99 => "send_p99_ms",
        }
    }

    /// Name in tables.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::CpuPerDelivery => "server CPU a message delivered",
            Self::CpuPerConnection => "server CPU a connection",
            Self::CpuPerSend => "server CPU a send",
            Self::ClientCpuPerDelivery => "client CPU a message delivered",
            Self::ClientCpuPerSend => "client CPU a send",
            Self::MemoryPerPoll => "memory a parked poll",
            Self::LastViewer => "sent until the last viewer has it, median",
            Self::AnswersPerCpuSecond => "polls answered a CPU-second",
            Self::MessagesPerAnswer => "messages an answer",
            Self::NormalAgeP50 => "age of normal messages, p50",
            Self::NormalAgeP99 => "age of normal messages, p99",
            Self::PriorityAgeP50 => "age of priority messages, p50",
            Self::PriorityAgeP99 => "age of priority messages, p99",
            Self::LateSends => "sends over 5 ms late",
            Self::SendsPerSecond => "sends a second",
            Self::SendP50 => "latency of a send, p50",
            Self::SendP99 => "latency of a send, p99",
        }
    }

    /// Unit of its value.
    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Self::CpuPerDelivery
            | Self::CpuPerConnection
            | Self::CpuPerSend
            | Self::ClientCpuPerDelivery
            | Self::ClientCpuPerSend => "µs",
            Self::MemoryPerPoll => "bytes",
            Self::LastViewer
            | Self::NormalAgeP50
            | Self::NormalAgeP99
            | Self::PriorityAgeP50
            | Self::PriorityAgeP99
            | Self::SendP50
            | Self::SendP99 => "ms",
            Self::AnswersPerCpuSecond | Self::MessagesPerAnswer | Self::LateSends | Self::SendsPerSecond => {
                ""
            }
        }
    }

    /// A value as text, to about three digits.
    pub(crate) fn show(self, value: f64) -> String {
        match value.abs() {
            0.0 => "0".to_owned(),
            100.0.. => format!("{value:.0}"),
            10.0.. => format!("{value:.1}"),
            1.0.. => format!("{value:.2}"),
            _ => format!("{value:.3}"),
        }
    }
}
