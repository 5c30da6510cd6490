use std::net::Ipv4Addr;

use super::{PODS, Service, hash, line};

/// Where Services get their addresses from.
const SERVICES: &str = "10.96.0.0/16";

/// The table `ip kube-proxy`, in place of one that is there.
pub(in crate::bench) fn nftables(services: &[Service], node: Ipv4Addr) -> String {
    let mut text =
        NFTABLES.replace("PODS", PODS).replace("SERVICES", SERVICES).replace("NODE", &node.to_string());
    let (mut chains, mut addresses, mut frontends, mut node_ports, mut hairpins) = Default::default();
    for service in services {
        let Service { name, frontend, node_port, endpoints } = service;
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
        if let Some(port) = node_port {
            let external = format!("external-{}-bench/{name}/tcp/", hash(name, frontend));
            line(&mut chains, &format!("add chain ip kube-proxy {external}"));
            line(&mut chains, &format!("add rule ip kube-proxy {external} mark set mark or 0x4000"));
            line(&mut chains, &format!("add rule ip kube-proxy {external} goto {chain}"));
            element(&mut node_ports, &format!("tcp . {port} : goto {external}"));
        }
        for e in endpoints {
            element(&mut hairpins, &format!("{0} . {0} . tcp . {1}", e.ip(), e.port()));
        }
    }
    text += &chains;
    for (set, elements) in [
        ("cluster-ips", addresses),
        ("service-ips", frontends),
        ("service-nodeports", node_ports),
        ("hairpin-connections", hairpins),
    ] {
        // Services without node ports leave that map empty.
        if !elements.is_empty() {
            line(&mut text, &format!("add element ip kube-proxy {set} {{ {elements} }}"));
        }
    }
    text
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
