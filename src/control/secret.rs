//! Secret text: it crosses the socket and is printed as a command's result, and nowhere else.

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
    use std::time::Duration;

    use super::super::{Reply, Request};
    use super::Secret;
    use crate::GroupId;

    #[test]
    fn a_secret_crosses_the_socket_and_debug_does_not_print_it() {
        let secret = || Secret::from("abandon abandon art".to_owned());
        let join = Request::Join { ticket: secret(), timeout: Duration::from_secs(1), wait: false };
        let words = Reply::RecoveryKey { user: None, words: Some(secret()) };
        let (group, addresses) = (GroupId([1; 32]), Vec::new());
        let ticket = Reply::Ticket { ticket: secret(), group, addresses, reachable: false };
        for shown in [format!("{join:?}"), format!("{words:?}"), format!("{ticket:?}")] {
            assert!(shown.contains("Secret") && !shown.contains("abandon"), "{shown}");
        }
        let sent = serde_json::to_string(&join).expect("a request is JSON");
        assert_eq!(serde_json::from_str::<Request>(&sent).ok(), Some(join));
    }
}
