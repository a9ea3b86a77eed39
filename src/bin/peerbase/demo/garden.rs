//! A garden club on three devices, partitioned and merged before your eyes.

mod rows;

use std::time::Duration;

use peerbase::group::Refusal;
use peerbase::{ErrorKind, Role};
use sha2::{Digest, Sha256};

use self::rows::{DIARY, Page, SEEDS, Seed, TASKS, Task, column, task};
use super::ActError;
use super::stage::nodes::Who::{self, Ada, Ben, Cid};
use super::stage::nodes::{Column, Nodes, export};
use super::stage::{Stage, Story, millis};

/// The longest time for the story, which takes a few seconds.
const MAX: Duration = Duration::from_secs(25);
/// The longest journey of a row that counts as live; a busy machine breaks no promise.
const LIVE_MAX: Duration = Duration::from_secs(1);

pub(crate) fn story() -> Story<Nodes> {
    Story::new(
        "Peerbase · a garden club on three devices",
        &[
            "ada, ben and cid each keep the whole club in a folder of their own. There is no server. They \
             talk over WebSockets on this machine's loopback; between each two runs a cable, a small TCP \
             relay that can be pulled.",
            "In the columns ≠ marks a row that differs, = one that has changed and is the same on all three; \
             – is no row.",
        ],
        column as Column,
        MAX,
    )
    .commands([("ada", "list tasks"), ("ben", "history tasks rope"), ("cid", "serve --listen 127.0.0.1:0")])
    .act(
        "One list in three places",
        "ada founds the club and admits ben and cid by their public keys; ben asked before he was admitted, \
         cid asks after it. ada writes the first rows.",
        founding,
    )
    .act("A row travels", "ada writes a task and cid, who follows the table, sees it.", travelling)
    .act(
        "Cut apart",
        "ada's two cables are pulled. Both sides edit the same task, the same text and the same counter, \
         and both take the rope; ada does the shed, which ben removes; each adds a task.",
        parting,
    )
    .act("Merged", "The cables are plugged in again. Nobody is asked which side is right.", merging)
    .act(
        "Through ben alone",
        "The cable between ada and cid is pulled; they keep only ben between them. ada writes.",
        relaying,
    )
    .act(
        "Closed and opened",
        "ada and cid are linked again. cid closes, ada writes meanwhile, cid opens the same folder again.",
        reopening,
    )
    .act("Three exports", "Each node writes every row of every table as canonical JSON lines.", exporting)
    .act(
        "Removed",
        "ada's cables are pulled again, and she removes cid. ben does not know of it yet when cid changes a \
         task and adds one. Then ada is back.",
        removing,
    )
}

async fn founding(stage: &mut Stage<Nodes>) -> Result<(), ActError> {
    let club = stage.cast.node(Ada)?.create_group("Garden club").await?;
    let (ben, cid) = (stage.cast.node(Ben)?, stage.cast.node(Cid)?);
    ben.request_group(club.id()).await?;
    club.add_member(ben.user_id(), Role::Writer).await?;
    club.add_member(cid.user_id(), Role::Writer).await?;
    cid.request_group(club.id()).await?;
    stage.cast.set_group(club.id());
    let (tasks, seeds, diary) = (club.table(TASKS), club.table(SEEDS), club.table(DIARY));
    tasks.put("basil", &task("water the basil", Some("ada"))).await?;
    tasks.put("rope", &task("buy rope", None)).await?;
    tasks.put("shed", &task("paint the shed", Some("cid"))).await?;
    seeds.put("tomato", &Seed { name: "Marmande".to_owned(), packets: 12.into() }).await?;
    diary.put("monday", &Page { body: "peas, row 2".into() }).await?;
    stage.cast.settle().await?;
    stage.show()?;

    let roles = stage.cast.groups()?.map(|group| (group.info().role, group.members().len()));
    let is_kept = roles == [(Role::Founder, 3), (Role::Writer, 3), (Role::Writer, 3)];
    stage.promise("admitted by key, in either order", is_kept, "ada is founder, ben and cid are writers");
    let (is_kept, rows) = (stage.cast.is_equal()?, stage.cast.rows(Ada)?);
    stage.promise("all three hold the same list", is_kept, format!("{rows} rows"));
    let is_kept = stage.cast.export_of_copy(Ada).await? == export(&club)?;
    stage.promise(
        "acknowledged rows are on disk",
        is_kept,
        "a copy of ada's open folder opens with every row",
    );
    Ok(())
}

async fn travelling(stage: &mut Stage<Nodes>) -> Result<(), ActError> {
    send(stage, "a row arrives while it is news", "gate", &task("oil the gate", Some("cid"))).await
}

async fn parting(stage: &mut Stage<Nodes>) -> Result<(), ActError> {
    cut_ada_off(stage).await?;
    let [ada, ben, cid] = stage.cast.tables(TASKS)?;
    let ([ada_diary, ben_diary, _], [ada_seeds, ben_seeds, _]) =
        (stage.cast.tables(DIARY)?, stage.cast.tables(SEEDS)?);
    let start = stage.clock.instant();
    ada.update("basil", |task| task.what = "water all herbs".to_owned()).await?;
    ben.update("basil", |task| task.done = true).await?;
    ada_diary.update("monday", |page| page.body.splice(0, 0, "sow ")).await?;
    ben_diary.update("monday", |page| page.body.push_str(" – water!")).await?;
    ada_seeds.update("tomato", |seed| seed.packets.increment(5)).await?;
    ben_seeds.update("tomato", |seed| seed.packets.increment(-3)).await?;
    ada.update("rope", |task| task.who = Some("ada".to_owned())).await?;
    ben.update("rope", |task| task.who = Some("ben".to_owned())).await?;
    ada.update("shed", |task| task.done = true).await?;
    ben.remove("shed").await?;
    ada.put("tea", &task("bring tea", Some("ada"))).await?;
    cid.put("cake", &task("bake a cake", Some("cid"))).await?;
    let written = stage.clock.instant() - start;
    stage.cast.settle().await?;
    stage.show()?;

    let [_, at_ben, at_cid] = stage.cast.groups()?;
    let is_kept =
        ada.get("tea")?.is_some() && ben.get("cake")?.is_some() && export(&at_ben)? == export(&at_cid)?;
    let detail = format!("12 writes in {}; ben and cid agree", millis(written));
    stage.promise("cut off, everybody reads and writes", is_kept, detail);
    let is_kept = ada.get("cake")?.is_none() && ben.get("tea")?.is_none() && cid.get("tea")?.is_none();
    stage.promise("nothing crosses the cut", is_kept, "ada has no cake, ben and cid have no tea");
    Ok(())
}

async fn merging(stage: &mut Stage<Nodes>) -> Result<(), ActError> {
    let start = stage.clock.instant();
    stage.cast.plug_in().await;
    stage.cast.agree().await?;
    let agreed = stage.clock.instant() - start;
    stage.cast.settle().await?;
    stage.show()?;

    let basil = Task { done: true, ..task("water all herbs", Some("ada")) };
    stage.promise_row("fields edited apart merge", (TASKS, "basil"), |task| task == Some(&basil))?;
    stage.promise_row("both edits of the text are in it", (DIARY, "monday"), |page| {
        page.is_some_and(|page| page.body == "sow peas, row 2 – water!")
    })?;
    stage.promise_row("counters add up: 12 + 5 - 3", (SEEDS, "tomato"), |seed| {
        seed.is_some_and(|seed| seed.packets.value() == 14)
    })?;
    stage.promise_row("a removed row stays removed", (TASKS, "shed"), |task| task.is_none())?;
    let [ada, ben, cid] = stage.cast.tables(TASKS)?;
    let rope = ada.get("rope")?;
    let has_winner = matches!(rope.as_ref().and_then(|rope| rope.who.as_deref()), Some("ada" | "ben"));
    stage.promise_row("one field, two writers: one winner", (TASKS, "rope"), |task| {
        has_winner && task == rope.as_ref()
    })?;
    let mut is_kept = true;
    for tasks in [ada, ben, cid] {
        is_kept &= tasks.get("tea")?.is_some() && tasks.get("cake")?.is_some();
    }
    stage.promise("rows added on either side are there", is_kept, "tea and cake");
    let is_kept = stage.cast.is_equal()?;
    let detail = format!("{} after the cables were back", millis(agreed));
    stage.promise("healed, all three lists are equal", is_kept, detail);
    Ok(())
}

async fn relaying(stage: &mut Stage<Nodes>) -> Result<(), ActError> {
    stage.cast.pull(Ada, Cid);
    stage.cast.settle().await?;
    send(stage, "ben passes on what ada wrote", "compost", &task("turn the compost", None)).await?;
    let ben = stage.cast.node(Ben)?.device_id();
    let is_kept = stage.cast.peers_of(Ada).await? == [ben] && stage.cast.peers_of(Cid).await? == [ben];
    stage.promise("ada and cid have no link", is_kept, "both are linked to ben and to no other");
    Ok(())
}

async fn reopening(stage: &mut Stage<Nodes>) -> Result<(), ActError> {
    stage.cast.plug_in().await;
    stage.cast.settle().await?;
    let before = export(&stage.cast.group(Cid)?)?;
    stage.cast.close_node(Cid).await;
    stage.cast.group(Ada)?.table(TASKS).put("hose", &task("mend the hose", Some("ben"))).await?;
    stage.cast.settle().await?;
    stage.show_cables();
    let start = stage.clock.instant();
    stage.cast.open_node(Cid).await?;
    let opened = stage.clock.instant() - start;
    let (after, rows) = (export(&stage.cast.group(Cid)?)?, stage.cast.rows(Cid)?);
    let twice = stage.cast.open_twice(Cid).await;
    stage.cast.dial(Cid).await?;
    stage.cast.settle().await?;
    stage.show()?;

    let detail = format!("{rows} rows, {} to open", millis(opened));
    stage.promise("every row is there again", after == before, detail);
    let folder = stage.cast.folder(Cid).display().to_string();
    let (is_kept, detail) = match twice {
        Ok(()) => (false, "it opened twice".to_owned()),
        Err(error) => {
            let detail = error.to_string();
            (error.kind() == ErrorKind::Busy && detail.contains(&folder), detail)
        }
    };
    stage.promise("an open folder does not open twice", is_kept, detail);
    stage.promise_row("missed rows are received", (TASKS, "hose"), |task| task.is_some())
}

async fn exporting(stage: &mut Stage<Nodes>) -> Result<(), ActError> {
    stage.cast.settle().await?;
    stage.show_cables();
    let [ada, ben, cid] = stage.cast.groups()?;
    let exports = [export(&ada)?, export(&ben)?, export(&cid)?];
    let mut notes = vec![format!("{} lines, such as", exports[0].lines().count())];
    notes.extend(exports[0].lines().next().map(str::to_owned));
    for (who, export) in Who::ALL.into_iter().zip(&exports) {
        let hash: String = Sha256::digest(export).iter().map(|byte| format!("{byte:02x}")).collect();
        notes.push(format!("{}  {} bytes  sha-256 {hash}", who.name(), export.len()));
    }
    stage.screen.notes(&notes);

    let is_kept = stage.cast.is_equal()?;
    stage.promise("the exports are equal byte for byte", is_kept, format!("{} bytes each", exports[0].len()));
    let (mut digests, mut problems) = (Vec::new(), 0);
    for group in [ada, ben, cid] {
        let status = group.status().await?;
        problems += status.quarantined.len() + status.refusals.len() + status.refused_by_peers.len();
        digests.push((status.documents, status.root));
    }
    let is_kept = problems == 0 && digests.iter().all(|digest| *digest == digests[0]);
    let detail = format!("{} documents, {problems} problems, equal digests", digests[0].0);
    stage.promise("nothing was refused or damaged", is_kept, detail);
    Ok(())
}

async fn removing(stage: &mut Stage<Nodes>) -> Result<(), ActError> {
    cut_ada_off(stage).await?;
    let [ada, ben, cid] = stage.cast.tables(TASKS)?;
    let [at_ada, at_ben, _] = stage.cast.groups()?;
    at_ada.remove_member(stage.cast.node(Cid)?.user_id()).await?;
    cid.update("hose", |task| task.what = "sell the hose".to_owned()).await?;
    cid.put("party", &task("a party, at ada's", Some("ada"))).await?;
    stage.cast.settle().await?;
    stage.show()?;
    let what = |task: Option<Task>| task.map_or_else(|| "gone".to_owned(), |task| task.what);
    let (hose, party) = (what(ben.get("hose")?), what(ben.get("party")?));
    let is_kept = hose == "sell the hose" && party != "gone";
    stage.promise("ben, who does not know, accepts it", is_kept, format!("ben has {hose}, and {party}"));
    stage.screen.notes(&[]);

    let start = stage.clock.instant();
    stage.cast.leave_out(Cid);
    stage.cast.plug_in().await;
    stage.cast.agree().await?;
    let agreed = stage.clock.instant() - start;
    ada.put("key", &task("hide the key elsewhere", None)).await?;
    stage.cast.settle().await?;
    stage.cast.agree().await?;
    stage.show()?;

    let is_kept = ada.get("cake")?.is_some() && ben.get("cake")?.is_some();
    stage.promise("what cid wrote before stays", is_kept, "ada and ben have the cake");
    let (hose, party) = (what(ben.get("hose")?), what(ben.get("party")?));
    let is_kept = stage.cast.is_equal()? && hose == "mend the hose" && party == "gone";
    let detail = format!("ada and ben: {hose}, party: {party}; {}", millis(agreed));
    stage.promise("what cid wrote after is gone", is_kept, detail);
    let refusals = at_ben.explain("tasks", "party").await?.refusals;
    let cut = refusals.iter().find_map(|refusal| match refusal {
        Refusal::BeyondCut { author, revocation, seq, got } => {
            let (device, op) = (author.device.short(), revocation.short());
            Some(format!("BeyondCut: change {got} of device {device}, where {seq} stay since op {op}"))
        }
        _ => None,
    });
    let is_kept = cut.is_some();
    stage.promise("ben can say why", is_kept, cut.unwrap_or_else(|| "nothing was refused".to_owned()));
    let (of_ada, of_ben) = (at_ada.status().await?, at_ben.status().await?);
    let is_kept = (of_ada.documents, of_ada.root) == (of_ben.documents, of_ben.root);
    let (documents, aside) = (of_ben.documents, of_ben.set_aside.documents);
    let detail = format!("{documents} documents; at ben changes of {aside} are set aside for 30 days");
    stage.promise("ada and ben have the same documents", is_kept, detail);
    let is_kept = ben.get("key")?.is_some() && cid.get("key")?.is_none();
    let detail = "ada and ben have hidden the key; cid keeps the rows that cid had";
    stage.promise("cid receives nothing more", is_kept, detail);
    Ok(())
}

/// Pulls ada's two cables.
async fn cut_ada_off(stage: &mut Stage<Nodes>) -> Result<(), ActError> {
    stage.cast.pull(Ada, Ben);
    stage.cast.pull(Ada, Cid);
    stage.cast.settle().await
}

/// Sends a task from ada to cid, and promises that it arrives within a second.
async fn send(stage: &mut Stage<Nodes>, promise: &str, key: &str, task: &Task) -> Result<(), ActError> {
    let journey = stage.cast.send((Ada, Cid), TASKS, key, task).await?;
    stage.cast.settle().await?;
    stage.show()?;
    let (written, arrived) = (millis(journey.written), millis(journey.arrived));
    let detail = format!("durable at ada after {written}, at cid after {arrived}");
    stage.promise(promise, journey.arrived < LIVE_MAX, detail);
    Ok(())
}
