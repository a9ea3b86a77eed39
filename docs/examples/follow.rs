//! Follows a table and the members of its group while another device writes.
//!
//! `cargo run --example follow`

#![allow(clippy::disallowed_methods, reason = "an application spawns its own tasks")]

use std::error::Error;

use peerbase::group::MemberChange;
use peerbase::{Node, Role, RowChange, TableName};

const MESSAGES: TableName<String> = TableName::new("messages");

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let ada = Node::in_memory().await?;
    ada.listen("127.0.0.1:0").await?;
    let chat = ada.create_group("Chat").await?;
    let mut messages = chat.table(MESSAGES).watch();
    let mut members = chat.members_table().watch();

    let ticket = chat.invite(Role::Writer).await?;
    let ben = Node::in_memory().await?;
    let writer = tokio::spawn({
        let ben = ben.clone();
        async move {
            let chat = ben.join(&ticket).await.map_err(|error| error.to_string())?;
            for text in ["hello", "is anybody here?"] {
                chat.table(MESSAGES).insert(&text.to_owned()).await.map_err(|error| error.to_string())?;
            }
            Ok::<(), String>(())
        }
    });

    let mut received = 0;
    while received < 2 {
        tokio::select! {
            Some(change) = messages.next() => match change {
                RowChange::Put(row) => {
                    received += 1;
                    println!("{}", row.value()?);
                }
                RowChange::Removed { key } => println!("message {key} was removed"),
                RowChange::Reset(rows) => {
                    received = rows.len();
                    println!("lagged behind: {} messages", rows.len());
                }
            },
            Some(change) = members.next() => match change {
                MemberChange::Put(member) => println!("({} is {:?})", member.user.short(), member.role),
                MemberChange::Removed { user } => println!("({} was removed)", user.short()),
                MemberChange::Reset(members) => println!("({} members)", members.len()),
            },
        }
    }

    writer.await??;
    ben.close().await;
    ada.close().await;
    Ok(())
}
