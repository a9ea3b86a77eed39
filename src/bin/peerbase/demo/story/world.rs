//! Three nodes in folders of their own, on real sockets, with a cable between each two.

mod waits;

use std::path::{Path, PathBuf};

use actors::clock::Clock;
use peerbase::{Group, GroupId, Node, OpenError};

use super::cable::Cable;
use super::lists::{Lists, Shown};
use super::{Broken, Trouble};
use crate::command::demo::screen::{GridRow, Links};

pub(super) use self::waits::Journey;

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
}

/// The club's nodes, their folders and what joins them.
pub(super) struct World {
    clock: Clock,
    folder: PathBuf,
    nodes: [Option<Node>; 3],
    /// Of ada and ben, ada and cid, ben and cid: each leads to who is named first.
    cables: [Cable; 3],
    club: Option<GroupId>,
    /// Who is not in the club any more: nobody waits for them.
    removed: Option<Who>,
    broken: Option<Broken>,
}

impl World {
    /// Opens three nodes in new folders; all are linked when it returns.
    pub(super) async fn open(clock: Clock, folder: &Path, broken: Option<Broken>) -> Result<Self, Trouble> {
        let (ada, ada_at) = open(folder, Ada, broken).await?;
        let (ben, ben_at) = open(folder, Ben, broken).await?;
        let (cid, _) = open(folder, Cid, broken).await?;
        let cables = [
            Cable::lay(&clock, &ada_at).await?,
            Cable::lay(&clock, &ada_at).await?,
            Cable::lay(&clock, &ben_at).await?,
        ];
        let nodes = [Some(ada), Some(ben), Some(cid)];
        let folder = folder.to_owned();
        let world = Self { clock, folder, nodes, cables, club: None, removed: None, broken };
        for who in Who::ALL {
            world.dial(who).await?;
        }
        Ok(world)
    }

    /// Opens a node from its folder; it dials nobody yet.
    pub(super) async fn wake(&mut self, who: Who) -> Result<(), Trouble> {
        let (node, _) = open(&self.folder, who, self.broken).await?;
        self.nodes[who as usize] = Some(node);
        Ok(())
    }

    /// Links a node to those before it: they meet, whoever dials.
    pub(super) async fn dial(&self, who: Who) -> Result<(), Trouble> {
        for other in Who::ALL.into_iter().take_while(|other| *other != who) {
            if self.reaches(who, other) {
                self.node(who)?.connect(self.cable(who, other).address()).await?;
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

    /// The cable between two who are not the same.
    fn cable(&self, one: Who, other: Who) -> &Cable {
        &self.cables[one as usize + other as usize - 1]
    }

    /// Parts ada from ben and cid.
    pub(super) fn part(&self) {
        self.cut(Ada, Ben);
        self.cut(Ada, Cid);
    }

    /// Pulls the cable between two of them.
    pub(super) fn cut(&self, one: Who, other: Who) {
        self.cable(one, other).pull();
    }

    /// Plugs every cable in, and lets everybody dial at once instead of after a pause.
    pub(super) async fn heal(&self) {
        self.cables.iter().for_each(Cable::plug_in);
        for who in Who::ALL {
            // What fails is dialled again; whoever waits for what should come that way will say so.
            let _ = self.dial(who).await;
        }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Bytes that the cables have carried so far.
    pub(super) fn bytes(&self) -> u64 {
        self.cables.iter().map(Cable::bytes).sum()
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
        self.cable(one, other).is_plugged_in()
    }

    pub(super) fn node(&self, who: Who) -> Result<&Node, Trouble> {
        self.nodes[who as usize].as_ref().ok_or_else(|| format!("{} is closed", who.name()).into())
    }

    /// From now on the lists are this group's.
    pub(super) fn meet_in(&mut self, club: GroupId) {
        self.club = Some(club);
    }

    /// From now on nobody waits for them.
    pub(super) fn remove(&mut self, who: Who) {
        self.removed = Some(who);
    }

    /// Those who are in the club.
    pub(super) fn members(&self) -> impl Iterator<Item = Who> + use<> {
        let removed = self.removed;
        Who::ALL.into_iter().filter(move |who| Some(*who) != removed)
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

    /// Whether all members have rows, and the same.
    pub(super) fn is_equal(&self) -> Result<bool, Trouble> {
        let export = |who| Ok::<_, Trouble>(self.at(who)?.export()?);
        let exports = self.members().map(export).collect::<Result<Vec<_>, _>>()?;
        Ok(exports.iter().all(|export| !export.is_empty() && *export == exports[0]))
    }

    pub(super) fn folder_of(&self, who: Who) -> PathBuf {
        self.folder.join(who.name())
    }

    /// Tries to open a folder once more.
    pub(super) async fn open_again(&self, who: Who) -> Result<(), OpenError> {
        Node::builder(self.folder_of(who)).open().await?.close().await;
        Ok(())
    }

    /// Copies a running node's folder as it lies there and opens the copy: what a crash at this moment would leave.
    /// Gives the copy's export.
    pub(super) async fn export_of_copy(&self, who: Who) -> Result<String, Trouble> {
        let copy = tempfile::Builder::new().prefix("peerbase-demo-copy-").tempdir()?;
        let (from, to) = (self.folder_of(who), copy.path().to_owned());
        self.clock.offload(move || copy_folder(&from, &to)).await?;
        let node = Node::builder(copy.path()).open().await?;
        let export = lists(&node, self.club).and_then(|lists| Ok(lists.export()?));
        node.close().await;
        export
    }
}

/// Opens a node that listens; gives its address too.
async fn open(folder: &Path, who: Who, broken: Option<Broken>) -> Result<(Node, String), Trouble> {
    // Unlisted: a cable that is pulled is the only way.
    let mut builder = Node::builder(folder.join(who.name())).name(who.name()).unlisted();
    if broken == Some(Broken::Admission) {
        builder = builder.break_admission();
    }
    let node = builder.open().await?;
    let address = node.listen("127.0.0.1:0").await?;
    Ok((node, address))
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
