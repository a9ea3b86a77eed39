//! What whoever was refused can do about it, in words for people: a rule's number is for the log.

use schema::ledger::{Invalid, Refusal};

/// What whoever was refused can do about it.
pub(super) fn advice(refusal: &Refusal) -> String {
    let Refusal::Invalid { why, .. } = refusal else {
        return match refusal {
            Refusal::NoEffect { .. } => {
                "somebody stronger has said otherwise: look at the group's log, or ask them".to_owned()
            }
            _ => "what this builds on is not all here: try again once others are connected".to_owned(),
        };
    };
    match why {
        Invalid::Rank { rank, needed } => {
            format!("this user is {rank:?} in the group, and that takes {needed:?}: ask a member who is")
        }
        Invalid::AboveAuthor { rank, target } => {
            format!(
                "this user is {rank:?} in the group, and the role is {target:?}: ask a member who is no less"
            )
        }
        Invalid::NotSenior => "only a more senior founder acts on a founder: ask one".to_owned(),
        Invalid::SelfRaise => {
            "nobody raises themselves: ask another member who may, or choose a lower role".to_owned()
        }
        Invalid::Unchanged { role } => format!("the role is {role:?} already: there is nothing to change"),
        Invalid::DeviceRevoked => {
            "this device was taken back, and says nothing any more: use another one".to_owned()
        }
        Invalid::InviteRole { max, .. } => {
            format!("a ticket grants {max:?} at most: let them in with less, and set their role then")
        }
        Invalid::InviteSpent { .. } => "the invitation is not open any more: make another".to_owned(),
        _ => "the rules of the group forbid it: see the cause".to_owned(),
    }
}
