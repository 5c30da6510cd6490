use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::{sleep, timeout};
use tonic::{
    Request, Status,
    client::Grpc,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};
use tonic_prost::ProstCodec;

use super::{
    OtlpOptions,
    otlp_messages::{
        AnyValue, ExportLogsRequest, ExportLogsResponse, KeyValue, LogRecord, Resource, ResourceLogs, Scope,
        ScopeLogs, Value,
    },
};
use crate::flow::{FlowMetrics, FlowRecord, Followed, Follower, Sink, Verdict};

const PATH: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
/// Records that are sent at a time.
const BATCH: usize = 512;
/// How long records wait for others to go with them.
const GATHER: Duration = Duration::from_millis(200);
/// How long the collector may take for a batch.
const PATIENCE: Duration = Duration::from_secs(10);
/// A batch is sent so often before it is given up.
const TRIES: u32 = 3;
/// Severities of OpenTelemetry's log data model.
const INFO: (i32, &str) = (9, "INFO");
const WARN: (i32, &str) = (13, "WARN");

/// The collector's address is of no use.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// Not a URL of the right kind.
    #[error("{endpoint:?} (--flow-otlp) is not http://HOST:PORT or https://HOST:PORT")]
    Endpoint {
        /// What was given.
        endpoint: String,
    },
    /// `https` with nothing to check a certificate by, or the other way round.
    #[error("https needs --flow-otlp-ca, and http takes none")]
    Ca,
    /// The certificate cannot be read.
    #[error("cannot read {} (--flow-otlp-ca)", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// TLS with it is not possible.
    #[error("--flow-otlp-ca")]
    Tls(#[source] tonic::transport::Error),
}

/// A collector, connected to when there is something to send.
pub(super) struct Collector(Endpoint);

impl Collector {
    pub(super) fn new(options: &OtlpOptions) -> Result<Self, OtlpError> {
        let OtlpOptions { endpoint, ca } = options;
        let wrong = || OtlpError::Endpoint { endpoint: endpoint.clone() };
        let uri: http::Uri = endpoint.parse().map_err(|_why: http::uri::InvalidUri| wrong())?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        if uri.host().is_none_or(str::is_empty) {
            return Err(wrong());
        }
        let channel = Endpoint::from(uri).connect_timeout(PATIENCE).timeout(PATIENCE);
        Ok(Self(match (secure, ca) {
            (false, None) => channel,
            (true, Some(path)) => {
                let pem = fs::read(path).map_err(|source| OtlpError::Read { path: path.clone(), source })?;
                let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
                channel.tls_config(tls).map_err(OtlpError::Tls)?
            }
            _ => return Err(OtlpError::Ca),
        }))
    }
}

/// Sends batches; one that the collector does not take is lost, and counted.
pub(super) async fn run(
    mut follower: Follower,
    Collector(endpoint): Collector,
    node: Arc<str>,
    metrics: Arc<FlowMetrics>,
) {
    let mut client = Grpc::new(endpoint.connect_lazy());
    let mut failing = false;
    while let Some(first) = follower.next().await {
        let mut records = Vec::new();
        let mut missing = 0;
        let mut take = |followed, records: &mut Vec<LogRecord>| match followed {
            Followed::Record(record) => records.push(log(&record)),
            Followed::Lost(count) => {
                metrics.lost(Sink::Otlp, count);
                missing += count;
            }
            Followed::Missed(count) => missing += count,
        };
        take(first, &mut records);
        let gather = async {
            while records.len() < BATCH
                && let Some(followed) = follower.next().await
            {
                take(followed, &mut records);
            }
        };
        if timeout(GATHER, gather).await.is_ok() {
            tracing::trace!("a full batch of flow records");
        }
        if missing > 0 {
            records.push(gap(missing));
        }
        let count = records.len() as u64;
        match send(&mut client, request(records, &node)).await {
            Ok(rejected) => {
                metrics.exported(Sink::Otlp, count - rejected.min(count));
                metrics.lost(Sink::Otlp, rejected.min(count));
                if failing {
                    tracing::info!("the collector takes flow records again");
                }
                failing = false;
            }
            Err(error) => {
                metrics.lost(Sink::Otlp, count);
                if !failing {
                    tracing::error!(%error, "the collector takes no flow records; they are lost until it does");
                }
                failing = true;
            }
        }
    }
}

/// How many of them were rejected.
async fn send(client: &mut Grpc<Channel>, request: ExportLogsRequest) -> Result<u64, Status> {
    let mut pause = Duration::from_millis(500);
    for rest in (0..TRIES).rev() {
        let sent = timeout(PATIENCE, once(client, request.clone())).await;
        match sent.unwrap_or_else(|_elapsed| Err(Status::deadline_exceeded("no answer"))) {
            Ok(response) => {
                let partial = response.partial_success.unwrap_or_default();
                if partial.rejected_log_records > 0 {
                    tracing::warn!(why = partial.error_message, "the collector has rejected flow records");
                }
                return Ok(u64::try_from(partial.rejected_log_records).unwrap_or(0));
            }
            Err(error) if rest == 0 || !may_be_repeated(&error) => return Err(error),
            Err(_) => sleep(pause).await,
        }
        pause *= 2;
    }
    Err(Status::unavailable("it was tried too often"))
}

async fn once(client: &mut Grpc<Channel>, request: ExportLogsRequest) -> Result<ExportLogsResponse, Status> {
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec = ProstCodec::<ExportLogsRequest, ExportLogsResponse>::default();
    let path = http::uri::PathAndQuery::from_static(PATH);
    Ok(client.unary(Request::new(request), path, codec).await?.into_inner())
}

/// As OTLP's specification has it.
fn may_be_repeated(status: &Status) -> bool {
    use tonic::Code::{Aborted, Cancelled, DataLoss, DeadlineExceeded, OutOfRange, Unavailable};
    matches!(status.code(), Cancelled | DeadlineExceeded | Aborted | OutOfRange | Unavailable | DataLoss)
}

fn request(log_records: Vec<LogRecord>, node: &str) -> ExportLogsRequest {
    let scope = Scope { name: "netpol".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let attributes = vec![text("service.name", "netpol-agent"), text("k8s.node.name", node)];
    ExportLogsRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(Resource { attributes }),
            scope_logs: vec![ScopeLogs { scope: Some(scope), log_records }],
        }],
    }
}

/// The body is the record as JSON, the attributes are what people look for.
pub(super) fn log(record: &FlowRecord) -> LogRecord {
    let (number, word) = if record.verdict == Verdict::Forwarded { INFO } else { WARN };
    let mut attributes = vec![
        text("netpol.verdict", &record.verdict.to_string()),
        text("netpol.direction", &record.direction),
        text("network.transport", &record.protocol.to_lowercase()),
    ];
    let receiver = record.translated.as_ref().or(record.destination.as_ref());
    for (end, party) in [("source", record.source.as_ref()), ("destination", receiver)] {
        let Some(party) = party else { continue };
        attributes.push(text(&format!("{end}.address"), &party.address.to_string()));
        attributes.push(KeyValue {
            key: format!("{end}.port"),
            value: Some(AnyValue { value: Some(Value::Number(i64::from(party.port))) }),
        });
        let names = [("namespace", &party.namespace), ("pod", &party.pod)];
        for (name, value) in names {
            attributes.extend(value.iter().map(|value| text(&format!("netpol.{end}.{name}"), value)));
        }
    }
    attributes.extend(record.reason.iter().map(|reason| text("netpol.reason", reason)));
    if !record.policies.is_empty() {
        let policies: Vec<_> = record.policies.iter().map(ToString::to_string).collect();
        attributes.push(text("netpol.policies", &policies.join(", ")));
    }
    attributes.extend(record.nearest.iter().map(|nearest| text("netpol.nearest", nearest)));
    LogRecord {
        time_unix_nano: u64::try_from(record.time.as_nanosecond()).unwrap_or(0),
        severity_number: number,
        severity_text: word.to_owned(),
        body: serde_json::to_string(record).ok().map(|json| AnyValue { value: Some(Value::Text(json)) }),
        attributes,
        observed_time_unix_nano: now(),
        event_name: "netpol.flow".to_owned(),
    }
}

fn gap(missing: u64) -> LogRecord {
    let number = Value::Number(i64::try_from(missing).unwrap_or(i64::MAX));
    let attribute = KeyValue { key: "netpol.lost".to_owned(), value: Some(AnyValue { value: Some(number) }) };
    LogRecord {
        time_unix_nano: now(),
        severity_number: WARN.0,
        severity_text: WARN.1.to_owned(),
        body: Some(AnyValue { value: Some(Value::Text(format!("{missing} flow records are lost"))) }),
        attributes: vec![attribute],
        observed_time_unix_nano: now(),
        event_name: "netpol.lost".to_owned(),
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(Value::Text(value.to_owned())) }) }
}
