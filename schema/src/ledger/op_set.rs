//! Sets of op numbers that share memory where they agree: the ancestors of an op differ little from its
//! parents'.

use std::sync::Arc;

const CHUNK_WORDS: usize = 16;
const CHUNK_BITS: usize = CHUNK_WORDS * 64;

/// A set of op numbers. Cloning costs one pointer for every 1 024 numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpSet {
    chunks: Vec<Arc<[u64; CHUNK_WORDS]>>,
}

impl OpSet {
    /// Returns the set of all numbers below `end`.
    pub(crate) fn below(end: usize) -> Self {
        let mut set = Self::default();
        let full = Arc::new([u64::MAX; CHUNK_WORDS]);
        set.chunks.resize(end / CHUNK_BITS, full);
        for number in end / CHUNK_BITS * CHUNK_BITS..end {
            set.insert(number);
        }
        set
    }

    pub(crate) fn contains(&self, number: usize) -> bool {
        let bits =
            |chunk: &Arc<[u64; CHUNK_WORDS]>| chunk[number % CHUNK_BITS / 64] >> (number % 64) & 1 == 1;
        self.chunks.get(number / CHUNK_BITS).is_some_and(bits)
    }

    pub(crate) fn insert(&mut self, number: usize) {
        if self.chunks.len() <= number / CHUNK_BITS {
            self.chunks.resize_with(number / CHUNK_BITS + 1, Arc::default);
        }
        Arc::make_mut(&mut self.chunks[number / CHUNK_BITS])[number % CHUNK_BITS / 64] |= 1 << (number % 64);
    }

    pub(crate) fn union(&mut self, other: &Self) {
        for (mine, theirs) in self.chunks.iter_mut().zip(&other.chunks) {
            if Arc::ptr_eq(mine, theirs) || is_within(theirs, mine) {
                continue;
            }
            if is_within(mine, theirs) {
                mine.clone_from(theirs);
            } else {
                Arc::make_mut(mine).iter_mut().zip(theirs.iter()).for_each(|(word, more)| *word |= more);
            }
        }
        self.chunks.extend(other.chunks.iter().skip(self.chunks.len()).cloned());
    }

    pub(crate) fn intersects(&self, other: &Self) -> bool {
        let shares = |(a, b): (&u64, &u64)| a & b != 0;
        self.chunks.iter().zip(&other.chunks).any(|(mine, theirs)| mine.iter().zip(&**theirs).any(shares))
    }

    pub(crate) fn is_subset(&self, other: &Self) -> bool {
        self.chunks.iter().enumerate().all(|(i, mine)| match other.chunks.get(i) {
            Some(theirs) => Arc::ptr_eq(mine, theirs) || is_within(mine, theirs),
            None => mine.iter().all(|word| *word == 0),
        })
    }

    /// Iterates over the numbers, smallest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        (0..self.chunks.len() * CHUNK_BITS).filter(|number| self.contains(*number))
    }
}

fn is_within(a: &[u64; CHUNK_WORDS], b: &[u64; CHUNK_WORDS]) -> bool {
    a.iter().zip(b).all(|(a, b)| a & !b == 0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn set(numbers: &BTreeSet<usize>) -> OpSet {
        let mut set = OpSet::default();
        numbers.iter().for_each(|number| set.insert(*number));
        set
    }

    proptest! {
        #[test]
        fn union_subset_intersection_and_below_agree_with_a_btree_set(
            a in proptest::collection::btree_set(0..3000usize, 0..40),
            b in proptest::collection::btree_set(0..3000usize, 0..40),
            end in 0..3000usize,
        ) {
            let both: BTreeSet<_> = a.union(&b).copied().collect();
            let mut union = set(&a);
            union.union(&set(&b));
            prop_assert_eq!(union.iter().collect::<BTreeSet<_>>(), both);
            prop_assert_eq!(set(&a).is_subset(&set(&b)), a.is_subset(&b));
            prop_assert_eq!(set(&a).intersects(&set(&b)), !a.is_disjoint(&b));
            prop_assert!(set(&a).is_subset(&union) && set(&b).is_subset(&union));
            prop_assert_eq!(OpSet::below(end).iter().count(), end);
            prop_assert!(!OpSet::below(end).contains(end));
        }
    }
}
