//! One shopping list on two devices: they join by ticket, write while apart, and merge.
//!
//! `cargo run --example shopping_list`

use std::error::Error;
use std::time::Duration;

use peerbase::{Counter, Node, Role, TableName};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Item {
    pieces: Counter,
    bought: bool,
}

/// The key is the name of the item, so that two devices that add milk make one row.
const ITEMS: TableName<Item> = TableName::new("items");

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let ada = Node::in_memory_builder().name("Ada's laptop").open().await?;
    let address = ada.listen("127.0.0.1:0").await?;
    let home = ada.create_group("Home").await?;
    home.table(ITEMS).put("milk", &Item { pieces: 1.into(), bought: false }).await?;
    let ticket = home.invite(Role::Writer).await?;
    println!("ada listens at {address} and invites with\n{ticket}\n");

    let ben = Node::in_memory_builder().name("Ben's phone").open().await?;
    let bens = ben.join(&ticket).await?;
    bens.synced(Duration::from_secs(10)).await?;
    println!("ben joined {:?} and has:", bens.info().name);
    print_items(&bens)?;

    ben.disconnect(&address).await?;
    home.table(ITEMS).update("milk", |item| item.pieces.increment(1)).await?;
    bens.table(ITEMS).update("milk", |item| item.bought = true).await?;
    bens.table(ITEMS).put("bread", &Item { pieces: 2.into(), bought: false }).await?;
    println!("\napart, ada wants one more milk; ben buys the milk and adds bread\n");

    ben.connect(&address).await?;
    home.synced(Duration::from_secs(10)).await?;
    println!("together again, both have:");
    print_items(&home)?;

    ben.close().await;
    ada.close().await;
    Ok(())
}

fn print_items(group: &peerbase::Group) -> Result<(), Box<dyn Error>> {
    for (name, item) in group.table(ITEMS).list()? {
        let state = if item.bought { "bought" } else { "to buy" };
        println!("  {} × {name}: {state}", item.pieces);
    }
    Ok(())
}
