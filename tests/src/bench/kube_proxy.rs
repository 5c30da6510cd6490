//! The rules that kube-proxy 1.36 would write for Services, as text for `nft -f` and `iptables-restore`.
//!
//! Shaped as its nftables and iptables modes shape them for Services with a cluster address and TCP, without affinity: the
//! same chains, maps and sets, matches and orders, with comments where they cost something. What such Services do not
//! use (node ports, source ranges, Services without endpoints) is there as chains and maps that are empty.

use std::net::{Ipv4Addr, SocketAddrV4};

/// A Service with one TCP port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Service {
    pub(super) name: String,
    /// Its cluster address and port.
    pub(super) frontend: SocketAddrV4,
    pub(super) endpoints: Vec<SocketAddrV4>,
}

/// Where all pods of the cluster are.
const PODS: &str = "10.244.0.0/16";
/// Where Services get their addresses from.
const SERVICES: &str = "10.96.0.0/16";

/// The table `ip kube-proxy`, in place of one that is there.
pub(super) fn nftables(services: &[Service], node: Ipv4Addr) -> String {
    let mut text =
        NFTABLES.replace("PODS", PODS).replace("SERVICES", SERVICES).replace("NODE", &node.to_string());
    let (mut chains, mut addresses, mut frontends, mut hairpins) = Default::default();
    for service in services {
        let Service { name, frontend, endpoints } = service;
        let chain = format!("service-{}-bench/{name}/tcp/", hash(name, frontend));
        let choice: Vec<_> =
            endpoints.iter().enumerate().map(|(n, e)| format!("{n} : {} . {}", e.ip(), e.port())).collect();
        line(&mut chains, &format!("add chain ip kube-proxy {chain}"));
        line(
            &mut chains,
            &format!(
                "add rule ip kube-proxy {chain} meta l4proto tcp dnat ip to numgen random mod {} map {{ {} }}",
                endpoints.len(),
                choice.join(", ")
            ),
        );
        element(&mut addresses, &frontend.ip().to_string());
        element(&mut frontends, &format!("{} . tcp . {} : goto {chain}", frontend.ip(), frontend.port()));
        for e in endpoints {
            element(&mut hairpins, &format!("{0} . {0} . tcp . {1}", e.ip(), e.port()));
        }
    }
    text += &chains;
    for (set, elements) in
        [("cluster-ips", addresses), ("service-ips", frontends), ("hairpin-connections", hairpins)]
    {
        line(&mut text, &format!("add element ip kube-proxy {set} {{ {elements} }}"));
    }
    text
}

/// The tables `nat` and `filter`, whole.
pub(super) fn iptables(services: &[Service]) -> String {
    let (mut chains, mut portals, mut rules) = (String::new(), String::new(), String::new());
    for service in services {
        let Service { name, frontend, endpoints } = service;
        let svc = format!("KUBE-SVC-{}", hash(name, frontend));
        let to = format!("-m tcp -p tcp -d {} --dport {}", frontend.ip(), frontend.port());
        line(&mut chains, &format!(":{svc} - [0:0]"));
        line(
            &mut portals,
            &format!("-A KUBE-SERVICES -m comment --comment \"bench/{name} cluster IP\" {to} -j {svc}"),
        );
        line(
            &mut rules,
            &format!(
                "-A {svc} -m comment --comment \"bench/{name} cluster IP\" {to} ! -s {PODS} -j KUBE-MARK-MASQ"
            ),
        );
        for (n, endpoint) in endpoints.iter().enumerate() {
            let sep = format!("KUBE-SEP-{}", hash(name, endpoint));
            let left = endpoints.len() - n;
            let chance = match left {
                1 => String::new(),
                _ => format!("-m statistic --mode random --probability {:.10} ", 1.0 / left as f64),
            };
            line(&mut chains, &format!(":{sep} - [0:0]"));
            line(
                &mut rules,
                &format!("-A {svc} -m comment --comment \"bench/{name} -> {endpoint}\" {chance}-j {sep}"),
            );
            let comment = format!("-m comment --comment bench/{name}");
            line(&mut rules, &format!("-A {sep} {comment} -s {} -j KUBE-MARK-MASQ", endpoint.ip()));
            line(
                &mut rules,
                &format!("-A {sep} {comment} -m tcp -p tcp -j DNAT --to-destination {endpoint}"),
            );
        }
    }
    format!(
        "{IPTABLES_FILTER}{IPTABLES_NAT_CHAINS}{chains}{IPTABLES_NAT_RULES}{portals}{rules}{IPTABLES_NAT_END}"
    )
}

/// Stands for the hash in the names of chains.
fn hash(name: &str, address: &SocketAddrV4) -> String {
    format!("{:08X}{:04X}{:04X}", address.ip().to_bits(), address.port(), name.len())
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn element(elements: &mut String, element: &str) {
    if !elements.is_empty() {
        elements.push_str(", ");
    }
    elements.push_str(element);
}

const NFTABLES: &str = "\
add table ip kube-proxy
delete table ip kube-proxy
add table ip kube-proxy
add set ip kube-proxy cluster-ips { type ipv4_addr ; }
add set ip kube-proxy nodeport-ips { type ipv4_addr ; }
add set ip kube-proxy hairpin-connections { type ipv4_addr . ipv4_addr . inet_proto . inet_service ; }
add map ip kube-proxy firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }
add map ip kube-proxy no-endpoint-nodeports { type inet_proto . inet_service : verdict ; }
add map ip kube-proxy no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict ; }
add map ip kube-proxy service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }
add map ip kube-proxy service-nodeports { type inet_proto . inet_service : verdict ; }
add chain ip kube-proxy cluster-ips-check
add chain ip kube-proxy filter-prerouting-pre-dnat { type filter hook prerouting priority -110 ; }
add chain ip kube-proxy filter-output-pre-dnat { type filter hook output priority -110 ; }
add chain ip kube-proxy filter-forward { type filter hook forward priority 0 ; }
add chain ip kube-proxy filter-input { type filter hook input priority 0 ; }
add chain ip kube-proxy filter-output { type filter hook output priority 0 ; }
add chain ip kube-proxy firewall-check
add chain ip kube-proxy masquerading
add chain ip kube-proxy nat-output { type nat hook output priority -100 ; }
add chain ip kube-proxy nat-postrouting { type nat hook postrouting priority 100 ; }
add chain ip kube-proxy nat-prerouting { type nat hook prerouting priority -100 ; }
add chain ip kube-proxy nodeport-endpoints-check
add chain ip kube-proxy services
add chain ip kube-proxy service-endpoints-check
add rule ip kube-proxy cluster-ips-check ip daddr @cluster-ips reject
add rule ip kube-proxy cluster-ips-check ip daddr { SERVICES } drop
add rule ip kube-proxy filter-prerouting-pre-dnat ct state new jump firewall-check
add rule ip kube-proxy filter-forward ct state new jump service-endpoints-check
add rule ip kube-proxy filter-forward ct state new jump cluster-ips-check
add rule ip kube-proxy filter-input ct state new jump nodeport-endpoints-check
add rule ip kube-proxy filter-input ct state new jump service-endpoints-check
add rule ip kube-proxy filter-output ct state new jump service-endpoints-check
add rule ip kube-proxy filter-output-pre-dnat ct state new jump firewall-check
add rule ip kube-proxy filter-output ct state new jump cluster-ips-check
add rule ip kube-proxy firewall-check ip daddr . meta l4proto . th dport vmap @firewall-ips
add rule ip kube-proxy masquerading mark and 0x4000 != 0 mark set mark xor 0x4000 masquerade fully-random
add rule ip kube-proxy masquerading ct status dnat ip saddr . ip daddr . meta l4proto . th dport @hairpin-connections masquerade fully-random
add rule ip kube-proxy nat-output jump services
add rule ip kube-proxy nat-postrouting jump masquerading
add rule ip kube-proxy nat-prerouting jump services
add rule ip kube-proxy nodeport-endpoints-check ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports
add rule ip kube-proxy service-endpoints-check ip daddr . meta l4proto . th dport vmap @no-endpoint-services
add rule ip kube-proxy services ip daddr @cluster-ips ip saddr != PODS mark set mark or 0x4000
add rule ip kube-proxy services ip daddr . meta l4proto . th dport vmap @service-ips
add rule ip kube-proxy services ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
add element ip kube-proxy nodeport-ips { NODE }
";

const IPTABLES_FILTER: &str = "\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SERVICES - [0:0]
-A INPUT -m conntrack --ctstate NEW -m comment --comment firewall -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment health -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -m comment --comment external -j KUBE-EXTERNAL-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment firewall -j KUBE-PROXY-FIREWALL
-A FORWARD -m comment --comment forward -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -m comment --comment portals -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment external -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment firewall -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment portals -j KUBE-SERVICES
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment forward -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment established -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
";

const IPTABLES_NAT_CHAINS: &str = "\
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
";

const IPTABLES_NAT_RULES: &str = "\
-A PREROUTING -m comment --comment portals -j KUBE-SERVICES
-A OUTPUT -m comment --comment portals -j KUBE-SERVICES
-A POSTROUTING -m comment --comment postrouting -j KUBE-POSTROUTING
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -m comment --comment masquerade -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
";

const IPTABLES_NAT_END: &str = "\
-A KUBE-SERVICES -m comment --comment nodeports -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
COMMIT
";
