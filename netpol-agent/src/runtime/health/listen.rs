use std::{collections::BTreeMap, io, net::SocketAddr, time::Duration};

use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, spawn},
    time::sleep,
};

use super::{Checks, answer, probes::answer_all};
use crate::{
    compile::HealthCheck,
    model::{Level, Problem},
    runtime::status::Shared,
};

/// How soon a port that could not be taken is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Ends with the value.
struct Listener(JoinHandle<()>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Answers load balancers, for as long as the loop runs. A port that cannot be taken is a problem of its Service.
pub(in crate::runtime) async fn run(shared: Shared) {
    let mut told = shared.told().listen();
    let mut listeners = BTreeMap::new();
    loop {
        let checks = told.borrow_and_update().clone();
        let problems = listen(&checks, &mut listeners, &shared, &told).await;
        let again = !problems.is_empty();
        shared.update(|status| status.unheard = problems);
        shared.announce_settled();
        tokio::select! {
            changed = told.changed() => if changed.is_err() {
                return;
            },
            () = sleep(RETRY), if again => {}
        }
    }
}

/// Opens what is missing and closes what nobody wants.
async fn listen(
    checks: &Checks,
    listeners: &mut BTreeMap<(SocketAddr, HealthCheck), Listener>,
    shared: &Shared,
    told: &watch::Receiver<Checks>,
) -> Vec<Problem> {
    let mut wanted: BTreeMap<SocketAddr, &HealthCheck> = BTreeMap::new();
    for check in checks.ready.keys() {
        for addr in checks.addresses.iter().filter(|addr| addr.is_ipv4() == check.v4) {
            wanted.entry(SocketAddr::new(*addr, check.port)).or_insert(check);
        }
    }
    listeners.retain(|(address, check), _| wanted.get(address) == Some(&check));
    let mut problems = Vec::new();
    for (address, check) in wanted {
        let key = (address, check.clone());
        if listeners.contains_key(&key) {
            continue;
        }
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let (shared, told, check) = (shared.clone(), told.clone(), check.clone());
                let task = answer_all(listener, move |_| {
                    let ready = told.borrow().ready.get(&check).copied().unwrap_or(0);
                    answer::of_service(&check, ready, answer::is_healthy(&shared))
                });
                listeners.insert(key, Listener(spawn(task)));
            }
            Err(error) => problems.push(problem(check, address, &error)),
        }
    }
    problems
}

fn problem(check: &HealthCheck, address: SocketAddr, error: &io::Error) -> Problem {
    Problem {
        level: Level::Error,
        origin: String::new(),
        object: Some(check.service.of_kind("Service")),
        field: "spec.healthCheckNodePort".to_owned(),
        message: format!("{address}: {error}; load balancers get no answer there"),
    }
}
