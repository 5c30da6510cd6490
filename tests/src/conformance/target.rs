use anyhow::Result;

use super::{case::Port, cluster::Cluster, family::Family, truth::Ends};

/// Something that judges connections: the thing under test.
pub trait Target {
    /// Brings it from the state it is in to this one.
    ///
    /// # Errors
    /// If a change is refused.
    fn follow(&mut self, cluster: &Cluster, family: Family) -> Result<()>;

    /// Opens a new connection for each probe, as often as it takes to see each end alone. What is true is given so that a
    /// target that takes its time can wait for it; what it answers is what it saw, in the order of the probes.
    ///
    /// # Errors
    /// If they cannot be tried; a denied connection is no error.
    fn probe_all(&mut self, probes: &[(Probe<'_>, Ends)]) -> Result<Vec<Seen>>;

    /// Whether it can be asked about this port at all; what it cannot is counted as skipped.
    fn knows(&self, port: &Port) -> bool {
        let _: &Port = port;
        true
    }
}

/// A connection to be opened between two different pods, given by namespace and name.
#[derive(Clone, Copy, Debug)]
pub struct Probe<'a> {
    /// Who opens it.
    pub from: &'a (String, String),
    /// Who is meant.
    pub to: &'a (String, String),
    /// The port at `to`.
    pub port: &'a Port,
    /// Counts the steps of a run: no two steps have the same number, so a connection opened in one is not taken up
    /// again in another.
    pub round: u16,
}

/// What was seen: `true` allowed, `None` not looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// At the source alone.
    pub egress: Option<bool>,
    /// At the destination alone.
    pub ingress: Option<bool>,
    /// With both ends in the way.
    pub combined: Option<bool>,
}
