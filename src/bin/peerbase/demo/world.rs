//! Three nodes in folders of their own, on one network in memory.

mod waits;

use std::error::Error;
use std::ops::Range;
use std::path::{Path, PathBuf};

use actors::clock::Clock;
use actors::transport::memory::MemoryNetwork;
use peerbase::{Group, GroupId, Node, OpenError};
use tempfile::TempDir;

use super::lists::{Lists, Shown};
use super::screen::{GridRow, Links};

pub(super) use self::waits::Journey;

/// How long a chunk of bytes takes one way, milliseconds.
pub(super) const LATENCY_MS: Range<u64> = 1..4;

/// Why an act could not go on; told with its causes.
pub(super) type Trouble = Box<dyn Error + Send + Sync>;

/// A member of the club.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Ada,
    Ben,
    Cid,
}

use Who::{Ada, Ben, Cid};

impl Who {
    pub(super) const ALL: [Self; 3] = [Ada, Ben, Cid];

    pub(super) fn name(self) -> &'static str {
        match self {
            Ada => "ada",
            Ben => "ben",
            Cid => "cid",
        }
    }

    fn address(self) -> String {
        format!("memory://{}", self.name())
    }
}

/// The club's nodes, their folders and their network.
pub(super) struct World {
    clock: Clock,
    network: MemoryNetwork,
    folder: TempDir,
    nodes: [Option<Node>; 3],
    club: Option<GroupId>,
}

impl World {
    /// Opens three nodes in new folders; all are linked when it returns.
    pub(super) async fn open(clock: Clock, seed: u64) -> Result<Self, Trouble> {
        let network = MemoryNetwork::seeded(clock.clone(), seed).latency_ms(LATENCY_MS);
        let folder = tempfile::Builder::new().prefix("peerbase-demo-").tempdir()?;
        let mut world = Self { clock, network, folder, nodes: [None, None, None], club: None };
        for who in Who::ALL {
            world.wake(who).await?;
            world.dial(who).await?;
        }
        Ok(world)
    }

    /// Opens a node from its folder; it listens, and dials nobody yet.
    pub(super) async fn wake(&mut self, who: Who) -> Result<(), Trouble> {
        let node = Node::builder(self.folder_of(who)).name(who.name()).network(&self.network, who.name());
        let node = node.open().await?;
        node.listen(&who.address()).await?;
        self.nodes[who as usize] = Some(node);
        Ok(())
    }

    /// Links a node to those before it: they meet, whoever dials.
    pub(super) async fn dial(&self, who: Who) -> Result<(), Trouble> {
        for other in Who::ALL.into_iter().take_while(|other| *other != who) {
            if self.reaches(who, other) {
                self.node(who)?.connect(&other.address()).await?;
            }
        }
        Ok(())
    }

    /// Closes a node.
    pub(super) async fn close(&mut self, who: Who) {
        if let Some(node) = self.nodes[who as usize].take() {
            node.close().await;
        }
    }

    /// Closes every node.
    pub(super) async fn close_all(&mut self) {
        for who in Who::ALL {
            self.close(who).await;
        }
    }

    /// Parts ada from ben and cid.
    pub(super) fn part(&self) {
        self.network.partition(&[&[Ada.name()], &[Ben.name(), Cid.name()]]);
    }

    /// Takes the way between two of them.
    pub(super) fn cut(&self, one: Who, other: Who) {
        self.network.cut(one.name(), other.name());
    }

    /// Gives every way back, and lets everybody dial at once instead of after a pause.
    pub(super) async fn heal(&self) {
        self.network.heal();
        for who in Who::ALL {
            // What fails is dialled again; whoever waits for what should come that way will say so.
            let _ = self.dial(who).await;
        }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Bytes that have arrived so far, all nodes together.
    pub(super) fn bytes(&self) -> u64 {
        self.network.bytes_delivered()
    }

    pub(super) fn links(&self) -> Links {
        Links {
            open: self.nodes.each_ref().map(Option::is_some),
            ada_ben: self.reaches(Ada, Ben),
            ben_cid: self.reaches(Ben, Cid),
            ada_cid: self.reaches(Ada, Cid),
        }
    }

    fn reaches(&self, one: Who, other: Who) -> bool {
        self.network.reaches(one.name(), other.name())
    }

    pub(super) fn node(&self, who: Who) -> Result<&Node, Trouble> {
        self.nodes[who as usize].as_ref().ok_or_else(|| format!("{} is closed", who.name()).into())
    }

    /// From now on the lists are this group's.
    pub(super) fn meet_in(&mut self, club: GroupId) {
        self.club = Some(club);
    }

    /// The club's lists as one node has them.
    pub(super) fn at(&self, who: Who) -> Result<Lists, Trouble> {
        lists(self.node(who)?, self.club)
    }

    /// One question to all three.
    pub(super) fn each<T, E: Into<Trouble>>(
        &self,
        ask: impl Fn(&Lists) -> Result<T, E>,
    ) -> Result<[T; 3], Trouble> {
        let ask = |who| ask(&self.at(who)?).map_err(Into::into);
        Ok([ask(Ada)?, ask(Ben)?, ask(Cid)?])
    }

    /// How many rows each open node has.
    pub(super) fn rows(&self) -> Vec<usize> {
        let rows = |who| Some(self.at(who).ok()?.shown().ok()?.len());
        Who::ALL.into_iter().filter_map(rows).collect()
    }

    /// Every row that somebody has, as each of the three has it.
    pub(super) fn grid(&self) -> Result<Vec<GridRow>, Trouble> {
        let mut grid: Vec<GridRow> = Vec::new();
        for (column, rows) in self.each(Lists::shown)?.into_iter().enumerate() {
            for Shown { table, key, cell } in rows {
                let at = grid.iter().position(|row| row.is(table, &key)).unwrap_or_else(|| {
                    grid.push(GridRow { table, key, cells: [None, None, None] });
                    grid.len() - 1
                });
                grid[at].cells[column] = Some(cell);
            }
        }
        Ok(grid)
    }

    /// Whether all three have rows, and the same.
    pub(super) fn is_equal(&self) -> Result<bool, Trouble> {
        let exports = self.each(Lists::export)?;
        Ok(!exports[0].is_empty() && exports.iter().all(|export| *export == exports[0]))
    }

    pub(super) fn folder_of(&self, who: Who) -> PathBuf {
        self.folder.path().join(who.name())
    }

    /// Tries to open a folder once more.
    pub(super) async fn open_again(&self, who: Who) -> Result<(), OpenError> {
        Node::builder(self.folder_of(who)).open().await?.close().await;
        Ok(())
    }

    /// Copies a running node's folder as it lies there and opens the copy: what a crash at this moment would leave.
    /// Gives the copy's export.
    pub(super) async fn export_of_copy(&self, who: Who) -> Result<String, Trouble> {
        let (from, to) = (self.folder_of(who), self.folder.path().join("copy"));
        let copy = to.clone();
        self.clock.offload(move || copy_folder(&from, &copy)).await?;
        let node = Node::builder(to).open().await?;
        let export = lists(&node, self.club).and_then(|lists| Ok(lists.export()?));
        node.close().await;
        export
    }
}

fn lists(node: &Node, club: Option<GroupId>) -> Result<Lists, Trouble> {
    let group: Group = node.group(club.ok_or("there is no club yet")?)?;
    Ok(Lists::of(group))
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
