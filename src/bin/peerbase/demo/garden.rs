//! A garden club on three devices, partitioned and merged before your eyes.

mod rows;

use std::time::Duration;

use peerbase::Role;

use self::rows::{DIARY, SEEDS, TASKS, Task, column, task, what, write_first_rows};
use super::ActError;
use super::stage::checks::RowAt;
use super::stage::nodes::Who::{self, Ada, Ben, Cid};
use super::stage::nodes::{Column, Nodes, export};
use super::stage::waits::Route;
use super::stage::{Stage, Story, millis};

pub(crate) fn story() -> Story<Nodes> {
    Story::new(
        "Peerbase · a garden club on three devices",
        &["ada, ben and cid each keep the whole club in a folder of their own. There is no server. They \
             talk over WebSockets on this machine's loopback; between each two runs a cable, a small TCP \
             relay that can be pulled."],
        column as Column,
        Duration::from_secs(25),
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
    write_first_rows(&club).await?;
    stage.settle_and_show().await?;

    let roles = stage.cast.groups()?.map(|group| (group.info().role, group.members().len()));
    let is_kept = roles == [(Role::Founder, 3), (Role::Writer, 3), (Role::Writer, 3)];
    stage.promise("admitted by key, in either order", is_kept, "ada is founder, ben and cid are writers");
    let (is_kept, rows) = (stage.cast.is_equal()?, stage.cast.rows(Ada)?);
    stage.promise("all three hold the same list", is_kept, format!("{rows} rows"));
    stage.promise_on_disk("acknowledged rows are on disk", Ada).await
}

async fn travelling(stage: &mut Stage<Nodes>) -> Result<(), ActError> {
    let (at, row) = (RowAt { table: TASKS, key: "gate" }, task("oil the gate", Some("cid")));
    stage.promise_journey("a row arrives while it is news", Route { from: Ada, to: Cid }, at, &row).await
}

async fn parting(stage: &mut Stage<Nodes>) -> Result<(), ActError> {
    stage.cast.cut_off(Ada).await?;
    let [ada, ben, cid] = stage.cast.tables(TASKS)?;
    let [ada_diary, ben_diary, _] = stage.cast.tables(DIARY)?;
    let [ada_seeds, ben_seeds, _] = stage.cast.tables(SEEDS)?;
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
    let written = millis(stage.clock.instant() - start);
    stage.settle_and_show().await?;

    let (tea, cake) = (stage.cast.holders(TASKS, "tea")?, stage.cast.holders(TASKS, "cake")?);
    let [_, at_ben, at_cid] = stage.cast.groups()?;
    let is_kept = tea.contains(&Ada) && cake.contains(&Ben) && export(&at_ben)? == export(&at_cid)?;
    let detail = format!("12 writes in {written}; ben and cid agree");
    stage.promise("cut off, everybody reads and writes", is_kept, detail);
    let (is_kept, detail) = (tea == [Ada] && cake == [Ben, Cid], "ada has no cake, ben and cid have no tea");
    stage.promise("nothing crosses the cut", is_kept, detail);
    Ok(())
}

async fn merging(stage: &mut Stage<Nodes>) -> Result<(), ActError> {
    let healed = millis(stage.cast.heal().await?);
    stage.settle_and_show().await?;

    let basil = Task { done: true, ..task("water all herbs", Some("ada")) };
    stage.promise_row("fields edited apart merge", RowAt { table: TASKS, key: "basil" }, |task| {
        task == Some(&basil)
    })?;
    stage.promise_row("both edits of the text are in it", RowAt { table: DIARY, key: "monday" }, |page| {
        page.is_some_and(|page| page.body == "sow peas, row 2 – water!")
    })?;
    stage.promise_row("counters add up: 12 + 5 - 3", RowAt { table: SEEDS, key: "tomato" }, |seed| {
        seed.is_some_and(|seed| seed.packets.value() == 14)
    })?;
    stage.promise_row("a removed row stays removed", RowAt { table: TASKS, key: "shed" }, |task| {
        task.is_none()
    })?;
    stage.promise_row("one field, two writers: one winner", RowAt { table: TASKS, key: "rope" }, |task| {
        matches!(task.and_then(|task| task.who.as_deref()), Some("ada" | "ben"))
    })?;
    let (tea, cake) = (stage.cast.holders(TASKS, "tea")?, stage.cast.holders(TASKS, "cake")?);
    let are_there = tea == Who::ALL && cake == Who::ALL;
    stage.promise("rows added on either side are there", are_there, "tea and cake");
    let (is_kept, detail) = (stage.cast.is_equal()?, format!("{healed} after the cables were back"));
    stage.promise("healed, all three lists are equal", is_kept, detail);
    Ok(())
}

async fn relaying(stage: &mut Stage<Nodes>) -> Result<(), ActError> {
    stage.cast.pull(Ada, Cid);
    stage.cast.settle().await?;
    let (at, row) = (RowAt { table: TASKS, key: "compost" }, task("turn the compost", None));
    stage.promise_journey("ben passes on what ada wrote", Route { from: Ada, to: Cid }, at, &row).await?;
    stage.promise_only_peer("ada and cid have no link", [Ada, Cid], Ben).await
}

async fn reopening(stage: &mut Stage<Nodes>) -> Result<(), ActError> {
    stage.cast.plug_in().await;
    stage.cast.settle().await?;
    let before = export(&stage.cast.group(Cid)?)?;
    stage.cast.close_node(Cid).await;
    stage.cast.group(Ada)?.table(TASKS).put("hose", &task("mend the hose", Some("ben"))).await?;
    stage.settle_and_show_cables().await?;
    let start = stage.clock.instant();
    stage.cast.open_node(Cid).await?;
    let opened = millis(stage.clock.instant() - start);
    let (after, rows) = (export(&stage.cast.group(Cid)?)?, stage.cast.rows(Cid)?);
    stage.cast.dial(Cid).await?;
    stage.settle_and_show().await?;

    stage.promise("every row is there again", after == before, format!("{rows} rows, {opened} to open"));
    stage.promise_locked("an open folder does not open twice", Cid).await;
    stage.promise_row("missed rows are received", RowAt { table: TASKS, key: "hose" }, |task| task.is_some())
}

async fn exporting(stage: &mut Stage<Nodes>) -> Result<(), ActError> {
    stage.settle_and_show_cables().await?;
    stage.promise_equal_exports("the exports are equal byte for byte")?;
    stage.promise_sound("nothing was refused or damaged").await
}

async fn removing(stage: &mut Stage<Nodes>) -> Result<(), ActError> {
    stage.cast.cut_off(Ada).await?;
    let [ada, ben, cid] = stage.cast.tables(TASKS)?;
    stage.cast.group(Ada)?.remove_member(stage.cast.node(Cid)?.user_id()).await?;
    cid.update("hose", |task| task.what = "sell the hose".to_owned()).await?;
    cid.put("party", &task("a party, at ada's", Some("ada"))).await?;
    stage.settle_and_show().await?;
    let (hose, party) = (what(&ben, "hose")?, what(&ben, "party")?);
    let is_kept = hose == "sell the hose" && party != "gone";
    stage.promise("ben, who does not know, accepts it", is_kept, format!("ben has {hose}, and {party}"));
    stage.screen.notes(&[]);
    stage.cast.leave_out(Cid);
    let healed = millis(stage.cast.heal().await?);
    ada.put("key", &task("hide the key elsewhere", None)).await?;
    stage.cast.agree().await?;
    stage.settle_and_show().await?;

    let (key, cake) = (stage.cast.holders(TASKS, "key")?, stage.cast.holders(TASKS, "cake")?);
    stage.promise("what cid wrote before stays", cake == Who::ALL, "ada and ben have the cake");
    let (hose, party) = (what(&ben, "hose")?, what(&ben, "party")?);
    let is_kept = stage.cast.is_equal()? && hose == "mend the hose" && party == "gone";
    let detail = format!("ada and ben: {hose}, party: {party}; {healed}");
    stage.promise("what cid wrote after is gone", is_kept, detail);
    stage.promise_cut("ben can say why", Ben, RowAt { table: TASKS, key: "party" }).await?;
    stage.promise_same_documents("ada and ben have the same documents", Ben).await?;
    let (is_kept, detail) =
        (key == [Ada, Ben], "ada and ben have hidden the key; cid keeps the rows that cid had");
    stage.promise("cid receives nothing more", is_kept, detail);
    Ok(())
}
