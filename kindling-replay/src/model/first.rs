//! The first of many, in some order, without keeping the others.

use std::collections::BinaryHeap;

/// The first so many by their keys.
#[derive(Debug)]
pub struct First<K, T> {
    most: usize,
    /// The last of those that are kept is on top.
    heap: BinaryHeap<Entry<K, T>>,
}

#[derive(Debug)]
struct Entry<K, T>(K, T);

impl<K: Ord, T> First<K, T> {
    /// Keeps so many, or all.
    pub fn new(most: Option<usize>) -> Self {
        Self {
            most: most.unwrap_or(usize::MAX),
            heap: BinaryHeap::new(),
        }
    }

    /// Takes one if it is among the first so far. No two have the same key.
    pub fn push(&mut self, key: K, value: T) {
        let is_full = self.heap.len() >= self.most;
        if is_full && self.heap.peek().is_none_or(|last| last.0 <= key) {
            return;
        }
        self.heap.push(Entry(key, value));
        if is_full {
            self.heap.pop();
        }
    }

    /// Those that were kept, in order.
    pub fn into_sorted(self) -> Vec<(K, T)> {
        let sorted = self.heap.into_sorted_vec();
        sorted.into_iter().map(|entry| (entry.0, entry.1)).collect()
    }
}

impl<K: Ord, T> Ord for Entry<K, T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl<K: Ord, T> PartialOrd for Entry<K, T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord, T> PartialEq for Entry<K, T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<K: Ord, T> Eq for Entry<K, T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_wanted_in_order() {
        let check = |most: Option<usize>, expect: &[(u8, char)]| {
            let mut first = First::new(most);
            for (key, value) in [(3, 'c'), (1, 'a'), (4, 'd'), (0, '0'), (2, 'b')] {
                first.push(key, value);
            }
            assert_eq!(first.into_sorted(), expect, "{most:?}");
        };
        check(Some(0), &[]);
        check(Some(2), &[(0, '0'), (1, 'a')]);
        check(Some(9), &[(0, '0'), (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')]);
        check(None, &[(0, '0'), (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')]);
    }
}
