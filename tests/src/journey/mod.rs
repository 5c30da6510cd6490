//! A request's whole way, with real parts: a client outside, nginx in a pod as the ingress controller, a DNS server in a
//! pod behind its Service, Services, and the pods behind them. `examples/journey` says who they are, and which policies are
//! in force on every hop.

mod curl;
mod program;

use std::{
    collections::BTreeSet,
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use netpol_agent::flow::{FlowRecord, PartyRecord, Verdict};

use crate::{
    bed::{AgentOptions, Bed, ClusterSpec, Family, Netns, Place},
    flows::FlowLog,
    scenario::read_objects,
};

use curl::{Answer, Curl};
use program::Server;

const START: Duration = Duration::from_secs(60);
/// How soon something must have come true.
const SOON: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
/// Requests until each of two pods has answered, for all that can be told of a choice at random.
const TRIES: usize = 100;

/// Something that was seen to be true.
pub type Sentence = String;

/// A cluster with everything in its place.
pub struct Journey {
    log: FlowLog,
    /// Before the bed, whose namespaces they hold.
    servers: Vec<Server>,
    examples: PathBuf,
    folder: PathBuf,
    bed: Bed,
}

impl Journey {
    /// Builds the cluster that the folder describes, and starts DNS and nginx in their pods.
    ///
    /// # Errors
    /// If a program is missing, or something does not come up in time.
    pub fn begin(examples: &Path) -> Result<Self> {
        let examples = examples.canonicalize().with_context(|| examples.display().to_string())?;
        let mut bed =
            Bed::build(&ClusterSpec { outside: vec!["client".to_owned()], ..ClusterSpec::default() })?;
        bed.start_agents(&AgentOptions::default())?;
        for name in ["00-namespaces", "10-edge", "11-dns", "12-shop", "20-policies"] {
            bed.apply(&read_objects(&examples.join(format!("{name}.yaml")))?)?;
        }
        bed.await_agents(START)?;
        let log = FlowLog::follow(bed.agents())?;
        let folder = bed.folder().join("journey");
        std::fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let mut journey = Self { log, servers: Vec::new(), examples, folder, bed };
        journey.start_dns()?;
        // nginx asks for the Services' addresses when it starts, and never again.
        journey.await_answer(&Request::from_pod("shop/cart", "http://web/"), Family::V4, is_pod)?;
        journey.start_nginx()?;
        Ok(journey)
    }

    /// Who is where.
    #[must_use]
    pub fn cast(&self) -> Vec<Sentence> {
        let mut lines = Vec::new();
        for node in self.bed.nodes() {
            let pods = self.bed.pods().filter(|pod| pod.node == node.name).map(|pod| pod.name.as_str());
            lines.push(format!("On {} are {}.", node.name, pods.collect::<Vec<_>>().join(", ")));
        }
        lines
    }

    /// From outside through nginx to the pods behind a Service, and what is not let in on that way.
    ///
    /// # Errors
    /// If it is otherwise.
    pub fn through_the_ingress_controller(&mut self, family: Family) -> Result<Vec<Sentence>> {
        let balancer = self.balancer(family)?;
        let by_nginx = at(balancer, 80);
        let shop =
            Request { by_way_of: Some(by_nginx.clone()), ..Request::from_outside("http://shop.example/") };
        let mut answered = BTreeSet::new();
        for _ in 0..TRIES {
            let Answer::Pod(reply) = self.await_answer(&shop, family, is_pod)? else { bail!("no pod") };
            // nginx asks in whichever family it likes.
            let is_nginx = self.bed.pod("edge/nginx")?.addresses.contains(&reply.peer.ip());
            ensure!(is_nginx, "the web server saw {} instead of nginx", reply.peer);
            answered.insert(reply.pod);
            if answered.len() == 2 {
                break;
            }
        }
        let both = BTreeSet::from(["shop/web-1".to_owned(), "shop/web-2".to_owned()]);
        ensure!(answered == both, "answered by {answered:?}");
        let mut said = vec![format!(
            "The client gets shop.example by the load balancer's address ({balancer}) through nginx from web-1 and web-2."
        )];
        let nobody = Request { url: "http://nobody.example/", ..shop.clone() };
        self.await_answer(&nobody, family, |answer| *answer == Answer::Status(404))?;
        said.push("nginx has no host nobody.example: 404, and no pod was asked.".to_owned());
        let office = Request { url: "http://office.example/", ..shop };
        let drop = Drop { direction: "ingress", by: &[("shop", "default-deny")], protocol: "TCP" };
        said.push(self.refused(&office, family, &Answer::Status(504), "edge/nginx", "shop/office", &drop)?);
        let web = self.address("shop/web-1", family)?;
        let straight =
            Request { by_way_of: Some(at(web, 8080)), ..Request::from_outside("http://shop.example/") };
        let by = [("shop", "default-deny"), ("shop", "web"), ("shop", "web-cart")];
        let drop = Drop { direction: "ingress", by: &by, protocol: "TCP" };
        said.push(self.refused(
            &straight,
            family,
            &Answer::Silence,
            "outside:client",
            "shop/web-1",
            &drop,
        )?);
        let dns = self.address("kube-system/dns", family)?;
        let names = Request { by_way_of: Some(at(dns, 53)), ..Request::from_outside("http://shop.example/") };
        let by = [("kube-system", "default-deny"), ("kube-system", "dns")];
        let drop = Drop { direction: "ingress", by: &by, protocol: "TCP" };
        said.push(self.refused(
            &names,
            family,
            &Answer::Silence,
            "outside:client",
            "kube-system/dns",
            &drop,
        )?);
        Ok(said)
    }

    /// From pod to pod by the Service's name, which a server behind another Service knows.
    ///
    /// # Errors
    /// If it is otherwise.
    pub fn by_name(&mut self, family: Family) -> Result<Vec<Sentence>> {
        let mut said = Vec::new();
        let cart = Request::from_pod("shop/cart", "http://web.shop.svc.cluster.local/");
        for (protocol, by_tcp) in [("UDP", false), ("TCP", true)] {
            let since = Instant::now();
            self.await_answer(&Request { by_tcp, ..cart.clone() }, family, is_pod)?;
            let asked = self.await_record(since, "a question for a name", |record| {
                record.verdict == Verdict::Forwarded
                    && record.protocol == protocol
                    && is_pod_named(record.source.as_ref(), "shop/cart")
                    && record.destination.as_ref().is_some_and(|to| to.address == dns_service(family))
                    && is_pod_named(record.translated.as_ref(), "kube-system/dns")
            })?;
            said.push(format!(
                "The cart asks Service kube-system/dns for web.shop.svc.cluster.local by {protocol} ({}), and web answers.",
                asked.egress
            ));
        }
        let stray = Request::from_pod("shop/stray", "http://web/");
        let by = [("shop", "default-deny"), ("shop", "web"), ("shop", "web-cart")];
        let drop = Drop { direction: "ingress", by: &by, protocol: "TCP" };
        said.push(self.refused(&stray, family, &Answer::Silence, "shop/stray", "shop/web-", &drop)?);
        // With a dot at its end: one question, and no other domain is tried.
        let mute = Request::from_pod("other/mute", "http://web.shop.svc.cluster.local./");
        let drop = Drop { direction: "egress", by: &[("other", "default-deny")], protocol: "UDP" };
        said.push(self.refused(&mute, family, &Answer::NoName, "other/mute", "kube-system/dns", &drop)?);
        Ok(said)
    }

    fn start_dns(&mut self) -> Result<()> {
        let netns = self.bed.pod("kube-system/dns")?.netns.clone();
        let mut dnsmasq = program::within(&netns, Path::new("/dev/null"), program::find("dnsmasq")?);
        dnsmasq.args(["--keep-in-foreground", "--user=root", "--log-facility=-"]);
        dnsmasq.arg(format!("--conf-file={}", self.examples.join("dnsmasq.conf").display()));
        dnsmasq.arg(format!("--pid-file={}", self.folder.join("dnsmasq.pid").display()));
        self.servers.push(Server::start(dnsmasq, self.folder.join("dnsmasq.log"))?);
        Ok(())
    }

    fn start_nginx(&mut self) -> Result<()> {
        let netns = self.bed.pod("edge/nginx")?.netns.clone();
        let resolv_conf = self.resolv_conf("edge", Family::V4, false)?;
        let mut nginx = program::within(&netns, &resolv_conf, program::find("nginx")?);
        nginx.arg("-c").arg(self.examples.join("nginx.conf"));
        nginx.arg("-p").arg(&self.folder).args(["-e", "stderr"]);
        self.servers.push(Server::start(nginx, self.folder.join("nginx.log"))?);
        Ok(())
    }

    fn address(&self, pod: &str, family: Family) -> Result<IpAddr> {
        let addresses = &self.bed.pod(pod)?.addresses;
        addresses
            .iter()
            .copied()
            .find(|a| Family::of(*a) == family)
            .with_context(|| format!("{pod} has none"))
    }

    /// Where the load balancer takes what is for nginx.
    fn balancer(&self, family: Family) -> Result<IpAddr> {
        let addresses = self.bed.load_balancer_addresses("edge", "ingress")?;
        addresses.into_iter().find(|a| Family::of(*a) == family).context("edge/ingress has no such address")
    }

    fn resolv_conf(&self, namespace: &str, family: Family, by_tcp: bool) -> Result<PathBuf> {
        let server = dns_service(family).to_string();
        let file = self.folder.join(format!("resolv.{namespace}.{server}.{by_tcp}"));
        program::write_resolv_conf(&file, namespace, &server, by_tcp)?;
        Ok(file)
    }

    fn ask(&mut self, request: &Request, family: Family) -> Result<Answer> {
        self.servers.iter_mut().try_for_each(Server::check)?;
        let (netns, resolv_conf): (Arc<Netns>, _) = match &request.from {
            Place::Pod(pod) => {
                let (namespace, _) = pod.split_once('/').context("a pod without namespace")?;
                (self.bed.netns(&request.from)?, self.resolv_conf(namespace, family, request.by_tcp)?)
            }
            other => (self.bed.netns(other)?, "/dev/null".into()),
        };
        let by_way_of = request.by_way_of.as_deref();
        Curl { netns: &netns, resolv_conf: &resolv_conf, family, url: request.url, by_way_of }.ask()
    }

    fn await_answer(
        &mut self,
        request: &Request,
        family: Family,
        wanted: impl Fn(&Answer) -> bool,
    ) -> Result<Answer> {
        let deadline = Instant::now() + SOON;
        loop {
            let answer = self.ask(request, family)?;
            if wanted(&answer) {
                return Ok(answer);
            }
            ensure!(Instant::now() < deadline, "{request} gets {answer:?}");
            thread::sleep(POLL);
        }
    }

    fn await_record(
        &self,
        since: Instant,
        what: &str,
        wanted: impl Fn(&FlowRecord) -> bool,
    ) -> Result<FlowRecord> {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(record) = self.log.since(since, &wanted).pop() {
                return Ok(record);
            }
            ensure!(Instant::now() < deadline, "no record of {what}");
            thread::sleep(POLL);
        }
    }

    /// A request that ends in `answer`, because policy drops what `from` sends to `to` (or a pod whose name begins so).
    fn refused(
        &mut self,
        request: &Request,
        family: Family,
        answer: &Answer,
        from: &str,
        to: &str,
        drop: &Drop<'_>,
    ) -> Result<Sentence> {
        let since = Instant::now();
        let seen = self.ask(request, family)?;
        ensure!(seen == *answer, "{request} gets {seen:?}, not {answer:?}");
        let record = self.await_record(since, &format!("a drop from {from} to {to}"), |record| {
            record.verdict == Verdict::Dropped
                && record.protocol == drop.protocol
                && record.direction == drop.direction
                && record.reason.as_deref() == Some("policy")
                && (from.starts_with("outside:") || is_pod_named(record.source.as_ref(), from))
                && goes_to(record).and_then(name_of).is_some_and(|name| name.starts_with(to))
        })?;
        let mut named: Vec<_> = record.policies.iter().map(|p| (&*p.namespace, &*p.name)).collect();
        named.sort_unstable();
        ensure!(named == drop.by, "{request}: dropped by {named:?}, not by {:?}", drop.by);
        let by: Vec<_> = named.iter().map(|(namespace, name)| format!("{namespace}/{name}")).collect();
        let end = if drop.direction == "egress" { record.source.as_ref() } else { goes_to(&record) };
        let end = end.and_then(name_of).unwrap_or_default();
        let got = match answer {
            Answer::Status(status) => status.to_string(),
            Answer::NoName => "no address".to_owned(),
            _ => "no answer".to_owned(),
        };
        let FlowRecord { node, direction, .. } = &record;
        Ok(format!("{request}: {got}. {direction} of {end}, denied on {node} by {}.", by.join(", ")))
    }
}

/// How policy must have dropped something.
struct Drop<'a> {
    direction: &'static str,
    /// Exactly these, in order.
    by: &'a [(&'static str, &'static str)],
    protocol: &'static str,
}

#[derive(Clone, Debug)]
struct Request {
    from: Place,
    url: &'static str,
    by_way_of: Option<String>,
    /// Names are asked for by TCP.
    by_tcp: bool,
}

impl Request {
    fn from_outside(url: &'static str) -> Self {
        Self { from: Place::Outside("client".to_owned()), url, by_way_of: None, by_tcp: false }
    }

    fn from_pod(pod: &str, url: &'static str) -> Self {
        Self { from: Place::Pod(pod.to_owned()), url, by_way_of: None, by_tcp: false }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} asks for {}", self.from, self.url)?;
        self.by_way_of.iter().try_for_each(|instead| write!(f, " at {instead}"))
    }
}

fn is_pod(answer: &Answer) -> bool {
    matches!(answer, Answer::Pod(_))
}

/// The pod behind the Service, if it is one's address.
fn goes_to(record: &FlowRecord) -> Option<&PartyRecord> {
    record.translated.as_ref().or(record.destination.as_ref())
}

fn name_of(party: &PartyRecord) -> Option<String> {
    Some(format!("{}/{}", party.namespace.as_ref()?, party.pod.as_ref()?))
}

fn is_pod_named(party: Option<&PartyRecord>, name: &str) -> bool {
    party.and_then(name_of).is_some_and(|its| its == name)
}

/// The address that `examples/journey/11-dns.yaml` gives it.
fn dns_service(family: Family) -> IpAddr {
    match family {
        Family::V4 => [10, 96, 0, 10].into(),
        Family::V6 => [0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0xa].into(),
    }
}

fn at(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}
