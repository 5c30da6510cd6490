//! What is written where packets are judged: rows, operations on them, and the trait that carries them out.

pub mod fake;
pub mod judge;
#[expect(unsafe_code, reason = "memory shared with the kernel, and system calls that no crate offers")]
pub mod kernel;
mod op;
mod row_counts;
mod rows;

pub use op::Op;
pub use row_counts::RowCounts;
pub(crate) use row_counts::by_family;
pub use rows::{Backend, Capacity, ClusterRow, Frontend, Interface, Member, Rows, SourceRange};

/// Something that holds the rows: the kernel's maps, or a fake in memory.
pub trait Dataplane {
    /// Everything that is there. Called once, at start: afterwards the agent knows what it wrote.
    ///
    /// # Errors
    /// If a map cannot be read.
    fn read(&self) -> Result<Rows, Error>;

    /// How many rows fit.
    fn capacity(&self) -> Capacity;

    /// Carries out one operation; when it returns, every later packet sees it.
    ///
    /// # Errors
    /// If the operation was not carried out. Nothing else changed.
    fn apply(&mut self, op: &Op) -> Result<(), Error>;

    /// Carries out the first operations of a list, in its order, as many as go together. How many, at least one of a list that is
    /// not empty; when it returns, every later packet sees them.
    ///
    /// # Errors
    /// If the first operation was not carried out. Nothing else changed.
    fn apply_first(&mut self, ops: &[Op]) -> Result<usize, Error> {
        match ops.first() {
            Some(op) => self.apply(op).map(|()| 1),
            None => Ok(0),
        }
    }

    /// What [`Op::AwaitGrace`] does, for a thread that has nothing else to do meanwhile: it outlasts what was carried out before it is
    /// called.
    fn grace(&self) -> Grace;
}

/// Returns when no packet can still be reading what was replaced before the call.
pub type Grace = Box<dyn FnOnce() -> Result<(), Error> + Send>;

/// An operation that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{call} on {map}")]
pub struct Error {
    /// The system call or helper.
    pub call: &'static str,
    /// The map or link, with the row where there is one.
    pub map: String,
    /// What the kernel said.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}
