//! For tests: the process kills itself before the operation on the dataplane that a file names.

use std::{fs, path::PathBuf};

use rustix::process::{Signal, getpid, kill_process};

use super::reconcile::Epoch;
use crate::dataplane::{Capacity, Dataplane, Error, Op, Rows};

#[cfg(not(debug_assertions))]
compile_error!("the feature fault-points is for tests: not in a release");

/// Names the file. It holds how many operations are still carried out; as long as there is none, all are.
const FILE: &str = "NETPOL_FAULT_POINT";

/// A dataplane whose writer dies.
pub(super) struct FaultPoints<D> {
    dataplane: D,
    file: Option<PathBuf>,
}

impl<D> FaultPoints<D> {
    pub(super) fn around(dataplane: D) -> Self {
        Self { dataplane, file: std::env::var_os(FILE).map(PathBuf::from) }
    }

    fn pass(&self, op: &Op) -> Result<(), Error> {
        let Some(file) = &self.file else { return Ok(()) };
        let failed = |source| Error { call: "fault point", map: file.display().to_string(), source };
        let left = match fs::read_to_string(file) {
            Ok(text) => text.trim().parse::<usize>().map_err(|e| failed(e.into()))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(failed(e.into())),
        };
        match left.checked_sub(1) {
            Some(left) => fs::write(file, left.to_string()).map_err(|e| failed(e.into())),
            None => {
                tracing::info!(?op, "fault point: killed before this");
                kill_process(getpid(), Signal::KILL).map_err(|e| failed(e.into()))
            }
        }
    }
}

impl<D: Dataplane> Dataplane for FaultPoints<D> {
    fn read(&self) -> Result<Rows, Error> {
        self.dataplane.read()
    }
    fn capacity(&self) -> Capacity {
        self.dataplane.capacity()
    }
    fn apply(&mut self, op: &Op) -> Result<(), Error> {
        self.pass(op)?;
        self.dataplane.apply(op)
    }
}

impl<D: Epoch> Epoch for FaultPoints<D> {
    fn epoch(&self) -> u32 {
        self.dataplane.epoch()
    }
}
