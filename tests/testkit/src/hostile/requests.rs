//! A member who requests as many rows as a frame may name, each once, again and again.

use schema::digest::Mark;
use schema::limits::FRAME_MARKS;
use schema::wire::session::SessionFrame;
use schema::{DocumentId, GroupId};

use super::TABLE;

/// Requests of rows that nobody wrote, behind some that there are.
pub fn frames(group: GroupId, rows: Vec<DocumentId>) -> impl Iterator<Item = SessionFrame> {
    (0_u64..).map(move |number| {
        let invented = (0..FRAME_MARKS - rows.len())
            .map(|row| DocumentId::of(group, TABLE, &format!("row {row} of request {number}")));
        let documents = rows.iter().copied().chain(invented);
        SessionFrame::Request { documents: documents.map(|row| (row, Vec::<Mark>::new())).collect() }
    })
}
