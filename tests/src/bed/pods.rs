//! Applying and deleting objects, and what Pod objects set in motion.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use netpol_agent::model::ObjectRef;
use serde_json::Value;

use super::{
    Bed,
    cni::{self, BRIDGE},
    object::object_ref,
    pod::{Pod, Wish},
    spec::{Cni, Family},
};

/// Pods wired at the same time: the plugins spend half of their time waiting.
const PARALLEL: usize = 4;

impl Bed {
    /// Creates or replaces objects, as `kubectl apply` would: starts pods, tells the agents. When it returns, every pod
    /// is wired and serves; what the agents make of it is theirs.
    ///
    /// # Errors
    /// Names the object that could not be applied.
    pub fn apply(&mut self, objects: &[Value]) -> Result<()> {
        let mut to_start = Vec::new();
        for object in objects.iter().filter(|o| o["kind"] == "Pod") {
            let key = object_ref(object)?;
            let name = format!("{}/{}", key.namespace, key.name);
            let wish = Wish::of(object).with_context(|| key.to_string())?;
            if let (Some(wish), Some(running)) = (&wish, self.pods.get(&name))
                && wish.is_met_by(&running.wish, &running.addresses)
            {
                continue;
            }
            self.stop_pod(&name)?;
            to_start.extend(wish.map(|wish| (name, wish)));
        }
        // Those with addresses of their own first: the others take what is left.
        let (fixed, free): (Vec<_>, Vec<_>) =
            to_start.into_iter().partition(|(_, wish)| !wish.fixed.is_empty());
        self.start_pods(fixed)?;
        self.start_pods(free)?;
        for object in objects {
            self.put(object.clone())?;
        }
        Ok(())
    }

    /// Creates or replaces an object without anything that it would set in motion: a Pod starts none and stops none.
    ///
    /// # Errors
    /// Names the object that could not be written.
    pub fn tell(&mut self, object: &Value) -> Result<()> {
        self.put(object.clone())
    }

    /// Starts the pod that an object describes, and does not write the object.
    ///
    /// # Errors
    /// If it is none that runs, or cannot be started.
    pub fn wire(&mut self, object: &Value) -> Result<()> {
        let key = object_ref(object)?;
        let wish = Wish::of(object)?.with_context(|| format!("{key} does not run"))?;
        self.start_pods(vec![(format!("{}/{}", key.namespace, key.name), wish)])
    }

    /// Deletes objects; with a Namespace go the objects in it, with a Pod its processes and wires.
    ///
    /// # Errors
    /// If there is no such object, or a pod cannot be unwired.
    pub fn delete(&mut self, objects: &[ObjectRef]) -> Result<()> {
        for object in objects {
            if object.kind == "Namespace" {
                for inner in self.objects.in_namespace(&object.name) {
                    self.delete_one(&inner)?;
                }
            }
            self.delete_one(object)?;
        }
        Ok(())
    }

    fn delete_one(&mut self, object: &ObjectRef) -> Result<()> {
        self.objects.remove(object)?;
        if object.kind == "Pod" {
            self.stop_pod(&format!("{}/{}", object.namespace, object.name))
        } else {
            Ok(())
        }
    }

    fn put(&mut self, mut object: Value) -> Result<()> {
        let key = object_ref(&object)?;
        if key.kind == "Pod"
            && let Some(pod) = self.pods.get(&format!("{}/{}", key.namespace, key.name))
        {
            let node = self.fabric.nodes.iter().find(|n| n.name == pod.node).context("a pod without node")?;
            pod.report(node, &mut object);
        }
        if key.kind == "Node"
            && let Some(before) = self.objects.get(&key)
        {
            for (section, field) in [("spec", "podCIDR"), ("spec", "podCIDRs"), ("status", "addresses")] {
                if object[section][field].is_null() {
                    object[section][field] = before[section][field].clone();
                }
            }
        }
        self.objects.put(object).map(drop)
    }

    fn start_pods(&mut self, wishes: Vec<(String, Wish)>) -> Result<()> {
        for (name, wish) in &wishes {
            self.node(&wish.node).with_context(|| format!("Pod {name}: spec.nodeName"))?;
        }
        let threads = PARALLEL.min(wishes.len());
        let queue = Mutex::new(wishes.into_iter());
        let (bed, runtime) = (&*self, self.runtime());
        let work = || {
            let mut started = Vec::new();
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((name, wish)) = next else { return started };
                started.push(bed.node(&wish.node).and_then(|node| Pod::start(runtime, node, &name, wish)));
            }
        };
        let started = thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .flat_map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect::<Vec<_>>()
        });
        for pod in started {
            let pod = pod?;
            self.check_addresses(&pod)?;
            self.route_foreign(&pod, "add")?;
            self.pods.insert(pod.name.clone(), pod);
        }
        Ok(())
    }

    fn check_addresses(&self, new: &Pod) -> Result<()> {
        for pod in self.pods.values().filter(|p| !p.wish.host_network && !new.wish.host_network) {
            let shared = pod.addresses.iter().find(|a| new.addresses.contains(a));
            ensure!(shared.is_none(), "pods {} and {} both have the address {shared:?}", pod.name, new.name);
        }
        Ok(())
    }

    fn stop_pod(&mut self, name: &str) -> Result<()> {
        let Some(pod) = self.pods.remove(name) else { return Ok(()) };
        self.route_foreign(&pod, "del")?;
        let runtime = self.runtime().clone();
        let node = self.node(&pod.node)?;
        pod.stop(&runtime, node).with_context(|| format!("ending pod {name}"))
    }

    /// Routes to an address that does not belong to its node's range, on every host.
    fn route_foreign(&self, pod: &Pod, verb: &str) -> Result<()> {
        let home = self.node(&pod.node)?;
        if pod.wish.host_network || !cni::is_foreign(home, &pod.wish.fixed) {
            return Ok(());
        }
        for addr in &pod.addresses {
            let family = Family::of(*addr);
            let host = IpNet::from(*addr);
            let via = home
                .addresses
                .iter()
                .find(|a| Family::of(**a) == family)
                .context("a node without address")?;
            // Pods of a bridge that believe the address to be next to them ask for it there.
            for node in self.fabric.nodes.iter().filter(|n| n.name != home.name) {
                let mut lines = vec![format!("route {verb} {host} via {via}")];
                if node.cni == Cni::Bridge {
                    lines.push(format!("neigh {verb} proxy {addr} dev {BRIDGE}"));
                    answer_for_others(node, *addr)?;
                }
                node.netns.ip(&lines)?;
            }
            for other in &self.fabric.outside {
                other.netns.ip(&[format!("route {verb} {host} via {via}")])?;
            }
            // The ptp plugin sets this route itself; the bridge plugin relies on the range.
            if home.cni == Cni::Bridge {
                home.netns.ip(&[format!("route {verb} {host} dev {BRIDGE}")])?;
            }
        }
        Ok(())
    }
}

fn answer_for_others(node: &super::Node, addr: IpAddr) -> Result<()> {
    match addr {
        IpAddr::V4(_) => node.netns.set_sysctls(&[(&format!("ipv4/neigh/{BRIDGE}/proxy_delay"), "0")]),
        IpAddr::V6(_) => node.netns.set_sysctls(&[
            (&format!("ipv6/neigh/{BRIDGE}/proxy_delay"), "0"),
            (&format!("ipv6/conf/{BRIDGE}/proxy_ndp"), "1"),
        ]),
    }
}
