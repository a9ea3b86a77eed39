//! Reads the executable model's vectors and compares them with the ledger's own rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use peerbase_schema::ledger::{OpAction, OpStatus, Proposal, Refusal, Resolver, Role};
use peerbase_schema::{DeviceId, OpId, UserId};
use serde_json::Value;

/// Replays one line of `vectors.py` or `vectors_devices.py`; the error shows the log and the differences.
pub(crate) fn compare(line: &str) -> Result<(), String> {
    let vector: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let mut differences = String::new();
    let mut differ = |what: &str, got: String, expected: String| {
        if got != expected {
            let _ = writeln!(differences, "{what}: got {got}, expected {expected}");
        }
    };

    let founders = list(&vector["founders"]).into_iter().map(|user| UserId(name(user))).collect();
    let mut resolver = Resolver::new(OpId(name("G")), founders);
    for op in vector["ops"].as_array().expect("ops") {
        let id = text(&op["id"]);
        differ(id, format!("{:?}", resolver.admit(OpId(name(id)), &proposal(op))), "Ok(())".into());
    }
    for (number, op) in vector["refused"].as_array().expect("refused").iter().enumerate() {
        let got = resolver.clone().admit(OpId(name("refused")), &proposal(op));
        let verdict = if matches!(got, Err(Refusal::Invalid { .. })) { "invalid" } else { "valid" };
        differ(&format!("refused {number}, {got:?}"), verdict.into(), "invalid".into());
    }

    let shown = |map: BTreeMap<String, String>| format!("{map:?}");
    let roles =
        resolver.users().map(|user| (show(&user.0), resolver.role(user).number().to_string())).collect();
    differ("roles", shown(roles), shown(object(&vector["roles"])));
    let winner = |user| resolver.winner(user).map(|op| show(&op.0)).unwrap_or_default();
    let winners = resolver.users().map(|user| (show(&user.0), winner(user))).collect();
    differ("winners", shown(winners), shown(object(&vector["winners"])));
    for (field, least) in [("alive", OpStatus::Superseded), ("counts", OpStatus::Counts)] {
        let statuses =
            resolver.facts().filter(|op| resolver.status(op.id) >= Some(least)).map(|op| show(&op.id.0));
        let expected: BTreeSet<String> = list(&vector[field]).into_iter().map(String::from).collect();
        differ(field, format!("{:?}", statuses.collect::<BTreeSet<_>>()), format!("{expected:?}"));
    }
    if let Some(revoked) = vector["revoked"].as_array() {
        let expected: Vec<_> = revoked.iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect();
        let got: Vec<_> = resolver.revoked().map(|(user, device)| (show(&user.0), show(&device.0))).collect();
        differ("revoked", format!("{got:?}"), format!("{expected:?}"));
    }
    if differences.is_empty() { Ok(()) } else { Err(format!("{differences}log: {line}")) }
}

fn proposal(op: &Value) -> Proposal {
    let user = op["target"].as_str().map(|target| UserId(name(target)));
    let role =
        op["role"].as_u64().map(|role| u8::try_from(role).ok().and_then(Role::from_number).expect("a role"));
    let action = match (user, op["revokes"].as_str(), role) {
        (Some(user), Some(device), None) => OpAction::RevokeDevice { user, device: DeviceId(name(device)) },
        (Some(user), None, Some(role)) => OpAction::SetRole { user, role },
        _ => OpAction::Other,
    };
    Proposal {
        parents: list(&op["parents"]).into_iter().map(|parent| OpId(name(parent))).collect(),
        author: UserId(name(text(&op["author"]))),
        device: op["device"].as_str().map(|device| DeviceId(name(device))),
        action,
    }
}

/// A short name as an id: zeros behind it keep the order of strings.
fn name(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    bytes
}

fn show(id: &[u8; 32]) -> String {
    id.iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte)).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn list(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().map(text).collect()
}

fn object(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().expect("an object").iter();
    entries.map(|(key, value)| (key.clone(), value.to_string().trim_matches('"').into())).collect()
}
