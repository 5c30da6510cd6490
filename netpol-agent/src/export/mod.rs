//! Flow records for other programs: JSON lines in a file or on stdout, OpenTelemetry logs. `docs/flows.md` has the schema.
//!
//! Each sink follows the store for itself. One that is slow, full or broken loses records, which are counted and told in its
//! own stream; it holds up nobody.

mod file;
mod lines;
mod otlp;
mod otlp_messages;

#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::task::JoinSet;

use crate::flow::{FlowMetrics, FlowRecord, FlowStore, Sink, Verdict, Wanted};
pub(crate) use file::RotatingFile;
pub use otlp::OtlpError;

/// Which records are exported.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Exported {
    /// Drops
    #[default]
    Drops,
    /// Drops and new connections; the programs then report every new connection, which costs time in the packet path
    All,
}

impl Wanted for Exported {
    fn wants(&self, record: &FlowRecord) -> bool {
        *self == Self::All || record.verdict != Verdict::Forwarded
    }
    fn wants_forwarded(&self) -> bool {
        *self == Self::All
    }
}

/// Where records go, and which.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ExportOptions {
    /// Which ones.
    pub exported: Exported,
    /// A file of JSON lines.
    pub file: Option<FileOptions>,
    /// JSON lines on stdout.
    pub stdout: bool,
    /// A collector of OpenTelemetry logs.
    pub otlp: Option<OtlpOptions>,
}

/// A file of JSON lines, and when the next one is begun.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileOptions {
    /// The file that is written. Older ones have `.1`, `.2`, … behind its name.
    pub path: PathBuf,
    /// A file does not grow beyond so many bytes.
    pub max_bytes: u64,
    /// Nor is it written for longer than this.
    pub max_age: Duration,
    /// So many older ones are kept.
    pub keep: u32,
}

/// A collector that speaks OTLP over gRPC.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OtlpOptions {
    /// `http://HOST:PORT` or `https://HOST:PORT`
    pub endpoint: String,
    /// Whom its certificate must be signed by, as PEM; for `https`.
    pub ca: Option<PathBuf>,
}

/// Sinks that are not at work yet.
pub struct Exports {
    options: ExportOptions,
    collector: Option<otlp::Collector>,
}

impl Exports {
    /// Checks what can be checked before anything runs. A file that cannot be written is no reason not to run.
    ///
    /// # Errors
    /// If the collector's address or certificate makes no sense.
    pub fn new(options: &ExportOptions) -> Result<Self, OtlpError> {
        let collector = options.otlp.as_ref().map(otlp::Collector::new).transpose()?;
        Ok(Self { options: options.clone(), collector })
    }

    /// Works until the future is dropped. Without sinks it waits for ever.
    pub async fn run(self, store: Arc<FlowStore>, metrics: Arc<FlowMetrics>, node: Arc<str>) {
        let Self { options, collector } = self;
        let follow = || store.follow(options.exported, 0);
        let mut tasks = JoinSet::new();
        if let Some(file) = options.file.clone() {
            let target = lines::Target::File(RotatingFile::new(file));
            tasks.spawn(lines::run(follow(), target, Sink::File, metrics.clone()));
        }
        if options.stdout {
            tasks.spawn(lines::run(follow(), lines::Target::Stdout, Sink::Stdout, metrics.clone()));
        }
        if let Some(collector) = collector {
            tasks.spawn(otlp::run(follow(), collector, node, metrics.clone()));
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a sink of flow records has ended");
            }
        }
        std::future::pending().await
    }
}
