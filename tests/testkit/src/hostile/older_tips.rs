//! A member who relays the newest change of an honest Writer with its tip, and below it as many forged older
//! tips as a node verifies.

use schema::key::Signature;
use schema::limits::OLDER_TIPS_MAX;
use schema::wire::session::{UnitTip, Units};

use super::Writer;
use crate::dear::Crafter;

/// One frame of one unit: a chain of empty changes, of which only the newest is signed.
pub fn frame(writer: &Writer, key: &str) -> Units {
    let document = writer.document(key);
    let replica = |chain| writer.replica(document, chain);
    let mut crafter = Crafter::new(&replica);
    for _ in 0..=OLDER_TIPS_MAX {
        crafter.write(0, &[], &[]);
    }
    let mut frame = writer.frame(1, key, &crafter.into_changes());
    let tips = &mut frame.units[0].tips;
    let newest = tips[0];
    let forged = |seq| UnitTip { seq, signature: Signature([0x5a; 64]), ..newest };
    tips.extend((1..newest.seq).map(forged));
    frame
}
