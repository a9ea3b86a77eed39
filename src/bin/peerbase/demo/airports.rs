//! The program at a real size: real processes, 3 376 real airports, a kill in the middle of an import.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::stage::device::{Device, Devices};
use super::stage::{Stage, Story, count, millis};
use super::{ActError, CLOSE_MAX};

/// The rows that are imported; `airports.md` names their source.
const AIRPORTS: &[u8] = include_bytes!("airports.csv");
const FILE: &str = "airports.csv";
/// The number of rows.
const ROWS: usize = 3_376;
const TABLE: &str = "airports";
/// The command that imports, where the file is.
const IMPORT: [&str; 9] =
    ["import", TABLE, FILE, "--key", "iata", "--number", "latitude", "--number", "longitude"];
/// The acknowledged rows after which server and importer are killed.
const ENOUGH: usize = ROWS / 4;
/// The longest time for the story, which takes about ten seconds.
const MAX: Duration = Duration::from_secs(55 - CLOSE_MAX.as_secs());
/// The longest wait until every device has every edit.
const SYNC_MAX: Duration = Duration::from_secs(20);
/// The field that an edit writes.
const VISITED: &str = "\"visited_by\"";
/// For each device: the airports it visits, and the airstrip it adds.
const VISITS: [(&str, [&str; 3], &str); 3] = [
    ("ada", ["SEA", "ANC", "JFK"], "X-ADA"),
    ("ben", ["SFO", "ORD", "BOS"], "X-BEN"),
    ("cid", ["LAX", "DEN", "MIA"], "X-CID"),
];

pub(crate) fn story() -> Story<Devices> {
    let acknowledged = Rc::new(Cell::new(0));
    let before_kill = acknowledged.clone();
    Story::new(
        "Peerbase · an airfield guide on three devices",
        &["3 376 real airports, and real processes: every step is this program's own command line, as people \
           type it, on databases in folders of their own. `serve` keeps a device connected; other commands \
           go through it."],
        (FILE, AIRPORTS),
        MAX,
    )
    .commands([
        ("ada", "get airports SEA"),
        ("ben", "history airports SEA"),
        ("cid", "serve --listen 127.0.0.1:0"),
    ])
    .act(
        "Killed in mid-import",
        "ada founds a group and serves. Another process imports through her server. After a quarter of the \
         rows both are killed (SIGKILL), and the server is started again.",
        async move |stage| {
            before_kill.set(killing(stage).await?);
            Ok(())
        },
    )
    .act(
        "Imported again",
        "The same command once more, from the first row on.",
        async move |stage| repeating(stage, acknowledged.get()).await,
    )
    .act(
        "Two more devices",
        "ada makes one ticket for two people. ben and cid join with it, wait until everything is here, and \
        serve.",
        joining,
    )
    .act(
        "Edited on all three",
        "Each visits three airports of its own and adds an airstrip, all at the same time; then each waits \
         until it is in sync.",
        editing,
    )
    .act(
        "Three exports",
        "Each device writes every row as JSON lines. Then the servers are asked to stop (SIGTERM).",
        exporting,
    )
}

/// Returns the number of rows that were acknowledged before the kill.
async fn killing(stage: &mut Stage<Devices>) -> Result<usize, ActError> {
    let clock = stage.clock.clone();
    stage.cast.ada.run(&["init", "--name", "ada"]).await?;
    stage.cast.ada.run(&["group", "create", "Airfields"]).await?;
    stage.cast.ada.serve().await?;
    let start = clock.instant();
    let mut import = stage.cast.ada.start(&IMPORT)?;
    let mut acknowledged = 0;
    while acknowledged < ENOUGH {
        acknowledged = acknowledged_by(&import.document().await?)?;
    }
    // The server first: an importer that outlived it would open the database by itself and go on.
    stage.cast.ada.kill().await?;
    import.kill().await?;
    stage.screen.step(&rate("acknowledged before the kill", acknowledged, clock.instant() - start));
    // Lines printed before the kill still arrive.
    while let Some(line) = import.line().await? {
        // The kill may have cut the last line short.
        let Ok(document) = serde_json::from_str(&line) else { break };
        acknowledged = acknowledged_by(&document)?;
    }

    let opening = clock.instant();
    stage.cast.ada.serve().await?;
    let opened = clock.instant() - opening;
    let there: BTreeSet<String> = stage.cast.ada.keys(TABLE).await?.into_iter().collect();
    stage.screen.step(&format!("serving again after {}: {} rows", millis(opened), count(there.len())));
    let lost = airports().take(acknowledged).filter(|key| !there.contains(*key)).count();

    let detail = format!("{} of {} rows were acknowledged", count(acknowledged), count(ROWS));
    stage.promise("the import was under way", (ENOUGH..ROWS).contains(&acknowledged), detail);
    let detail = format!("{} acknowledged, {lost} lost", count(acknowledged));
    stage.promise("every acknowledged row is there", lost == 0, detail);
    Ok(acknowledged)
}

async fn repeating(stage: &mut Stage<Devices>, acknowledged: usize) -> Result<(), ActError> {
    let start = stage.clock.instant();
    let import = stage.cast.ada.run_json(&IMPORT).await?;
    let time = stage.clock.instant() - start;
    let end = import.last().ok_or("the import printed nothing")?;
    let (written, unchanged) = (number(&end["written"])?, number(&end["unchanged"])?);
    stage.screen.step(&rate("imported", written + unchanged, time));
    let keys = stage.cast.ada.keys(TABLE).await?;

    let is_kept = written + unchanged == ROWS && unchanged >= acknowledged;
    let detail = format!("{} written, {} unchanged", count(written), count(unchanged));
    stage.promise("no row is written twice", is_kept, detail);
    let mut expected: Vec<&str> = airports().collect();
    expected.sort_unstable();
    let detail = format!("{} rows, the file's keys", count(keys.len()));
    stage.promise("every airport is there, once", keys == expected, detail);
    Ok(())
}

async fn joining(stage: &mut Stage<Devices>) -> Result<(), ActError> {
    let invitation = stage.cast.ada.run_json(&["group", "invite", "--uses", "2"]).await?;
    let ticket = invitation.first().and_then(|invitation| invitation["ticket"].as_str());
    let ticket = ticket.ok_or("the invitation has no ticket")?.to_owned();
    let start = stage.clock.instant();
    let join = ["join", &ticket, "--wait"];
    let (ben, cid) = tokio::join!(stage.cast.ben.run(&join), stage.cast.cid.run(&join));
    let time = stage.clock.instant() - start;
    ben.and(cid)?;
    stage.screen.step(&rate("at each of two newcomers", ROWS, time));
    let (ben, cid) = (stage.cast.ben.keys(TABLE).await?.len(), stage.cast.cid.keys(TABLE).await?.len());
    stage.cast.ben.serve().await?;
    stage.cast.cid.serve().await?;
    let members = stage.cast.ada.run_json(&["group", "members"]).await?;
    let roles: Vec<&str> = members.iter().filter_map(|member| member["role"].as_str()).collect();

    let is_kept = roles.len() == 3 && roles.iter().filter(|role| **role == "writer").count() == 2;
    stage.promise("one ticket admits two users", is_kept, format!("ada knows a {}", roles.join(", a ")));
    let detail = format!("ben has {} rows, cid {}", count(ben), count(cid));
    stage.promise("joined means: every row is here", ben == ROWS && cid == ROWS, detail);
    Ok(())
}

async fn editing(stage: &mut Stage<Devices>) -> Result<(), ActError> {
    let clock = stage.clock.clone();
    let start = clock.instant();
    let (ada, ben, cid) = tokio::join!(
        edit(&stage.cast.ada, VISITS[0]),
        edit(&stage.cast.ben, VISITS[1]),
        edit(&stage.cast.cid, VISITS[2])
    );
    ada.and(ben).and(cid)?;
    stage
        .screen
        .step(&format!("12 edits, each a process of its own, in {}", millis(clock.instant() - start)));
    let start = clock.instant();
    let missing = loop {
        for device in [&stage.cast.ada, &stage.cast.ben, &stage.cast.cid] {
            device.run(&["sync"]).await?;
        }
        // ben and cid are linked with ada only, so in sync with her is not yet in sync with all.
        let missing = missing(&stage.cast).await?;
        if missing == 0 || clock.instant() - start > SYNC_MAX {
            break missing;
        }
    };
    let time = clock.instant() - start;

    let detail = format!("36 expected, {missing} missing, {} after the last edit", millis(time));
    stage.promise("every device has every edit", missing == 0, detail);
    Ok(())
}

async fn exporting(stage: &mut Stage<Devices>) -> Result<(), ActError> {
    let clock = stage.clock.clone();
    let mut exports = Vec::new();
    for device in [&stage.cast.ada, &stage.cast.ben, &stage.cast.cid] {
        let start = clock.instant();
        let mut export = device.run(&["export", TABLE]).await?.join("\n");
        export.push('\n');
        let hash: String = Sha256::digest(&export).iter().map(|byte| format!("{byte:02x}")).collect();
        let time = millis(clock.instant() - start);
        stage.screen.step(&format!(
            "{}  {} bytes in {time}, sha-256 {}…",
            device.name,
            export.len(),
            &hash[..32]
        ));
        exports.push(export);
    }
    let seattle: Value = serde_json::from_str(&stage.cast.cid.run(&["get", TABLE, "SEA"]).await?.concat())?;
    let field = |name: &str| seattle[name].as_str().unwrap_or("?");
    let step =
        format!("cid's SEA is {} in {}, visited by {}", field("name"), field("city"), field("visited_by"));
    stage.screen.step(&step);
    let rows = exports[0].lines().count();
    let edits = exports[0].lines().filter(|line| line.contains(VISITED)).count();
    let mut ends = Vec::new();
    for device in [&mut stage.cast.ada, &mut stage.cast.ben, &mut stage.cast.cid] {
        ends.push(device.stop().await?.and_then(|status| status.code()));
    }

    let is_kept = exports.iter().all(|export| *export == exports[0]);
    stage.promise("the exports are equal byte for byte", is_kept, format!("{} bytes each", exports[0].len()));
    let detail = format!("{} rows, {edits} of them edited or new", count(rows));
    stage.promise("3 376 rows, and the edits", rows == ROWS + VISITS.len() && edits == 12, detail);
    let is_kept = ends.iter().all(|end| *end == Some(0));
    let ends: Vec<String> =
        ends.iter().map(|end| end.map_or("a signal".into(), |code| code.to_string())).collect();
    stage.promise("servers stop when they are asked to", is_kept, format!("exit status {}", ends.join(", ")));
    Ok(())
}

/// Counts the edits that devices lack.
async fn missing(devices: &Devices) -> Result<usize, ActError> {
    let mut missing = 0;
    for device in [&devices.ada, &devices.ben, &devices.cid] {
        let rows = device.run(&["list", TABLE]).await?;
        missing += 12_usize.saturating_sub(rows.iter().filter(|row| row.contains(VISITED)).count());
    }
    Ok(missing)
}

/// Edits three rows at a device and adds one, one after another.
async fn edit(device: &Device, (name, visits, new): (&str, [&str; 3], &str)) -> Result<(), ActError> {
    for key in visits {
        let mut row: Value = serde_json::from_str(&device.run(&["get", TABLE, key]).await?.concat())?;
        row["visited_by"] = name.into();
        device.run(&["put", TABLE, key, &row.to_string()]).await?;
    }
    let row = serde_json::json!({ "name": format!("{name}'s airstrip"), "visited_by": name });
    device.run(&["put", TABLE, new, &row.to_string()]).await?;
    Ok(())
}

/// Returns the keys of the file's rows, in its order.
fn airports() -> impl Iterator<Item = &'static str> {
    let text = std::str::from_utf8(AIRPORTS).expect("the file is text");
    text.lines().skip(1).filter_map(|line| line.split(',').next())
}

/// Returns the number of rows that an import reports as durable.
fn acknowledged_by(document: &Value) -> Result<usize, ActError> {
    number(&document["acknowledged"])
}

fn number(value: &Value) -> Result<usize, ActError> {
    let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| format!("{value} is no number of rows").into())
}

/// `844 rows acknowledged, 0.42 s, 2 010 rows/s`
fn rate(what: &str, rows: usize, time: Duration) -> String {
    let per_second = u128::try_from(rows).unwrap_or_default() * 1_000 / time.as_millis().max(1);
    let per_second = count(usize::try_from(per_second).unwrap_or(usize::MAX));
    format!("{} rows {what}: {}, {per_second} rows/s", count(rows), millis(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_as_many_airports_as_the_demo_shows_each_once() {
        let keys: BTreeSet<&str> = airports().collect();
        assert_eq!((airports().count(), keys.len()), (ROWS, ROWS));
        for (_, visits, new) in VISITS {
            assert!(visits.iter().all(|key| keys.contains(key)) && !keys.contains(new));
        }
    }

    #[test]
    fn a_rate_is_shown_with_rows_and_time() {
        assert_eq!(rate("read", 844, Duration::from_millis(420)), "844 rows read: 420 ms, 2 009 rows/s");
        assert_eq!(rate("read", 3_376, Duration::ZERO), "3 376 rows read: 0.0 ms, 3 376 000 rows/s");
    }
}
