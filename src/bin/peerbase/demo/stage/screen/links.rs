//! A drawing of the cables between the nodes.

use super::text::paint;
use super::{BAD, BOLD, DIM};

/// The open nodes among ada, ben and cid, and the cables that are plugged in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links {
    pub(crate) open: [bool; 3],
    pub(crate) ada_ben: bool,
    pub(crate) ben_cid: bool,
    pub(crate) ada_cid: bool,
}

impl Links {
    /// Draws the chain, and below it the cable between ada and cid.
    pub(crate) fn lines(&self) -> Vec<String> {
        let [ada, ben, cid] = self.open;
        let chain = format!(
            "{} {} {} {} {}",
            name("ada", ada),
            cable(ada && ben, self.ada_ben, 7),
            name("ben", ben),
            cable(ben && cid, self.ben_cid, 7),
            name("cid", cid),
        );
        let mut lines = vec![chain];
        if ada && cid {
            lines.push(format!(" └{}┘", cable(true, self.ada_cid, 23)));
        }
        lines
    }
}

fn name(name: &str, open: bool) -> String {
    if open { paint(BOLD, name) } else { paint(DIM, &"·".repeat(name.len())) }
}

/// Draws a cable of an odd length; none where a node is closed.
fn cable(open: bool, joined: bool, length: usize) -> String {
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
    fn a_closed_node_has_no_cable() {
        let links = Links { open: [true, true, false], ada_ben: true, ben_cid: true, ada_cid: true };
        assert_eq!(drawn(links), ["ada ─────── ben         ···"]);
    }
}
