use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use metrics_exporter_prometheus::PrometheusBuilder;
use tokio_util::sync::CancellationToken;

use super::*;

/// A running ops listener.
struct Served {
    address: SocketAddr,
    readiness: Arc<Readiness>,
    end: CancellationToken,
    task: tokio::task::JoinHandle<io::Result<()>>,
}

async fn served() -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let readiness = Arc::new(Readiness::new(|| Ok(())));
    let end = CancellationToken::new();
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let (ready, ended) = (Arc::clone(&readiness), end.clone());
    let task = tokio::spawn(async move {
        serve(listener, metrics, Arc::new(|_: &mut String| {}), ready, ended.cancelled_owned()).await
    });
    Served { address, readiness, end, task }
}

impl Served {
    /// The whole answer to a request, head and body.
    async fn answer(&self, method: &str, path: &str) -> String {
        let address = self.address;
        let request = format!("{method} {path} HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n");
        tokio::task::spawn_blocking(move || {
            let mut connection = TcpStream::connect(address).unwrap();
            connection.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            connection.read_to_string(&mut answer).unwrap();
            answer
        })
        .await
        .unwrap()
    }
}

#[tokio::test]
async fn health_does_not_depend_on_readiness() {
    let served = served().await;
    assert!(served.answer("GET", "/readyz").await.starts_with("HTTP/1.1 503"));
    assert!(served.answer("GET", "/healthz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn readiness_says_what_is_missing() {
    let served = served().await;
    served.readiness.canary_succeeded();
    let answer = served.answer("GET", "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(r#"{"status":"ready"}"#), "{answer}");
    served.readiness.set_draining();
    let answer = served.answer("GET", "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains(r#""reason":"draining""#), "{answer}");
}

#[tokio::test]
async fn metrics_include_those_of_the_process() {
    let answer = served().await.answer("GET", "/metrics").await;
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(answer.contains("\nprocess_cpu_seconds_total "), "{answer}");
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let served = served().await;
    let answer = served.answer("GET", "/v1/stats").await;
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains(r#""code":"not_found""#), "{answer}");
    let answer = served.answer("POST", "/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("allow: GET,HEAD"), "{answer}");
}

#[tokio::test]
async fn listener_ends_when_told() {
    let served = served().await;
    served.end.cancel();
    served.task.await.unwrap().unwrap();
    assert!(TcpStream::connect(served.address).is_err());
}
