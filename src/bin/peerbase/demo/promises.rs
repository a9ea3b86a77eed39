//! What the demo promises, and whether it was held.

use std::error::Error;

/// One promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Promise {
    pub(super) name: &'static str,
    pub(super) held: bool,
    /// What was seen.
    pub(super) detail: String,
}

/// All promises, made before the first is checked: one that is never reached counts as broken.
#[derive(Debug, Default)]
pub(super) struct Promises {
    made: Vec<(&'static str, Option<Promise>)>,
}

impl Promises {
    /// Makes promises.
    pub(super) fn make(&mut self, names: &[&'static str]) {
        self.made.extend(names.iter().map(|name| (*name, None)));
    }

    /// Judges a promise, once; one that was never made is made by it.
    pub(super) fn check(&mut self, name: &'static str, held: bool, detail: String) -> &Promise {
        let at = self.made.iter().position(|(made, _)| *made == name).unwrap_or_else(|| {
            self.made.push((name, None));
            self.made.len() - 1
        });
        self.made[at].1.insert(Promise { name, held, detail })
    }

    /// What has not been judged among `names` is broken, for this reason.
    pub(super) fn break_unchecked(&mut self, names: &[&'static str], why: &str) -> Vec<Promise> {
        let open = self.made.iter_mut().filter(|(name, promise)| promise.is_none() && names.contains(name));
        open.map(|(name, promise)| {
            promise.insert(Promise { name, held: false, detail: why.to_owned() }).clone()
        })
        .collect()
    }

    /// Whatever has not been judged is broken, for this reason.
    pub(super) fn break_all_unchecked(&mut self, why: &str) {
        let names: Vec<_> = self.made.iter().map(|(name, _)| *name).collect();
        self.break_unchecked(&names, why);
    }

    /// How many were made.
    pub(super) fn len(&self) -> usize {
        self.made.len()
    }

    /// Those that were not held, or never judged.
    pub(super) fn broken(&self) -> Vec<Promise> {
        let broken = self.made.iter().filter_map(|(name, promise)| match promise {
            Some(promise) if promise.held => None,
            Some(promise) => Some(promise.clone()),
            None => Some(Promise { name, held: false, detail: "not reached".to_owned() }),
        });
        broken.collect()
    }
}

/// An error with its causes.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_that_is_not_reached_is_broken() {
        let mut promises = Promises::default();
        promises.make(&["rows merge", "texts merge", "nothing is lost"]);

        promises.check("rows merge", true, "basil".to_owned());
        let broken = promises.break_unchecked(&["texts merge"], "nobody is connected");

        assert_eq!(broken.len(), 1);
        let broken: Vec<_> =
            promises.broken().into_iter().map(|broken| (broken.name, broken.detail)).collect();
        let expected = [("texts merge", "nobody is connected"), ("nothing is lost", "not reached")];
        assert_eq!(broken, expected.map(|(name, detail)| (name, detail.to_owned())));
        assert_eq!(promises.len(), 3);
    }

    #[test]
    fn a_promise_that_was_not_made_counts_all_the_same() {
        let mut promises = Promises::default();
        promises.check("counters add up", false, "15".to_owned());
        assert_eq!((promises.len(), promises.broken().len()), (1, 1));
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        let cause = std::io::Error::other("disk full");
        let error = peerbase::OpenError::Folder { path: "club".into(), cause };
        assert_eq!(chain(&error), "folder club is not usable: disk full");
    }
}
