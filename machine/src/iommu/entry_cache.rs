//! What a unit remembers of its device tables: a cache of entries by key, in the unit's temper.

use std::hash::Hash;

use rustc_hash::FxHashMap;

use crate::temper::{Dice, Temper};

/// Entries of type `V` by `K`: requester, requester and PASID, …
#[derive(Debug)]
pub(super) struct EntryCache<K, V> {
    temper: Temper,
    dice: Dice,
    entries: FxHashMap<K, V>,
}

impl<K: Copy + Eq + Hash, V> EntryCache<K, V> {
    pub(super) fn new(temper: Temper, seed: u64) -> Self {
        Self {
            temper,
            dice: Dice::new(seed),
            entries: FxHashMap::default(),
        }
    }

    /// The remembered entry.
    pub(super) fn get(&self, key: K) -> Option<&V> {
        let entry = self.entries.get(&key)?;
        (!self.temper.forgets(&self.dice)).then_some(entry)
    }

    /// Remembers an entry, if the temper keeps it.
    pub(super) fn insert(&mut self, key: K, entry: V) {
        if !self.temper.forgets(&self.dice) {
            self.entries.insert(key, entry);
        }
    }

    /// Invalidates the entries that `is_named`.
    pub(super) fn invalidate(&mut self, is_named: impl Fn(K, &V) -> bool) {
        self.entries.retain(|key, entry| !is_named(*key, entry));
    }

    /// All that is remembered.
    pub(super) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.entries.iter().map(|(key, entry)| (*key, entry))
    }
}
