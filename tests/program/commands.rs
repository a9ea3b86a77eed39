//! Every command of the program through the real binary, with and without a node that serves; every error is
//! reported.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::process::{Home, Process, until};

/// Makes a group with one table and two rows.
fn garden() -> Home {
    let home = Home::with_group("Garden club");
    home.run(&["put", "tasks", "basil", r#"{"what":"water the basil","done":false}"#]).ok();
    home.run(&["put", "tasks", "rope", r#"{"what":"buy rope","price":0.30000000000000004}"#]).ok();
    home
}

/// Runs every command that reads, on the folder or through the node that serves in it.
fn every_command_that_reads(home: &Home) {
    let basil = "{\"done\":false,\"what\":\"water the basil\"}\n";
    assert_eq!(home.run(&["get", "tasks", "basil"]).ok(), basil);
    assert_eq!(home.run(&["--json", "get", "tasks", "basil"]).ok(), basil);
    assert!(home.run(&["get", "tasks", "rope"]).ok().contains("0.30000000000000004"), "to the last digit");
    assert_eq!(home.run(&["list"]).ok(), "tasks\t2\n");
    assert_eq!(home.run(&["--json", "list"]).json(), json!({"table": "tasks", "rows": 2}));
    assert!(home.run(&["list", "tasks"]).ok().starts_with(&format!("basil\t{basil}rope\t")));
    assert_eq!(home.run(&["list", "nothing"]).ok(), "");

    let export = home.run(&["export"]).ok();
    assert!(
        export.starts_with(r#"{"table":"tasks","key":"basil","row":{"done":false,"what":"water"#),
        "{export}"
    );
    assert_eq!(home.run(&["export", "tasks"]).ok(), export);
    let file = home.file("export.jsonl");
    home.run(&["export", "tasks", file.to_str().unwrap()]).ok();
    assert_eq!(std::fs::read_to_string(file).unwrap(), export);

    let who = home.run(&["--json", "whoami"]).json();
    let members = home.run(&["--json", "group", "members"]).json();
    assert_eq!(
        (&members["user"], &members["role"], &members["is_me"]),
        (&who["user"], &json!("founder"), &json!(true))
    );
    let history = home.run(&["--json", "history", "tasks", "basil"]).json();
    assert_eq!((&history["author"], &history["device"]), (&who["user"], &who["device"]));
    let group = home.run(&["--json", "group", "list"]).json();
    assert_eq!((&group["name"], &group["state"]), (&json!("Garden club"), &json!("active")));
    let status = home.run(&["--json", "status"]).json();
    assert_eq!((&status["device"], &status["groups"][0]["name"]), (&who["device"], &json!("Garden club")));
    assert_eq!(home.run(&["--json", "explain", "tasks", "basil"]).json()["row"], "present");
    for human in [
        &["whoami"][..],
        &["group", "list"],
        &["status"],
        &["history", "tasks", "basil"],
        &["explain", "tasks", "x"],
    ] {
        assert!(!home.run(human).ok().is_empty(), "{human:?}");
    }

    let id = group["id"].as_str().unwrap();
    for named in [id, &id[..4], &id[..9].to_uppercase(), "Garden club"] {
        assert_eq!(home.run(&["get", "tasks", "basil", "--group", named]).ok(), basil, "{named}");
    }
    for unknown in [&id[..3], "garden club", "ffff0000"] {
        let message = home.run(&["list", "--group", unknown]).failed(1);
        assert!(message.contains(&format!("no group {unknown:?}")), "{message}");
    }
}

#[test]
fn every_command_reads_the_same_with_and_without_a_node_that_serves() {
    let home = garden();
    every_command_that_reads(&home);
    let (node, _) = home.serve(&[]);
    every_command_that_reads(&home);
    node.stop().ok();
}

#[test]
fn a_write_reports_its_counts_and_an_equal_one_changes_nothing() {
    let home = garden();
    let served = |home: &Home, key: &str| {
        let put = ["--json", "put", "tasks", key, r#"{"n":[1,{"deep":null}],"ß":"\u0000"}"#];
        assert_eq!(home.run(&put).json(), json!({"written": 1, "unchanged": 0}));
        assert_eq!(home.run(&put).json(), json!({"written": 0, "unchanged": 1}));
        let fed = home.feed(&["--json", "put", "tasks", key, "-"], b"{\"n\":1}\n").json();
        assert_eq!(fed, json!({"written": 1, "unchanged": 0}));
        assert_eq!(home.run(&["get", "tasks", key]).ok(), "{\"n\":1}\n", "fields that it lacks are gone");
        assert_eq!(
            home.run(&["--json", "remove", "tasks", key]).json(),
            json!({"written": 1, "unchanged": 0})
        );
        assert!(home.run(&["get", "tasks", key]).failed(1).contains("no row"));
        assert!(home.run(&["remove", "tasks", key]).failed(1).contains("no row"));
        assert_eq!(home.run(&["history", "tasks", key]).ok().lines().count(), 3, "it stays in the history");
    };
    served(&home, "a");
    let (_node, _) = home.serve(&[]);
    served(&home, "b");
}

#[test]
fn invalid_input_is_reported_and_changes_nothing() {
    let home = garden();
    let before = home.export();
    let checked = |home: &Home| {
        for (arguments, status, kind, says) in [
            (&["get", "tasks", "nobody"][..], 1, "not_found", "no row \"nobody\" in \"tasks\""),
            (&["history", "tasks", "nobody"], 1, "not_found", "no row \"nobody\""),
            (&["put", "tasks", "x", "[1]"], 1, "invalid", "no JSON object"),
            (&["put", "tasks", "x", "{\"a\":"], 1, "invalid", "no JSON object"),
            (&["put", "tasks", "x", "{\"$a\":1}"], 1, "invalid", "cannot be stored"),
            (&["put", "", "x", "{}"], 1, "invalid", "table name of 0 bytes"),
            (&["put", "tasks", "", "{}"], 1, "invalid", "row key of 0 bytes"),
            (&["put", "tasks", "x", "-"], 1, "invalid", "no JSON object"),
            (&["join", "pbnonsense"], 1, "invalid", "ticket"),
            (&["connect", "http://127.0.0.1:1"], 1, "", "http://127.0.0.1:1"),
            (&["group", "add", "7"], 2, "invalid", "64 hex digits"),
            (&["group", "create", ""], 1, "invalid", "needs a name"),
        ] {
            let arguments = [&["--json"], arguments].concat();
            let message = home.run(&arguments).failed(status);
            let message: Value =
                serde_json::from_str(&message).unwrap_or_else(|error| panic!("{error}: {message}"));
            let error = &message["error"];
            assert!(kind.is_empty() || error["kind"] == kind, "{arguments:?}: {message}");
            assert!(
                message.to_string().contains(&json!(says).to_string().trim_matches('"').to_owned()),
                "{message}"
            );
        }
        let long = "k".repeat(513);
        assert!(home.run(&["put", "tasks", &long, "{}"]).failed(1).contains("row key of 513 bytes"));
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(70), "]".repeat(70));
        assert!(home.run(&["put", "tasks", "x", &deep]).failed(1).contains("too deeply"));
        let deeper = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        assert!(home.run(&["put", "tasks", "x", &deeper]).failed(1).contains("recursion limit"));
    };
    checked(&home);
    let (node, _) = home.serve(&[]);
    checked(&home);
    assert_eq!(home.export(), before);
    node.stop().ok();
}

#[test]
fn invalid_arguments_are_a_usage_error() {
    let home = garden();
    for arguments in [
        &["frobnicate"][..],
        &["get", "tasks"],
        &["join"],
        &["group", "request", "7"],
        &["group", "invite", "--role", "king"],
        &["group", "invite", "--uses", "0"],
        &["sync", "--timeout", "soon"],
        &["serve", "--listen", "7654"],
        &["serve", "--log", "very=loud"],
        &["import", "t", "file.txt"],
        &["import", "t", "file.csv", "--format", "xml"],
    ] {
        let message = home.run(arguments).failed(2);
        assert!(message.contains("error"), "{arguments:?}: {message}");
    }
    std::fs::write(home.file("a.csv"), "id\n1\n").unwrap();
    let csv = home.file("a.csv");
    assert!(home.run(&["import", "t", csv.to_str().unwrap()]).failed(2).contains("--key COLUMN"));
}

#[test]
fn without_a_database_a_command_reports_that_and_makes_none() {
    let home = Home::empty();
    for arguments in
        [&["whoami"][..], &["list"], &["status"], &["put", "t", "k", "{}"], &["sync"], &["export"]]
    {
        let message = home.run(arguments).failed(1);
        assert!(
            message.contains("no database in") && message.contains("`peerbase init` makes one"),
            "{message}"
        );
    }
    home.run(&["join", "pbnonsense"]).failed(1);
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "nothing was made");

    let message = home.run(&["init", "--name", "Ada's laptop", "--listen", "127.0.0.1:0"]).ok();
    assert!(message.contains("user") && message.contains("device"));
    assert!(home.run(&["list"]).failed(1).contains("`peerbase group create NAME`"));
    let again = home.run(&["init"]);
    assert!(again.error.contains("already"), "{again:?}");
    assert_eq!(again.ok(), message, "it keeps its identity");
}

#[test]
fn groups_are_founded_joined_by_id_and_left() {
    let (ada, ben) = (Home::with_group("Garden"), Home::new());
    let garden = ada.run(&["--json", "group", "list"]).json()["id"].as_str().unwrap().to_owned();
    let user = ben.run(&["--json", "whoami"]).json()["user"].as_str().unwrap().to_owned();

    ada.run(&["group", "add", &user, "--role", "reader"]).ok();
    ada.run(&["group", "add", "Garden", &user]).ok();
    let members = ada.run(&["--json", "group", "members", "Garden"]).json_lines();
    let ben_in = members.iter().find(|member| member["user"] == user.as_str()).unwrap();
    assert_eq!((members.len(), &ben_in["role"]), (2, &json!("writer")));

    let pending = ben.run(&["--json", "group", "request", &garden]).json();
    assert_eq!(pending["state"], "pending");
    ben.run(&["group", "create", "Own"]).ok();
    assert!(ben.run(&["list"]).failed(1).contains("say which one"), "of several groups one must be named");
    ben.run(&["group", "leave", &garden]).ok();
    assert_eq!(ben.run(&["list"]).ok(), "");
}

/// Ids of users who have no node.
const EVA: &str = "e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0";
const ROB: &str = "b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0";

fn role_of(home: &Home, user: &str) -> Option<String> {
    let members = home.run(&["--json", "group", "members"]).json_lines();
    let member = members.into_iter().find(|member| member["user"] == user)?;
    Some(member["role"].as_str().unwrap().to_owned())
}

#[test]
fn members_get_roles_and_are_removed() {
    let home = Home::with_group("Garden");
    let checked = |home: &Home| {
        home.run(&["group", "add", EVA, "--role", "reader"]).ok();
        home.run(&["group", "add", ROB, "--role", "reader"]).ok();
        home.run(&["group", "role", ROB, "admin"]).ok();
        let said = home.run(&["group", "remove", EVA, "--group", "Garden"]).ok();
        assert!(said.contains("is no longer a member of Garden"), "{said}");
        assert_eq!((role_of(home, EVA), role_of(home, ROB).as_deref()), (None, Some("admin")));
        home.run(&["group", "role", ROB, "writer"]).ok();

        for (arguments, status, kind, says) in [
            (&["group", "remove", EVA][..], 1, "not_found", "is no member"),
            (&["group", "remove", ROB, "--as-of", EVA], 1, "not_found", "cannot be left out"),
            (&["group", "transfer", ROB], 1, "not_allowed", "no other member with a device"),
            (&["group", "confirm", ROB], 1, "not_found", r#""advice":{"kind":"list_contestable"}"#),
            (&["group", "role", EVA, "writer"], 1, "not_found", r#""advice":{"kind":"add_member","user":"#),
            (&["group", "reissue", EVA], 1, "not_found", "op e0e0"),
            (&["group", "close", EVA], 1, "not_found", "no invitation"),
            (&["group", "role", ROB, "king"], 2, "", "a role is reader"),
        ] {
            let message = home.run(&[&["--json"], arguments].concat()).failed(status);
            assert!(message.contains(says) && message.contains(kind), "{arguments:?}: {message}");
        }
        assert_eq!(role_of(home, ROB).as_deref(), Some("writer"), "what was refused changed nothing");
        assert_eq!(home.run(&["group", "voided"]).ok(), "");
        let log = home.run(&["group", "log"]).ok();
        assert!(log.lines().all(|line| line.contains("\tcounts\t")) && log.contains(" to none"), "{log}");
    };
    checked(&home);
    let home = Home::with_group("Garden");
    let (node, _) = home.serve(&[]);
    checked(&home);
    node.stop().ok();
}

#[test]
fn invitations_are_listed_and_closed() {
    let (ada, ben) = (Home::with_group("Garden"), Home::new());
    let (_node, _) = ada.serve(&[]);
    let ticket = ada.run(&["group", "invite", "--role", "reader", "--uses", "2"]).ok();
    let invite = ada.run(&["--json", "group", "invites"]).json();
    assert_eq!(
        (&invite["status"], &invite["role"], &invite["uses"], &invite["used"]),
        (&json!("open"), &json!("reader"), &json!(2), &json!(0))
    );

    ada.run(&["group", "close", invite["id"].as_str().unwrap()]).ok();

    let shown = ada.run(&["group", "invites"]).ok();
    assert!(shown.contains("\tclosed\treader\tused 0 of 2\tuntil 20"), "{shown}");
    let message = ben.run(&["join", ticket.trim()]).failed(1);
    assert!(message.contains("closed"), "{message}");
    assert_eq!(ben.run(&["group", "list"]).ok(), "");
}

#[test]
fn a_ticket_declined_while_the_node_serves_is_part_of_the_status() {
    let (ada, ben) = (Home::with_group("Garden"), Home::new());
    let place = free_place();
    let node = serve_at(&ada, &place);
    let ticket = ada.run(&["group", "invite"]).ok();
    node.stop().ok();
    ben.run(&["join", ticket.trim(), "--timeout", "1s"]).failed(1);
    let invite = ada.run(&["--json", "group", "invites"]).json();
    ada.run(&["group", "close", invite["id"].as_str().unwrap()]).ok();

    let _node = serve_at(&ada, &place);
    let (node, _) = ben.serve(&[]);
    until("ben receives the refusal", || {
        ben.run(&["status"]).ok().contains("declined the invitation was closed, at 20")
    });
    node.stop().ok();
    let group = ben.run(&["--json", "status"]).json()["groups"][0].clone();
    assert_eq!((&group["state"], &group["declined"]["reason"]), (&json!("pending"), &json!("closed")));
}

#[test]
fn as_of_undoes_a_removal_by_an_admin() {
    let (ada, ben) = (Home::with_group("Garden"), Home::new());
    let (_node, _) = ada.serve(&[]);
    let ticket = ada.run(&["group", "invite"]).ok();
    ben.run(&["join", ticket.trim(), "--wait"]).ok();
    let user = ben.run(&["--json", "whoami"]).json()["user"].as_str().unwrap().to_owned();
    ada.run(&["group", "add", EVA, "--role", "reader"]).ok();
    ada.run(&["group", "role", &user, "admin"]).ok();
    ben.run(&["sync"]).ok();

    ben.run(&["group", "remove", EVA]).ok();
    ben.run(&["sync"]).ok();
    until("ada receives the removal", || role_of(&ada, EVA).is_none());
    let log = ada.run(&["--json", "group", "log"]).json_lines();
    let removal = log.iter().find(|said| said["author"] == user.as_str()).unwrap();
    let op = removal["op"].as_str().unwrap();

    ada.run(&["group", "role", &user, "writer", "--as-of", op]).ok();
    assert_eq!(role_of(&ada, EVA).as_deref(), Some("reader"));
    let voided = ada.run(&["--json", "group", "voided"]).json();
    assert_eq!((&voided["op"], &voided["role"]), (&removal["op"], &json!("none")));
    ben.run(&["sync"]).ok();
    assert_eq!(role_of(&ben, EVA).as_deref(), Some("reader"), "on every device");
    assert!(
        ben.run(&["group", "reissue", op]).failed(1).contains("that takes Admin"),
        "ben is no longer an admin"
    );

    ada.run(&["group", "reissue", op]).ok();
    assert_eq!(role_of(&ada, EVA), None, "re-issued by ada it counts");
}

#[test]
fn a_ticket_admits_another_user_who_receives_the_rows() {
    let (ada, ben) = (garden(), Home::empty());
    let invited = ada.run(&["group", "invite"]);
    assert!(invited.error.contains("no address"), "{}", invited.error);
    let (_node, address) = ada.serve(&[]);
    let invited = ada.run(&["group", "invite", "Garden club", "--uses", "2", "--expires", "1h"]);
    assert!(
        invited.error.contains(&address) && invited.error.contains("another machine"),
        "{}",
        invited.error
    );
    let ticket = invited.ok();
    assert_eq!(ticket.lines().count(), 1, "the ticket stands alone");

    let joined = ben.run(&["--json", "join", ticket.trim(), "--wait"]).json();

    assert_eq!(
        (&joined["name"], &joined["state"], &joined["role"]),
        (&json!("Garden club"), &json!("active"), &json!("writer"))
    );
    assert_eq!(ben.export(), ada.export());
}

#[test]
fn a_ticket_whose_inviter_is_away_is_redeemed_later() {
    let (ada, ben) = (garden(), Home::empty());
    let place = free_place();
    let node = serve_at(&ada, &place);
    let ticket = ada.run(&["group", "invite"]).ok();
    node.stop().ok();

    let message = ben.run(&["--json", "join", ticket.trim(), "--timeout", "1s"]).failed(1);
    let message: Value = serde_json::from_str(&message).unwrap();
    assert_eq!(message["error"]["kind"], "pending", "{message}");
    assert_eq!(message["error"]["advice"]["kind"], "serve", "{message}");

    let _node = serve_at(&ada, &place);
    let (_ben, _) = ben.serve(&[]);
    until("ben is in and has the rows", || ben.run(&["list"]).out == "tasks\t2\n");
}

/// Returns a listen address that is free now.
fn free_place() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn serve_at(home: &Home, place: &str) -> Process {
    let process = Process::start(home.command(&["serve", "--listen", place]));
    assert_eq!(process.line(), format!("listening on ws://{place}"));
    process
}

#[test]
fn serve_prints_a_ticket_once_it_listens() {
    let home = garden();
    let (node, address) = home.serve(&["--invite", "Garden club"]);

    let ticket = node.line();

    assert!(ticket.starts_with("pb"), "{ticket}");
    assert!(node.stop().error.contains(&address));
    let message =
        Process::start(home.command(&["serve", "--listen", "127.0.0.1:0", "--invite", "nothing"])).end();
    assert!(message.failed(1).contains("no group \"nothing\""));
}

#[test]
fn connect_remembers_an_address_only_if_a_peer_answered() {
    let (ada, ben) = (garden(), Home::new());
    let (_ada, address) = ada.serve(&[]);
    let device = ada.run(&["--json", "whoami"]).json()["device"].clone();

    assert_eq!(
        ben.run(&["--json", "connect", &address]).json(),
        json!({"device": device, "address": address})
    );
    let config = std::fs::read_to_string(ben.file("config.toml")).unwrap();
    assert!(config.contains(&format!("connect = [\"{address}\"]")), "{config}");

    let (_ben, _) = ben.serve(&[]);
    until("ben dials by himself", || ben.run(&["--json", "status"]).json()["links"][0]["device"] == device);
    ben.run(&["connect", &address]).ok();
    ben.run(&["connect", &format!("ws://{}", free_place())]).failed(1);
    assert_eq!(
        std::fs::read_to_string(ben.file("config.toml")).unwrap(),
        config,
        "it is listed once, and no other address"
    );
    assert_eq!(ben.run(&["--json", "status"]).json()["dialled"], json!([address]));
}

/// Somebody on a port who does with each stream as message.
fn stranger(mut with: impl FnMut(std::net::TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("ws://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || listener.incoming().flatten().for_each(&mut with));
    address
}

#[test]
#[allow(clippy::disallowed_methods, reason = "how long it takes is what is tested")]
fn an_address_where_no_peer_answers_is_an_error_within_seconds() {
    let home = Home::new();
    let silent = stranger(std::mem::forget);
    let http = stranger(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    });
    let garbage = stranger(|mut stream| {
        let _ = stream.write_all(&[0xa5; 100_000]);
    });
    let closes = stranger(drop);
    let nobody = format!("ws://{}", free_place());
    for address in [nobody, closes, garbage, http, silent] {
        let begun = std::time::Instant::now();
        let message = home.run(&["connect", &address]).failed(1);
        assert!(message.contains(&address), "{message}");
        assert!(begun.elapsed().as_secs() < 20, "{address} took {:?}", begun.elapsed());
    }
    assert!(!std::fs::read_to_string(home.file("config.toml")).unwrap().contains("127.0.0.1"));
}

#[test]
fn sync_without_a_link_is_an_error_with_advice() {
    let home = garden();
    let message = home.run(&["sync", "--timeout", "1s"]).failed(1);
    assert!(message.contains("nobody is connected") && message.contains("peerbase connect"), "{message}");
}

#[test]
fn a_listen_address_in_use_is_reported() {
    let home = garden();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = taken.local_addr().unwrap().to_string();

    let message = home.run(&["serve", "--listen", &place]).failed(1);

    assert!(
        message.contains(&format!("{place} is in use")) && message.contains("--listen HOST:PORT"),
        "{message}"
    );
    assert!(!home.file("control.sock").exists(), "it stopped cleanly");
    home.run(&["list"]).ok();
}

#[test]
fn a_second_node_in_one_folder_is_refused() {
    let home = garden();
    let (_node, _) = home.serve(&[]);
    let message = home.run(&["serve", "--listen", "127.0.0.1:0"]).failed(1);
    assert!(message.contains("serves") && message.contains("already"), "{message}");
    home.run(&["list"]).ok();
}

#[test]
fn a_command_waits_for_a_database_in_use_and_then_reports_it() {
    let home = garden();
    // The import waits for more lines and keeps the database open.
    let arguments = ["--json", "import", "tasks", "-", "--format", "jsonl", "--key", "id"];
    let mut import = Process::start_fed(home.command(&arguments));
    let rows: String = (0..256).map(|id| format!("{{\"id\":{id}}}\n")).collect();
    import.input().write_all(rows.as_bytes()).unwrap();
    import.line();

    let message = home.run(&["list"]).failed(1);
    assert!(message.contains("in use") && message.contains(home.path().to_str().unwrap()), "{message}");

    let waits = Process::start(home.command(&["list"]));
    import.end().ok();
    assert_eq!(waits.end().ok(), "tasks\t258\n");
}

#[test]
fn serve_ends_with_a_failure_and_names_the_remedy() {
    let home = Home::with_group("garden");
    home.run(&["put", "plants", "a", r#"{"name":"basil"}"#]).ok();
    let (node, _) = home.serve(&[]);
    std::fs::rename(home.file("db"), home.file("moved")).unwrap();

    let refused = home.run(&["put", "plants", "a", r#"{"name":"rope"}"#]);
    let error = node.end().failed(1);

    assert!(!refused.status.success(), "{refused:?}");
    let last = error.lines().last().unwrap();
    assert!(last.starts_with("error: the node ended, because its store failed: "), "{error}");
    assert!(last.contains("return the database's folder to its path"), "{error}");
    // sled leaves a snapshot where the folder was.
    drop(std::fs::remove_dir_all(home.file("db")));
    std::fs::rename(home.file("moved"), home.file("db")).unwrap();
    assert!(home.export().contains("basil") && !home.export().contains("rope"), "{}", home.export());
}

#[test]
fn only_this_user_can_open_the_control_socket_and_it_ends_with_the_node() {
    let home = garden();
    let socket = home.file("control.sock");
    let (node, _) = home.serve(&[]);
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    node.stop().ok();
    assert!(!socket.exists());

    let (node, _) = home.serve(&[]);
    node.kill();
    assert!(socket.exists(), "a killed node leaves the socket");
    home.run(&["list"]).ok();
    let (node, _) = home.serve(&[]);
    home.run(&["list"]).ok();
    node.signal("INT");
    node.end().ok();
    assert!(!socket.exists());
    let left = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_str().unwrap().starts_with(".c")), "no other file is left");
}

#[test]
fn a_folder_too_long_for_a_socket_is_reported() {
    let home = Home::empty();
    let folder = home.file(&"x".repeat(120));
    let data = folder.to_str().unwrap();
    home.run(&["--data", data, "init"]).failed(2);
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_peerbase"));
        command.env("PEERBASE_DATA", data).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Process::start(command).end()
    };
    run(&["init"]).ok();
    run(&["group", "create", "Garden"]).ok();
    let message = run(&["serve", "--listen", "127.0.0.1:0"]).failed(1);
    assert!(message.contains("too long for a socket's name"), "{message}");
}

#[test]
fn a_client_that_stalls_or_sends_garbage_does_not_block_others() {
    let home = garden();
    let (_node, _) = home.serve(&[]);
    let mut clients: Vec<UnixStream> = Vec::new();
    for words in
        [&b""[..], b"\xff\xff\xff\xff", b"\0\0\0\x02{]", b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\x09{\"x\":"]
    {
        let mut client = UnixStream::connect(home.file("control.sock")).unwrap();
        client.write_all(words).unwrap();
        clients.push(client);
    }
    assert_eq!(home.run(&["list"]).ok(), "tasks\t2\n");

    for client in &mut clients {
        client.set_read_timeout(Some(crate::process::DEADLINE)).unwrap();
        let mut message = Vec::new();
        if let Err(error) = client.read_to_end(&mut message) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "each connection is closed");
        }
        assert!(message.len() < 1_000);
    }
}

#[test]
fn a_client_of_another_version_reports_both_versions() {
    let home = garden();
    let listener = std::os::unix::net::UnixListener::bind(home.file("control.sock")).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let greeting = br#"{"peerbase_control":7,"program":"9.1.0","more":[]}"#;
            stream.write_all(&u32::try_from(greeting.len()).unwrap().to_be_bytes()).unwrap();
            stream.write_all(greeting).unwrap();
        }
    });
    let message = home.run(&["list"]).failed(1);
    assert!(message.contains("peerbase 9.1.0") && message.contains("control version 7"), "{message}");
}

#[test]
fn a_damaged_configuration_is_reported_by_line_and_unchanged() {
    let home = garden();
    let damaged = "name = \"ada\"\nlisten = [7]\n";
    std::fs::write(home.file("config.toml"), damaged).unwrap();
    for arguments in [&["serve"][..], &["connect", "ws://127.0.0.1:1"], &["init", "--name", "x"], &["list"]] {
        let message = home.run(arguments).failed(1);
        assert!(message.contains("config.toml line 2"), "{message}");
    }
    assert_eq!(std::fs::read_to_string(home.file("config.toml")).unwrap(), damaged);
    std::fs::write(home.file("config.toml"), "colour = \"red\"\n").unwrap();
    let message = home.run(&["serve"]).failed(1);
    assert!(message.contains("line 1") && message.contains("colour"), "{message}");
}

#[test]
fn flags_of_serve_add_to_the_configuration() {
    let home = Home::empty();
    let place = free_place();
    home.run(&["init", "--listen", &place, "--name", "Ada's laptop"]).ok();
    let node = Process::start(home.command(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]));
    assert_eq!(node.line(), format!("listening on ws://{place}"));
    assert!(node.line().starts_with("listening on ws://127.0.0.1:"));
    assert_eq!(home.run(&["--json", "status"]).json()["label"], "Ada's laptop");
    let log = node.stop().error;
    assert!(
        log.lines().count() >= 3 && log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()),
        "{log}"
    );
}

#[test]
fn watch_prints_changes_until_it_is_interrupted() {
    let home = garden();
    let (node, _) = home.serve(&[]);
    let watch = Process::start(home.command(&["--json", "watch", "tasks"]));
    let human = Process::start(home.command(&["watch", "tasks"]));
    until("the watchers see a change", || {
        home.run(&["put", "tasks", "again", &format!("{{\"n\":{}}}", nonce())]).ok();
        watch.try_line().is_some() && human.try_line().is_some()
    });

    home.run(&["put", "tasks", "last", "{\"n\":1}"]).ok();

    until("the last change comes", || {
        let line = watch.line();
        serde_json::from_str::<Value>(&line).unwrap()
            == json!({"change": "put", "key": "last", "row": {"n": 1}})
    });
    until("people read it", || human.line() == "last\t{\"n\":1}");
    human.signal("TERM"); // INT is ignored where the tests run in the background of a shell
    assert!(!human.end().status.success());
    node.stop().ok();
    assert!(watch.end().failed(1).contains("closed"), "the reason is printed");
}

fn nonce() -> u128 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos()
}

#[test]
fn a_closed_output_is_no_failure() {
    let home = garden();
    let rows: String =
        (0..3_000).map(|id| format!("{{\"id\":{id},\"text\":\"{}\"}}\n", "x".repeat(90))).collect();
    home.feed(&["import", "rows", "-", "--format", "jsonl", "--key", "id"], rows.as_bytes()).ok();
    let first = |home: &Home, command: &str| {
        let mut child = home.command(&[command, "rows"]).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        out.read_exact(&mut [0; 10]).unwrap();
        drop(out);
        let mut message = String::new();
        child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
        assert_eq!((child.wait().unwrap().code(), message.as_str()), (Some(0), ""), "{command}");
    };
    first(&home, "list");
    first(&home, "export");
    let (_node, _) = home.serve(&[]);
    first(&home, "list");
}

#[test]
fn an_import_is_idempotent_and_exports_as_it_was() {
    let (home, copy) = (garden(), Home::with_group("Copy"));
    let text = "id,city,latitude\nSEA,\"Seattle, \"\"WA\"\"\",47.44898194\nHEL,Helsinki,\n";
    std::fs::write(home.file("a.csv"), text).unwrap();
    let file = home.file("a.csv");
    let import = ["import", "airports", file.to_str().unwrap(), "--key", "id", "--number", "latitude"];

    assert_eq!(home.run(&import).ok(), "2 written, 0 unchanged\n");
    assert_eq!(home.run(&import).ok(), "0 written, 2 unchanged\n");
    let json = home.run(&[&["--json"][..], &import].concat()).json_lines();
    assert_eq!(json, [json!({"acknowledged": 2}), json!({"written": 0, "unchanged": 2})]);
    let sea = "{\"city\":\"Seattle, \\\"WA\\\"\",\"id\":\"SEA\",\"latitude\":47.44898194}\n";
    assert_eq!(home.run(&["get", "airports", "SEA"]).ok(), sea);

    let export = home.run(&["export", "airports"]).ok();
    copy.feed(&["import", "airports", "-", "--format", "jsonl"], export.as_bytes()).ok();
    assert_eq!(copy.export(), export);
}

#[test]
fn a_bad_line_ends_an_import_and_acknowledged_rows_stay() {
    let home = garden();
    let mut text = "id,n\n".to_owned();
    text.extend((0..300).map(|id| format!("{id},{id}\n")));
    for (bad, says) in [
        ("300\n", "line 302: 1 cells where the header has 2"),
        ("300,x\n", "line 302, column \"n\": \"x\" is no number"),
        ("7,1\n", "line 302: key \"7\" was in line 9 already"),
        (",1\n", "line 302: the key is empty"),
        ("300,\"1\n301,2\n", "line 302, column \"n\": a quote is opened and never closed"),
    ] {
        let file = home.file("bad.csv");
        std::fs::write(&file, format!("{text}{bad}")).unwrap();
        let import = ["import", "rows", file.to_str().unwrap(), "--key", "id", "--number", "n"];
        let message = home.run(&import).failed(1);
        assert!(message.contains(says) && message.contains("bad.csv"), "{message}");
        assert_eq!(home.run(&["--json", "list", "rows"]).json_lines().len(), 300);
    }
    let message = home.run(&["import", "rows", "/no/such.csv", "--key", "id"]).failed(1);
    assert!(message.contains("/no/such.csv"), "{message}");
}

#[test]
fn a_backup_opens_as_a_database() {
    let home = garden();
    let folder = home.file("backup");
    let run = |home: &Home| home.run(&["--json", "backup", folder.to_str().unwrap()]);
    assert_eq!(run(&home).json()["rows"], 2);
    assert!(run(&home).failed(1).contains("not empty"), "nothing is written over");
    let (_node, _) = home.serve(&[]);
    let second = home.file("second");
    home.run(&["backup", second.to_str().unwrap()]).ok();
    for folder in [&folder, &second] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_peerbase"));
        command.arg("--data").arg(folder).arg("export").stdout(Stdio::piped()).stderr(Stdio::piped());
        assert_eq!(Process::start(command).end().ok(), home.export());
    }
}

#[test]
fn only_this_user_can_read_stored_files() {
    use std::os::unix::fs::PermissionsExt;
    let home = garden();
    let copy = home.file("copy");
    home.run(&["backup", copy.to_str().unwrap()]).ok();

    for folder in [home.file("db"), copy.join("db")] {
        let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", folder.display());
    }
}

#[test]
fn an_export_follows_symlinks_and_replaces_regular_files_only() {
    let home = garden();
    let (file, link) = (home.file("rows.jsonl"), home.file("link"));
    std::fs::write(&file, "old").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();

    home.run(&["export", "tasks", link.to_str().unwrap()]).ok();
    let piped = home.run(&["export", "tasks", "/dev/stdout"]).ok();

    assert!(std::fs::symlink_metadata(&link).unwrap().file_type().is_symlink());
    let rows = home.run(&["export", "tasks", "-"]).ok();
    assert_eq!((std::fs::read_to_string(&file).unwrap(), piped), (rows.clone(), rows));
    home.run(&["export", "tasks", home.path().to_str().unwrap()]).failed(1);
}

/// Runs a check on a folder, and through a node that serves in one.
fn both_ways(check: impl Fn(&Home)) {
    let (alone, served) = (Home::with_group("Garden"), Home::with_group("Garden"));
    check(&alone);
    let (node, _) = served.serve(&[]);
    check(&served);
    node.stop().ok();
}

#[test]
fn members_are_shown_with_their_devices_and_since_when() {
    let (ada, ben) = (Home::empty(), Home::empty());
    ada.run(&["init", "--name", "Ada's laptop"]).ok();
    ada.run(&["group", "create", "Garden"]).ok();
    ben.run(&["init", "--name", "Ben's\tphone"]).ok();
    let (_node, _) = ada.serve(&[]);
    let ticket = ada.run(&["group", "invite"]).ok();
    ben.run(&["join", ticket.trim(), "--wait"]).ok();
    let checked = |home: &Home| {
        let members = home.run(&["--json", "group", "members"]).json_lines();
        for (who, label) in [(&ada, "Ada's laptop"), (&ben, "Ben's\tphone")] {
            let identity = who.run(&["--json", "whoami"]).json();
            let member = members.iter().find(|member| member["user"] == identity["user"]).unwrap();
            let device = &member["devices"][0];
            assert_eq!((&device["device"], &device["label"]), (&identity["device"], &json!(label)));
            assert!(member["since_ms"].as_u64().unwrap() > 1_700_000_000_000, "{member}");
        }
        let shown = home.run(&["group", "members"]).ok();
        assert_eq!(shown.lines().filter(|line| line.contains("\tsince 20")).count(), 2, "{shown}");
        assert!(shown.contains("Ada's laptop") && shown.contains("Ben's\\tphone"), "{shown}");
    };
    checked(&ada);
    until("ben's device is known to both", || {
        ada.run(&["group", "members"]).ok().contains("phone")
            && ben.run(&["group", "members"]).ok().contains("phone")
    });
    checked(&ben);
    let (_ben, _) = ben.serve(&[]);
    checked(&ben);
}

#[test]
fn an_offered_group_is_listed_and_accepted_by_a_request() {
    let (ada, ben) = (garden(), Home::new());
    let garden = ada.run(&["--json", "group", "list"]).json()["id"].as_str().unwrap().to_owned();
    let user = ben.run(&["--json", "whoami"]).json()["user"].as_str().unwrap().to_owned();
    ada.run(&["group", "add", &user]).ok();
    let (_ada, address) = ada.serve(&[]);
    let (_ben, _) = ben.serve(&["--connect", &address]);

    until("ben receives it", || ben.run(&["group", "list"]).ok().contains("\toffered\twriter\tGarden club"));
    let offered = ben.run(&["--json", "group", "list"]).json();
    let ada_user = ada.run(&["--json", "whoami"]).json()["user"].clone();
    assert_eq!((&offered["id"], &offered["offered_by"]), (&json!(garden), &ada_user));
    assert!(ben.run(&["status"]).ok().contains("offered   "));
    let message = ben.run(&["list", "--group", "Garden club"]).failed(1);
    assert!(message.contains(&format!("`peerbase group request {garden}` accepts")), "{message}");
    assert!(
        ben.run(&["list"]).failed(1).contains("no group here"),
        "an offered group is never the only group"
    );

    ben.run(&["group", "request", &garden]).ok();
    until("ben is in and has the rows", || ben.run(&["list"]).out == "tasks\t2\n");
    assert_eq!(ben.run(&["--json", "group", "list"]).json()["state"], "active");
}

#[test]
fn devices_are_listed_and_revoked() {
    both_ways(|home| {
        let own = home.run(&["--json", "whoami"]).json()["device"].as_str().unwrap().to_owned();
        assert_eq!(
            home.run(&["--json", "devices"]).json(),
            json!({"id": own, "label": "", "is_revoked": false, "is_this": true})
        );
        assert!(home.run(&["devices"]).ok().starts_with(&format!("{own}\tthis device\t")));
        for (arguments, status, kind, says) in [
            (&["device", "revoke", &own][..], 1, "invalid", "from another device"),
            (&["device", "revoke", EVA], 1, "not_found", "is not known as one of this user"),
            (&["device", "revoke", "7"], 2, "invalid", "64 hex digits"),
            (&["device"], 2, "invalid", "revoke"),
        ] {
            let message = home.run(&[&["--json"], arguments].concat()).failed(status);
            assert!(message.contains(says) && message.contains(kind), "{arguments:?}: {message}");
        }
    });
}

#[test]
fn a_device_restored_from_the_same_words_is_revoked_by_the_other() {
    let (ada, lost, kept) = (Home::with_group("Garden"), Home::empty(), Home::empty());
    let words = ada.run(&["recovery", "make"]).ok();
    for (home, name) in [(&lost, "lost"), (&kept, "kept")] {
        home.feed(&["init", "--restore", "--name", name], words.as_bytes()).ok();
    }
    let (_kept, address) = kept.serve(&[]);
    let (_lost, _) = lost.serve(&["--connect", &address]);
    let id = lost.run(&["--json", "whoami"]).json()["device"].as_str().unwrap().to_owned();
    until("they know each other", || kept.run(&["devices"]).ok().contains("lost"));

    let said = kept.run(&["device", "revoke", &id]).ok();

    assert!(said.contains("for ever"), "{said}");
    assert!(kept.run(&["devices"]).ok().contains(&format!("{id}\trevoked\tlost")));
    let listed = kept.run(&["--json", "devices"]).json_lines();
    assert_eq!(listed.iter().filter(|device| device["is_revoked"] == true).count(), 1);
}

#[test]
fn a_recovery_key_is_made_shown_once_and_replaced() {
    both_ways(|home| {
        assert_eq!(home.run(&["--json", "recovery", "show"]).json(), json!({"user": null}));
        assert!(home.run(&["recovery", "show"]).ok().contains("`peerbase recovery make`"));
        let status = home.run(&["status"]).ok();
        assert!(
            status.contains("recovery  none") && status.contains("founded without a recovery key"),
            "{status}"
        );

        let made = home.run(&["--json", "recovery", "make"]).json();
        assert_eq!(made["words"].as_str().unwrap().split(' ').count(), 24);
        let shown = home.run(&["--json", "recovery", "show"]).json();
        assert_eq!(shown, json!({"user": made["user"]}), "once");
        assert_eq!(home.run(&["--json", "status"]).json()["recovery"], made["user"]);
        home.run(&["group", "create", "Since"]).ok();
        let groups = home.run(&["--json", "status"]).json()["groups"].as_array().unwrap().clone();
        for group in groups {
            let expected = if group["name"] == "Since" { made["user"].clone() } else { Value::Null };
            assert_eq!(group["recovery"], expected);
        }

        assert!(home.run(&["--json", "recovery", "make"]).failed(1).contains("already"));
        let replaced = home.run(&["recovery", "replace"]);
        assert!(replaced.error.contains("on paper"), "{replaced:?}");
        assert_eq!(replaced.ok().trim().split(' ').count(), 24, "the words stand alone");
        assert_ne!(home.run(&["--json", "recovery", "show"]).json()["user"], made["user"]);
    });
}

#[test]
fn a_user_is_restored_from_words_on_standard_input_in_a_new_folder() {
    let (ada, ben, new) = (Home::with_group("Garden"), Home::new(), Home::empty());
    let made = ada.run(&["--json", "recovery", "make"]).json();
    let words = made["words"].as_str().unwrap();

    for (input, says) in [
        ("", "0 words where a recovery key has 24"),
        (&words[..words.rfind(' ').unwrap()], "23 words"),
        (&format!("{} zooo", &words[..words.rfind(' ').unwrap()]), "the nearest is"),
    ] {
        let message = new.feed(&["init", "--restore"], input.as_bytes()).failed(1);
        assert!(message.contains(says), "{message}");
    }
    assert_eq!(std::fs::read_dir(new.path()).unwrap().count(), 0, "nothing was made");
    let before = ben.run(&["whoami"]).ok();
    let refused = |home: &Home| {
        let message = home.feed(&["init", "--restore"], words.as_bytes()).failed(1);
        assert!(message.contains("already") && message.contains("new folder"), "{message}");
        assert_eq!(home.run(&["whoami"]).ok(), before);
    };
    refused(&ben);
    let (_ben, _) = ben.serve(&[]);
    refused(&ben);

    let restored = new.feed(&["--json", "init", "--restore", "--name", "safe"], words.as_bytes()).json();
    assert_eq!(restored["user"], made["user"]);
    assert_eq!(new.run(&["--json", "whoami"]).json(), restored, "and keeps its identity");
    assert_eq!(new.run(&["--json", "devices"]).json()["label"], "safe");
}

#[test]
fn users_are_blocked_and_unblocked() {
    both_ways(|home| {
        let own = home.run(&["--json", "whoami"]).json()["user"].as_str().unwrap().to_owned();
        assert!(home.run(&["block", EVA]).ok().contains("is blocked"));
        assert_eq!(home.run(&["--json", "block", EVA]).json(), json!({"done": "blocked", "user": EVA}));
        assert_eq!(home.run(&["--json", "status"]).json()["blocked"], json!([EVA]));
        assert!(home.run(&["status"]).ok().contains(&format!("blocked   user {EVA}")));
        assert!(home.run(&["--json", "block", &own]).failed(1).contains("invalid"));

        home.run(&["unblock", EVA]).ok();
        home.run(&["unblock", ROB]).ok();
        assert_eq!(home.run(&["--json", "status"]).json()["blocked"], json!([]));
    });
}

#[test]
fn usage_errors_are_json_with_json_and_text_without() {
    let home = Home::empty();
    for arguments in [&["frobnicate"][..], &["get", "tasks"], &["group", "role", "7", "emperor"], &["group"]]
    {
        let message = home.run(&[&["--json"], arguments].concat()).failed(2);
        let message: Value =
            serde_json::from_str(&message).unwrap_or_else(|error| panic!("{error}: {message}"));
        assert_eq!(message["error"]["kind"], "invalid", "{message}");
        assert!(!message["error"]["message"].as_str().unwrap().starts_with("error"), "{message}");
        home.run(&[arguments, &["--json"]].concat()).failed(2);
        assert!(!home.run(arguments).failed(2).starts_with('{'));
    }
    assert!(home.run(&["--json", "--help"]).ok().contains("Usage"), "help is for people");
}
