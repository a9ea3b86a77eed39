//! The document: tables of a unit from a peer, a rebuild, the changes that wait, the passes after a new
//! roster, the judge, a unit for a peer.

mod blocked;
mod judge;
mod merge;
mod rebuild;
mod rejudge;
mod tips;
mod unit;
