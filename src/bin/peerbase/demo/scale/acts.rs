//! The five acts, each with what it promises.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::child::ChildError;
use super::device::Device;
use super::{AIRPORTS, FILE, ROWS, Scale};
use crate::command::demo::Trouble;
use crate::command::demo::screen::{count, millis};
use crate::command::demo::stage::Act;

pub(super) const ACTS: [&Act; 5] = [&KILLING, &REPEATING, &JOINING, &EDITING, &EXPORTING];

const TABLE: &str = "airports";
/// The command that imports, where the file lies.
const IMPORT: [&str; 9] =
    ["import", TABLE, FILE, "--key", "iata", "--number", "latitude", "--number", "longitude"];
/// Both are killed once so many rows are acknowledged.
const ENOUGH: usize = ROWS / 4;

const KILLING: Act = Act {
    title: "1  Killed in mid-import",
    says: "ada founds a group and serves. Another process imports through her server. After a quarter of the rows both \
           are killed (SIGKILL), and the server is started again.",
    promises: &[CUT_SHORT, ACKNOWLEDGED],
};
const CUT_SHORT: &str = "the import was under way";
const ACKNOWLEDGED: &str = "every acknowledged row is there";

const REPEATING: Act = Act {
    title: "2  Imported again",
    says: "The same command once more, from the first row on.",
    promises: &[REPEATED, COMPLETE],
};
const REPEATED: &str = "what was there is not written again";
const COMPLETE: &str = "every airport is there, once";

const JOINING: Act = Act {
    title: "3  Two more devices",
    says: "ada makes one ticket for two people. ben and cid join with it, wait until everything is here, and serve.",
    promises: &[JOINED, ROWS_EVERYWHERE],
};
const JOINED: &str = "one ticket lets two in";
const ROWS_EVERYWHERE: &str = "joined means: every row is here";

const EDITING: Act = Act {
    title: "4  Edited on all three",
    says: "Each visits three airports of its own and adds an airstrip, all at the same time; then each waits until \
           it is in sync.",
    promises: &[EDITED],
};
const EDITED: &str = "everybody has everybody's edits";

const EXPORTING: Act = Act {
    title: "5  Three exports",
    says: "Each device writes every row as JSON lines. Then the servers are asked to stop (SIGTERM).",
    promises: &[EXPORTS, COUNTED, STOPPED],
};
const EXPORTS: &str = "the exports are equal byte for byte";
const COUNTED: &str = "3 376 rows, and the edits";
const STOPPED: &str = "servers stop when they are asked to";

/// Who visits which airports, and which airstrip is added.
const VISITS: [(&str, [&str; 3], &str); 3] = [
    ("ada", ["SEA", "ANC", "JFK"], "X-ADA"),
    ("ben", ["SFO", "ORD", "BOS"], "X-BEN"),
    ("cid", ["LAX", "DEN", "MIA"], "X-CID"),
];

impl Scale {
    pub(super) async fn killing(&mut self) -> Result<(), Trouble> {
        self.stage.begin(&KILLING);
        let clock = self.stage.clock.clone();
        self.ada.run(&["init", "--name", "ada"]).await?;
        self.ada.run(&["group", "create", "Airfields"]).await?;
        self.ada.serve().await?;
        let start = clock.instant();
        let mut import = self.ada.start(&IMPORT)?;
        let mut acknowledged = 0;
        while acknowledged < ENOUGH {
            acknowledged = acknowledged_by(&import.document().await?)?;
        }
        // The server first: an importer that outlived it would open the database by itself and go on.
        self.ada.kill().await?;
        import.kill().await?;
        self.step(&rate("acknowledged before the kill", acknowledged, clock.instant() - start));
        // What it had said before it died still arrives.
        while let Some(line) = import.line().await? {
            // A line that the kill cut short says nothing.
            let Ok(document) = serde_json::from_str(&line) else { break };
            acknowledged = acknowledged_by(&document)?;
        }

        let opening = clock.instant();
        self.ada.serve().await?;
        let opened = clock.instant() - opening;
        let there: BTreeSet<String> = self.ada.keys(TABLE).await?.into_iter().collect();
        self.step(&format!("serving again after {}: {} rows", millis(opened), count(there.len())));
        let lost = airports().take(acknowledged).filter(|key| !there.contains(*key)).count();

        let detail = format!("{} of {} rows were acknowledged", count(acknowledged), count(ROWS));
        self.stage.check(CUT_SHORT, (ENOUGH..ROWS).contains(&acknowledged), detail);
        let detail = format!("{} acknowledged, {lost} lost", count(acknowledged));
        self.stage.check(ACKNOWLEDGED, lost == 0, detail);
        self.acknowledged = acknowledged;
        Ok(())
    }

    pub(super) async fn repeating(&mut self) -> Result<(), Trouble> {
        self.stage.begin(&REPEATING);
        let start = self.stage.clock.instant();
        let import = self.ada.ask(&IMPORT).await?;
        let time = self.stage.clock.instant() - start;
        let end = import.last().ok_or("the import said nothing")?;
        let (written, unchanged) = (number(&end["written"])?, number(&end["unchanged"])?);
        self.step(&rate("imported", written + unchanged, time));
        let keys = self.ada.keys(TABLE).await?;

        let held = written + unchanged == ROWS && unchanged >= self.acknowledged;
        let detail = format!("{} written, {} unchanged", count(written), count(unchanged));
        self.stage.check(REPEATED, held, detail);
        let mut expected: Vec<&str> = airports().collect();
        expected.sort_unstable();
        let detail = format!("{} rows, the file's keys", count(keys.len()));
        self.stage.check(COMPLETE, keys == expected, detail);
        Ok(())
    }

    pub(super) async fn joining(&mut self) -> Result<(), Trouble> {
        self.stage.begin(&JOINING);
        let invitation = self.ada.ask(&["group", "invite", "--uses", "2"]).await?;
        let ticket = invitation.first().and_then(|invitation| invitation["ticket"].as_str());
        let ticket = ticket.ok_or("the invitation has no ticket")?.to_owned();
        let start = self.stage.clock.instant();
        let join = ["join", &ticket, "--wait"];
        let (ben, cid) = tokio::join!(self.ben.run(&join), self.cid.run(&join));
        let time = self.stage.clock.instant() - start;
        ben.and(cid)?;
        self.step(&rate("at each of two newcomers", ROWS, time));
        let (ben, cid) = (self.ben.keys(TABLE).await?.len(), self.cid.keys(TABLE).await?.len());
        self.ben.serve().await?;
        self.cid.serve().await?;
        let members = self.ada.ask(&["group", "members"]).await?;
        let roles: Vec<&str> = members.iter().filter_map(|member| member["role"].as_str()).collect();

        let held = roles.len() == 3 && roles.iter().filter(|role| **role == "writer").count() == 2;
        self.stage.check(JOINED, held, format!("ada knows a {}", roles.join(", a ")));
        let detail = format!("ben has {} rows, cid {}", count(ben), count(cid));
        self.stage.check(ROWS_EVERYWHERE, ben == ROWS && cid == ROWS, detail);
        Ok(())
    }

    pub(super) async fn editing(&mut self) -> Result<(), Trouble> {
        self.stage.begin(&EDITING);
        let clock = self.stage.clock.clone();
        let start = clock.instant();
        let (ada, ben, cid) =
            tokio::join!(edit(&self.ada, VISITS[0]), edit(&self.ben, VISITS[1]), edit(&self.cid, VISITS[2]));
        ada.and(ben).and(cid)?;
        self.step(&format!("12 edits, each a process of its own, in {}", millis(clock.instant() - start)));
        let start = clock.instant();
        let missing = loop {
            for device in [&self.ada, &self.ben, &self.cid] {
                device.run(&["sync"]).await?;
            }
            // Between ben and cid is ada: in sync with her is not yet in sync with all.
            let missing = self.missing().await?;
            if missing == 0 || clock.instant() - start > SYNC_MAX {
                break missing;
            }
        };
        let time = clock.instant() - start;

        let detail = format!("36 looked for, {missing} missing, {} after the last edit", millis(time));
        self.stage.check(EDITED, missing == 0, detail);
        Ok(())
    }

    pub(super) async fn exporting(&mut self) -> Result<(), Trouble> {
        self.stage.begin(&EXPORTING);
        let clock = self.stage.clock.clone();
        let mut exports = Vec::new();
        for device in [&self.ada, &self.ben, &self.cid] {
            let start = clock.instant();
            let mut export = device.run(&["export", TABLE]).await?.join("\n");
            export.push('\n');
            let hash: String = Sha256::digest(&export).iter().map(|byte| format!("{byte:02x}")).collect();
            let time = millis(clock.instant() - start);
            self.stage.screen.step(&format!(
                "{}  {} bytes in {time}, sha-256 {}…",
                device.name,
                export.len(),
                &hash[..32]
            ));
            exports.push(export);
        }
        let seattle: Value = serde_json::from_str(&self.cid.run(&["get", TABLE, "SEA"]).await?.concat())?;
        let field = |name: &str| seattle[name].as_str().unwrap_or("?");
        let step = format!(
            "cid's SEA is {} in {}, visited by {}",
            field("name"),
            field("city"),
            field("visited_by")
        );
        self.step(&step);
        let rows = exports[0].lines().count();
        let edits = exports[0].lines().filter(|line| line.contains(VISITED)).count();
        let mut ends = Vec::new();
        for device in [&mut self.ada, &mut self.ben, &mut self.cid] {
            ends.push(device.stop().await?.and_then(|status| status.code()));
        }

        let held = exports.iter().all(|export| *export == exports[0]);
        self.stage.check(EXPORTS, held, format!("{} bytes each", exports[0].len()));
        let detail = format!("{} rows, {edits} of them edited or new", count(rows));
        self.stage.check(COUNTED, rows == ROWS + VISITS.len() && edits == 12, detail);
        let held = ends.iter().all(|end| *end == Some(0));
        let ends: Vec<String> =
            ends.iter().map(|end| end.map_or("a signal".into(), |code| code.to_string())).collect();
        self.stage.check(STOPPED, held, format!("exit status {}", ends.join(", ")));
        Ok(())
    }

    /// How many edits somebody lacks.
    async fn missing(&self) -> Result<usize, ChildError> {
        let mut missing = 0;
        for device in [&self.ada, &self.ben, &self.cid] {
            let rows = device.run(&["list", TABLE]).await?;
            missing += 12_usize.saturating_sub(rows.iter().filter(|row| row.contains(VISITED)).count());
        }
        Ok(missing)
    }

    fn step(&mut self, step: &str) {
        self.stage.screen.step(step);
    }
}

/// How long everybody may take to hear of everything.
const SYNC_MAX: Duration = Duration::from_secs(20);
/// The field that an edit writes.
const VISITED: &str = "\"visited_by\"";

/// A device's edits, one after another: three rows that are there and one that is new.
async fn edit(device: &Device, (name, visits, new): (&str, [&str; 3], &str)) -> Result<(), Trouble> {
    for key in visits {
        let mut row: Value = serde_json::from_str(&device.run(&["get", TABLE, key]).await?.concat())?;
        row["visited_by"] = name.into();
        device.run(&["put", TABLE, key, &row.to_string()]).await?;
    }
    let row = serde_json::json!({ "name": format!("{name}'s airstrip"), "visited_by": name });
    device.run(&["put", TABLE, new, &row.to_string()]).await?;
    Ok(())
}

/// The keys of the file's rows, in its order.
fn airports() -> impl Iterator<Item = &'static str> {
    let text = std::str::from_utf8(AIRPORTS).expect("the file is text");
    text.lines().skip(1).filter_map(|line| line.split(',').next())
}

/// How many rows an import has been told are durable.
fn acknowledged_by(document: &Value) -> Result<usize, Trouble> {
    number(&document["acknowledged"])
}

fn number(value: &Value) -> Result<usize, Trouble> {
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
    fn the_file_holds_as_many_airports_as_the_demo_says_each_once() {
        let keys: BTreeSet<&str> = airports().collect();
        assert_eq!((airports().count(), keys.len()), (ROWS, ROWS));
        for (_, visits, new) in VISITS {
            assert!(visits.iter().all(|key| keys.contains(key)) && !keys.contains(new));
        }
    }

    #[test]
    fn a_rate_is_told_with_what_it_follows_from() {
        assert_eq!(rate("read", 844, Duration::from_millis(420)), "844 rows read: 420 ms, 2 009 rows/s");
        assert_eq!(rate("read", 3_376, Duration::ZERO), "3 376 rows read: 0.0 ms, 3 376 000 rows/s");
    }
}
