//! The program at a real size: real processes, 3 376 real airports, a kill in the middle of an import.

mod rows;

use std::collections::BTreeSet;
use std::time::Duration;

use self::rows::{EDITS, FILE, IMPORT, ROWS, TABLE, airports, edit, edited, missing_edits, number};
use super::stage::device::Devices;
use super::stage::{Stage, Story, count, millis, rate, sha256};
use super::{ActError, CLOSE_MAX};

/// The acknowledged rows after which server and importer are killed.
const ENOUGH: usize = ROWS / 4;
/// The longest time for the story, which takes about ten seconds.
const MAX: Duration = Duration::from_secs(55 - CLOSE_MAX.as_secs());
/// The longest wait until every device has every edit.
const SYNC_MAX: Duration = Duration::from_secs(20);

pub(crate) fn story() -> Story<Devices> {
    Story::new(
        "Peerbase · an airfield guide on three devices",
        &["3 376 real airports, and real processes: every step is this program's own command line, as people \
           type it, on databases in folders of their own. `serve` keeps a device connected; other commands \
           go through it."],
        FILE,
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
        killing,
    )
    .act("Imported again", "The same command once more, from the first row on.", repeating)
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

async fn killing(stage: &mut Stage<Devices>) -> Result<(), ActError> {
    let clock = stage.clock.clone();
    stage.cast.ada.run(&["init", "--name", "ada"]).await?;
    stage.cast.ada.run(&["group", "create", "Airfields"]).await?;
    stage.cast.ada.serve().await?;
    let start = clock.instant();
    let mut import = stage.cast.ada.start(&IMPORT)?;
    let mut acknowledged = 0;
    while acknowledged < ENOUGH {
        acknowledged = number(&import.document().await?, "acknowledged")?;
    }
    // The server first: an importer that outlived it would open the database by itself and go on.
    stage.cast.ada.kill().await?;
    import.kill().await?;
    stage.screen.step(&rate("acknowledged before the kill", acknowledged, clock.instant() - start));
    // Lines printed before the kill still arrive.
    if let Some(document) = import.last_document().await? {
        acknowledged = number(&document, "acknowledged")?;
    }

    let opening = clock.instant();
    stage.cast.ada.serve().await?;
    let opened = millis(clock.instant() - opening);
    let there: BTreeSet<String> = stage.cast.ada.keys(TABLE).await?.into_iter().collect();
    stage.screen.step(&format!("serving again after {opened}: {} rows", count(there.len())));
    let lost = airports().take(acknowledged).filter(|key| !there.contains(*key)).count();

    let detail = format!("{} of {} rows were acknowledged", count(acknowledged), count(ROWS));
    stage.promise("the import was under way", (ENOUGH..ROWS).contains(&acknowledged), detail);
    let detail = format!("{} acknowledged, {lost} lost", count(acknowledged));
    stage.promise("every acknowledged row is there", lost == 0, detail);
    Ok(())
}

async fn repeating(stage: &mut Stage<Devices>) -> Result<(), ActError> {
    let before = stage.cast.ada.keys(TABLE).await?.len();
    let start = stage.clock.instant();
    let import = stage.cast.ada.run_json(&IMPORT).await?;
    let time = stage.clock.instant() - start;
    let end = import.last().ok_or("the import printed nothing")?;
    let (written, unchanged) = (number(end, "written")?, number(end, "unchanged")?);
    stage.screen.step(&rate("imported", written + unchanged, time));
    let keys = stage.cast.ada.keys(TABLE).await?;

    let is_kept = written + unchanged == ROWS && unchanged == before;
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
    let join = ["join", ticket.ok_or("the invitation has no ticket")?, "--wait"];
    let start = stage.clock.instant();
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
    let start = stage.clock.instant();
    edit(&stage.cast).await?;
    let time = millis(stage.clock.instant() - start);
    stage.screen.step(&format!("{EDITS} edits, each a process of its own, in {time}"));
    let start = stage.clock.instant();
    let missing = loop {
        for device in stage.cast.all() {
            device.run(&["sync"]).await?;
        }
        // ben and cid are linked with ada only, so in sync with her is not yet in sync with all.
        let missing = missing_edits(&stage.cast).await?;
        if missing == 0 || stage.clock.instant() - start > SYNC_MAX {
            break missing;
        }
    };
    let time = millis(stage.clock.instant() - start);

    let detail = format!("{} expected, {missing} missing, {time} after the last edit", 3 * EDITS);
    stage.promise("every device has every edit", missing == 0, detail);
    Ok(())
}

async fn exporting(stage: &mut Stage<Devices>) -> Result<(), ActError> {
    let mut exports = Vec::new();
    for device in stage.cast.all() {
        let start = stage.clock.instant();
        let export = device.export(TABLE).await?;
        let (name, bytes, hash) = (device.name, export.len(), &sha256(&export)[..32]);
        let time = millis(stage.clock.instant() - start);
        stage.screen.step(&format!("{name}  {bytes} bytes in {time}, sha-256 {hash}…"));
        exports.push(export);
    }
    let seattle = stage.cast.cid.row(TABLE, "SEA").await?;
    let [name, city, visitor] =
        ["name", "city", "visited_by"].map(|field| seattle[field].as_str().unwrap_or("?"));
    stage.screen.step(&format!("cid's SEA is {name} in {city}, visited by {visitor}"));
    let ends = stage.cast.stop().await?;

    let lines: Vec<&str> = exports[0].lines().collect();
    let is_kept = exports.iter().all(|export| *export == exports[0]);
    stage.promise("the exports are equal byte for byte", is_kept, format!("{} bytes each", exports[0].len()));
    let (rows, edits) = (lines.len(), edited(&lines));
    let detail = format!("{} rows, {edits} of them edited or new", count(rows));
    stage.promise("3 376 rows, and the edits", rows == ROWS + 3 && edits == EDITS, detail);
    let is_kept = ends.iter().all(|end| end == "0");
    stage.promise("servers stop when they are asked to", is_kept, format!("exit status {}", ends.join(", ")));
    Ok(())
}
