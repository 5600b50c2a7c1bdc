//! `/pressure` on the ops listener: `GET` tells how the node stands, `PUT` forces a step for a drill.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use room::{ErrorCode, Problem, pressure::PressureStep};
use serde::Deserialize;
use serde_json::Value;

use super::{Relief, Standing};
use crate::ops::problem;

/// Largest body of a drill (bytes).
const BODY_BYTES_MAX: usize = 1024;

/// Longest drill: whoever forgets one finds the node by itself again.
pub const FORCED_MAX: Duration = Duration::from_secs(3600);

/// The routes, to be served with those of [`crate::ops::serve_with`].
pub fn routes(relief: Arc<Relief>) -> Router {
    Router::new()
        .route("/pressure", get(show).put(force))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(relief)
}

async fn show(State(relief): State<Arc<Relief>>) -> Response {
    told(&relief.standing())
}

async fn force(State(relief): State<Arc<Relief>>, body: Bytes) -> Response {
    match parse(&body) {
        Ok(forced) => told(&relief.force(forced)),
        Err(refusal) => problem(&refusal),
    }
}

fn told(standing: &Standing) -> Response {
    let body = serde_json::to_string(standing).expect("numbers and words are JSON");
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (StatusCode::OK, headers, body).into_response()
}

/// The body of a drill. `step` must be there: a body without would otherwise end one by mistake.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    step: Value,
    for_s: Option<u64>,
}

fn parse(body: &[u8]) -> Result<Option<(PressureStep, Duration)>, Problem> {
    let shape = "a drill is {\"step\": 0 to 4, \"for_s\": 1 to 3600}, and {\"step\": null} ends it";
    let Body { step, for_s } = serde_json::from_slice(body)
        .map_err(|error| Problem::new(ErrorCode::InvalidJson, format!("{error}: {shape}")))?;
    if step.is_null() {
        return Ok(None);
    }
    let step = step.as_u64().and_then(|step| u8::try_from(step).ok()).and_then(PressureStep::new);
    let lasts = for_s.filter(|for_s| (1..=FORCED_MAX.as_secs()).contains(for_s)).map(Duration::from_secs);
    step.zip(lasts).map(Some).ok_or_else(|| Problem::new(ErrorCode::InvalidMessage, shape))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drill_names_a_step_and_how_long() {
        let forced = |step, for_s| Some((PressureStep::new(step).unwrap(), Duration::from_secs(for_s)));
        assert_eq!(parse(br#"{"step": 3, "for_s": 60}"#), Ok(forced(3, 60)));
        assert_eq!(parse(br#"{"step": 0, "for_s": 3600}"#), Ok(forced(0, 3600)));
        assert_eq!(parse(br#"{"step": null}"#), Ok(None));
        for bad in [
            "",
            "{}",
            "3",
            r#"{"step": 3}"#,
            r#"{"for_s": 3}"#,
            r#"{"step": 5, "for_s": 60}"#,
            r#"{"step": 259, "for_s": 60}"#,
            r#"{"step": -1, "for_s": 60}"#,
            r#"{"step": 1.5, "for_s": 60}"#,
            r#"{"step": "3", "for_s": 60}"#,
            r#"{"step": 3, "for_s": 0}"#,
            r#"{"step": 3, "for_s": 3601}"#,
            r#"{"step": 3, "for_s": 60, "more": 1}"#,
            r#"{"step": 3, "for_s": 60} x"#,
        ] {
            let refusal = parse(bad.as_bytes()).unwrap_err();
            assert!(refusal.to_json().to_string().contains("for_s"), "{bad}");
        }
    }
}
