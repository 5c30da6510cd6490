//! What stands in filters as text.

use std::ops::RangeInclusive;

/// `namespace/prefix`: names that begin so. Either part may be missing; without a slash the namespace is `default`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Prefixed {
    namespace: String,
    prefix: String,
}

impl Prefixed {
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let (namespace, prefix) = text.split_once('/').unwrap_or(("default", text));
        if namespace.is_empty() && prefix.is_empty() {
            return Err(format!("{text:?} is not [NAMESPACE/][PREFIX]"));
        }
        Ok(Self { namespace: namespace.to_owned(), prefix: prefix.to_owned() })
    }

    pub(super) fn matches(&self, namespace: Option<&str>, name: Option<&str>) -> bool {
        let (Some(namespace), Some(name)) = (namespace, name) else { return false };
        (self.namespace.is_empty() || self.namespace == namespace) && name.starts_with(&self.prefix)
    }
}

/// A name in which `*` stands for any number of characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pattern(Option<String>);

impl Pattern {
    /// Of a node. It may have its cluster in front, `CLUSTER/NODE` or `CLUSTER/`: ours is called `default`, as Cilium calls one
    /// without a name.
    pub(super) fn node(text: &str) -> Result<Self, String> {
        let (cluster, node) = text.split_once('/').unwrap_or(("", text));
        if cluster.is_empty() && node.is_empty() {
            return Err("a node's name may not be empty".to_owned());
        }
        let ours = cluster.is_empty() || glob(cluster.as_bytes(), b"default");
        let node = if node.is_empty() { "*" } else { node };
        Ok(Self(ours.then(|| node.to_owned())))
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        self.0.as_ref().is_some_and(|pattern| glob(pattern.as_bytes(), name.as_bytes()))
    }
}

/// The last star takes up what is in the way: time in proportion to the product of both lengths, which are names.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                p = at + 1;
                t = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// `80`, or `8000-8080`.
pub(super) fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let number = |text: &str| text.trim().parse::<u16>();
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (number(first), number(last)) {
        (Ok(first), Ok(last)) if first <= last => Ok(first..=last),
        _ => Err(format!("{text:?} is no port, and no range of ports")),
    }
}

/// The names that records have for a protocol of Hubble's; none for those of the application layer, which no record tells of.
pub(super) fn protocol(text: &str) -> Result<&'static [&'static str], String> {
    match text.to_ascii_lowercase().as_str() {
        "tcp" => Ok(&["TCP"]),
        "udp" => Ok(&["UDP"]),
        "sctp" => Ok(&["SCTP"]),
        "icmp" => Ok(&["ICMP", "ICMPv6"]),
        "icmpv4" => Ok(&["ICMP"]),
        "icmpv6" => Ok(&["ICMPv6"]),
        "igmp" => Ok(&["2"]),
        "vrrp" => Ok(&["112"]),
        "dns" | "http" | "kafka" => Ok(&[]),
        _ => Err(format!("{text:?} is no protocol")),
    }
}
