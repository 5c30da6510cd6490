use std::{env, io, path::PathBuf, time::Duration};

use clap::{Args, value_parser};
use netpol_cni::{DEFAULT_DIR, TYPE};

use super::{Entry, Install};

/// The folders of the node's container runtime.
#[derive(Clone, PartialEq, Eq, Args, Debug)]
pub struct CniFolders {
    /// Folder of the network configurations
    #[arg(long, value_name = "DIR", default_value = "/etc/cni/net.d")]
    pub conf_dir: PathBuf,
    /// Folder of the plugins
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
    pub bin_dir: PathBuf,
}

/// Arguments of `install-seccomp`.
#[derive(Clone, PartialEq, Eq, Args, Debug)]
pub struct InstallSeccompArgs {
    /// Folder below the kubelet's folder of seccomp profiles: the profile becomes agent.json in it
    #[arg(long, value_name = "DIR", default_value = "/var/lib/kubelet/seccomp/netpol")]
    pub dir: PathBuf,
}

/// Arguments of `install-cni`.
#[derive(Clone, PartialEq, Eq, Args, Debug)]
pub struct InstallCniArgs {
    /// Where to.
    #[command(flatten)]
    pub folders: CniFolders,
    /// The plugin's file. By default netpol-cni beside this program
    #[arg(long, value_name = "FILE")]
    pub plugin: Option<PathBuf>,
    /// The agent's --cni-dir
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DIR)]
    pub cni_dir: String,
    /// How long a pod's start waits for its policy, in seconds
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u64).range(1..=300))]
    pub cni_timeout: u64,
    /// Start pods without their policy where the agent is away or takes longer. By default they do not start
    #[arg(long)]
    pub cni_fail_open: bool,
    /// Do not hold pods' namespaces shut before their interfaces are there: for plugins that mind another one in front of them, and
    /// kernels without nf_tables
    #[arg(long)]
    pub no_hold: bool,
    /// Stay, and chain the plugin again whenever the configuration is written anew
    #[arg(long)]
    pub watch: bool,
    /// Show what is done in this detail, for --watch: error, warn, info, debug, trace
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log: String,
}

impl InstallCniArgs {
    /// What is to be installed.
    ///
    /// # Errors
    /// If the system does not tell where this program lies.
    pub fn install(&self) -> io::Result<Install> {
        let plugin = match &self.plugin {
            Some(plugin) => plugin.clone(),
            None => env::current_exe()?.with_file_name(TYPE),
        };
        let CniFolders { conf_dir, bin_dir } = self.folders.clone();
        let entry = Entry {
            hold: !self.no_hold,
            dir: self.cni_dir.clone(),
            timeout: Duration::from_secs(self.cni_timeout),
            fail_open: self.cni_fail_open,
        };
        Ok(Install { conf_dir, bin_dir, plugin, entry })
    }
}
