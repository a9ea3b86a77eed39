//! Who reaches whom, drawn.

use super::text::paint;
use super::{BAD, BOLD, DIM};

/// Of ada, ben and cid: who is open, and who reaches whom.
#[derive(Clone, Copy, Debug)]
pub(in crate::command::demo) struct Links {
    pub(in crate::command::demo) open: [bool; 3],
    pub(in crate::command::demo) ada_ben: bool,
    pub(in crate::command::demo) ben_cid: bool,
    pub(in crate::command::demo) ada_cid: bool,
}

impl Links {
    /// The chain, and below it the way from ada to cid.
    pub(super) fn lines(&self) -> Vec<String> {
        let [ada, ben, cid] = self.open;
        let chain = format!(
            "{} {} {} {} {}",
            name("ada", ada),
            way(ada && ben, self.ada_ben, 7),
            name("ben", ben),
            way(ben && cid, self.ben_cid, 7),
            name("cid", cid),
        );
        let mut lines = vec![chain];
        if ada && cid {
            lines.push(format!(" └{}┘", way(true, self.ada_cid, 23)));
        }
        lines
    }
}

fn name(name: &str, open: bool) -> String {
    if open { paint(BOLD, name) } else { paint(DIM, &"·".repeat(name.len())) }
}

/// A way of an odd length; none where somebody is closed.
fn way(open: bool, joined: bool, length: usize) -> String {
    let side = "─".repeat(length / 2);
    match (open, joined) {
        (false, _) => " ".repeat(length),
        (true, true) => "─".repeat(length),
        (true, false) => format!("{side}{}{side}", paint(BAD, "╳")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(links: Links) -> Vec<String> {
        links.lines().iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect()
    }

    #[test]
    fn a_cut_is_drawn_where_it_is() {
        let parted = Links { open: [true; 3], ada_ben: false, ben_cid: true, ada_cid: false };
        assert_eq!(drawn(parted), ["ada ───╳─── ben ─────── cid", " └───────────╳───────────┘"]);
        let chain = Links { ada_ben: true, ..parted };
        assert_eq!(drawn(chain), ["ada ─────── ben ─────── cid", " └───────────╳───────────┘"]);
    }

    #[test]
    fn nobody_reaches_a_closed_node() {
        let links = Links { open: [true, true, false], ada_ben: true, ben_cid: true, ada_cid: true };
        assert_eq!(drawn(links), ["ada ─────── ben         ···"]);
    }
}
