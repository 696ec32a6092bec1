//! A map that forgets what was not used for longest.

use std::collections::HashMap;
use std::hash::Hash;

/// At most `room` values, each with the moment it was last asked for.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    room: usize,
    clock: u64,
    kept: HashMap<K, (u64, V)>,
}

impl<K: Eq + Hash + Clone, V: Clone> Recent<K, V> {
    /// An empty map for so many values.
    pub(crate) fn new(room: usize) -> Self {
        Self { room: room.max(1), clock: 0, kept: HashMap::new() }
    }

    /// The value, made if there is none; and what had to go for it.
    pub(crate) fn get_or_insert(
        &mut self,
        key: &K,
        make: impl FnOnce() -> V,
    ) -> (V, Option<(K, V)>) {
        self.clock += 1;
        if let Some((used, value)) = self.kept.get_mut(key) {
            *used = self.clock;
            return (value.clone(), None);
        }
        let gone = if self.kept.len() < self.room { None } else { self.pop_oldest() };
        let value = make();
        self.kept.insert(key.clone(), (self.clock, value.clone()));
        (value, gone)
    }

    fn pop_oldest(&mut self) -> Option<(K, V)> {
        // Rooms are small and this happens once per new value, so looking at all of them is fine.
        let oldest = self.kept.iter().min_by_key(|(_, (used, _))| *used)?.0.clone();
        self.kept.remove(&oldest).map(|(_, value)| (oldest, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let mut recent = Recent::new(2);
        assert_eq!(recent.get_or_insert(&1, || "one"), ("one", None));
        assert_eq!(recent.get_or_insert(&2, || "two"), ("two", None));
        assert_eq!(recent.get_or_insert(&1, || "other"), ("one", None));
        assert_eq!(recent.get_or_insert(&3, || "three"), ("three", Some((2, "two"))));
        assert_eq!(recent.get_or_insert(&1, || "other"), ("one", None));
    }
}
