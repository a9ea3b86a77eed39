//! The stored lists and pages that the ops of a ledger name; all others are orphans.

use std::collections::BTreeSet;

use crate::ledger::Ledger;

/// The lists and pages of manifests that the ops of a ledger name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedPages {
    lists: BTreeSet<[u8; 32]>,
    pages: BTreeSet<[u8; 32]>,
}

impl NamedPages {
    /// Collects what the ops of `ledger` name; `list` looks the page hashes of a manifest up. Returns `None`
    /// if a list is missing or damaged: its pages are not known, so nothing may count as an orphan.
    ///
    /// # Errors
    /// The first failure of `list`.
    pub fn of<E>(
        ledger: &Ledger,
        list: impl Fn(&[u8; 32]) -> Result<Option<Vec<[u8; 32]>>, E>,
    ) -> Result<Option<Self>, E> {
        let mut named = Self::default();
        for op in ledger.ids().filter_map(|id| ledger.op(id)) {
            let Some(manifest) = op.record().manifest() else { continue };
            let Some(pages) = list(&manifest.root)? else { return Ok(None) };
            named.lists.insert(manifest.root);
            named.pages.extend(pages);
        }
        Ok(Some(named))
    }

    /// The roots of the named manifests.
    pub fn lists(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.lists.iter()
    }

    /// The hashes of the named pages.
    pub fn pages(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.pages.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UserId;
    use crate::key::SigningKey;
    use crate::ledger::{Body, By, ManifestRef, Role};
    use crate::signed::Signed;

    const SHARED: [u8; 32] = [7; 32];
    const OWN: [u8; 32] = [8; 32];
    const ROOT: [u8; 32] = [9; 32];

    /// Ada's ledger, in which ben was admitted and removed with a cut.
    fn ledger() -> Ledger {
        let key = SigningKey::from_seed([1; 32]);
        let ada = UserId(key.public());
        let (mut ledger, _) = Ledger::create([0; 32], vec![ada], "home", ada, By::User, &key).unwrap();
        for (role, cut) in [(Role::Writer, None), (Role::None, Some(ManifestRef { root: ROOT, entries: 1 }))]
        {
            let body = Body::SetRole { user: UserId([2; 32]), role, cut, via: None };
            let op = ledger.draft(ada, By::User, body).unwrap();
            ledger.admit(Signed::sign(op, &key).envelope().clone()).unwrap();
        }
        ledger
    }

    #[test]
    fn the_list_of_a_cut_and_its_pages_are_named_and_no_others() {
        let list = |root: &[u8; 32]| {
            assert_eq!(*root, ROOT);
            Ok::<_, ()>(Some(vec![SHARED, OWN]))
        };

        let named = NamedPages::of(&ledger(), list).unwrap().unwrap();

        assert_eq!(named.lists().collect::<Vec<_>>(), [&ROOT]);
        assert_eq!(named.pages().collect::<Vec<_>>(), [&SHARED, &OWN]);
    }

    #[test]
    fn nothing_is_known_to_be_an_orphan_while_a_list_is_missing_and_a_failed_look_up_is_passed_on() {
        assert_eq!(NamedPages::of(&ledger(), |_| Ok::<_, ()>(None)), Ok(None));
        assert_eq!(NamedPages::of(&ledger(), |_| Err("disk")), Err("disk"));
    }
}
