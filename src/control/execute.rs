//! Carries out requests on a node. There is no other way to carry out a command.

mod group;
mod links;
mod lookup;
mod rows;
mod user;

use tokio::sync::mpsc;

use self::lookup::find_group;
use super::reply::{Done, Progress, Reply};
use super::{Failure, Request};
use crate::Node;

/// The sender of replies. Sending waits while the receiver is slow.
struct Replies(mpsc::Sender<Reply>);

impl Replies {
    async fn send(&self, reply: Reply) -> Result<(), Failure> {
        self.0.send(reply).await.map_err(|_| Failure::hung_up())
    }

    async fn send_all(&self, replies: impl IntoIterator<Item = Reply>) -> Result<(), Failure> {
        for reply in replies {
            self.send(reply).await?;
        }
        Ok(())
    }

    async fn progress(&self, progress: Progress) -> Result<(), Failure> {
        self.send(Reply::Progress(progress)).await
    }

    /// Sends progress unless the receiver is slow: the next one is newer.
    fn try_progress(&self, progress: Progress) {
        let _ = self.0.try_send(Reply::Progress(progress));
    }

    async fn done(&self, done: Done) -> Result<(), Failure> {
        self.send(Reply::Done(done)).await
    }
}

/// Carries a request out. Sends each reply to `replies` at once, and stops when the receiver is dropped.
///
/// # Errors
/// [`Failure`]; the replies sent before it are true.
pub async fn execute(node: &Node, request: Request, replies: mpsc::Sender<Reply>) -> Result<(), Failure> {
    let replies = &Replies(replies);
    match request {
        Request::Whoami => {
            replies.send(Reply::Identity { user: node.user_id(), device: node.device_id() }).await
        }
        Request::Group(request) => group::execute(node, request, replies).await,
        Request::Devices => replies.send_all(node.devices().await?.into_iter().map(Reply::Device)).await,
        Request::Device(request) => user::device(node, request, replies).await,
        Request::Recovery(request) => user::recovery(node, request, replies).await,
        Request::Block { user } => user::block(node, &user, replies).await,
        Request::Unblock { user } => user::unblock(node, &user, replies).await,
        Request::Join { ticket, wait, timeout } => {
            links::join(node, ticket.text(), timeout, wait, replies).await
        }
        Request::Sync { group, timeout } => {
            links::sync(&find_group(node, group.as_deref())?, timeout, replies).await
        }
        Request::Connect { address, known } => links::connect(node, address, known, replies).await,
        Request::Put { table, key, row, group } => {
            let rows = vec![(key, rows::parse(&row)?)];
            rows::put(&group.find(node)?, &table, rows, replies).await
        }
        Request::PutMany { group, table, rows } => {
            rows::put(&find_group(node, group.as_deref())?, &table, rows, replies).await
        }
        Request::Remove(row) => rows::remove(&row.group.find(node)?, &row.table, &row.key, replies).await,
        Request::Get(row) => rows::get(&row.group.find(node)?, &row.table, &row.key, replies).await,
        Request::List { table, group } => {
            let group = group.find(node)?;
            match table {
                Some(table) => rows::rows(node, &group, Some(table), replies).await,
                None => rows::tables(node, &group, replies).await,
            }
        }
        Request::Rows { group, table } => {
            rows::rows(node, &find_group(node, group.as_deref())?, table, replies).await
        }
        Request::Watch { table, group } => rows::watch(&group.find(node)?, &table, replies).await,
        Request::History(row) => rows::history(&row.group.find(node)?, &row.table, &row.key, replies).await,
        Request::Explain(row) => {
            let explanation = row.group.find(node)?.explain(&row.table, &row.key).await?;
            replies.send(Reply::Explanation(Box::new(explanation))).await
        }
        Request::Backup { folder } => {
            replies.progress(Progress::Copying { folder: folder.clone() }).await?;
            replies.send(Reply::Backup(node.backup(&folder).await?)).await
        }
        Request::Status => {
            let mut node = node.status().await?;
            let ended = std::mem::take(&mut node.ended).into_iter().map(Into::into).collect();
            replies.send(Reply::Status { node: Box::new(node), ended }).await
        }
    }
}
