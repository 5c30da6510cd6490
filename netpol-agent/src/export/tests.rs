use std::{fs, path::Path, sync::Mutex};

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Response, Status, body::Body, server::NamedService};
use tonic_prost::ProstCodec;

use super::{
    otlp_messages::{ExportLogsRequest, ExportLogsResponse, Value},
    *,
};
use crate::flow::tests_support::sample;

fn options(path: &Path) -> FileOptions {
    FileOptions { path: path.to_owned(), max_bytes: 1 << 20, max_age: Duration::from_secs(3600), keep: 2 }
}

#[test]
fn a_file_that_is_full_makes_way_and_the_oldest_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flows.json");
    let mut file = RotatingFile::new(FileOptions { max_bytes: 10, ..options(&path) });
    for line in ["aaaa\n", "bbbb\n", "cccc\n", "a line that is longer than all\n", "eeee\n"] {
        file.write(line.as_bytes()).unwrap();
    }
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!((read("flows.json"), read("flows.json.2")), ("eeee\n".into(), "cccc\n".into()));
    assert_eq!(read("flows.json.1"), "a line that is longer than all\n");
    assert!(!folder.path().join("flows.json.3").exists());
    // Another process goes on with what is there.
    RotatingFile::new(options(&path)).write(b"ffff\n").unwrap();
    assert_eq!(read("flows.json"), "eeee\nffff\n");
}

#[test]
fn a_file_that_is_old_makes_way() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flows.json");
    let mut file = RotatingFile::new(FileOptions { max_age: Duration::ZERO, keep: 1, ..options(&path) });
    (0..3).for_each(|n| file.write(format!("{n}\n").as_bytes()).unwrap());
    assert_eq!(fs::read_to_string(folder.path().join("flows.json.1")).unwrap(), "1\n");
    let mut file = RotatingFile::new(FileOptions { max_age: Duration::ZERO, keep: 0, ..options(&path) });
    file.write(b"3\n").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "3\n");
}

#[test]
fn a_file_that_somebody_takes_away_is_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flows.json");
    let mut file = RotatingFile::new(options(&path));
    file.write(b"a\n").unwrap();
    fs::rename(&path, folder.path().join("taken")).unwrap();
    file.write(b"b\n").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "b\n");
}

fn exported(metrics: &FlowMetrics, sink: &str, result: &str) -> u64 {
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let series = format!("flow_exports_total{{sink=\"{sink}\",result=\"{result}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
}

async fn until(what: impl Fn() -> bool) {
    let condition = async {
        while !what() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), condition).await.expect("in time");
}

struct Running {
    store: Arc<FlowStore>,
    metrics: Arc<FlowMetrics>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(options: &ExportOptions) -> Running {
    let (store, metrics) = (FlowStore::new(10, |_| {}), Arc::<FlowMetrics>::default());
    let exports = Exports::new(options).unwrap();
    let task = tokio::spawn(exports.run(store.clone(), metrics.clone(), "node-1".into()));
    until(|| store.counts().followers == 1).await;
    Running { store, metrics, task }
}

#[tokio::test(flavor = "multi_thread")]
async fn drops_become_lines_and_what_is_missing_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flows.json");
    let running = run(&ExportOptions { file: Some(options(&path)), ..ExportOptions::default() }).await;
    running.store.add(sample());
    running.store.add(FlowRecord { verdict: Verdict::Forwarded, ..sample() });
    running.store.miss(3);
    running.store.add(FlowRecord { length: 9, ..sample() });
    until(|| exported(&running.metrics, "file", "exported") == 2).await;
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(serde_json::from_str::<FlowRecord>(lines[0]).unwrap(), sample());
    assert_eq!((lines[1], lines.len()), ("{\"missed\":3}", 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_written_loses_records_says_so_and_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("not-yet/flows.json");
    let running = run(&ExportOptions { file: Some(options(&path)), ..ExportOptions::default() }).await;
    running.store.add(sample());
    until(|| exported(&running.metrics, "file", "lost") == 1).await;
    fs::create_dir(folder.path().join("not-yet")).unwrap();
    running.store.add(sample());
    until(|| exported(&running.metrics, "file", "exported") == 1).await;
    assert!(fs::read_to_string(&path).unwrap().starts_with("{\"lost\":1}\n{\"schema\":"));
}

#[test]
fn new_connections_are_asked_of_the_kernel_only_for_all() {
    assert!(Exported::All.wants_forwarded() && !Exported::Drops.wants_forwarded());
    let forwarded = FlowRecord { verdict: Verdict::Forwarded, ..sample() };
    assert!(Exported::All.wants(&forwarded) && !Exported::Drops.wants(&forwarded));
}

#[test]
fn an_address_that_makes_no_sense_is_refused() {
    let refused = |endpoint: &str, ca: Option<&str>| {
        let otlp = OtlpOptions { endpoint: endpoint.to_owned(), ca: ca.map(Into::into) };
        Exports::new(&ExportOptions { otlp: Some(otlp), ..ExportOptions::default() })
            .err()
            .map(|e| e.to_string())
    };
    assert!(refused("collector:4317", None).unwrap().contains("--flow-otlp"));
    assert!(refused("https://collector:4317", None).unwrap().contains("--flow-otlp-ca"));
    assert!(refused("http://collector:4317", Some("/x")).unwrap().contains("--flow-otlp-ca"));
    assert!(refused("https://collector:4317", Some("/not/there")).unwrap().contains("/not/there"));
}

/// What a collector has been sent; it rejects one record of each batch.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportLogsRequest>>>);

impl NamedService for Collector {
    const NAME: &'static str = "opentelemetry.proto.collector.logs.v1.LogsService";
}

impl tower::Service<http::Request<Body>> for Collector {
    type Response = http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let sent = self.0.clone();
        Box::pin(async move {
            assert!(request.uri().path().ends_with("/Export"));
            let service = tower::service_fn(move |request: tonic::Request<ExportLogsRequest>| {
                sent.lock().unwrap().push(request.into_inner());
                let rejected =
                    otlp_messages::PartialSuccess { rejected_log_records: 1, error_message: "no".to_owned() };
                let answer = ExportLogsResponse { partial_success: Some(rejected) };
                std::future::ready(Ok::<_, Status>(Response::new(answer)))
            });
            let codec = ProstCodec::<ExportLogsResponse, ExportLogsRequest>::default();
            Ok(tonic::server::Grpc::new(codec).unary(service, request).await)
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_logs_and_what_it_rejects_is_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let collector = Collector::default();
    let server = tonic::transport::Server::builder().add_service(collector.clone());
    let server = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let otlp = Some(OtlpOptions { endpoint, ca: None });
    let running = run(&ExportOptions { otlp, ..ExportOptions::default() }).await;
    running.store.add(sample());
    running.store.add(sample());
    let both =
        || (exported(&running.metrics, "otlp", "exported"), exported(&running.metrics, "otlp", "lost"));
    until(|| both().0 + both().1 == 2).await;
    assert!(both().1 >= 1);
    let sent = collector.0.lock().unwrap();
    let logs = &sent[0].resource_logs[0];
    let attributes = &logs.resource.as_ref().unwrap().attributes;
    assert!(attributes.iter().any(|a| a.key == "k8s.node.name"));
    let log = &logs.scope_logs[0].log_records[0];
    let value = |key: &str| {
        let attribute = log.attributes.iter().find(|attribute| attribute.key == key);
        attribute.and_then(|attribute| attribute.value.clone()?.value)
    };
    assert_eq!((log.severity_text.as_str(), log.time_unix_nano), ("WARN", 1_772_366_584_512_000_000));
    assert_eq!(value("netpol.policies"), Some(Value::Text("shop/db-ingress".into())));
    assert_eq!(value("destination.port"), Some(Value::Number(5432)));
    let Some(Value::Text(body)) = log.body.clone().unwrap().value else { panic!("no text") };
    assert_eq!(serde_json::from_str::<FlowRecord>(&body).unwrap(), sample());
    server.abort();
}
