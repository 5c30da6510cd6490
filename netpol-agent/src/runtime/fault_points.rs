//! For tests: the process kills itself before the operation on the dataplane that a file names.

use std::{fs, path::PathBuf};

use rustix::process::{Signal, getpid, kill_process};

use super::reconcile::Epoch;
use crate::dataplane::{Capacity, Dataplane, Error, Grace, Op, Rows};

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

    fn failed(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        let map = self.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
        Error { call: "fault point", map, source: source.into() }
    }

    /// How many operations may still be carried out; `None`: all. The process ends before the first one that may not.
    fn left(&self, next: &Op) -> Result<Option<usize>, Error> {
        let Some(file) = &self.file else { return Ok(None) };
        let left = match fs::read_to_string(file) {
            Ok(text) => text.trim().parse::<usize>().map_err(|e| self.failed(e))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(self.failed(e)),
        };
        if left == 0 {
            tracing::info!(op = ?next, "fault point: killed before this");
            kill_process(getpid(), Signal::KILL).map_err(|e| self.failed(e))?;
        }
        Ok(Some(left))
    }

    fn note(&self, left: Option<usize>, done: usize) -> Result<(), Error> {
        match (&self.file, left) {
            (Some(file), Some(left)) => {
                fs::write(file, left.saturating_sub(done).to_string()).map_err(|e| self.failed(e))
            }
            _ => Ok(()),
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
        let left = self.left(op)?;
        self.note(left, 1)?;
        self.dataplane.apply(op)
    }
    fn apply_first(&mut self, ops: &[Op]) -> Result<usize, Error> {
        let Some(next) = ops.first() else { return Ok(0) };
        let left = self.left(next)?;
        let may = left.map_or(ops.len(), |left| left.min(ops.len()));
        let done = self.dataplane.apply_first(&ops[..may])?;
        self.note(left, done)?;
        Ok(done)
    }
    fn grace(&self) -> Grace {
        self.dataplane.grace()
    }
}

impl<D: Epoch> Epoch for FaultPoints<D> {
    fn epoch(&self) -> u32 {
        self.dataplane.epoch()
    }
}
