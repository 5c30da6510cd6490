//! Debian packages that the test bed and the demo call.

use std::path::Path;

use anyhow::{Context, Result};

use super::Apt;
use crate::{command, paths::Paths, progress::Progress};

struct Package {
    name: &'static str,
    /// What we call: a program's name, or a file's path.
    file: &'static str,
    what_for: &'static str,
}

const NEEDED: &[Package] = &[
    Package { name: "iproute2", file: "ip", what_for: "network namespaces" },
    Package {
        name: "containernetworking-plugins",
        file: "/usr/lib/cni/ptp",
        what_for: "the CNI plugins ptp and bridge that wire the pods",
    },
    Package { name: "dnsmasq-base", file: "dnsmasq", what_for: "a DNS server in a pod" },
    Package { name: "kubernetes-client", file: "kubectl", what_for: "kubectl, against the test API server" },
    Package { name: "runc", file: "runc", what_for: "containers with the rights that the manifests grant" },
    Package { name: "chromium-driver", file: "chromedriver", what_for: "a browser that looks at the page" },
    Package { name: "nftables", file: "nft", what_for: "rules that the benchmark compares with" },
    Package {
        name: "iptables",
        file: "iptables-restore",
        what_for: "rules that the benchmark compares with",
    },
    Package { name: "ipset", file: "ipset", what_for: "rules that the benchmark compares with" },
    Package { name: "curl", file: "curl", what_for: "requests as people make them" },
];

impl Package {
    fn is_there(&self) -> bool {
        match self.file.starts_with('/') {
            true => Path::new(self.file).exists(),
            false => command::find_program(self.file).is_some(),
        }
    }
}

/// Installs what is missing.
///
/// # Errors
/// Which package is missing and what it is for, where it cannot be installed.
pub(super) fn ensure(paths: &Paths, apt: &Apt) -> Result<()> {
    let missing: Vec<&Package> = NEEDED.iter().filter(|package| !package.is_there()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list: Vec<String> =
        missing.iter().map(|package| format!("{} ({})", package.name, package.what_for)).collect();
    let list = list.join(", ");
    Progress::new("setup: packages", 1).step(&format!("installing {list}"), || {
        apt.require().with_context(|| format!("missing: {list}"))?;
        apt.update(paths);
        apt.install(paths, &missing.iter().map(|package| package.name).collect::<Vec<_>>())
    })
}

/// What is there, for people.
pub(super) fn summary() -> String {
    NEEDED.iter().map(|package| package.name).collect::<Vec<_>>().join(", ")
}
