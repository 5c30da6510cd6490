use super::{PODS, Service, hash, line};

/// The tables `nat` and `filter`, whole.
pub(in crate::bench) fn iptables(services: &[Service]) -> String {
    let (mut chains, mut portals, mut node_ports, mut rules) = <(String, String, String, String)>::default();
    for service in services {
        let Service { name, frontend, node_port, endpoints } = service;
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
        if let Some(port) = node_port {
            let ext = format!("KUBE-EXT-{}", hash(name, frontend));
            line(&mut chains, &format!(":{ext} - [0:0]"));
            line(
                &mut node_ports,
                &format!(
                    "-A KUBE-NODEPORTS -m comment --comment bench/{name} -m tcp -p tcp --dport {port} -j {ext}"
                ),
            );
            let comment = format!("masquerade traffic for bench/{name} external destinations");
            line(&mut rules, &format!("-A {ext} -m comment --comment \"{comment}\" -j KUBE-MARK-MASQ"));
            line(&mut rules, &format!("-A {ext} -j {svc}"));
        }
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
        "{IPTABLES_FILTER}{IPTABLES_NAT_CHAINS}{chains}{IPTABLES_NAT_RULES}{portals}{node_ports}{rules}{IPTABLES_NAT_END}"
    )
}

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
