//! The agent as a running thing: the only place with a clock and tasks, and the only one that sees both ends.
//!
//! | task | owns | does |
//! |---|---|---|
//! | source | the reader of objects | tells what the cluster wants |
//! | discovery (a thread of the kernel side) | links, netlink | closes pods' interfaces, tells which there are |
//! | reconcile | the engine's writing side, the maps | events in, operations out |
//! | events, one per ring | a ring | events in, named records out |
//! | missed | | tells who follows of events that found no room in a ring |
//! | control socket | nothing | answers `netpolctl` |
//! | plugins | what the CNI plugin has told | answers the plugin once a pod is policed |
//! | problems | | what is wrong with objects, and who is pending for too long, into the log, once |
//! | recorder | | what is wrong with objects, as Kubernetes Events |
//! | health | ports where load balancers ask | tells them whether this node has backends |
//! | probes | `--healthz-bind`, `--metrics-bind` | tells whether the agent and the node are well, and the numbers |
//! | page | `--ui-bind` | serves the page in the browser |
//! | export | files, a connection to a collector | records for other programs |
//! | history | files in a folder | what pods do, for `simulate` and `suggest` |
//! | hubble | its sockets | answers `hubble`, Relay and the UI |
//! | collect | the connection table, the kernel's clock | removes old connections |
//!
//! Stopping it, in any way and at any moment, leaves the dataplane at work.

mod agent;
mod collect;
mod events;
#[cfg(feature = "fault-points")]
mod fault_points;
mod health;
mod kept;
mod later;
mod missed;
mod nearest;
mod observed;
mod pending;
mod plugins;
mod problems;
mod programming;
mod pulse;
mod reconcile;
mod status;
mod stay;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use kube::Client;
use netpol_common::config::flags;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::block_in_place,
};

use crate::{
    config::{ForServices, RunArgs, Source, UiBind},
    ctl::{self, Audience, Socket, SocketError},
    dataplane::{
        Dataplane,
        kernel::{self, AttachMode, Kernel, Lock, OpenError, PutAside, Switch},
    },
    engine::Engine,
    export::{Exports, OtlpError},
    flow::{FlowMetrics, FlowStore},
    history::{self, History},
    hubble::{HubbleError, Listeners},
    model::{Level, Problem},
    recorder::{self, Counts, RecorderOptions, Reports},
    source::{self, DirSource, Feed, KubeSource},
    ui,
};

use agent::Agent;
use events::Recorder;
use health::Probes;
use observed::Observed;
use plugins::Plugins;
use reconcile::Reconciler;
pub use status::{Shared, Status};
pub use stay::stay;

/// Batches of the source that may wait for the loop: enough that neither waits for the other, and no more, because the objects in them
/// are in the API's own types, which take ten times what is kept of them.
const BATCHES: usize = 2;
/// Records of packets that are kept for `netpolctl flows`.
const RECORDS: usize = 8192;
/// How long the agent of a node waits for that of another to speak of an object (adr/0116).
const TURN: Duration = Duration::from_secs(10);
/// How long tasks may take to come to an end.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How soon another version is tried again to be replaced.
const RETIRE: Duration = Duration::from_secs(1);

/// The agent cannot run, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The kernel side cannot be opened.
    #[error("cannot take over or set up the dataplane")]
    Open(#[from] OpenError),
    /// The control socket cannot be opened.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The collector of `--flow-otlp` makes no sense.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    /// Hubble's API cannot be served.
    #[error(transparent)]
    Hubble(#[from] HubbleError),
    /// The address of `--healthz-bind` or `--metrics-bind` cannot be taken.
    #[error("cannot listen on {address} ({flag})")]
    Probes {
        /// Which flag names it.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The control socket, or the one of probes, takes no connections any more.
    #[error("answering who asks")]
    Serve(#[source] io::Error),
    /// The source cannot be opened, or has failed.
    #[error(transparent)]
    Source(#[from] source::Error),
    /// Threads or signals are not to be had.
    #[error("cannot start")]
    Start(#[source] io::Error),
    /// A task that runs for ever has ended.
    #[error("{0} has ended")]
    Ended(&'static str),
}

/// Runs the agent until it is told to end (SIGTERM, SIGINT). The dataplane goes on.
///
/// # Errors
///
/// See [`RunError`]. What enforced before does so still.
pub fn run(args: &RunArgs) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(RunError::Start)?;
    let source = runtime.block_on(open(args))?;
    let socket = Socket::bind(&args.socket, Audience::Group)?;
    let probes = Probes::bind(args.healthz_bind, args.metrics_bind)?;
    let plugins = Plugins::open(args)?;
    let hubble = Listeners::bind(&args.flows.hubble())?;
    let exports = Exports::new(&args.flows.export())?;
    let kernel = Kernel::open(&args.kernel(kernel::connections))?;
    let result = runtime.block_on(live(args, source, (socket, plugins, probes, (hubble, exports)), kernel));
    runtime.shutdown_timeout(LAST_WORDS);
    result
}

async fn open(args: &RunArgs) -> Result<Feed, source::Error> {
    Ok(match &args.source {
        Source::Dir(folder) => Feed::Dir(DirSource::open(folder)?),
        Source::Kube => Feed::Kube(KubeSource::open(&args.api_server()).await?),
    })
}

async fn live(
    args: &RunArgs,
    source: Feed,
    (socket, plugins, probes, (hubble, exports)): (Socket, Plugins, Probes, (Listeners, Exports)),
    kernel: Kernel,
) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Start)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Start)?;
    let Kernel {
        found,
        rows,
        maps,
        known,
        changes,
        look,
        unpoliced,
        drops,
        told,
        flows,
        stats,
        conntrack,
        clock,
        memory,
        mode,
        node_services,
        xdp,
        xdp_sent,
        across,
        lock,
    } = kernel;

    let switches = maps.switches();
    switches.turn(flags::FAST_PATH, args.hand_over());
    // An agent that was killed while somebody listened left it on.
    switches.turn(flags::FLOW_EVENTS, Switch::Off);

    let mut engine = Engine::new(args.node.as_str(), maps.capacity(), rows);
    engine.configure(args.service_settings());
    engine.set_mode(args.policies.policy_mode);
    plugins.recall(&mut engine);
    let client = source.client();
    let (shared, asked) = Shared::new(engine, look, unpoliced);
    shared.update(|status| status.put_aside = found.iter().map(put_aside).collect());
    let attach = match mode {
        AttachMode::Tcx => "tcx",
        AttachMode::Clsact => "clsact",
    };
    tracing::info!(
        node = args.node.as_str(),
        source = %args.source,
        attach,
        node_services = %node_services,
        interfaces = known.len(),
        "netpol-agent runs"
    );

    let records = FlowStore::new(RECORDS, move |wanted| {
        switches.turn(flags::FLOW_EVENTS, if wanted { Switch::On } else { Switch::Off });
    });
    let flow_metrics = Arc::new(FlowMetrics::new(&args.flows.flow_metrics));
    let history = args.flows.history().map(|options| Arc::new(History::new(options)));
    let agent = Agent {
        node: args.node.as_str().to_owned(),
        source: args.source.to_string(),
        attach,
        pin_dir: args.pin_dir.display().to_string(),
        shared: shared.clone(),
        rescan: source.rescan(),
        watches: source.watches(),
        events: Counts::default(),
        capacity: maps.capacity(),
        maps: memory,
        node_services: match args.services {
            ForServices::On => node_services.to_string(),
            ForServices::Off => "off: --services=off leaves all Services to another proxy".to_owned(),
        },
        xdp,
        xdp_sent,
        across,
        stats,
        records: records.clone(),
        flow_metrics: flow_metrics.clone(),
        history: history.clone(),
    };
    let agent = Arc::new(agent);
    #[cfg(feature = "fault-points")]
    let maps = fault_points::FaultPoints::around(maps);
    let (sender, batches) = mpsc::channel(BATCHES);
    let source = tokio::spawn(source.run(sender));
    let without_services = args.services == ForServices::Off;
    let reconciler = Reconciler::new(shared.clone(), maps).without_services(without_services);
    let reconcile = tokio::spawn(reconciler.run(batches, known, changes, asked));
    let node: Arc<str> = args.node.as_str().into();
    let into_records = || Recorder {
        shared: shared.clone(),
        store: records.clone(),
        metrics: flow_metrics.clone(),
        node: node.clone(),
    };
    let collect = tokio::spawn(collect::run(into_records(), conntrack, clock));
    let drops = tokio::spawn(events::run_drops(drops, told, into_records()));
    let flows = tokio::spawn(events::run(flows, into_records()));
    let exports = tokio::spawn(exports.run(records.clone(), flow_metrics.clone(), node.clone()));
    let keep = tokio::spawn(history::keep(history.clone(), records.clone(), flow_metrics.clone()));
    let missed = tokio::spawn(missed::run(agent.clone(), records.clone()));
    let observed = Observed { node, shared: shared.clone(), records: records.clone() };
    let hubble = tokio::spawn(hubble.serve(observed));
    let (reports, publishes) = watch::channel(Arc::default());
    let problems = tokio::spawn(problems::run(shared.clone(), args.pending_deadline, reports));
    let recorder =
        tokio::spawn(record(client, args.node.as_str().to_owned(), publishes, agent.events.clone()));
    let health = tokio::spawn(health::run(shared.clone()));
    let probes = tokio::spawn(probes.run(shared.clone(), agent.clone()));
    let plugins = tokio::spawn(plugins.run(shared.clone()));
    let page = tokio::spawn(page(args.ui_bind, agent.clone(), shared.clone()));
    let serve = tokio::spawn(ctl::serve(socket, agent));
    let result = tokio::select! {
        ended = source => match ended {
            Ok(result) => result.map_err(RunError::from).and(Err(RunError::Ended("the source"))),
            Err(error) => panicked(error, "the source"),
        },
        ended = reconcile => match ended {
            Ok(ended) => Err(RunError::Ended(ended.what())),
            Err(error) => panicked(error, "the loop"),
        },
        ended = serve => match ended {
            Ok(result) => result.map_err(RunError::Serve).and(Err(RunError::Ended("the control socket"))),
            Err(error) => panicked(error, "the control socket"),
        },
        ended = plugins => match ended {
            Ok(result) => result.map_err(RunError::Serve).and(Err(RunError::Ended("the socket for CNI plugins"))),
            Err(error) => panicked(error, "the socket for CNI plugins"),
        },
        ended = hubble => match ended {
            Ok(result) => result.map_err(RunError::from).and(Err(RunError::Ended("Hubble's API"))),
            Err(error) => panicked(error, "Hubble's API"),
        },
        ended = health => ended_or_panicked(ended, "the health checks"),
        ended = probes => match ended {
            Ok(result) => result.map_err(RunError::Serve).and(Err(RunError::Ended("the probes"))),
            Err(error) => panicked(error, "the probes"),
        },
        ended = page => ended_or_panicked(ended, "the page in the browser"),
        ended = collect => ended_or_panicked(ended, "the collection of connections"),
        ended = problems => ended_or_panicked(ended, "the log of problems"),
        ended = recorder => ended_or_panicked(ended, "the recorder of events"),
        ended = drops => ended_or_panicked(ended, "reading drops"),
        ended = flows => ended_or_panicked(ended, "reading flows"),
        ended = exports => ended_or_panicked(ended, "the export of flow records"),
        ended = keep => ended_or_panicked(ended, "the record of what pods do"),
        ended = missed => ended_or_panicked(ended, "counting lost events"),
        () = retire(&shared, &lock) => Err(RunError::Ended("the removal of other versions")),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    // What has counted on since it was written last.
    if let Some(history) = history {
        block_in_place(|| history.flush(true));
    }
    drop(lock);
    result
}

fn put_aside(PutAside { path, to, why }: &PutAside) -> Problem {
    let to = to.as_ref().map_or(String::new(), |to| format!("put aside as {}, and ", to.display()));
    Problem {
        level: Level::Error,
        origin: path.display().to_string(),
        message: format!("the pin {why}; {to}made anew when the agent started"),
        ..Problem::default()
    }
}

/// Takes the place of agents of other versions once this one's policy is in force.
async fn retire(shared: &Shared, lock: &Lock) {
    let mut turns = shared.turns();
    while !shared.status().programmed {
        if turns.changed().await.is_err() {
            return;
        }
    }
    while let Err(error) = block_in_place(|| lock.replace_other_versions()) {
        tracing::error!(error = &error as &dyn std::error::Error, retry = ?RETIRE, "programs of another version stay");
        tokio::time::sleep(RETIRE).await;
    }
    std::future::pending().await
}

/// Writes events where there is an API server; where there is none, nobody listens to what they would say.
async fn record(
    client: Option<Client>,
    node: String,
    reports: watch::Receiver<Arc<Reports>>,
    counts: Counts,
) {
    match client {
        Some(client) => recorder::run(client, RecorderOptions { node, turn: TURN }, reports, counts).await,
        None => {
            drop(reports);
            std::future::pending().await
        }
    }
}

/// Serves the page where there is to be one.
async fn page(address: UiBind, agent: Arc<Agent>, shared: Shared) {
    let UiBind::At(address) = address else { return std::future::pending().await };
    let tell = |problem| {
        shared.update(|status| status.page = problem);
        shared.announce_settled();
    };
    ui::serve(address, agent, tell).await;
}

fn ended_or_panicked(ended: Result<(), tokio::task::JoinError>, task: &'static str) -> Result<(), RunError> {
    match ended {
        Ok(()) => Err(RunError::Ended(task)),
        Err(error) => panicked(error, task),
    }
}

fn panicked(error: tokio::task::JoinError, task: &'static str) -> Result<(), RunError> {
    tracing::error!(%error, task, "a task has panicked");
    Err(RunError::Ended(task))
}
