//! A bed that outlives the program that built it.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Bed, Netns, cleanup, dir, object::object_ref, pod::Wish};
use crate::serve::Servers;

impl Bed {
    /// Leaves the bed standing: `holder` becomes its owner. It has to call [`hold`] with the bed's folder, runs on after
    /// this program, and takes the bed down when it is told to end. Its process number is returned.
    ///
    /// # Errors
    /// If it cannot be started; the bed is taken down then.
    pub fn keep(mut self, holder: &mut Command) -> Result<u32> {
        let runtime = self.runtime().clone();
        for (_, pod) in std::mem::take(&mut self.pods) {
            // The holder listens on the same ports.
            runtime.block_on(pod.servers.stop());
        }
        let log = fs::File::create(self.folder.join("holder.log"))?;
        let child = holder
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("the bed's holder")?;
        dir::set_owner(&self.folder, dir::Process::of(child.id().try_into()?)?)?;
        cleanup::forget(&self.folder);
        for agent in self.agents.drain(..) {
            agent.release();
        }
        // Not ours any more: dropping the bed must not take it down.
        self.folder = Path::new("/nonexistent").to_owned();
        Ok(child.id())
    }
}

/// Serves in the pods of a bed that another process built, until a signal ends this one and the bed with it.
///
/// # Errors
/// If the bed is not complete.
pub fn hold(folder: &Path) -> Result<()> {
    cleanup::register(folder);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut servers = Vec::new();
    for file in fs::read_dir(folder.join("manifests"))? {
        let path = file?.path();
        let object: Value = serde_saphyr::from_str(&fs::read_to_string(&path)?)
            .with_context(|| path.display().to_string())?;
        if object["kind"] != "Pod" {
            continue;
        }
        let key = object_ref(&object)?;
        if let Some(wish) = Wish::of(&object)? {
            let netns = Arc::new(netns_of(folder, &wish, &key.namespace, &key.name)?);
            let name = format!("{}/{}", key.namespace, key.name);
            servers.push(Servers::start(
                runtime.handle(),
                &netns,
                &name,
                &wish.listen(&wish.fixed),
                &wish.ports,
            )?);
        }
    }
    loop {
        std::thread::park();
    }
}

fn netns_of(folder: &Path, wish: &Wish, namespace: &str, name: &str) -> Result<Netns> {
    let node = folder.join("nodes").join(&wish.node);
    let path = if wish.host_network {
        node.join("node.ns")
    } else {
        node.join("netns").join(format!("cni-{namespace}.{name}"))
    };
    Netns::open(name, &path)
}
