//! What is measured, by name and unit.

/// A figure of the report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Figure {
    /// Server processor time a message delivered to a viewer.
    CpuPerDelivery,
    /// Server processor time a poll answered, whatever it holds.
    CpuPerAnswer,
    /// Server processor time a new connection with its first poll.
    CpuPerConnection,
    /// Server processor time a viewer who comes, with all that the server does for a new viewer and a new room.
    CpuPerArrival,
    /// Server processor time a durable send.
    CpuPerSend,
    /// The client's own, a delivery: to be well below the server's.
    ClientCpuPerDelivery,
    /// The client's own, a send.
    ClientCpuPerSend,
    /// Growth of the server's memory a parked poll.
    MemoryPerPoll,
    /// Growth of the server's memory a room.
    MemoryPerRoom,
    /// Growth of the server's memory an HTTP/2 stream with a parked poll, its share of the connection included.
    MemoryPerStream,
    /// From sending a message until the last viewer has it.
    LastViewer,
    /// Polls answered a second of server processor time.
    AnswersPerCpuSecond,
    /// Messages delivered to viewers a second of server processor time.
    DeliveriesPerCpuSecond,
    /// Messages in an answer.
    MessagesPerAnswer,
    /// Messages sent a second, where the scenario chooses that itself.
    MessagesPerSecond,
    /// Share of the messages sent within the time that were not delivered within it.
    Undelivered,
    /// Age of normal messages when they are received.
    NormalAgeP50,
    /// The same, of the oldest hundredth.
    NormalAgeP99,
    /// The same, of the oldest thousandth.
    NormalAgeP999,
    /// Age of priority messages when they are received.
    PriorityAgeP50,
    /// The same, of the oldest hundredth.
    PriorityAgeP99,
    /// The same, of the oldest thousandth.
    PriorityAgeP999,
    /// How much the p99 of normal messages rose from the first third of a run to its last.
    AgeDrift,
    /// How much the server's memory grew over a run.
    MemoryDrift,
    /// Messages that went out more than 5 ms late.
    LateSends,
    /// Durable sends a second.
    SendsPerSecond,
    /// From a send to its acknowledgement.
    SendP50,
    /// The same, of the slowest hundredth.
    SendP99,
    /// From sending a poll to its answer.
    PollP50,
    /// The same, of the slowest hundredth.
    PollP99,
    /// Questions for a room's numbers answered a second.
    QueriesPerSecond,
    /// From when a question was due to its answer.
    QueryP50,
    /// The same, of the slowest hundredth.
    QueryP99,
    /// Share of its core that the server was busy.
    ServerBusy,
    /// Share of its core that the load test was busy.
    ClientBusy,
}

impl Figure {
    /// Name in the JSON.
    pub(crate) const fn key(self) -> &'static str {
        self.words().0
    }

    /// Name in tables.
    pub(crate) const fn title(self) -> &'static str {
        self.words().1
    }

    /// Unit of its value; empty for counts and rates.
    pub(crate) const fn unit(self) -> &'static str {
        self.words().2
    }

    /// Whether more of it is better.
    pub(crate) const fn is_better_higher(self) -> bool {
        matches!(self, Self::AnswersPerCpuSecond | Self::DeliveriesPerCpuSecond | Self::SendsPerSecond)
    }

    /// Key, title and unit.
    const fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::CpuPerDelivery => ("cpu_us_per_delivery", "server CPU a message delivered", "µs"),
            Self::CpuPerAnswer => ("cpu_us_per_answer", "server CPU an answer", "µs"),
            Self::CpuPerConnection => ("cpu_us_per_connection", "server CPU a connection", "µs"),
            Self::CpuPerArrival => ("cpu_us_per_arrival", "server CPU a viewer who comes", "µs"),
            Self::CpuPerSend => ("cpu_us_per_send", "server CPU a send", "µs"),
            Self::ClientCpuPerDelivery => {
                ("client_cpu_us_per_delivery", "client CPU a message delivered", "µs")
            }
            Self::ClientCpuPerSend => ("client_cpu_us_per_send", "client CPU a send", "µs"),
            Self::MemoryPerPoll => ("memory_bytes_per_poll", "memory a parked poll", "bytes"),
            Self::MemoryPerRoom => ("memory_bytes_per_room", "memory a room", "bytes"),
            Self::MemoryPerStream => ("memory_bytes_per_stream", "memory an HTTP/2 stream", "bytes"),
            Self::LastViewer => ("last_viewer_ms", "sent until the last viewer has it, median", "ms"),
            Self::AnswersPerCpuSecond => ("answers_per_cpu_s", "polls answered a CPU-second", ""),
            Self::DeliveriesPerCpuSecond => ("deliveries_per_cpu_s", "messages delivered a CPU-second", ""),
            Self::MessagesPerAnswer => ("messages_per_answer", "messages an answer", ""),
            Self::MessagesPerSecond => ("messages_per_s", "messages sent a second", ""),
            Self::Undelivered => ("undelivered_percent", "undelivered at the end", "%"),
            Self::NormalAgeP50 => ("normal_age_p50_ms", "age of normal messages, p50", "ms"),
            Self::NormalAgeP99 => ("normal_age_p99_ms", "age of normal messages, p99", "ms"),
            Self::NormalAgeP999 => ("normal_age_p999_ms", "age of normal messages, p99.9", "ms"),
            Self::PriorityAgeP50 => ("priority_age_p50_ms", "age of priority messages, p50", "ms"),
            Self::PriorityAgeP99 => ("priority_age_p99_ms", "age of priority messages, p99", "ms"),
            Self::PriorityAgeP999 => ("priority_age_p999_ms", "age of priority messages, p99.9", "ms"),
            Self::AgeDrift => ("normal_age_p99_drift_percent", "rise of the normal p99 over the run", "%"),
            Self::MemoryDrift => ("memory_drift_percent", "rise of memory over the run", "%"),
            Self::LateSends => ("late_sends", "sends over 5 ms late", ""),
            Self::SendsPerSecond => ("sends_per_s", "sends a second", ""),
            Self::SendP50 => ("send_p50_ms", "latency of a send, p50", "ms"),
            Self::SendP99 => ("send_p99_ms", "latency of a send, p99", "ms"),
            Self::PollP50 => ("poll_p50_ms", "time of a poll, p50", "ms"),
            Self::PollP99 => ("poll_p99_ms", "time of a poll, p99", "ms"),
            Self::QueriesPerSecond => ("queries_per_s", "questions for numbers answered a second", ""),
            Self::QueryP50 => ("query_p50_ms", "latency of a question, p50", "ms"),
            Self::QueryP99 => ("query_p99_ms", "latency of a question, p99", "ms"),
            Self::ServerBusy => ("server_busy_percent", "server busy, of its core", "%"),
            Self::ClientBusy => ("client_busy_percent", "load test busy, of its core", "%"),
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
