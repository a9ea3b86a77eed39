//! The eight acts, each with what it promises.

use std::fmt::Display;
use std::time::Duration;

use peerbase::group::Refusal;
use peerbase::{ErrorKind, Role};
use sha2::{Digest, Sha256};

use super::lists::{Lists, Task, task};
use super::world::Journey;
use super::world::Who::{self, Ada, Ben, Cid};
use super::{Act, Story, Trouble};
use crate::command::demo::screen::millis;

/// A row that takes longer is no news; a busy machine is no broken promise.
const LIVE_MAX: Duration = Duration::from_secs(1);

pub(super) const ACTS: [&Act; 8] =
    [&FOUNDING, &TRAVELLING, &PARTING, &HEALING, &PASSING_ON, &SLEEPING, &EXPORTING, &REMOVING];

const FOUNDING: Act = Act {
    title: "1  One list in three places",
    says: "ada founds the club and admits ben and cid by their public keys; ben asked before he was admitted, cid \
           asks after it. ada writes the first rows.",
    promises: &[MEMBERS, LIST, DISK],
};
const MEMBERS: &str = "admitted by key, in either order";
const LIST: &str = "all three hold the same list";
const DISK: &str = "what was answered is on disk";

const TRAVELLING: Act = Act {
    title: "2  A row travels",
    says: "ada writes a task and cid, who follows the table, sees it.",
    promises: &[LIVE],
};
const LIVE: &str = "a row arrives while it is news";

const PARTING: Act = Act {
    title: "3  Cut apart",
    says: "ada's two cables are pulled. Both sides edit the same task, the same text and the same counter, \
           and both take the rope; ada does the shed, which ben removes; each adds a task.",
    promises: &[OFFLINE, CUT],
};
const OFFLINE: &str = "cut off, everybody reads and writes";
const CUT: &str = "nothing crosses the cut";

const HEALING: Act = Act {
    title: "4  Merged",
    says: "The cables are plugged in again. Nobody is asked which side is right.",
    promises: &[FIELDS, TEXTS, COUNTERS, REMOVAL, WINNER, ADDED, HEALED],
};
const FIELDS: &str = "fields edited apart merge";
const TEXTS: &str = "both edits of the text are in it";
const COUNTERS: &str = "counters add up";
const REMOVAL: &str = "a removed row stays removed";
const WINNER: &str = "one field, two writers: one winner";
const ADDED: &str = "what either side added is there";
const HEALED: &str = "healed, all three lists are equal";

const PASSING_ON: Act = Act {
    title: "5  Through ben alone",
    says: "The cable between ada and cid is pulled; they keep only ben between them. ada writes.",
    promises: &[APART, RELAYED],
};
const APART: &str = "ada and cid have no link";
const RELAYED: &str = "ben passes on what ada wrote";

const SLEEPING: Act = Act {
    title: "6  Closed and opened",
    says: "ada and cid are linked again. cid closes, ada writes meanwhile, cid opens the same folder again.",
    promises: &[KEPT, LOCKED, CAUGHT_UP],
};
const KEPT: &str = "everything is there again";
const LOCKED: &str = "an open folder opens to nobody else";
const CAUGHT_UP: &str = "what was missed is caught up with";

const EXPORTING: Act = Act {
    title: "7  Three exports",
    says: "Each node writes every row of every table as canonical JSON lines.",
    promises: &[EXPORTS, HEALTHY],
};
const EXPORTS: &str = "the exports are equal byte for byte";
const HEALTHY: &str = "nothing was refused or set aside";

const REMOVING: Act = Act {
    title: "8  Removed",
    says: "ada's cables are pulled again, and she removes cid. ben has not heard of it when cid changes a task and adds \
           one. Then ada is back.",
    promises: &[UNHEARD, BEFORE, GONE, WHY, DIGESTS, SERVED],
};
const UNHEARD: &str = "ben, who has not heard, takes it";
const BEFORE: &str = "what cid wrote before stays";
const GONE: &str = "what cid wrote after is gone";
const WHY: &str = "ben can say why";
const DIGESTS: &str = "ada and ben have the same documents";
const SERVED: &str = "cid gets nothing more";

impl Story {
    pub(super) async fn founding(&mut self) -> Result<(), Trouble> {
        self.begin(&FOUNDING);
        let club = self.world.node(Ada)?.create_group("Garden club").await?;
        let (ben, cid) = (self.world.node(Ben)?, self.world.node(Cid)?);
        ben.request_group(club.id()).await?;
        club.add_member(ben.user_id(), Role::Writer).await?;
        club.add_member(cid.user_id(), Role::Writer).await?;
        cid.request_group(club.id()).await?;
        self.world.meet_in(club.id());
        self.world.at(Ada)?.fill().await?;
        self.world.settle().await?;
        self.show()?;

        let roles = self
            .world
            .each(|lists| Ok::<_, Trouble>((lists.group.info().role, lists.group.members().len())))?;
        let expected = [(Role::Founder, 3), (Role::Writer, 3), (Role::Writer, 3)];
        self.stage.check(MEMBERS, roles == expected, "ada is founder, ben and cid are writers");
        let (held, rows) = (self.world.is_equal()?, self.world.at(Ada)?.shown()?.len());
        self.stage.check(LIST, held, format!("{rows} rows"));
        let copy = self.world.export_of_copy(Ada).await?;
        let held = copy == self.world.at(Ada)?.export()?;
        self.stage.check(DISK, held, "a copy of ada's open folder opens with every row");
        Ok(())
    }

    pub(super) async fn travelling(&mut self) -> Result<(), Trouble> {
        self.begin(&TRAVELLING);
        let journey = self.world.send(Ada, Cid, "gate", &task("oil the gate", Some("cid"))).await?;
        self.world.settle().await?;
        self.show()?;
        self.check_journey(LIVE, "cid", &journey);
        Ok(())
    }

    pub(super) async fn parting(&mut self) -> Result<(), Trouble> {
        self.begin(&PARTING);
        self.world.part();
        self.world.settle().await?;
        let (ada, ben, cid) = (self.world.at(Ada)?, self.world.at(Ben)?, self.world.at(Cid)?);
        let start = self.world.clock().instant();
        ada.tasks.update("basil", |task| task.what = "water all herbs".to_owned()).await?;
        ben.tasks.update("basil", |task| task.done = true).await?;
        ada.diary.update("monday", |page| page.body.splice(0, 0, "sow ")).await?;
        ben.diary.update("monday", |page| page.body.push_str(" – water!")).await?;
        ada.seeds.update("tomato", |seed| seed.packets.increment(5)).await?;
        ben.seeds.update("tomato", |seed| seed.packets.increment(-3)).await?;
        ada.tasks.update("rope", |task| task.who = Some("ada".to_owned())).await?;
        ben.tasks.update("rope", |task| task.who = Some("ben".to_owned())).await?;
        ada.tasks.update("shed", |task| task.done = true).await?;
        ben.tasks.remove("shed").await?;
        ada.tasks.put("tea", &task("bring tea", Some("ada"))).await?;
        cid.tasks.put("cake", &task("bake a cake", Some("cid"))).await?;
        let written = self.world.clock().instant() - start;
        self.world.settle().await?;
        self.show()?;

        let has = |lists: &Lists, key| Ok::<_, Trouble>(lists.tasks.get(key)?.is_some());
        let held = has(&ada, "tea")? && has(&ben, "cake")? && ben.export()? == cid.export()?;
        self.stage.check(OFFLINE, held, format!("12 writes in {}; ben and cid agree", millis(written)));
        let held = !has(&ada, "cake")? && !has(&ben, "tea")? && !has(&cid, "tea")?;
        self.stage.check(CUT, held, "ada has no cake, ben and cid have no tea");
        Ok(())
    }

    pub(super) async fn healing(&mut self) -> Result<(), Trouble> {
        self.begin(&HEALING);
        let start = self.world.clock().instant();
        self.world.heal().await;
        self.world.agree().await?;
        let agreed = self.world.clock().instant() - start;
        self.world.settle().await?;
        self.show()?;

        let basil = Task { done: true, ..task("water all herbs", Some("ada")) };
        self.check_task(FIELDS, "basil", |task| *task == Some(basil.clone()))?;
        let pages = self.world.each(|lists| lists.diary.get("monday"))?;
        let held = pages
            .iter()
            .all(|page| page.as_ref().is_some_and(|page| page.body == "sow peas, row 2 – water!"));
        self.stage.check(TEXTS, held, said("monday", &pages));
        let seeds = self.world.each(|lists| lists.seeds.get("tomato"))?;
        let held =
            seeds.iter().all(|seed| seed.as_ref().is_some_and(|seed| seed.packets.value() == 12 + 5 - 3));
        self.stage.check(COUNTERS, held, format!("{} (12 + 5 - 3)", said("tomato", &seeds)));
        self.check_task(REMOVAL, "shed", Option::is_none)?;
        let first = self.world.at(Ada)?.tasks.get("rope")?;
        let taken = first.as_ref().and_then(|rope| rope.who.as_deref());
        let held = matches!(taken, Some("ada" | "ben"));
        self.check_task(WINNER, "rope", |rope| held && *rope == first)?;
        let added =
            self.world.each(|lists| Ok::<_, Trouble>((lists.tasks.get("tea")?, lists.tasks.get("cake")?)))?;
        let held = added.iter().all(|(tea, cake)| tea.is_some() && cake.is_some());
        self.stage.check(ADDED, held, "tea and cake");
        let held = self.world.is_equal()?;
        self.stage.check(HEALED, held, format!("{} after the cables were back", millis(agreed)));
        Ok(())
    }

    pub(super) async fn passing_on(&mut self) -> Result<(), Trouble> {
        self.begin(&PASSING_ON);
        self.world.cut(Ada, Cid);
        self.world.settle().await?;
        let journey = self.world.send(Ada, Cid, "compost", &task("turn the compost", None)).await?;
        self.world.settle().await?;
        self.show()?;

        let ben = self.world.node(Ben)?.device_id();
        let (of_ada, of_cid) = (self.world.peers_of(Ada).await?, self.world.peers_of(Cid).await?);
        self.stage.check(APART, of_ada == [ben] && of_cid == [ben], "both are linked to ben and nobody else");
        self.check_journey(RELAYED, "cid", &journey);
        Ok(())
    }

    pub(super) async fn sleeping(&mut self) -> Result<(), Trouble> {
        self.begin(&SLEEPING);
        self.world.heal().await;
        self.world.settle().await?;
        let before = self.world.at(Cid)?.export()?;
        self.world.close(Cid).await;
        self.world.at(Ada)?.tasks.put("hose", &task("mend the hose", Some("ben"))).await?;
        self.world.settle().await?;
        self.stage.screen.links(&self.world.links());
        let start = self.world.clock().instant();
        self.world.wake(Cid).await?;
        let opened = self.world.clock().instant() - start;
        let after = self.world.at(Cid)?.export()?;
        let rows = self.world.at(Cid)?.shown()?.len();
        let again = self.world.open_again(Cid).await;
        self.world.dial(Cid).await?;
        self.world.settle().await?;
        self.show()?;

        self.stage.check(KEPT, after == before, format!("{rows} rows, {} to open", millis(opened)));
        let folder = self.world.folder_of(Cid).display().to_string();
        let (held, detail) = match again {
            Ok(()) => (false, "it opened twice".to_owned()),
            Err(error) => {
                let told = error.to_string();
                (error.kind() == ErrorKind::Busy && told.contains(&folder), told)
            }
        };
        self.stage.check(LOCKED, held, detail);
        self.check_task(CAUGHT_UP, "hose", Option::is_some)
    }

    pub(super) async fn exporting(&mut self) -> Result<(), Trouble> {
        self.begin(&EXPORTING);
        self.world.settle().await?;
        let exports = self.world.each(|lists| lists.export())?;
        self.stage.screen.links(&self.world.links());
        let mut notes = vec![format!("{} lines, such as", exports[0].lines().count())];
        notes.extend(exports[0].lines().next().map(str::to_owned));
        for (who, export) in Who::ALL.into_iter().zip(&exports) {
            let hash: String = Sha256::digest(export).iter().map(|byte| format!("{byte:02x}")).collect();
            notes.push(format!("{}  {} bytes  sha-256 {hash}", who.name(), export.len()));
        }
        self.stage.screen.notes(&notes);

        let held = self.world.is_equal()?;
        self.stage.check(EXPORTS, held, format!("{} bytes each", exports[0].len()));
        let mut roots = Vec::new();
        let mut amiss = 0;
        for who in Who::ALL {
            let lists = self.world.at(who)?;
            let status = lists.group.status().await?;
            amiss += status.quarantined.len() + status.refusals.len() + status.refused_by_peers.len();
            amiss += lists.unreadable()?;
            roots.push((status.documents, status.root));
        }
        let held = amiss == 0 && roots.iter().all(|root| *root == roots[0]);
        self.stage.check(HEALTHY, held, format!("{} documents, {amiss} amiss, equal digests", roots[0].0));
        Ok(())
    }

    pub(super) async fn removing(&mut self) -> Result<(), Trouble> {
        self.begin(&REMOVING);
        self.world.part();
        self.world.settle().await?;
        let (ada, ben, cid) = (self.world.at(Ada)?, self.world.at(Ben)?, self.world.at(Cid)?);
        let user = self.world.node(Cid)?.user_id();
        ada.group.remove_member(user).await?;
        cid.tasks.update("hose", |task| task.what = "sell the hose".to_owned()).await?;
        cid.tasks.put("party", &task("a party, at ada's", Some("ada"))).await?;
        self.world.settle().await?;
        self.show()?;
        let (hose, party) = (ben.tasks.get("hose")?, ben.tasks.get("party")?);
        let held = party.is_some() && hose.as_ref().is_some_and(|hose| hose.what == "sell the hose");
        let told = |task: Option<Task>| task.map_or_else(|| "gone".to_owned(), |task| task.to_string());
        self.stage.check(UNHEARD, held, format!("ben has {} and {}", told(hose), told(party)));
        self.stage.screen.notes(&[]);

        let start = self.world.clock().instant();
        self.world.remove(Cid);
        self.world.heal().await;
        self.world.agree().await?;
        let agreed = self.world.clock().instant() - start;
        ada.tasks.put("key", &task("hide the key elsewhere", None)).await?;
        self.world.settle().await?;
        self.world.agree().await?;
        self.show()?;

        let cake = |lists: &Lists| Ok::<_, Trouble>(lists.tasks.get("cake")?.is_some());
        self.stage.check(BEFORE, cake(&ada)? && cake(&ben)?, "ada and ben have the cake");
        let (hose, party) = (ben.tasks.get("hose")?, ben.tasks.get("party")?);
        let held = self.world.is_equal()?
            && party.is_none()
            && hose.as_ref().is_some_and(|hose| hose.what == "mend the hose");
        let detail = format!("ada and ben: {}, party: {}; {}", told(hose), told(party), millis(agreed));
        self.stage.check(GONE, held, detail);
        let refusals = ben.group.explain("tasks", "party").await?.refusals;
        let held = refusals.iter().any(|refusal| matches!(refusal, Refusal::BeyondCut { .. }));
        self.stage.check(WHY, held, refusals.first().map_or("nothing was refused".to_owned(), reason));
        let (of_ada, of_ben) = (ada.group.status().await?, ben.group.status().await?);
        let held = (of_ada.documents, of_ada.root) == (of_ben.documents, of_ben.root);
        let kept = of_ben.kept.documents;
        let detail =
            format!("{} documents; ben keeps aside what fell of {kept}, for 30 days", of_ben.documents);
        self.stage.check(DIGESTS, held, detail);
        let held = ben.tasks.get("key")?.is_some() && cid.tasks.get("key")?.is_none();
        self.stage.check(SERVED, held, "ada and ben have hidden the key; what cid had, cid keeps");
        Ok(())
    }

    /// Asks all three for one task.
    fn check_task(
        &mut self,
        promise: &'static str,
        key: &str,
        held: impl Fn(&Option<Task>) -> bool,
    ) -> Result<(), Trouble> {
        let tasks = self.world.each(|lists| lists.tasks.get(key))?;
        self.stage.check(promise, tasks.iter().all(held), said(key, &tasks));
        Ok(())
    }

    fn check_journey(&mut self, promise: &'static str, to: &str, journey: &Journey) {
        let Journey { written, arrived } = journey;
        let detail = format!("durable at ada after {}, at {to} after {}", millis(*written), millis(*arrived));
        self.stage.check(promise, *arrived < LIVE_MAX, detail);
    }
}

/// A refusal by its type, and what it says.
fn reason(refusal: &Refusal) -> String {
    let Refusal::BeyondCut { author, revocation, seq, got } = refusal else {
        return format!("{refusal:?}");
    };
    let (device, op) = (author.device.short(), revocation.short());
    format!("BeyondCut: change {got} of device {device}, where {seq} stay since op {op}")
}

/// A row as all three have it, or as each has it when they differ.
fn said<T: Display + PartialEq>(key: &str, rows: &[Option<T>; 3]) -> String {
    let cell = |row: &Option<T>| row.as_ref().map_or_else(|| "gone".to_owned(), T::to_string);
    if rows.iter().all(|row| *row == rows[0]) {
        return format!("{key}: {}", cell(&rows[0]));
    }
    let each = Who::ALL.into_iter().zip(rows).map(|(who, row)| format!("{} has {}", who.name(), cell(row)));
    format!("{key}: {}", each.collect::<Vec<_>>().join(", "))
}
