//! Rows of many chains: what one frame that names them can cost.

use schema::session::Documents as _;

use super::*;

#[tokio::test]
async fn figures() {
    let home = Home::new();
    let mut ada = home.desk(ADA);
    let clock = Clock::real();
    for unit in 0..22 {
        let chains = unit * 2_000..(unit + 1) * 2_000;
        let units = home.unit(BEN, chains, |replica| raw::Raw::empty(replica, 1, 1, Vec::new()));
        let heard = ada.hears(units);
        assert_eq!(heard.1.refused, []);
        ada.stores_alone(heard).await;
    }
    let at = clock.instant();
    for number in 0..32 {
        let chain = 50_000 + number;
        let units = home.unit(BEN, chain..chain + 1, |replica| raw::Raw::empty(replica, 1, 1, Vec::new()));
        let heard = ada.hears(units);
        assert_eq!(heard.1.refused, []);
        ada.stores_alone(heard).await;
    }
    println!("a change of a row of 44 000 chains: {:?}", (clock.instant() - at) / 32);
    let document = DocumentId::of(home.ledger.group(), "tasks", "rope");
    let at = clock.instant();
    for _ in 0..16 {
        ada.documents.marks(document).unwrap();
    }
    println!("its marks, loaded: {:?}", (clock.instant() - at) / 16);
    ada.documents.cache.remove(&document);
    let at = clock.instant();
    for _ in 0..16 {
        ada.documents.marks(document).unwrap();
    }
    println!("its marks, cold: {:?}", (clock.instant() - at) / 16);
}
