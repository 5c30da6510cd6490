use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use netpol_agent::flow::{FlowRecord, Verdict};
use netpol_tests::{
    bed::{AgentOptions, Bed, ClusterSpec, Cni, Family, NodeSpec, Place, object_ref, program},
    flows::{FlowLog, Wanted},
    probe::{Attempt, Cell, Connection, MIN_SIZE, Outcome, Protocol},
    scenario::read_objects,
};
use serde_json::Value;

use super::show::{chapter, matrix, output, record, say, spread};

const START: Duration = Duration::from_secs(20);
/// How soon a change must be in force.
const SOON: Duration = Duration::from_secs(3);
const SILENCE: Duration = Duration::from_millis(500);
const CONNECTIONS: usize = 60;
const SERVICE: (IpAddr, u16) = (IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 15, 20)), 80);

/// The demo, as far as it has come.
pub(crate) struct Story {
    bed: Bed,
    log: FlowLog,
    /// The shop's manifests by file name.
    files: BTreeMap<String, Vec<Value>>,
}

impl Story {
    pub(crate) fn begin(examples: &Path) -> Result<Self> {
        let started = Instant::now();
        chapter(1, "Two nodes, seven pods, an agent on each node");
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(examples)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "yaml") {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                files.insert(name, read_objects(&path)?);
            }
        }
        let nodes = vec![NodeSpec::new("node1", Cni::Ptp), NodeSpec::new("node2", Cni::Bridge)];
        let mut bed =
            Bed::build(&ClusterSpec { nodes, outside: Vec::new(), families: Family::ALL.to_vec() })?;
        bed.start_agents(&AgentOptions::default())?;
        for name in ["00-namespaces", "10-web", "20-shop"] {
            bed.apply(files.get(name).with_context(|| format!("{}: {name}.yaml", examples.display()))?)?;
        }
        bed.await_agents(START)?;
        let log = FlowLog::follow(bed.agents())?;
        for node in bed.nodes() {
            let plugin = match node.cni {
                Cni::Ptp => "routed (CNI plugin ptp)",
                Cni::Bridge => "on a bridge (CNI plugin bridge)",
            };
            let pods: Vec<_> = bed.pods().filter(|p| p.node == node.name).map(|p| p.name.as_str()).collect();
            say(format!("{}, its pods {plugin}: {}", node.name, pods.join(", ")));
        }
        say(format!(
            "Ready after {:.1} s. No policy yet, and no kube-proxy.",
            started.elapsed().as_secs_f32()
        ));
        Ok(Self { bed, log, files })
    }

    pub(crate) fn into_bed(self) -> Bed {
        self.bed
    }

    pub(crate) fn a_service_spreads(&mut self) -> Result<()> {
        chapter(2, "A Service spreads its connections");
        for (name, addr) in [("web-0", "10.244.1.10"), ("web-1", "10.244.1.11"), ("web-2", "10.244.1.12")] {
            let addresses = &self.bed.pod(&format!("shop/{name}"))?.addresses;
            ensure!(addresses.contains(&addr.parse()?), "{name} has {addresses:?}, not {addr}");
        }
        say("The pods web-0, web-1 and web-2 (10.244.1.10 to 12) are behind Service shop/web, 10.96.15.20.");
        self.expect_spread(&["shop/web-0", "shop/web-1", "shop/web-2"])
    }

    pub(crate) fn it_survives_the_loss_of_a_pod(&mut self) -> Result<()> {
        chapter(3, "It survives losing a pod, and one that comes back under another address");
        let web = self.objects("10-web")?;
        let pod = web.iter().find(|o| o["metadata"]["name"] == "web-1").context("web-1 in 10-web.yaml")?;
        let mut pod = pod.clone();
        self.bed.delete(&[object_ref(&pod)?])?;
        say("web-1 is deleted:");
        self.expect_spread(&["shop/web-0", "shop/web-2"])?;
        // Without an address of its own it gets the node's next one.
        pod["status"] = Value::Null;
        self.bed.apply(&[pod])?;
        let addresses = &self.bed.pod("shop/web-1")?.addresses;
        ensure!(!addresses.contains(&"10.244.1.11".parse()?), "web-1 has its old address");
        say(format!(
            "web-1 is back, under {}:",
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
        ));
        self.expect_spread(&["shop/web-0", "shop/web-1", "shop/web-2"])
    }

    pub(crate) fn policies_say_who_reaches_whom(&mut self) -> Result<()> {
        chapter(4, "Policies say who reaches whom");
        let policies = self.objects("30-policies")?;
        self.bed.apply(&policies)?;
        let names: Vec<_> = policies.iter().filter_map(|p| p["metadata"]["name"].as_str()).collect();
        say(format!(
            "Applied to namespace shop: {}. Real connections, over IPv4 and IPv6:",
            names.join(", ")
        ));
        let rows = ["shop/frontend", "shop/backend", "shop/database", "shop/web-0", "other/random"];
        let columns =
            [("shop/web-1", 8080), ("shop/backend", 8080), ("shop/database", 5432), ("other/random", 8080)];
        let allowed = |from: &str, to: &str| match to {
            "shop/backend" => from == "shop/frontend",
            "shop/database" => matches!(from, "shop/frontend" | "shop/backend"),
            _ => true,
        };
        let mut expected = Vec::new();
        for (from, (to, port)) in
            rows.iter().flat_map(|row| columns.iter().map(move |column| (*row, *column)))
        {
            for family in Family::ALL.into_iter().filter(|_| from != to) {
                let cell = Cell {
                    from: Place::Pod(from.to_owned()),
                    to: to.to_owned(),
                    protocol: Protocol::Tcp,
                    port,
                    family,
                };
                expected.push((cell, allowed(from, to)));
            }
        }
        let wrong = self.bed.settle(&expected, SOON)?;
        ensure!(wrong.is_empty(), "otherwise than the policies say: {wrong:?}");
        matrix(&rows, &columns, |from, to| (from != to).then(|| allowed(from, to)));
        say("frontend → backend and frontend → database pass; the random pod reaches the web servers only.");
        Ok(())
    }

    pub(crate) fn a_drop_names_its_policy(&mut self) -> Result<()> {
        chapter(5, "A drop says which policy did it");
        let target = self.address("shop/database", 5432)?;
        let attempt = Attempt {
            from: self.bed.netns(&Place::Pod("other/random".to_owned()))?,
            protocol: Protocol::Tcp,
            to: target,
            size: MIN_SIZE,
            timeout: SILENCE,
        };
        let since = Instant::now();
        let (source, outcome) = self.bed.runtime().block_on(attempt.make());
        ensure!(outcome == Outcome::Silent, "other/random → shop/database: {outcome:?}");
        say("The random pod tries the database. Its flow record:");
        let wanted = Wanted {
            protocol: Protocol::Tcp,
            source: source.context("no source")?,
            target,
            translated: false,
            since,
        };
        let dropped = self.await_record(&wanted)?;
        ensure!(dropped.reason.as_deref() == Some("policy") && dropped.direction == "ingress", "{dropped:?}");
        ensure!(
            policies(&dropped) == ["shop/database-ingress", "shop/default-deny"].map(String::from).into(),
            "{dropped:?}"
        );
        record(&dropped);
        Ok(())
    }

    pub(crate) fn an_established_connection_is_revoked(&mut self) -> Result<()> {
        chapter(6, "A policy is deleted, and an established connection revoked");
        let target = self.address("shop/database", 5432)?;
        let from = self.bed.netns(&Place::Pod("shop/frontend".to_owned()))?;
        let guard = self.bed.runtime().enter();
        let mut connection = Connection::prepare(&from, Protocol::Tcp, target)?;
        drop(guard);
        self.expect_on(&mut connection, true)?;
        say(format!(
            "The frontend has a connection to the database, {} → {target}: it is answered.",
            connection.source()
        ));

        let all = self.objects("30-policies")?;
        let allowing =
            all.iter().find(|p| p["metadata"]["name"] == "database-ingress").context("database-ingress")?;
        let since = Instant::now();
        self.bed.delete(&[object_ref(allowing)?])?;
        self.expect_on(&mut connection, false)?;
        say(
            "NetworkPolicy shop/database-ingress is deleted, default-deny remains: the same connection is silent.",
        );
        let wanted =
            Wanted { protocol: Protocol::Tcp, source: connection.source(), target, translated: false, since };
        let dropped = self.await_record(&wanted)?;
        ensure!(policies(&dropped) == ["shop/default-deny".to_owned()].into(), "{dropped:?}");
        record(&dropped);

        self.bed.apply(std::slice::from_ref(allowing))?;
        self.expect_on(&mut connection, true)?;
        say("The policy is applied again: the connection goes on, without having been reset.");
        Ok(())
    }

    pub(crate) fn it_can_be_asked(&mut self) -> Result<()> {
        chapter(7, "It can be asked");
        let socket =
            &self.bed.agents().iter().find(|a| a.node == "node2").context("no agent on node2")?.socket;
        // The port, since a connection that was open when the policies came is sent again for a while.
        // `explain` says by its exit status, too, whether the connection is allowed.
        for (arguments, status) in [
            (
                &["flows", "--verdict", "dropped", "--pod", "other/random", "--port", "5432", "--last", "4"]
                    [..],
                0,
            ),
            (&["explain", "other/random", "shop/database", "--port", "5432"], 3),
            (&["explain", "shop/frontend", "shop/database", "--port", "5432"], 0),
        ] {
            say(format!("$ netpolctl {}", arguments.join(" ")));
            let run =
                Command::new(program("netpolctl")?).arg("--socket").arg(socket).args(arguments).output()?;
            let text = String::from_utf8_lossy(&run.stdout);
            ensure!(
                run.status.code() == Some(status),
                "{}: {text}{}",
                run.status,
                String::from_utf8_lossy(&run.stderr)
            );
            ensure!(text.contains("shop/database"), "does not name the database:\n{text}");
            output(&text);
        }
        Ok(())
    }

    fn objects(&self, file: &str) -> Result<Vec<Value>> {
        self.files.get(file).cloned().with_context(|| format!("{file}.yaml"))
    }

    fn address(&self, pod: &str, port: u16) -> Result<SocketAddr> {
        let addresses = &self.bed.pod(pod)?.addresses;
        let addr =
            addresses.iter().find(|a| a.is_ipv4()).with_context(|| format!("{pod} has no IPv4 address"))?;
        Ok(SocketAddr::new(*addr, port))
    }

    /// Opens connections from the frontend to the Service until exactly these pods share them.
    fn expect_spread(&self, pods: &[&str]) -> Result<()> {
        let attempt = Attempt {
            from: self.bed.netns(&Place::Pod("shop/frontend".to_owned()))?,
            protocol: Protocol::Tcp,
            to: SERVICE.into(),
            size: MIN_SIZE,
            timeout: SILENCE,
        };
        let deadline = Instant::now() + SOON;
        // The batch in which the pods change is not the one to show.
        let mut settled = false;
        loop {
            let tries = (0..CONNECTIONS).map(|_| attempt.make());
            let outcomes = self.bed.runtime().block_on(futures_util::future::join_all(tries));
            let mut counts = BTreeMap::<String, usize>::new();
            let mut failures = Vec::new();
            for (_, outcome) in outcomes {
                match outcome {
                    Outcome::Answered(Some(reply)) => *counts.entry(reply.pod).or_default() += 1,
                    other => failures.push(other),
                }
            }
            if failures.is_empty() && counts.keys().map(String::as_str).eq(pods.iter().copied()) {
                if !std::mem::replace(&mut settled, true) {
                    continue;
                }
                say(format!(
                    "{CONNECTIONS} connections from the frontend to 10.96.15.20:80 were answered by"
                ));
                spread(&counts);
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("10.96.15.20:80 should be answered by {pods:?}: {counts:?}, {failures:?}");
            }
        }
    }

    /// Asks on a connection until it is answered, or is not any more.
    fn expect_on(&self, connection: &mut Connection, answered: bool) -> Result<()> {
        let deadline = Instant::now() + SOON;
        loop {
            let patience = if answered { SOON } else { SILENCE };
            let outcome = self.bed.runtime().block_on(connection.exchange(MIN_SIZE, patience));
            match (&outcome, answered) {
                (Outcome::Answered(_), true) | (Outcome::Silent, false) => return Ok(()),
                _ if Instant::now() >= deadline => {
                    bail!(
                        "the connection of {} should be {}: {outcome:?}",
                        connection.source(),
                        if answered { "answered" } else { "silent" }
                    )
                }
                _ => {}
            }
        }
    }

    fn await_record(&self, wanted: &Wanted) -> Result<FlowRecord> {
        let deadline = Instant::now() + SOON;
        loop {
            let dropped = self.log.of(wanted).into_iter().find(|r| r.verdict == Verdict::Dropped);
            match dropped {
                Some(dropped) => return Ok(dropped),
                None => ensure!(Instant::now() < deadline, "no flow record of the drop of {}", wanted.source),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn policies(record: &FlowRecord) -> BTreeSet<String> {
    record.policies.iter().map(|p| format!("{}/{}", p.namespace, p.name)).collect()
}
