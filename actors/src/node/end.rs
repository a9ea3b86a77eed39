//! The end of a node: its cause, and the remedy.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::sync::{Arc, OnceLock};

use ractor::ActorProcessingErr;

use super::store::StoreError;

/// The end of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeEnd {
    /// It was closed: every acknowledged write is on the disk.
    Closed,
    /// A branch failed for good. Every write that was acknowledged as durable is on the disk.
    Failed {
        /// The branch: `store`, `membership`, `connection_manager`, or `node` if the root itself failed.
        branch: &'static str,
        /// The failure and its causes in words.
        cause: String,
        /// The remedy that may help before the database is opened again.
        remedy: Remedy,
    },
}

/// The remedy for a node that failed, before its database is opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// Free space on the disk, or raise the quota: a write found none.
    FreeSpace,
    /// Return the database's folder to its path: it was moved, deleted or unmounted.
    RestoreFolder,
    /// Open the database again. If that node fails too, the log names the cause.
    Reopen,
}

impl NodeEnd {
    /// The end by a failure of `branch`.
    pub(super) fn failed(branch: &'static str, error: &(dyn Error + 'static)) -> Self {
        let mut chain = vec![error];
        while let Some(source) = chain[chain.len() - 1].source() {
            chain.push(source);
        }
        let mut cause = String::new();
        for error in &chain {
            let text = error.to_string();
            if !cause.ends_with(&text) {
                cause = if cause.is_empty() { text } else { format!("{cause}: {text}") };
            }
        }
        let remedy = chain.into_iter().find_map(Remedy::of).unwrap_or(Remedy::Reopen);
        Self::Failed { branch, cause, remedy }
    }
}

impl Remedy {
    fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let shared = || error.downcast_ref::<Arc<StoreError>>().map(|error| &**error);
        let kind = match error.downcast_ref::<StoreError>().or_else(shared) {
            Some(StoreError::Engine { cause, .. }) => cause.kind(),
            Some(_) => return None,
            None => error.downcast_ref::<io::Error>()?.kind(),
        };
        match kind {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Some(Self::FreeSpace)
            }
            ErrorKind::NotFound | ErrorKind::NotADirectory => Some(Self::RestoreFolder),
            _ => None,
        }
    }
}

/// Records the end of a node while its root still runs. The first record counts.
#[derive(Clone, Default)]
pub(super) struct EndRecord(Arc<OnceLock<NodeEnd>>);

impl EndRecord {
    pub(super) fn closing(&self) {
        let _ = self.0.set(NodeEnd::Closed);
    }

    pub(super) fn failed(&self, branch: &'static str, cause: &ActorProcessingErr) {
        let cause: &(dyn Error + 'static) = &**cause;
        let _ = self.0.set(NodeEnd::failed(branch, cause));
    }

    /// The end of a root that has ended, after the store closed with `stored`.
    pub(super) fn conclude(&self, stored: Result<(), StoreError>) -> NodeEnd {
        match (self.0.get(), stored) {
            // A failure that ends the root matters more than the one of the store that it left behind.
            (Some(end @ NodeEnd::Failed { .. }), _) => end.clone(),
            (Some(end), Ok(()) | Err(StoreError::Closed)) => end.clone(),
            (_, Err(error)) => NodeEnd::failed("store", &error),
            (None, Ok(())) => NodeEnd::failed("node", &io::Error::other("its root ended unexpectedly")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remedy(error: StoreError) -> Remedy {
        match NodeEnd::failed("store", &error) {
            NodeEnd::Failed { remedy, .. } => remedy,
            NodeEnd::Closed => unreachable!("it failed"),
        }
    }

    fn engine(kind: ErrorKind) -> StoreError {
        StoreError::engine("flush", io::Error::from(kind))
    }

    #[test]
    fn a_full_disk_and_a_missing_folder_have_remedies_of_their_own() {
        assert_eq!(remedy(engine(ErrorKind::StorageFull)), Remedy::FreeSpace);
        assert_eq!(remedy(engine(ErrorKind::QuotaExceeded)), Remedy::FreeSpace);
        let later = StoreError::Failed { cause: Arc::new(engine(ErrorKind::NotFound)) };
        assert_eq!(remedy(later), Remedy::RestoreFolder);
        assert_eq!(remedy(engine(ErrorKind::Other)), Remedy::Reopen);
        assert_eq!(remedy(StoreError::Closed), Remedy::Reopen);
    }

    #[test]
    fn a_cause_names_the_call_and_the_error_of_the_system() {
        let full = StoreError::engine("flush", io::Error::other("no space left"));
        let NodeEnd::Failed { branch, cause, .. } = NodeEnd::failed("store", &full) else { panic!("failed") };
        assert_eq!((branch, cause.as_str()), ("store", "could not flush: no space left"));
    }

    #[test]
    fn the_first_failure_counts_and_a_close_whose_store_fails_is_a_failure() {
        let record = EndRecord::default();
        record.failed("membership", &"it failed".into());
        record.closing();
        let end = record.conclude(Err(engine(ErrorKind::Other)));
        assert!(matches!(end, NodeEnd::Failed { branch: "membership", .. }), "{end:?}");

        let record = EndRecord::default();
        record.closing();
        assert_eq!(record.conclude(Ok(())), NodeEnd::Closed);
        let end = record.conclude(Err(engine(ErrorKind::StorageFull)));
        assert!(matches!(end, NodeEnd::Failed { branch: "store", remedy: Remedy::FreeSpace, .. }), "{end:?}");
    }
}
