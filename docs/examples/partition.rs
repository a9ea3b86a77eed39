//! Five simulated devices, a partition, a power cut, and a check that all end equal.
//!
//! `cargo run --example partition -- 42` plays the history of seed 42.

use peerbase::sim::{Net, Peer};
use peerbase::{Counter, TableName};

const VISITS: TableName<Counter> = TableName::new("visits");

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seed = std::env::args().nth(1).map_or(Ok(7), |seed| seed.parse())?;
    let mut net = Net::seeded(seed).latency_ms(5..80).loss(0.02);
    let [ada, ben, cid, dan, eva] = net.nodes(["ada", "ben", "cid", "dan", "eva"]).await;
    let all = [&ada, &ben, &cid, &dan, &eva];
    let group = net.group("Garden club", &all).await;
    let visits = |peer: &Peer| peer.node().group(group).expect("a member").table(VISITS);
    let count = |peer: &Peer| visits(peer).get("garden").map(Option::unwrap_or_default);

    visits(&ada).put("garden", &0.into()).await?;
    net.settle().await;
    net.partition(&[&[&ada, &ben], &[&cid, &dan, &eva]]);
    for peer in all {
        visits(peer).update("garden", |visits| visits.increment(1)).await?;
    }
    net.crash(&eva).await;
    println!("apart, ada has counted {} and cid {}", count(&ada)?, count(&cid)?);

    net.restart(&eva).await;
    net.heal();
    net.settle().await;
    net.assert_converged();
    println!("together all have {}", count(&eva)?);
    assert_eq!(count(&eva)?.value(), 5);

    let hash: String = net.trace_hash().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    println!("seed {seed}, trace {hash}");
    net.close().await;
    Ok(())
}
