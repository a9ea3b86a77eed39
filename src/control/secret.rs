//! Text that crosses the socket and is printed where it is asked for, and nowhere else.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A ticket, or the words of a recovery key: no log and no `Debug` shows it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::super::reply::{Invitation, RecoveryLine};
    use super::super::{Reply, Request};
    use super::Secret;
    use crate::GroupId;

    #[test]
    fn what_is_secret_is_printed_by_no_debug_and_crosses_the_socket() {
        let secret = || Secret::from("abandon abandon art".to_owned());
        let join = Request::Join { ticket: secret(), timeout_ms: 1, wait: false };
        let words = Reply::Recovery(RecoveryLine { user: None, words: Some(secret()) });
        let (group, addresses) = (GroupId([1; 32]), Vec::new());
        let ticket = Reply::Invitation(Invitation { ticket: secret(), group, addresses, reachable: false });
        for shown in [format!("{join:?}"), format!("{words:?}"), format!("{ticket:?}")] {
            assert!(shown.contains("Secret") && !shown.contains("abandon"), "{shown}");
        }
        let sent = serde_json::to_string(&join).expect("a request is JSON");
        assert_eq!(serde_json::from_str::<Request>(&sent).ok(), Some(join));
    }
}
