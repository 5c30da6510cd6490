/// Two contents met under one number.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("two different contents have the number {id:#018x} ({kind})")]
pub struct Collision {
    /// What the number stands for.
    pub kind: &'static str,
    /// The number.
    pub id: u64,
}

/// The first collision since the start. It stays: what was made since may hold the wrong one of the two.
#[derive(Debug, Default)]
pub(super) struct Collisions {
    pub(super) first: Option<Collision>,
}

impl Collisions {
    pub(super) fn add(&mut self, kind: &'static str, id: u64) {
        self.first.get_or_insert(Collision { kind, id });
    }
}
