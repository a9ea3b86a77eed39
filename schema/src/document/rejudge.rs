//! The passes that judge documents again after the roster changed: only those of authors that it judges
//! differently (authority 3.7.2).
//!
//! Each author is stored with the judgement under which its documents were last judged. If the roster has
//! another one, a pass goes through the author's documents by an index, in slices, and stores the new
//! judgement after the last of them, so that a node that ends in between re-judges them all. A roster that
//! arrives during a pass restarts the passes of those authors that it judges differently once more.
//!
//! ```text
//! Start ──▶ Judge … Judged       outside the index
//!       ──▶ List … Listed        a page of an author
//!       ──▶ Judge … Judged ──▶ Store … Stored ──▶ Pause
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::judge::{Judge, Manifests, Signer};
use super::{ChainEnd, Rules};
use crate::id::DocumentId;
use crate::limits::{REJUDGED_CHANGED_MAX, REJUDGED_EXAMINED_MAX};

/// A key of the index of one author: incarnation and document.
pub type WrittenKey = (u64, DocumentId);

/// The size of one slice of a pass: no message is handled meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Documents that are examined; also the page of an author's documents.
    pub examined: usize,
    /// Documents that change.
    pub changed: usize,
}

impl Slice {
    /// The slices of a node.
    pub const NODE: Self = Self { examined: REJUDGED_EXAMINED_MAX, changed: REJUDGED_CHANGED_MAX };
}

/// The progress or the outcome of re-judging a group's documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "control", derive(serde::Serialize, serde::Deserialize))]
pub struct Rejudged {
    /// Documents that were re-judged.
    pub documents: u64,
    /// Documents among them that changed.
    pub changed: u64,
}

/// An author with the judgement under which its documents were last judged, and that of the present roster.
#[derive(Clone, Copy, Debug)]
pub struct JudgedAuthor<A> {
    /// The author, as the shell names it.
    pub author: A,
    /// The judgement that is stored.
    pub judged: [u8; 32],
    /// The judgement of the roster.
    pub judgement: [u8; 32],
}

/// A document that is to be re-judged, as far as it tells whether it stands.
#[derive(Clone, Debug)]
pub struct Examined<A> {
    /// Changes of it are set aside.
    pub is_set_aside: bool,
    /// The ends of its chains, each with its author; `None`: they are not known, because the document is
    /// damaged.
    pub ends: Option<Vec<(A, ChainEnd)>>,
}

/// One step's occasion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RejudgeInput {
    /// A slice begins.
    Start,
    /// The document of the last effect is judged.
    Judged,
    /// The documents that the last effect asked for, ascending; fewer than its count: there are no more.
    Listed(Vec<WrittenKey>),
    /// The judgement of the last effect is in the batch.
    Stored,
}

/// The next act of the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RejudgeEffect<A> {
    /// Re-judge a document unless it [stands](Rejudging::stands), then step [`RejudgeInput::Judged`].
    Judge(DocumentId),
    /// List an author's next documents, then step [`RejudgeInput::Listed`].
    List {
        /// The author.
        author: A,
        /// The last document that is done.
        after: Option<WrittenKey>,
        /// The largest number of documents to list.
        count: usize,
    },
    /// Store that all documents of an author are judged, then step [`RejudgeInput::Stored`].
    Store {
        /// The author.
        author: A,
        /// The judgement under which they are.
        judgement: [u8; 32],
    },
    /// The slice has ended: store its batch. The next one begins with [`RejudgeInput::Start`] while
    /// [`is_under_way`](Rejudging::is_under_way).
    Pause,
}

/// The authors whose documents are to be re-judged, and the progress.
#[derive(Debug)]
pub struct Rejudging<A> {
    slice: Slice,
    rules: Rules,
    passes: BTreeMap<A, AuthorPass>,
    /// Documents that the index may not list.
    first: BTreeSet<DocumentId>,
    progress: Rejudged,
    /// The progress at the beginning of the slice.
    before: Rejudged,
    /// The next documents of the first pass.
    page: Option<Page>,
}

/// One author's documents, which are being judged under another judgement.
#[derive(Clone, Copy, Debug)]
struct AuthorPass {
    judgement: [u8; 32],
    /// The last document that is done.
    done: Option<WrittenKey>,
}

#[derive(Debug)]
struct Page {
    keys: VecDeque<WrittenKey>,
    is_last: bool,
}

impl<A: Copy + Ord> Rejudging<A> {
    /// Begins without a pass.
    pub fn new(slice: Slice, rules: Rules) -> Self {
        Self {
            slice,
            rules,
            passes: BTreeMap::new(),
            first: BTreeSet::new(),
            progress: Rejudged::default(),
            before: Rejudged::default(),
            page: None,
        }
    }

    /// Begins a pass for each author that the roster judges differently than when its documents were last
    /// judged. `set_aside` lists the documents of which something by these authors is set aside; `unstored`
    /// are those whose newest batch the index does not have yet.
    pub fn on_roster<D: IntoIterator<Item = DocumentId>>(
        &mut self,
        authors: impl IntoIterator<Item = JudgedAuthor<A>>,
        set_aside: impl FnOnce(&BTreeSet<A>) -> D,
        unstored: impl IntoIterator<Item = DocumentId>,
    ) {
        let mut stale = BTreeMap::new();
        for JudgedAuthor { author, judged, judgement } in authors {
            // Under way to another judgement, some documents are already judged by that.
            let judged = self.passes.get(&author).map_or(judged, |pass| pass.judgement);
            if judgement != judged {
                stale.insert(author, AuthorPass { judgement, done: None });
            }
        }
        if stale.is_empty() {
            return;
        }
        if self.passes.is_empty() {
            self.progress = Rejudged::default();
        }
        self.first.extend(set_aside(&stale.keys().copied().collect()));
        self.first.extend(unstored);
        self.passes.extend(stale);
        self.page = None;
    }

    /// Returns true if documents wait to be re-judged.
    pub fn is_under_way(&self) -> bool {
        !self.passes.is_empty()
    }

    /// The progress of re-judging, or that of the last time.
    pub fn progress(&self) -> Rejudged {
        self.progress
    }

    /// Counts a document that changed.
    pub fn count_changed(&mut self) {
        self.progress.changed += 1;
    }

    /// Goes one step of a slice.
    pub fn step(&mut self, input: RejudgeInput) -> RejudgeEffect<A> {
        match input {
            RejudgeInput::Start => {
                self.before = self.progress;
                self.page = None;
            }
            RejudgeInput::Judged => self.on_judged(),
            RejudgeInput::Listed(keys) => {
                let is_last = keys.len() < self.slice.examined || self.rules.rejudges_one_page();
                self.page = Some(Page { keys: keys.into(), is_last });
            }
            RejudgeInput::Stored => {
                self.passes.pop_first();
                self.page = None;
            }
        }
        self.next()
    }

    fn on_judged(&mut self) {
        self.progress.documents += 1;
        if self.first.pop_first().is_none() {
            let key = self.page.as_mut().and_then(|page| page.keys.pop_front());
            if let Some(mut pass) = self.passes.first_entry() {
                pass.get_mut().done = key;
            }
        }
    }

    fn next(&mut self) -> RejudgeEffect<A> {
        let is_over = self.is_slice_over();
        if let Some(document) = self.first.first() {
            return if is_over { RejudgeEffect::Pause } else { RejudgeEffect::Judge(*document) };
        }
        let Some((&author, &AuthorPass { judgement, done })) = self.passes.first_key_value() else {
            return RejudgeEffect::Pause;
        };
        match &self.page {
            Some(page) if page.keys.is_empty() && page.is_last => RejudgeEffect::Store { author, judgement },
            _ if is_over => RejudgeEffect::Pause,
            Some(Page { keys, .. }) if !keys.is_empty() => RejudgeEffect::Judge(keys[0].1),
            _ => RejudgeEffect::List { author, after: done, count: self.slice.examined },
        }
    }

    fn is_slice_over(&self) -> bool {
        let (documents, changed) =
            (self.progress.documents - self.before.documents, self.progress.changed - self.before.changed);
        documents >= self.slice.examined as u64 || changed >= self.slice.changed as u64
    }

    /// A document was re-judged out of its turn, before it is read or written.
    pub fn on_settled(&mut self, document: DocumentId) {
        self.first.remove(&document);
        self.progress.documents += 1;
    }

    /// Returns true if a document waits for a pass. `chains` are the authors and incarnations of its chains.
    pub fn concerns(&self, document: DocumentId, chains: impl IntoIterator<Item = (A, u64)>) -> bool {
        let waits = |(author, incarnation): (A, u64)| {
            self.passes.get(&author).is_some_and(|pass| pass.done < Some((incarnation, document)))
        };
        self.first.contains(&document) || chains.into_iter().any(waits)
    }

    /// Returns true if a document stays as it is: nothing of it is set aside that may be accepted now, and
    /// the chains of the authors that are re-judged end within their bounds.
    ///
    /// # Errors
    /// Those of the manifests.
    pub fn stands<M: Manifests, S: Signer>(
        &self,
        examined: Examined<A>,
        judge: &mut Judge<'_, M, S>,
    ) -> Result<bool, M::Error> {
        let Examined { is_set_aside: false, ends: Some(ends) } = examined else { return Ok(false) };
        let stale = ends.into_iter().filter(|(author, _)| self.passes.contains_key(author));
        judge.are_within_bounds(stale.map(|(_, end)| end))
    }
}
