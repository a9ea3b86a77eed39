//! Advice for people whose membership change a rule forbids: what they can do, where the cause names the
//! rule.

use schema::ledger::{Invalid, Refusal};

/// The user's next step after a refusal.
pub(super) fn advice(refusal: &Refusal) -> String {
    let Refusal::Invalid { why, .. } = refusal else {
        return match refusal {
            Refusal::NoEffect { .. } => {
                "a stronger member has signed otherwise: look at the group's log, or ask them".to_owned()
            }
            _ => "ops that this builds on are not here: try again once others are connected".to_owned(),
        };
    };
    match why {
        Invalid::Rank { rank } => {
            format!("this user is {rank:?} in the group, and that takes Admin: ask a member who is")
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
            "this device was revoked, and signs nothing any more: use another one".to_owned()
        }
        Invalid::InviteRole { max, .. } => {
            format!(
                "a ticket grants {max:?} at most: invite with that role, and raise them once they are members"
            )
        }
        Invalid::InviteSpent { .. } => "the invitation is not open any more: make another".to_owned(),
        _ => "the rules of the group forbid it: see the cause".to_owned(),
    }
}
