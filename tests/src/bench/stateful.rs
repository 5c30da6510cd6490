//! What a node without eBPF enforces the benchmark's policies by: rules for netfilter, as text for `ipset restore`,
//! `iptables-restore` and `nft -f`.
//!
//! The least that does it. A packet of a known connection is accepted by the first rule, what opens one is dispatched by the pod's address to a
//! chain that looks up its other end in a set, which is what enforcers based on ipset or nftables come down to; marks, profiles, logging and
//! rules per endpoint that these have besides are left out.

use std::{fmt::Write as _, net::Ipv4Addr};

use super::{
    policed::{PROBE, SERVED},
    traffic::PORT,
};

/// TCP ports that are open to clients; of UDP it is [`PORT`].
const TCP: [u16; 3] = [PROBE, SERVED, PORT];

/// The addresses that policies choose: all pods of the cluster by their roles, and the node's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pods {
    pub(super) clients: Vec<Ipv4Addr>,
    pub(super) servers: Vec<Ipv4Addr>,
    /// The client of the node, isolated for egress.
    pub(super) client: Ipv4Addr,
    /// The server of the node, isolated for ingress.
    pub(super) server: Ipv4Addr,
}

/// Sets, for `ipset restore`.
pub(super) fn ipset(pods: &Pods) -> String {
    let mut text = String::new();
    for (set, members) in [("clients", &pods.clients), ("servers", &pods.servers)] {
        text.push_str(&format!("create {set} hash:ip family inet\n"));
        members.iter().for_each(|addr| text.push_str(&format!("add {set} {addr}\n")));
    }
    text
}

/// The table `filter`, whole, for `iptables-restore`; it names the sets.
pub(super) fn iptables(pods: &Pods) -> String {
    let Pods { client, server, .. } = pods;
    let tcp = TCP.map(|port| port.to_string()).join(",");
    let mut text = format!(
        "\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:FROM-CLIENT - [0:0]
:TO-SERVER - [0:0]
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A FORWARD -s {client} -j FROM-CLIENT
-A FORWARD -d {server} -j TO-SERVER
"
    );
    for (chain, end) in [("FROM-CLIENT", "servers dst"), ("TO-SERVER", "clients src")] {
        let rules = format!(
            "\
-A {chain} -p tcp -m set --match-set {end} -m multiport --dports {tcp} -j RETURN
-A {chain} -p udp -m set --match-set {end} -m udp --dport {PORT} -j RETURN
-A {chain} -j DROP
"
        );
        text.push_str(&rules);
    }
    text.push_str("COMMIT\n");
    text
}

/// The table `ip isolation`, for `nft -f`.
pub(super) fn nftables(pods: &Pods) -> String {
    let list = |addrs: &[Ipv4Addr]| addrs.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(", ");
    let Pods { clients, servers, client, server } = pods;
    let mut ports = format!("udp . {PORT}");
    // Writing to a string does not fail.
    TCP.iter().for_each(|port| _ = write!(ports, ", tcp . {port}"));
    format!(
        "\
table ip isolation {{
    set clients {{ type ipv4_addr; elements = {{ {} }} }}
    set servers {{ type ipv4_addr; elements = {{ {} }} }}
    chain from-client {{
        ip daddr @servers meta l4proto . th dport {{ {ports} }} return
        drop
    }}
    chain to-server {{
        ip saddr @clients meta l4proto . th dport {{ {ports} }} return
        drop
    }}
    map from-pods {{ type ipv4_addr : verdict; elements = {{ {client} : jump from-client }} }}
    map to-pods {{ type ipv4_addr : verdict; elements = {{ {server} : jump to-server }} }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        ct state vmap {{ established : accept, related : accept, invalid : drop }}
        ip saddr vmap @from-pods
        ip daddr vmap @to-pods
    }}
}}
",
        list(clients),
        list(servers)
    )
}
