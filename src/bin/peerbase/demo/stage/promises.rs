//! The promises of a story, kept or broken.

use std::error::Error;

/// One promise that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Promise {
    pub(crate) name: String,
    pub(crate) is_kept: bool,
    /// The state that was seen.
    pub(crate) detail: String,
}

/// All promises, in the order in which they were checked.
#[derive(Debug, Default)]
pub(crate) struct Promises(Vec<Promise>);

impl Promises {
    pub(crate) fn add(&mut self, name: &str, is_kept: bool, detail: String) -> &Promise {
        self.0.push(Promise { name: name.to_owned(), is_kept, detail });
        self.0.last().expect("just added")
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn broken(&self) -> Vec<&Promise> {
        self.0.iter().filter(|promise| !promise.is_kept).collect()
    }
}

/// Renders an error with its causes in one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_promise_is_counted_among_all() {
        let mut promises = Promises::default();
        promises.add("counters add up", true, "14".to_owned());
        promises.add("texts merge", false, "gone".to_owned());
        let broken: Vec<&str> = promises.broken().iter().map(|promise| promise.name.as_str()).collect();
        assert_eq!((promises.len(), broken), (2, vec!["texts merge"]));
    }

    #[test]
    fn an_error_is_shown_with_its_causes() {
        let cause = std::io::Error::other("disk full");
        let error = peerbase::OpenError::Folder { path: "club".into(), cause };
        assert_eq!(chain(&error), "folder club is not usable: disk full");
    }
}
