//! The authors of one group's documents, numbered for their records (pure).

use std::collections::BTreeMap;

use bincode::{Decode, Encode};
use schema::tip::Author;
use schema::{DeviceId, OpId};

/// Devices and the grants under which they write, numbered for the records of one group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Authors {
    list: Vec<(DeviceId, OpId)>,
    /// Under which judgement what each wrote was last judged
    /// ([`Roster::judgement`](schema::ledger::Roster::judgement)).
    judged: Vec<[u8; 32]>,
    numbers: BTreeMap<(DeviceId, OpId), u32>,
}

impl Authors {
    /// Author and judgement, as they are stored.
    pub(crate) fn record(&self, number: u32) -> Option<AuthorRecord> {
        let (device, grant) = self.get(number)?;
        let judged = *self.judged.get(usize::try_from(number).ok()?)?;
        Some(AuthorRecord { device, grant, judged })
    }

    pub(crate) fn get(&self, number: u32) -> Option<(DeviceId, OpId)> {
        self.list.get(usize::try_from(number).ok()?).copied()
    }

    /// A numbered author under one of the incarnations of the device.
    pub(crate) fn author(&self, number: u32, incarnation: u64) -> Option<Author> {
        let (device, grant) = self.get(number)?;
        Some(Author { device, grant, incarnation })
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Number, author and judgement of each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, (DeviceId, OpId), [u8; 32])> {
        (0..).zip(&self.list).zip(&self.judged).map(|((number, author), judged)| (number, *author, *judged))
    }

    pub(crate) fn set_judged(&mut self, number: u32, judgement: [u8; 32]) {
        if let Some(judged) = usize::try_from(number).ok().and_then(|number| self.judged.get_mut(number)) {
            *judged = judgement;
        }
    }

    /// The number of an author who has one.
    pub(crate) fn number(&self, author: (DeviceId, OpId)) -> Option<u32> {
        self.numbers.get(&author).copied()
    }

    /// Numbers an author.
    pub(crate) fn push(&mut self, author: (DeviceId, OpId), judgement: [u8; 32]) -> u32 {
        let number = u32::try_from(self.list.len()).expect("fewer authors than 2³²");
        self.list.push(author);
        self.judged.push(judgement);
        self.numbers.insert(author, number);
        number
    }
}

/// A stored author.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct AuthorRecord {
    pub(crate) device: DeviceId,
    pub(crate) grant: OpId,
    /// The judgement under which what the author wrote was last judged.
    pub(crate) judged: [u8; 32],
}
