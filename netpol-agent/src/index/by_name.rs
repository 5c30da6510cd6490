use std::{borrow::Borrow, cmp::Ordering, collections::BTreeSet, sync::Arc};

use crate::model::{Name, Pod, Policy, Service, Slice};

/// Objects of one kind, found by their names. Those they have in themselves: of each there is one pointer here, which matters where
/// a table is filled in the order of the names, because its nodes are half empty then.
#[derive(Debug)]
pub(super) struct ByName<T>(BTreeSet<Entry<T>>);

#[derive(Debug)]
struct Entry<T>(Arc<T>);

/// Has a name that never changes.
pub(super) trait Named {
    fn name(&self) -> &Name;
}

macro_rules! named {
    ($($kind:ty),*) => {$(
        impl Named for $kind {
            fn name(&self) -> &Name {
                &self.name
            }
        }
    )*};
}

named!(Pod, Policy, Service, Slice);

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<T: Named> ByName<T> {
    /// The one with this name.
    pub(super) fn get(&self, name: &Name) -> Option<&Arc<T>> {
        self.0.get(name).map(|Entry(object)| object)
    }

    /// Puts one in, in place of the one that had its name.
    pub(super) fn insert(&mut self, object: impl Into<Arc<T>>) {
        self.0.replace(Entry(object.into()));
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, name: &Name) -> Option<Arc<T>> {
        self.0.take(name).map(|Entry(object)| object)
    }

    /// All of them, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|Entry(object)| &**object)
    }

    /// Those of a namespace, by name.
    pub(super) fn within<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a T> {
        let from = self.0.range::<Name, _>(Name::new(namespace, "")..).map(|Entry(object)| &**object);
        from.take_while(move |object| *object.name().namespace == *namespace)
    }
}

impl<T: Named> Borrow<Name> for Entry<T> {
    fn borrow(&self) -> &Name {
        self.0.name()
    }
}

impl<T: Named> Ord for Entry<T> {
    fn cmp(&self, Self(other): &Self) -> Ordering {
        self.0.name().cmp(other.name())
    }
}

impl<T: Named> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Named> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T: Named> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Thing(Name, u32);

    impl Named for Thing {
        fn name(&self) -> &Name {
            &self.0
        }
    }

    #[test]
    fn of_two_with_one_name_the_last_is_there_and_namespaces_end_where_they_end() {
        let mut things = ByName::default();
        for (n, (namespace, name)) in
            (0..).zip([("b", "x"), ("a", "x"), ("a", "y"), ("aa", "x"), ("a", "x"), ("", "x")])
        {
            things.insert(Thing(Name::new(namespace, name), n));
        }
        let of = |namespace: &str| things.within(namespace).map(|thing| thing.1).collect::<Vec<_>>();
        assert_eq!(
            [of(""), of("a"), of("aa"), of("b"), of("c")],
            [vec![5], vec![4, 2], vec![3], vec![0], vec![]]
        );
        assert_eq!(things.iter().map(|thing| thing.1).collect::<Vec<_>>(), [5, 4, 2, 3, 0]);
        let name = Name::new("a", "y");
        assert_eq!(things.get(&name).map(|thing| thing.1), Some(2));
        assert_eq!(things.remove(&name).map(|thing| thing.1), Some(2));
        assert_eq!(things.get(&name), None);
        assert_eq!(things.remove(&name), None);
    }
}
