//! Rows as JSON: what a program without the row's type reads and writes.

use std::collections::BTreeMap;

use peerbase::control::{self, Reply, Request};
use peerbase::sim::Net;
use peerbase::{Counter, Group, Table, TableName, Text};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::{home, task, tasks};

type Json = BTreeMap<String, Value>;

/// A row with everything that a typed app stores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Plant {
    name: String,
    notes: Text,
    watered: Counter,
    #[serde(with = "bytes")]
    photo: Vec<u8>,
    height_m: f64,
    serial: u64,
    parent: Option<String>,
    tags: Vec<String>,
    bed: Bed,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Bed {
    row: i64,
    shade: Shade,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shade {
    None,
    Percent(u8),
}

mod bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        Vec::deserialize(deserializer)
    }
}

fn plant() -> Plant {
    Plant {
        name: "basil".into(),
        notes: "likes sun".into(),
        watered: 3.into(),
        photo: vec![0, 127, 255],
        height_m: 0.25,
        serial: u64::MAX,
        parent: None,
        tags: vec!["herb".into(), "kitchen".into()],
        bed: Bed { row: -2, shade: Shade::Percent(40) },
    }
}

fn plant_as_json() -> Value {
    json!({
        "name": "basil", "notes": "likes sun", "watered": 3, "photo": [0, 127, 255], "height_m": 0.25,
        "serial": u64::MAX, "parent": null, "tags": ["herb", "kitchen"],
        "bed": {"row": -2, "shade": {"Percent": 40}},
    })
}

fn as_json(group: &Group) -> Table<Json> {
    group.table_named("plants").unwrap()
}

fn typed(group: &Group) -> Table<Plant> {
    group.table(TableName::new("plants"))
}

fn object(value: Value) -> Json {
    serde_json::from_value(value).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_is_put_as_json_is_got_as_it_was() {
    let (_node, group) = home().await;
    let rows = as_json(&group);
    let row = object(json!({
        "null": null, "yes": true, "no": false, "empty": "", "text": "\u{0}a\u{10ffff}",
        "least": i64::MIN, "most": i64::MAX, "wide": u64::MAX, "half": 0.5, "whole": 2.0,
        "tiny": 5e-324, "minus": -0.0,
        "list": [], "map": {}, "nested": {"a": [{"b": [null, [1, "two", 3.5]]}, []], "": 0},
    }));

    rows.put("a", &row).await.unwrap();
    let written = rows.put_many(&[("a".to_owned(), row.clone())]).await.unwrap();

    let got = rows.get("a").unwrap().unwrap();
    assert_eq!(got, row);
    assert_eq!(serde_json::to_string(&got).unwrap(), serde_json::to_string(&row).unwrap());
    assert_eq!((written.written, written.unchanged), (0, 1), "what is equal as JSON is equal");
    rows.put("a", &object(json!({"nested": {"a": 1}}))).await.unwrap();
    assert_eq!(rows.get("a").unwrap().unwrap(), object(json!({"nested": {"a": 1}})));
    rows.put("empty", &Json::new()).await.unwrap();
    assert_eq!(rows.get("empty").unwrap(), Some(Json::new()));
}

#[tokio::test(start_paused = true)]
async fn a_typed_row_is_read_as_json() {
    let (_node, group) = home().await;

    typed(&group).put("a", &plant()).await.unwrap();

    assert_eq!(as_json(&group).get("a").unwrap().unwrap(), object(plant_as_json()));
    // Numbers that JSON has no word for read as null.
    typed(&group).update("a", |plant| plant.height_m = f64::NAN).await.unwrap();
    assert_eq!(as_json(&group).get("a").unwrap().unwrap()["height_m"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_json_row_is_read_as_its_type() {
    let (_node, group) = home().await;

    as_json(&group).put("a", &object(plant_as_json())).await.unwrap();

    assert_eq!(typed(&group).get("a").unwrap(), Some(plant()));
    typed(&group).update("a", |plant| plant.bed.row = 7).await.unwrap();
    assert_eq!(as_json(&group).get("a").unwrap().unwrap()["bed"]["row"], 7);
}

#[tokio::test(start_paused = true)]
async fn json_that_changes_one_field_of_a_typed_row_leaves_the_others_as_they_are() {
    let (_node, group) = home().await;
    typed(&group).put("a", &plant()).await.unwrap();

    let mut row = as_json(&group).get("a").unwrap().unwrap();
    row.insert("name".into(), json!("thyme"));
    as_json(&group).put("a", &row).await.unwrap();

    assert_eq!(typed(&group).get("a").unwrap(), Some(Plant { name: "thyme".into(), ..plant() }));
    // They still merge: text and counter are what they were.
    let edit = |row: &mut peerbase::RowEdit| {
        row.splice_text("notes", 0, 0, "always ");
        row.increment("watered", 1);
    };
    typed(&group).edit("a", edit).await.unwrap();
    let edited = typed(&group).get("a").unwrap().unwrap();
    assert_eq!((edited.notes.as_ref(), edited.watered), ("always likes sun", 4.into()));
}

/// A simulated clock has one thread: a read that blocked it until the reader takes a reply would never end.
#[tokio::test(start_paused = true)]
async fn a_long_list_of_rows_reaches_a_slow_reader_on_a_simulated_node() {
    let mut net = Net::seeded(1);
    let [ada] = net.nodes(["ada"]).await;
    let home = net.group("home", &[&ada]).await;
    let rows: Vec<_> = (0..600).map(|number| task(&format!("task {number}"))).collect();
    tasks(&ada, home).insert_many(&rows).await.unwrap();
    let (sender, mut replies) = mpsc::channel(1);
    let request = Request::Rows { group: None, table: Some("tasks".into()) };

    let reading = async {
        let mut read = 0;
        while let Some(Reply::Row(_)) = replies.recv().await {
            read += 1;
        }
        read
    };
    let node = ada.node();
    let (sent, read) = tokio::join!(control::execute(&node, request, sender), reading);

    sent.unwrap();
    assert_eq!(read, rows.len());
}
