//! Who is told of flows.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, value_parser};

use crate::{
    export::{ExportOptions, Exported, FileOptions, OtlpOptions},
    flow::Breakdown,
    history::HistoryOptions,
    hubble::{HubbleOptions, TlsFiles},
};

/// Arguments of `run` about flow records.
#[derive(Clone, PartialEq, Eq, Args, Debug)]
pub struct FlowArgs {
    /// Serve Hubble's API on a Unix socket, for the owner only: hubble observe --server unix://PATH. By default nowhere
    #[arg(long, value_name = "PATH")]
    pub hubble_socket: Option<PathBuf>,
    /// Serve Hubble's API here, for Relay: 0.0.0.0:4244. The same port on all nodes. By default nowhere
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub hubble_listen: Option<SocketAddr>,
    /// Certificate for --hubble-listen, as PEM, followed by those it is signed with. Read again when it is replaced
    #[arg(long, value_name = "FILE", requires_all = ["hubble_listen", "hubble_tls_key"])]
    pub hubble_tls_cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "hubble_tls_cert")]
    pub hubble_tls_key: Option<PathBuf>,
    /// Take only clients at --hubble-listen whose certificate is signed by one of these
    #[arg(long, value_name = "FILE", requires = "hubble_tls_cert")]
    pub hubble_client_ca: Option<PathBuf>,
    /// Write flow records to this file, one as JSON in each line
    #[arg(long, value_name = "PATH")]
    pub flow_file: Option<PathBuf>,
    /// Megabytes that it may have before the next file is begun
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = value_parser!(u64).range(1..=1 << 20))]
    pub flow_file_max_size: u64,
    /// How long a file is written before the next one is begun: 1h, 24h, 7d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = humantime::parse_duration)]
    pub flow_file_max_age: Duration,
    /// How many older files are kept
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(0..=1000))]
    pub flow_file_keep: u32,
    /// Write flow records to stdout in the same way
    #[arg(long)]
    pub flow_stdout: bool,
    /// Send flow records to a collector of OpenTelemetry logs, by OTLP over gRPC: http://HOST:4317, or https:// with
    /// --flow-otlp-ca
    #[arg(long, value_name = "URL")]
    pub flow_otlp: Option<String>,
    /// Whom the collector's certificate must be signed by, as PEM
    #[arg(long, value_name = "FILE", requires = "flow_otlp")]
    pub flow_otlp_ca: Option<PathBuf>,
    /// Which flow records are written and sent
    #[arg(long, value_enum, default_value_t = Exported::Drops)]
    pub flow_export: Exported,
    /// Keep what pods do in this folder, summed up, for netpolctl simulate and suggest. The programs then report every new
    /// connection, which costs time in the packet path. By default nowhere
    #[arg(long, value_name = "FOLDER")]
    pub flow_store: Option<PathBuf>,
    /// Megabytes that may lie there; the oldest go
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = value_parser!(u64).range(1..=1 << 20))]
    pub flow_store_max_size: u64,
    /// How long it is kept: 24h, 7d
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = humantime::parse_duration)]
    pub flow_store_max_age: Duration,
    /// Count drops by these in metrics as well; each has up to 1,000 series
    #[arg(long, value_enum, value_delimiter = ',', value_name = "BY,...")]
    pub flow_metrics: Vec<Breakdown>,
}

impl FlowArgs {
    /// Where Hubble's API is served.
    #[must_use]
    pub fn hubble(&self) -> HubbleOptions {
        let pair = self.hubble_tls_cert.clone().zip(self.hubble_tls_key.clone());
        HubbleOptions {
            socket: self.hubble_socket.clone(),
            listen: self.hubble_listen,
            tls: pair.map(|(certificate, key)| TlsFiles {
                certificate,
                key,
                client_ca: self.hubble_client_ca.clone(),
            }),
        }
    }

    /// Where what pods do is kept.
    #[must_use]
    pub fn history(&self) -> Option<HistoryOptions> {
        self.flow_store.clone().map(|folder| HistoryOptions {
            folder,
            max_bytes: self.flow_store_max_size * 1_000_000,
            max_age: self.flow_store_max_age,
        })
    }

    /// Where flow records go.
    #[must_use]
    pub fn export(&self) -> ExportOptions {
        ExportOptions {
            exported: self.flow_export,
            file: self.flow_file.clone().map(|path| FileOptions {
                path,
                max_bytes: self.flow_file_max_size * 1_000_000,
                max_age: self.flow_file_max_age,
                keep: self.flow_file_keep,
            }),
            stdout: self.flow_stdout,
            otlp: self
                .flow_otlp
                .clone()
                .map(|endpoint| OtlpOptions { endpoint, ca: self.flow_otlp_ca.clone() }),
        }
    }
}
