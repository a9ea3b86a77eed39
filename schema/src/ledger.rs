//! One group's membership ledger: signed ops that decide who may do what (authority 3.0–3.5).
//!
//! A ledger is a grow-only DAG of signed ops. Its state is a pure function of the set of ops: no clock, no
//! votes, any order of arrival. The files build on each other in this order:
//!
//! * records: `op` (ops and roles), `manifest` (the pages of a cut), `refusal` (errors);
//! * rules: `facts` and `op_set`, `graph` (ancestry), `resolve` (roles), `validity` (clauses 1–4), `resolver`
//!   (the rules with their caches);
//! * results: `roster` (members, devices, cuts), `acceptance` (how far changes are accepted);
//! * sets: `side_set` and `surplus` (bounded sets of records);
//! * state: `state` holds one ledger;
//! * behaviour, each an `impl Ledger`: `invites`, `references` (clause 5), `projection` (state to roster),
//!   `admit`, `draft`, `certificates`, `revocations`, `device_records`, `disputes`, `compare`.

mod acceptance;
mod admit;
mod certificates;
mod compare;
mod device_records;
mod disputes;
mod draft;
mod facts;
mod graph;
mod invites;
pub mod manifest;
mod op;
mod op_set;
mod projection;
mod references;
mod refusal;
mod resolve;
mod resolver;
mod revocations;
mod roster;
mod side_set;
mod state;
mod surplus;
mod validity;

pub use acceptance::NotAccepted;
pub use admit::OpOutcome;
pub use certificates::CertificateOutcome;
pub use disputes::Contestable;
pub use draft::MERGE;
pub use facts::{Class, Facts, OpAction, Proposal, Strength};
pub use invites::{Invite, InviteStatus};
pub use manifest::ManifestRef;
pub use op::{Body, By, InviteProof, Op, Role};
pub(crate) use op_set::OpSet;
pub use refusal::{Invalid, Refusal, SideRefusal};
pub use resolver::{OpStatus, Resolver};
pub use revocations::RevocationOutcome;
pub use roster::{Cut, Grant, InheritedCut, Member, Roster};
pub use state::{Ledger, NAME};
