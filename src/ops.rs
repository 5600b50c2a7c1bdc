//! The ops listener: `/metrics`, `/healthz`, `/readyz`, and `/pressure` where polls are held. For the operator's network, never for clients.

mod process;
mod readiness;

use std::{convert::Infallible, future::Future, io, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;
pub(crate) use process::cpu_seconds;
pub use readiness::{CANARY_STALE_AFTER, Readiness, Reason};
use room::{ErrorCode, Problem};
use serde_json::json;
use tokio::{net::TcpListener, time};

use crate::metrics::UPKEEP_INTERVAL;

/// The Prometheus text format's media type.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Brings gauges up to date that are cheaper to read when asked for than to keep, and appends those whose labels come and go to the
/// Prometheus text.
pub type Refresh = Arc<dyn Fn(&mut String) + Send + Sync>;

#[derive(Clone)]
struct Ops {
    metrics: PrometheusHandle,
    refresh: Refresh,
    readiness: Arc<Readiness>,
}

/// Serves the ops listener until `end` comes, then finishes what is under way.
///
/// # Errors
/// If the listener breaks.
pub async fn serve(
    listener: TcpListener,
    metrics: PrometheusHandle,
    refresh: Refresh,
    readiness: Arc<Readiness>,
    end: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    serve_with(listener, metrics, refresh, readiness, Router::new(), end).await
}

/// The same with `more` routes.
///
/// # Errors
/// If the listener breaks.
pub async fn serve_with(
    listener: TcpListener,
    metrics: PrometheusHandle,
    refresh: Refresh,
    readiness: Arc<Readiness>,
    more: Router,
    end: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let upkeep = keep_up(metrics.clone());
    let serving = axum::serve(listener, router(metrics, refresh, readiness, more))
        .with_graceful_shutdown(end)
        .into_future();
    // Upkeep never ends; it holds nothing that dropping it between two ticks could lose.
    tokio::select! {
        served = serving => served,
        never = upkeep => match never {},
    }
}

/// Gathers samples now and then, so that they don't pile up where nobody scrapes.
async fn keep_up(metrics: PrometheusHandle) -> Infallible {
    let mut ticks = time::interval(UPKEEP_INTERVAL);
    loop {
        ticks.tick().await;
        metrics.run_upkeep();
    }
}

fn router(metrics: PrometheusHandle, refresh: Refresh, readiness: Arc<Readiness>, more: Router) -> Router {
    Router::new()
        .route("/metrics", get(render_metrics))
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .with_state(Ops { metrics, refresh, readiness })
        .merge(more)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
}

async fn render_metrics(State(ops): State<Ops>) -> Response {
    let mut appended = String::new();
    (ops.refresh)(&mut appended);
    let mut text = ops.metrics.render();
    text.push_str(&appended);
    process::append(&mut text);
    ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response()
}

/// The process is alive and answers: nothing else. Whoever restarts what is not healthy would make an outage of
/// the log or a drain worse.
async fn health() -> Response {
    no_store(StatusCode::OK, json!({ "status": "ok" }))
}

async fn ready(State(ops): State<Ops>) -> Response {
    let reasons = ops.readiness.reasons();
    if reasons.is_empty() {
        no_store(StatusCode::OK, json!({ "status": "ready" }))
    } else {
        no_store(StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "not_ready", "reasons": reasons }))
    }
}

fn no_store(status: StatusCode, body: serde_json::Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body.to_string()).into_response()
}

async fn not_found() -> Response {
    problem(&Problem::new(
        ErrorCode::NotFound,
        "the ops listener has /metrics, /healthz, /readyz and, where polls are held, /pressure",
    ))
}

async fn method_not_allowed() -> Response {
    problem(&Problem::new(ErrorCode::MethodNotAllowed, "use GET, or PUT for /pressure"))
}

pub(crate) fn problem(problem: &Problem) -> Response {
    let status =
        StatusCode::from_u16(problem.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/problem+json")], problem.to_json().to_string())
        .into_response()
}

#[cfg(test)]
mod tests;
