//! A map and a set that are sorted sequences. Cheap at both ends, where those of this crate grow
//! and shrink; linear in between.

// What a B-tree has and somebody may need; what nobody does is not linked.
#![allow(dead_code)]

use std::borrow::Borrow;
use std::collections::vec_deque::{self, VecDeque};
use std::ops::{Bound, RangeBounds};

/// As `BTreeMap`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SortedMap<K, V> {
    items: VecDeque<(K, V)>,
}

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self { items: VecDeque::new() }
    }
}

impl<K, V> SortedMap<K, V> {
    pub(crate) const fn new() -> Self {
        Self { items: VecDeque::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + ExactSizeIterator {
        self.items.iter().map(|(key, value)| (key, value))
    }

    pub(crate) fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = (&K, &mut V)> + ExactSizeIterator {
        self.items.iter_mut().map(|(key, value)| (&*key, value))
    }

    pub(crate) fn keys(&self) -> impl DoubleEndedIterator<Item = &K> + ExactSizeIterator {
        self.items.iter().map(|(key, _)| key)
    }

    pub(crate) fn values(&self) -> impl DoubleEndedIterator<Item = &V> + ExactSizeIterator {
        self.items.iter().map(|(_, value)| value)
    }

    pub(crate) fn values_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut V> + ExactSizeIterator {
        self.items.iter_mut().map(|(_, value)| value)
    }

    pub(crate) fn into_keys(self) -> impl DoubleEndedIterator<Item = K> + ExactSizeIterator {
        self.items.into_iter().map(|(key, _)| key)
    }

    pub(crate) fn into_values(self) -> impl DoubleEndedIterator<Item = V> + ExactSizeIterator {
        self.items.into_iter().map(|(_, value)| value)
    }

    pub(crate) fn first_key_value(&self) -> Option<(&K, &V)> {
        self.items.front().map(|(key, value)| (key, value))
    }

    pub(crate) fn last_key_value(&self) -> Option<(&K, &V)> {
        self.items.back().map(|(key, value)| (key, value))
    }

    pub(crate) fn pop_first(&mut self) -> Option<(K, V)> {
        self.items.pop_front()
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.items.retain_mut(|(key, value)| keep(key, value));
    }

    pub(crate) fn clear(&mut self) {
        self.items.clear();
    }
}

impl<K: Ord, V> SortedMap<K, V> {
    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        self.items.binary_search_by(|(at, _)| at.borrow().cmp(key))
    }

    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.find(key).ok().map(|at| &self.items[at].1)
    }

    pub(crate) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.find(key).ok().map(|at| &mut self.items[at].1)
    }

    pub(crate) fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.find(key).is_ok()
    }

    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.find(&key) {
            Ok(at) => Some(std::mem::replace(&mut self.items[at].1, value)),
            Err(at) => {
                self.items.insert(at, (key, value));
                None
            }
        }
    }

    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let at = self.find(key).ok()?;
        self.items.remove(at).map(|(_, value)| value)
    }

    pub(crate) fn entry(&mut self, key: K) -> Entry<'_, K, V> {
        Entry { found: self.find(&key), map: self, key }
    }

    /// The places of a range of keys.
    fn places<Q: Ord + ?Sized>(&self, range: &impl RangeBounds<Q>) -> std::ops::Range<usize>
    where
        K: Borrow<Q>,
    {
        let from = match range.start_bound() {
            Bound::Included(key) => self.find(key).unwrap_or_else(|at| at),
            Bound::Excluded(key) => self.find(key).map_or_else(|at| at, |at| at + 1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(key) => self.find(key).map_or_else(|at| at, |at| at + 1),
            Bound::Excluded(key) => self.find(key).unwrap_or_else(|at| at),
            Bound::Unbounded => self.items.len(),
        };
        from..to.max(from)
    }

    pub(crate) fn range<Q: Ord + ?Sized>(
        &self,
        range: impl RangeBounds<Q>,
    ) -> impl DoubleEndedIterator<Item = (&K, &V)>
    where
        K: Borrow<Q>,
    {
        self.items.range(self.places(&range)).map(|(key, value)| (key, value))
    }

    pub(crate) fn range_mut<Q: Ord + ?Sized>(
        &mut self,
        range: impl RangeBounds<Q>,
    ) -> impl DoubleEndedIterator<Item = (&K, &mut V)>
    where
        K: Borrow<Q>,
    {
        let places = self.places(&range);
        self.items.range_mut(places).map(|(key, value)| (&*key, value))
    }

    /// What is at `key` and above goes to another map.
    pub(crate) fn split_off<Q: Ord + ?Sized>(&mut self, key: &Q) -> Self
    where
        K: Borrow<Q>,
    {
        let at = self.find(key).unwrap_or_else(|at| at);
        Self { items: self.items.split_off(at) }
    }
}

/// As that of `BTreeMap`.
pub(crate) struct Entry<'a, K, V> {
    map: &'a mut SortedMap<K, V>,
    key: K,
    found: Result<usize, usize>,
}

impl<'a, K: Ord, V> Entry<'a, K, V> {
    pub(crate) fn or_insert_with(self, value: impl FnOnce() -> V) -> &'a mut V {
        let at = match self.found {
            Ok(at) => at,
            Err(at) => {
                self.map.items.insert(at, (self.key, value()));
                at
            }
        };
        &mut self.map.items[at].1
    }

    pub(crate) fn or_insert(self, value: V) -> &'a mut V {
        self.or_insert_with(|| value)
    }

    pub(crate) fn or_default(self) -> &'a mut V
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }
}

impl<K: Ord, V> Extend<(K, V)> for SortedMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, items: I) {
        for (key, value) in items {
            self.insert(key, value);
        }
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for SortedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(items: I) -> Self {
        let mut map = Self::new();
        map.extend(items);
        map
    }
}

impl<K: Ord, V, const N: usize> From<[(K, V); N]> for SortedMap<K, V> {
    fn from(items: [(K, V); N]) -> Self {
        items.into_iter().collect()
    }
}

impl<K, V> IntoIterator for SortedMap<K, V> {
    type Item = (K, V);
    type IntoIter = vec_deque::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl<'a, K, V> IntoIterator for &'a SortedMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = std::iter::Map<vec_deque::Iter<'a, (K, V)>, fn(&'a (K, V)) -> (&'a K, &'a V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter().map(|(key, value)| (key, value))
    }
}

impl<'a, K, V> IntoIterator for &'a mut SortedMap<K, V> {
    type Item = (&'a K, &'a mut V);
    type IntoIter = std::iter::Map<vec_deque::IterMut<'a, (K, V)>, fn(&'a mut (K, V)) -> (&'a K, &'a mut V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter_mut().map(|(key, value)| (&*key, value))
    }
}

impl<K: Ord + Borrow<Q>, Q: Ord + ?Sized, V> std::ops::Index<&Q> for SortedMap<K, V> {
    type Output = V;

    fn index(&self, key: &Q) -> &V {
        self.get(key).expect("the key is there, as for any index")
    }
}

/// As `BTreeSet`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SortedSet<T> {
    items: SortedMap<T, ()>,
}

impl<T> Default for SortedSet<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> SortedSet<T> {
    pub(crate) const fn new() -> Self {
        Self { items: SortedMap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        self.items.keys()
    }

    pub(crate) fn first(&self) -> Option<&T> {
        self.items.first_key_value().map(|(item, ())| item)
    }

    pub(crate) fn last(&self) -> Option<&T> {
        self.items.last_key_value().map(|(item, ())| item)
    }

    pub(crate) fn pop_first(&mut self) -> Option<T> {
        self.items.pop_first().map(|(item, ())| item)
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.items.retain(|item, ()| keep(item));
    }

    pub(crate) fn clear(&mut self) {
        self.items.clear();
    }
}

impl<T: Ord> SortedSet<T> {
    pub(crate) fn contains<Q: Ord + ?Sized>(&self, item: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        self.items.contains_key(item)
    }

    pub(crate) fn insert(&mut self, item: T) -> bool {
        self.items.insert(item, ()).is_none()
    }

    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, item: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        self.items.remove(item).is_some()
    }

    pub(crate) fn range<Q: Ord + ?Sized>(
        &self,
        range: impl RangeBounds<Q>,
    ) -> impl DoubleEndedIterator<Item = &T>
    where
        T: Borrow<Q>,
    {
        self.items.range(range).map(|(item, ())| item)
    }
}

impl<T: Ord> Extend<T> for SortedSet<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        self.items.extend(items.into_iter().map(|item| (item, ())));
    }
}

impl<T: Ord> FromIterator<T> for SortedSet<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut set = Self::new();
        set.extend(items);
        set
    }
}

impl<T> IntoIterator for SortedSet<T> {
    type Item = T;
    type IntoIter = std::iter::Map<vec_deque::IntoIter<(T, ())>, fn((T, ())) -> T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter().map(|(item, ())| item)
    }
}

impl<'a, T> IntoIterator for &'a SortedSet<T> {
    type Item = &'a T;
    type IntoIter = std::iter::Map<vec_deque::Iter<'a, (T, ())>, fn(&'a (T, ())) -> &'a T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.items.iter().map(|(item, ())| item)
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Change {
        Insert(u8, u16),
        Entry(u8, u16),
        Remove(u8),
        PopFirst,
        Retain(u16),
        Range(u8, u8),
        SplitOff(u8),
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            6 => (0..40u8, any::<u16>()).prop_map(|(key, value)| Change::Insert(key, value)),
            2 => (0..40u8, any::<u16>()).prop_map(|(key, value)| Change::Entry(key, value)),
            3 => (0..40u8).prop_map(Change::Remove),
            2 => Just(Change::PopFirst),
            1 => (2..9u16).prop_map(Change::Retain),
            2 => (0..40u8, 0..40u8).prop_map(|(a, b)| Change::Range(a.min(b), a.max(b))),
            1 => (0..40u8).prop_map(Change::SplitOff),
        ]
    }

    proptest! {
        #[test]
        fn a_sorted_map_is_a_b_tree_map(changes in proptest::collection::vec(change(), 0..200)) {
            let (mut ours, mut theirs) = (SortedMap::new(), BTreeMap::new());
            for change in changes {
                match change {
                    Change::Insert(k, v) => prop_assert_eq!(ours.insert(k, v), theirs.insert(k, v)),
                    Change::Entry(k, v) => {
                        prop_assert_eq!(ours.entry(k).or_insert(v), theirs.entry(k).or_insert(v));
                    }
                    Change::Remove(k) => prop_assert_eq!(ours.remove(&k), theirs.remove(&k)),
                    Change::PopFirst => prop_assert_eq!(ours.pop_first(), theirs.pop_first()),
                    Change::Retain(n) => {
                        ours.retain(|_, v| *v % n != 0);
                        theirs.retain(|_, v| *v % n != 0);
                    }
                    Change::Range(a, b) => {
                        prop_assert!(ours.range(a..b).eq(theirs.range(a..b)));
                        prop_assert!(ours.range(a..=b).rev().eq(theirs.range(a..=b).rev()));
                        prop_assert!(ours.range(..b).eq(theirs.range(..b)));
                        prop_assert!(ours.range(a..).eq(theirs.range(a..)));
                        let above = (Bound::Excluded(a), Bound::Unbounded);
                        prop_assert!(ours.range(above).eq(theirs.range(above)));
                        prop_assert!(ours.range_mut(a..b).eq(theirs.range_mut(a..b)));
                    }
                    Change::SplitOff(k) => {
                        prop_assert!(ours.split_off(&k).into_iter().eq(theirs.split_off(&k)));
                    }
                }
                prop_assert!(ours.iter().eq(theirs.iter()));
                prop_assert!(ours.keys().eq(theirs.keys()) && ours.values().eq(theirs.values()));
                prop_assert_eq!(ours.first_key_value(), theirs.first_key_value());
                prop_assert_eq!(ours.last_key_value(), theirs.last_key_value());
                prop_assert_eq!((ours.len(), ours.is_empty()), (theirs.len(), theirs.is_empty()));
                prop_assert!((0..40).all(|k| ours.get(&k) == theirs.get(&k)));
            }
        }

        #[test]
        fn a_sorted_set_is_a_b_tree_set(changes in proptest::collection::vec((0..40u8, any::<bool>()), 0..200)) {
            let (mut ours, mut theirs) = (SortedSet::new(), BTreeSet::new());
            for (item, insert) in changes {
                match insert {
                    true => prop_assert_eq!(ours.insert(item), theirs.insert(item)),
                    false => prop_assert_eq!(ours.remove(&item), theirs.remove(&item)),
                }
                prop_assert!(ours.iter().eq(theirs.iter()) && ours.range(item..).eq(theirs.range(item..)));
                prop_assert_eq!((ours.first(), ours.last()), (theirs.first(), theirs.last()));
                prop_assert_eq!(ours.contains(&item), insert);
            }
        }
    }
}
