//! The airports of the file, and the edits that devices make.

use serde_json::Value;

use crate::command::demo::ActError;
use crate::command::demo::stage::device::{Device, Devices, File};

/// The file that is imported; `airports.md` names the source of its rows.
pub(crate) const FILE: File = File { name: "airports.csv", bytes: include_bytes!("../airports.csv") };
/// The number of rows.
pub(crate) const ROWS: usize = 3_376;
pub(crate) const TABLE: &str = "airports";
/// The command that imports, where the file is.
pub(crate) const IMPORT: [&str; 9] =
    ["import", TABLE, FILE.name, "--key", "iata", "--number", "latitude", "--number", "longitude"];
/// The number of edits at all devices together: three visits and a new airstrip at each.
pub(crate) const EDITS: usize = 12;
/// The edits of each device.
const VISITS: [Edits; 3] = [
    Edits { visits: ["SEA", "ANC", "JFK"], airstrip: "X-ADA" },
    Edits { visits: ["SFO", "ORD", "BOS"], airstrip: "X-BEN" },
    Edits { visits: ["LAX", "DEN", "MIA"], airstrip: "X-CID" },
];

/// The edits of one device.
struct Edits {
    /// The airports that it visits.
    visits: [&'static str; 3],
    /// The airstrip that it adds.
    airstrip: &'static str,
}

/// Returns the keys of the file's rows, in its order.
pub(crate) fn airports() -> impl Iterator<Item = &'static str> {
    let text = std::str::from_utf8(FILE.bytes).expect("the file is text");
    text.lines().skip(1).filter_map(|line| line.split(',').next())
}

/// Makes every edit, on all devices at the same time.
pub(crate) async fn edit(devices: &Devices) -> Result<(), ActError> {
    let [ada, ben, cid] = VISITS;
    let (ada, ben, cid) =
        tokio::join!(edit_at(&devices.ada, ada), edit_at(&devices.ben, ben), edit_at(&devices.cid, cid));
    ada.and(ben).and(cid)
}

/// Edits three rows at a device and adds one, one after another.
async fn edit_at(device: &Device, edits: Edits) -> Result<(), ActError> {
    for key in edits.visits {
        let mut row = device.row(TABLE, key).await?;
        row["visited_by"] = device.name.into();
        device.put(TABLE, key, &row).await?;
    }
    let name = format!("{}'s airstrip", device.name);
    let row = serde_json::json!({ "name": name, "visited_by": device.name });
    Ok(device.put(TABLE, edits.airstrip, &row).await?)
}

/// Counts the edits that devices lack.
pub(crate) async fn missing_edits(devices: &Devices) -> Result<usize, ActError> {
    let mut missing = 0;
    for device in devices.all() {
        missing += EDITS.saturating_sub(edited(&device.run(&["list", TABLE]).await?));
    }
    Ok(missing)
}

/// Counts the rows that were edited or added.
pub(crate) fn edited(lines: &[impl AsRef<str>]) -> usize {
    lines.iter().filter(|line| line.as_ref().contains("\"visited_by\"")).count()
}

/// Returns a number of rows that an import reports.
pub(crate) fn number(document: &Value, field: &str) -> Result<usize, ActError> {
    let number = document[field].as_u64().and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| format!("{document} has no number of rows {field}").into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_file_has_as_many_airports_as_the_demo_shows_each_once() {
        let keys: BTreeSet<&str> = airports().collect();
        assert_eq!((airports().count(), keys.len()), (ROWS, ROWS));
        for Edits { visits, airstrip } in VISITS {
            assert!(visits.iter().all(|key| keys.contains(key)) && !keys.contains(airstrip));
        }
    }
}
