//! A member whose frames name one row in every place: each mention costs a node a look at all its chains.

use schema::digest::Mark;
use schema::limits::{FRAME_DOCUMENTS, FRAME_MARKS};
use schema::wire::session::{SessionFrame, Unit, Units};
use schema::wire::sync_message::SyncMessage;

use super::{Writer, chains, one_change_each};

/// Frames that make a row of `count` chains.
pub fn row(writer: &Writer, key: &str, count: usize) -> Vec<Units> {
    chains::frames(writer, key, count)
}

/// One frame of as many units as it may have, all of that row, each with one change of a chain of its own.
pub fn units(writer: &Writer, key: &str) -> Units {
    let changes = one_change_each(writer, key, FRAME_DOCUMENTS, &[]);
    let (mut whole, mut units) = (writer.frame(1, key, &[]), Vec::new());
    for frame in changes {
        for unit in frame.units {
            let message = SyncMessage::decode(&unit.message).unwrap();
            let name = Unit { tips: Vec::new(), message: Vec::new(), ..unit.clone() };
            for (tip, change) in unit.tips.into_iter().zip(message.changes) {
                let message = SyncMessage { changes: vec![change], ..SyncMessage::default() }.encode();
                units.push(Unit { tips: vec![tip], message, ..name.clone() });
            }
        }
    }
    whole.units = units;
    whole
}

/// One request that names that row as often as it may name rows.
pub fn request(writer: &Writer, key: &str) -> SessionFrame {
    let of_row = (writer.document(key), Vec::<Mark>::new());
    SessionFrame::Request { documents: vec![of_row; FRAME_MARKS] }
}
