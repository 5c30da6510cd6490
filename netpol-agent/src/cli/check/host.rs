//! What can be seen of a node without its agent.

use std::{fs, path::Path, process::Command};

use netpol_common::names;
use rustix::{fs::statfs, system::uname};

use super::pins;
use crate::{
    ctl::api::Status,
    diagnose::{Finding, Severity},
};

/// The oldest kernel that the programs are tested with (docs/kernels.md).
const OLDEST: (u32, u32) = (5, 10);
/// Where systems mount their BPF file system.
pub(super) const USUAL: &str = "/sys/fs/bpf";
/// `BPF_FS_MAGIC` and `CGROUP2_SUPER_MAGIC` of include/uapi/linux/magic.h.
const BPF_FS: i64 = 0xcafe_4a11;
const CGROUP2: i64 = 0x6367_7270;

/// The kernel and what it has mounted.
pub(super) fn system() -> Vec<Finding> {
    let mut found = Vec::new();
    let release = uname().release().to_string_lossy().into_owned();
    if version(&release).is_some_and(|version| version < OLDEST) {
        let reason = format!("{release} is older than {}.{}: the programs do not load", OLDEST.0, OLDEST.1);
        found.push(Finding::new(
            Severity::Error,
            "kernel",
            reason,
            "docs/kernels.md says what each version lacks",
        ));
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        let reason = "has no BTF (CONFIG_DEBUG_INFO_BTF)";
        found.push(Finding::new(Severity::Warning, "kernel", reason, "use a kernel that is built with it"));
    }
    if !is_mounted("/sys/fs/cgroup", CGROUP2) && !is_mounted("/sys/fs/cgroup/unified", CGROUP2) {
        let reason = "has no cgroups of version 2: the node's own processes do not reach Services";
        found.push(Finding::new(
            Severity::Warning,
            "/sys/fs/cgroup",
            reason,
            "boot with systemd.unified_cgroup_hierarchy=1",
        ));
    }
    found
}

/// Whether what is pinned under `dir` outlives a container.
pub(super) fn pins_lie_well(dir: &str) -> Option<Finding> {
    let advice = "mount -t bpf bpf /sys/fs/bpf on the host: without it programs and policy go with the agent";
    (!is_mounted(dir, BPF_FS))
        .then(|| Finding::new(Severity::Warning, dir, "is on no BPF file system", advice))
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn is_mounted(path: &str, magic: i64) -> bool {
    statfs(path).is_ok_and(|info| info.f_type == magic)
}

/// Whether the programs are on the interfaces of pods: their links are pinned, or `tc` shows them.
pub(super) fn attached(status: &Status, interfaces: &[(u32, String)]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (ifindex, name) in interfaces {
        for program in [names::FROM_POD, names::TO_POD] {
            let is_there = match status.attach.as_str() {
                "tcx" => pins(status).join("links").join(format!("{ifindex}-{program}")).exists(),
                _ => {
                    let direction = if program == names::FROM_POD { "ingress" } else { "egress" };
                    match said("tc", &["filter", "show", "dev", name, direction]) {
                        Some(text) => text.contains(&format!("netpol/{program}")),
                        None => return vec![unseen("tc", "whether the programs are attached")],
                    }
                }
            };
            if !is_there {
                let reason = format!("has no program {program}: somebody has taken it off");
                let advice =
                    "the agent puts it back within a second; who removes it? (tc monitor, other agents)";
                found.push(Finding::new(Severity::Error, format!("interface {name}"), reason, advice));
            }
        }
    }
    found
}

/// Rules of other proxies, which translate the same addresses.
pub(super) fn others(status: &Status) -> Vec<Finding> {
    if status.node_services.starts_with("off: --services=off") {
        return Vec::new();
    }
    let mut found = Vec::new();
    let looks: [(&str, &[&str]); 3] =
        [("nft", &["list", "chains"]), ("iptables-save", &["-t", "nat"]), ("ip6tables-save", &["-t", "nat"])];
    let seen: Vec<(&str, String)> =
        looks.iter().filter_map(|(tool, args)| Some((*tool, said(tool, args)?))).collect();
    if seen.is_empty() {
        return vec![unseen("nft, iptables-save", "whether another proxy has rules here")];
    }
    for (tool, text) in &seen {
        if let Some(sign) = sign(text) {
            let reason = format!(
                "has rules beside netpol ({sign}, by {tool}): what goes past netpol's programs is theirs"
            );
            let advice = "stop it and clean up (kube-proxy --cleanup), or run the agent with --services=off";
            found.push(Finding::new(Severity::Warning, "another proxy", reason, advice));
        }
    }
    if fs::read_to_string("/proc/net/ip_vs").is_ok_and(|text| text.lines().count() > 3) {
        let reason = "has virtual servers beside netpol (IPVS)";
        found.push(Finding::new(
            Severity::Warning,
            "another proxy",
            reason,
            "ipvsadm --clear, once it is stopped",
        ));
    }
    found
}

/// A chain or table that only a proxy makes.
fn sign(text: &str) -> Option<&'static str> {
    ["KUBE-SERVICES", "table ip kube-proxy", "table ip6 kube-proxy"]
        .into_iter()
        .find(|sign| text.contains(sign))
}

fn unseen(tool: &str, what: &str) -> Finding {
    let reason = format!("is not there, so it cannot be seen {what}");
    Finding::new(Severity::Note, tool, reason, "")
}

/// What a program of the node says; `None` if it is not there or fails.
fn said(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_as_distributions_write_them() {
        assert_eq!(version("5.10.0-28-amd64"), Some((5, 10)));
        assert_eq!(version("6.18-rc1"), Some((6, 18)));
        assert!(version("4.19.0").unwrap() < OLDEST && version("5.9.1").unwrap() < OLDEST);
        assert_eq!(version("none"), None);
    }

    #[test]
    fn another_proxy_is_known_by_its_chains() {
        assert_eq!(sign("table ip nat {\n\tchain KUBE-SERVICES {\n"), Some("KUBE-SERVICES"));
        assert_eq!(sign("table ip kube-proxy {\n"), Some("table ip kube-proxy"));
        assert_eq!(sign("table ip nat {\n\tchain DOCKER {\n"), None);
    }

    #[test]
    fn a_link_that_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let links = folder.path().join("v7/links");
        fs::create_dir_all(&links).unwrap();
        fs::write(links.join("3-from_pod"), "").unwrap();
        let pin_dir = folder.path().display().to_string();
        let status = Status { abi: 7, attach: "tcx".into(), pin_dir, ..Status::default() };
        let found = attached(&status, &[(3, "veth3".to_owned())]);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].about.as_str(), found[0].severity), ("interface veth3", Severity::Error));
        assert!(found[0].reason.contains("to_pod"), "{found:?}");
    }
}
