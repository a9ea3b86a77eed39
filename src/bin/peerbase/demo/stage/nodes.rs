//! The cast of a story about nodes: three of them in this process, with a cable between each two.

use std::path::{Path, PathBuf};

use actors::clock::Clock;
use peerbase::control::{Fields, reply};
use peerbase::{Group, GroupId, Node, NodeBuilder, OpenError, ReadError, Table, TableName};

use super::cable::Cable;
use super::screen::{GridRow, Links};
use super::{Cast, Measure};
use crate::command::demo::{ActError, Defect};

/// One of the three nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Ada,
    Ben,
    Cid,
}

use Who::{Ada, Ben, Cid};

impl Who {
    pub(crate) const ALL: [Self; 3] = [Ada, Ben, Cid];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Ada => "ada",
            Ben => "ben",
            Cid => "cid",
        }
    }
}

/// A row as a column shows it.
pub(crate) struct Cell {
    pub(crate) table: &'static str,
    pub(crate) key: String,
    pub(crate) text: String,
}

/// Returns the rows of a group as columns show them; each story defines it, since it knows the types of its
/// rows.
pub(crate) type Column = fn(&Group) -> Result<Vec<Cell>, ReadError>;

/// Three nodes and the cables between them.
pub(crate) struct Nodes {
    pub(crate) clock: Clock,
    folder: PathBuf,
    column: Column,
    pub(crate) nodes: [Option<Node>; 3],
    /// Between ada and ben, ada and cid, ben and cid; each leads to the node named first.
    cables: [Cable; 3],
    group: Option<GroupId>,
    /// The node whose user was removed: waits leave it out.
    removed: Option<Who>,
    defect: Option<Defect>,
}

impl Cast for Nodes {
    type Setup = Column;
    const LEGEND: Option<&str> = Some(
        "In the columns ≠ marks a row that differs, = one that has changed and is the same on all three; \
         – is no row.",
    );

    /// Opens three nodes in new folders and links them.
    async fn open(
        column: Column,
        clock: &Clock,
        folder: &Path,
        defect: Option<Defect>,
    ) -> Result<Self, ActError> {
        let (ada, ada_address) = open(folder, Ada, defect).await?;
        let (ben, ben_address) = open(folder, Ben, defect).await?;
        let (cid, _) = open(folder, Cid, defect).await?;
        let cables = [
            Cable::lay(clock, &ada_address).await?,
            Cable::lay(clock, &ada_address).await?,
            Cable::lay(clock, &ben_address).await?,
        ];
        let (clock, folder) = (clock.clone(), folder.to_owned());
        let nodes = [Some(ada), Some(ben), Some(cid)];
        let nodes = Self { clock, folder, column, nodes, cables, group: None, removed: None, defect };
        for who in Who::ALL {
            nodes.dial(who).await?;
        }
        Ok(nodes)
    }

    async fn close(&mut self) {
        for who in Who::ALL {
            self.close_node(who).await;
        }
    }

    fn measure(&self) -> Option<Measure> {
        let rows = |who| Some((self.column)(&self.group(who).ok()?).ok()?.len());
        let rows = Who::ALL.into_iter().filter_map(rows).collect();
        Some(Measure { rows, bytes: self.cables.iter().map(Cable::bytes).sum() })
    }
}

impl Nodes {
    pub(crate) fn node(&self, who: Who) -> Result<&Node, ActError> {
        self.nodes[who as usize].as_ref().ok_or_else(|| format!("{} is closed", who.name()).into())
    }

    /// Sets the group whose rows the columns show.
    pub(crate) fn set_group(&mut self, group: GroupId) {
        self.group = Some(group);
    }

    /// Returns the group at one node.
    pub(crate) fn group(&self, who: Who) -> Result<Group, ActError> {
        Ok(self.node(who)?.group(self.group.ok_or("no group is set")?)?)
    }

    /// Returns the group at all three nodes.
    pub(crate) fn groups(&self) -> Result<[Group; 3], ActError> {
        Ok([self.group(Ada)?, self.group(Ben)?, self.group(Cid)?])
    }

    /// Returns a table at all three nodes.
    pub(crate) fn tables<T>(&self, name: TableName<T>) -> Result<[Table<T>; 3], ActError> {
        Ok(self.groups()?.map(|group| group.table(name)))
    }

    /// Closes a node.
    pub(crate) async fn close_node(&mut self, who: Who) {
        if let Some(node) = self.nodes[who as usize].take() {
            node.close().await;
        }
    }

    /// Opens a node from its folder; it dials no other node yet.
    pub(crate) async fn open_node(&mut self, who: Who) -> Result<(), ActError> {
        let (node, _) = open(&self.folder, who, self.defect).await?;
        self.nodes[who as usize] = Some(node);
        Ok(())
    }

    /// Links a node to those named before it, where a cable is plugged in.
    pub(crate) async fn dial(&self, who: Who) -> Result<(), ActError> {
        for other in Who::ALL.into_iter().take_while(|other| *other != who) {
            if self.is_plugged_in(who, other) {
                self.node(who)?.connect(self.cable(who, other).address()).await?;
            }
        }
        Ok(())
    }

    fn cable(&self, one: Who, other: Who) -> &Cable {
        &self.cables[one as usize + other as usize - 1]
    }

    pub(crate) fn is_plugged_in(&self, one: Who, other: Who) -> bool {
        self.cable(one, other).is_plugged_in()
    }

    /// Pulls the cable between two nodes.
    pub(crate) fn pull(&self, one: Who, other: Who) {
        self.cable(one, other).pull();
    }

    /// Plugs every cable in, and lets every node dial at once instead of after a pause.
    pub(crate) async fn plug_in(&self) {
        self.cables.iter().for_each(Cable::plug_in);
        for who in Who::ALL {
            // A node dials again by itself; a story that waits for rows reports a link that stays down.
            let _ = self.dial(who).await;
        }
    }

    /// Leaves a node out of all waits from now on, since its user was removed.
    pub(crate) fn leave_out(&mut self, who: Who) {
        self.removed = Some(who);
    }

    /// The nodes whose users are members.
    pub(crate) fn members(&self) -> impl Iterator<Item = Who> + use<> {
        let removed = self.removed;
        Who::ALL.into_iter().filter(move |who| Some(*who) != removed)
    }

    /// Returns true if all members have rows, and the same rows.
    pub(crate) fn is_equal(&self) -> Result<bool, ActError> {
        let export = |who| export(&self.group(who)?);
        let exports = self.members().map(export).collect::<Result<Vec<_>, _>>()?;
        Ok(exports.iter().all(|export| !export.is_empty() && *export == exports[0]))
    }

    /// Returns the number of rows at a node.
    pub(crate) fn rows(&self, who: Who) -> Result<usize, ActError> {
        Ok((self.column)(&self.group(who)?)?.len())
    }

    pub(crate) fn folder(&self, who: Who) -> PathBuf {
        self.folder.join(who.name())
    }

    /// Tries to open the folder of an open node a second time.
    pub(crate) async fn open_twice(&self, who: Who) -> Result<(), OpenError> {
        Node::builder(self.folder(who)).open().await?.close().await;
        Ok(())
    }

    /// Copies a running node's folder file by file, as a crash at this moment would leave it, opens the copy
    /// and returns its export.
    pub(crate) async fn export_of_copy(&self, who: Who) -> Result<String, ActError> {
        let copy = tempfile::Builder::new().prefix("peerbase-demo-copy-").tempdir()?;
        let (from, to) = (self.folder(who), copy.path().to_owned());
        self.clock.offload(move || copy_folder(&from, &to)).await?;
        let node = Node::builder(copy.path()).open().await?;
        let group = node.group(self.group.ok_or("no group is set")?);
        let export = group.map_err(ActError::from).and_then(|group| export(&group));
        node.close().await;
        export
    }

    pub(super) fn links(&self) -> Links {
        Links {
            open: self.nodes.each_ref().map(Option::is_some),
            ada_ben: self.is_plugged_in(Ada, Ben),
            ben_cid: self.is_plugged_in(Ben, Cid),
            ada_cid: self.is_plugged_in(Ada, Cid),
        }
    }

    pub(super) fn grid(&self) -> Result<Vec<GridRow>, ActError> {
        let mut grid: Vec<GridRow> = Vec::new();
        for (column, group) in self.groups()?.iter().enumerate() {
            for Cell { table, key, text } in (self.column)(group)? {
                let at = grid.iter().position(|row| row.is(table, &key)).unwrap_or_else(|| {
                    grid.push(GridRow { table, key, cells: [None, None, None] });
                    grid.len() - 1
                });
                grid[at].cells[column] = Some(text);
            }
        }
        Ok(grid)
    }
}

/// Returns the rows of one table as columns show them.
pub(crate) fn cells<T>(group: &Group, name: TableName<T>) -> Result<Vec<Cell>, ReadError>
where
    T: serde::Serialize + serde::de::DeserializeOwned + std::fmt::Display,
{
    let cell = |row: Result<peerbase::Row<T>, ReadError>| {
        let row = row?;
        Ok(Cell { table: name.name(), key: row.key().to_owned(), text: row.value()?.to_string() })
    };
    group.table(name).iter().map(cell).collect()
}

/// Returns every row of every table as JSON lines, as `peerbase export` writes them.
pub(crate) fn export(group: &Group) -> Result<String, ActError> {
    let mut lines = String::new();
    for (table, _) in group.tables()? {
        for row in group.table_named::<Fields>(&table)?.iter() {
            let row = row?;
            let row = reply::Row { table: table.clone(), key: row.key().to_owned(), row: row.value()? };
            lines.push_str(&serde_json::to_string(&row)?);
            lines.push('\n');
        }
    }
    Ok(lines)
}

/// Opens a node that listens; returns its address too.
async fn open(folder: &Path, who: Who, defect: Option<Defect>) -> Result<(Node, String), ActError> {
    // Unlisted, so that a node cannot be dialled past a pulled cable.
    let builder = Node::builder(folder.join(who.name())).name(who.name()).unlisted();
    let node = with_defect(builder, defect).open().await?;
    let address = node.listen("127.0.0.1:0").await?;
    Ok((node, address))
}

#[cfg(feature = "defects")]
fn with_defect(builder: NodeBuilder, defect: Option<Defect>) -> NodeBuilder {
    match defect {
        Some(Defect::Admission) => builder.break_admission(),
        None => builder,
    }
}

/// In this build no rule can be broken, and the demo refused `--break`.
#[cfg(not(feature = "defects"))]
fn with_defect(builder: NodeBuilder, _: Option<Defect>) -> NodeBuilder {
    builder
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
