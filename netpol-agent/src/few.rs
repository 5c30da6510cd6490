//! Sets of few values. A [`BTreeSet`](std::collections::BTreeSet) takes room for eleven as soon as it holds one, and of most sets that
//! are kept for each object of a cluster there is one value, or two.

use std::borrow::Borrow;

/// A sorted set in one piece of memory, no larger than it must be. To put a value into it or to take one out of it takes time in
/// proportion to its size; to find one, to its logarithm.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Few<T>(Vec<T>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Ord> Few<T> {
    /// Puts a value in. Whether it was not there.
    pub fn insert(&mut self, value: T) -> bool {
        match self.0.binary_search(&value) {
            Ok(_) => false,
            Err(at) => {
                self.0.reserve_exact(1);
                self.0.insert(at, value);
                true
            }
        }
    }

    /// Takes a value out. Whether it was there.
    pub fn remove(&mut self, value: &T) -> bool {
        match self.0.binary_search(value) {
            Ok(at) => {
                self.0.remove(at);
                true
            }
            Err(_) => false,
        }
    }

    /// Whether a value is there.
    #[must_use]
    pub fn contains<Q: Ord + ?Sized>(&self, value: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        self.0.binary_search_by(|own| own.borrow().cmp(value)).is_ok()
    }
}

impl<T> Few<T> {
    /// The values in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// The least.
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.0.first()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: Ord> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut values: Vec<T> = values.into_iter().collect();
        values.sort_unstable();
        values.dedup();
        values.shrink_to_fit();
        Self(values)
    }
}

impl<T: Ord, const N: usize> From<[T; N]> for Few<T> {
    fn from(values: [T; N]) -> Self {
        values.into_iter().collect()
    }
}

impl<'a, T> IntoIterator for &'a Few<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T> IntoIterator for Few<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn it_does_what_a_larger_set_does() {
        let mut random = fastrand::Rng::with_seed(14);
        let (mut few, mut set) = (Few::default(), BTreeSet::new());
        for _ in 0..2000 {
            let value = random.u8(..12);
            match random.bool() {
                true => assert_eq!(few.insert(value), set.insert(value)),
                false => assert_eq!(few.remove(&value), set.remove(&value)),
            }
            assert!(few.iter().eq(&set), "{few:?} {set:?}");
            assert_eq!((few.first(), few.len(), few.is_empty()), (set.first(), set.len(), set.is_empty()));
            assert_eq!(few.contains(&value), set.contains(&value));
        }
        let values: Vec<u8> = (0..50).map(|_| random.u8(..12)).collect();
        let few: Few<u8> = values.iter().copied().collect();
        assert!(few.into_iter().eq(values.into_iter().collect::<BTreeSet<_>>()));
    }
}
