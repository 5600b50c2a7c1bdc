//! What the write path counts.

use std::{collections::HashMap, time::Duration};

use metrics::{Counter, Histogram, counter, describe_counter, describe_histogram, histogram};
use room::{ErrorCode, List, PerList, Problem};

use crate::Sent;

/// The refusals that a send can meet here; what its edge refuses does not come this far.
const REFUSALS: [ErrorCode; 10] = [
    ErrorCode::Forbidden,
    ErrorCode::IdReused,
    ErrorCode::RoomClosed,
    ErrorCode::Muted,
    ErrorCode::Banned,
    ErrorCode::SlowMode,
    ErrorCode::RateLimited,
    ErrorCode::LogUnavailable,
    ErrorCode::NodeFull,
    ErrorCode::Internal,
];

const OK: &str = "ok";
const DUPLICATE: &str = "duplicate";

/// Handles to the metrics, made once: they count into the recorder that was installed then.
pub(crate) struct Metrics {
    sends: PerList<HashMap<&'static str, Counter>>,
    notices: Counter,
    notice_lag: Histogram,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        describe_counter!("bigroom_sends_total", "Messages that clients sent, by what became of them");
        describe_counter!("bigroom_notices_total", "Durable changes that the recvsvrs were told of");
        describe_histogram!(
            "bigroom_notice_lag_seconds",
            metrics::Unit::Seconds,
            "From the acceptance of a message to the notice of it"
        );
        let sends = PerList::from_fn(|list| {
            let codes = REFUSALS.map(ErrorCode::as_str);
            let count = |result| {
                let counter = counter!("bigroom_sends_total", "list" => list.as_str(), "result" => result);
                counter.increment(0); // from zero at start
                (result, counter)
            };
            [OK, DUPLICATE].into_iter().chain(codes).map(count).collect()
        });
        let notices = counter!("bigroom_notices_total");
        notices.increment(0);
        Self { sends, notices, notice_lag: histogram!("bigroom_notice_lag_seconds") }
    }

    pub(crate) fn sent(&self, list: List, outcome: &Result<Sent, Problem>) {
        let result = match outcome {
            Ok(sent) if sent.is_duplicate => DUPLICATE,
            Ok(_) => OK,
            Err(problem) => problem.code.as_str(),
        };
        if let Some(counter) = self.sends[list].get(result) {
            counter.increment(1);
        }
    }

    pub(crate) fn noticed(&self, lag: Option<Duration>) {
        self.notices.increment(1);
        if let Some(lag) = lag {
            self.notice_lag.record(lag);
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn everything_counts_from_zero() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = metrics::with_local_recorder(&recorder, Metrics::new);
        let shown = || recorder.handle().render();
        for list in List::ALL {
            for code in REFUSALS.map(ErrorCode::as_str).into_iter().chain([OK, DUPLICATE]) {
                let line = format!(r#"bigroom_sends_total{{list="{}",result="{code}"}} 0"#, list.as_str());
                assert!(shown().contains(&line), "{line}");
            }
        }
        let series = shown().lines().filter(|line| line.starts_with("bigroom_sends_total{")).count();
        assert_eq!(series, List::ALL.len() * 12);
        assert!(shown().contains("bigroom_notices_total 0"));
        metrics.sent(List::Normal, &Err(Problem::new(ErrorCode::Muted, "x")));
        metrics.noticed(Some(Duration::from_millis(2)));
        assert!(shown().contains(r#"bigroom_sends_total{list="normal",result="muted"} 1"#));
        assert!(shown().contains("bigroom_notices_total 1"));
        assert!(shown().contains("bigroom_notice_lag_seconds_count 1"));
    }
}
