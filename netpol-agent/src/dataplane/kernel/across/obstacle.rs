//! Why packets between nodes take the node's own way, for who asks.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use super::Found;

/// Something on the node's own way that may matter to packets between its pods and those of other nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// Nobody has looked yet.
    Unseen,
    /// Switched off by this argument.
    Argument(&'static str),
    /// There is no uplink: nothing leads to other nodes.
    NoUplink,
    /// The node does not forward: the setting that says so.
    Forwarding(String),
    /// The node drops what comes in by another interface than its answers go out by: the setting that says so.
    ReversePath(String),
    /// This uplink is a bridge, and pods are ports of it.
    Bridged(String),
    /// A base chain of nftables with rules, or that drops.
    Chain {
        /// Of the table: `ip`, `ip6`, `inet`, `netdev` or `bridge`.
        family: &'static str,
        /// The table.
        table: String,
        /// The chain.
        chain: String,
        /// Whether it has rules; else it drops what no rule has accepted.
        has_rules: bool,
    },
    /// A table of iptables that is in use, in the kernel's own form and not in that of nftables.
    Legacy {
        /// `iptables` or `ip6tables`.
        program: &'static str,
        /// The table.
        table: String,
    },
    /// IPVS has services.
    Ipvs,
    /// There are IPsec policies.
    Xfrm,
    /// A program of somebody else sees what comes in by this uplink after netpol's.
    Program(String),
    /// A limit on a pod's interface.
    Queue {
        /// Which: `tbf`.
        kind: String,
        /// The node's side of the interface.
        interface: String,
    },
    /// It cannot be found out: why.
    Unknown(String),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unseen => f.write_str("not looked yet"),
            Self::Argument(argument) => write!(f, "by {argument}"),
            Self::NoUplink => f.write_str("no uplinks"),
            Self::Forwarding(setting) => write!(f, "{setting} is not 1"),
            Self::ReversePath(setting) => write!(f, "{setting} is 1"),
            Self::Bridged(uplink) => write!(f, "pods are ports of the uplink {uplink}"),
            Self::Chain { family, table, chain, has_rules } => {
                let why = if *has_rules { "has rules" } else { "drops by its policy" };
                write!(f, "nftables chain {family} {table} {chain} {why}")
            }
            Self::Legacy { program, table } => write!(f, "{program} (legacy) table {table} is in use"),
            Self::Ipvs => f.write_str("IPVS has services"),
            Self::Xfrm => f.write_str("there are IPsec policies (ip xfrm policy)"),
            Self::Program(uplink) => write!(f, "another program is behind netpol's on {uplink}"),
            Self::Queue { kind, interface } => write!(f, "a queue ({kind}) limits a pod on {interface}"),
            Self::Unknown(why) => write!(f, "cannot be found out: {why}"),
        }
    }
}

/// What holds for IPv4 and IPv6, shared with discovery, which keeps it up to date.
#[derive(Clone, Debug)]
pub struct AcrossStates(Arc<Mutex<[Found; 2]>>);

impl Default for AcrossStates {
    fn default() -> Self {
        Self(Arc::new(Mutex::new([Err(Obstacle::Unseen), Err(Obstacle::Unseen)])))
    }
}

impl AcrossStates {
    pub(super) fn set(&self, found: [Found; 2]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != found {
            tracing::info!("fast path across nodes: {}", words(&found));
            *known = found;
        }
    }

    /// One line for `netpolctl status`: `on`, or `off` and why.
    #[must_use]
    pub fn summary(&self) -> String {
        words(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn words([four, six]: &[Found; 2]) -> String {
    let one = |found: &Found| match found {
        Ok(()) => "on".to_owned(),
        Err(obstacle) => format!("off: {obstacle}"),
    };
    if four == six { one(four) } else { format!("IPv4 {}; IPv6 {}", one(four), one(six)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_for_both_families_is_said_once() {
        let chain = |has_rules| Obstacle::Chain {
            family: "ip",
            table: "filter".to_owned(),
            chain: "FORWARD".to_owned(),
            has_rules,
        };
        assert_eq!(words(&[Ok(()), Ok(())]), "on");
        assert_eq!(
            words(&[Err(chain(true)), Ok(())]),
            "IPv4 off: nftables chain ip filter FORWARD has rules; IPv6 on"
        );
        assert_eq!(
            words(&[Err(chain(false)), Err(chain(false))]),
            "off: nftables chain ip filter FORWARD drops by its policy"
        );
        let states = AcrossStates::default();
        assert_eq!(states.summary(), "off: not looked yet");
        states.set([Err(Obstacle::Argument("--fast-path=off")), Err(Obstacle::Argument("--fast-path=off"))]);
        assert_eq!(states.summary(), "off: by --fast-path=off");
    }
}
