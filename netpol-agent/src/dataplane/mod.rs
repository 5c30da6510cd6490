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
}

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
