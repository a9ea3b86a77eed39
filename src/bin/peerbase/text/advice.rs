//! Advice on failures as text.

use peerbase::control::advice::Advice;

/// Renders advice, to stand behind a failure's message and a semicolon.
pub(crate) fn of(advice: &Advice) -> String {
    match advice {
        Advice::CreateOrJoin => {
            "`peerbase group create NAME` makes one, `peerbase join TICKET` joins one".to_owned()
        }
        Advice::ListGroups => "`peerbase group list` lists the groups".to_owned(),
        Advice::NameGroup { groups } if groups.is_empty() => {
            "say which one, by its name or the first digits of its id; `peerbase group list` lists them"
                .to_owned()
        }
        Advice::NameGroup { groups } => format!("use one of the ids {}", listed(groups)),
        Advice::AcceptOffer { group } => format!("`peerbase group request {group}` accepts it"),
        Advice::ReadRemoved { group } => format!("`--group {}` still reads its rows", group.short()),
        Advice::ListMembers => "`peerbase group members` lists ids and the labels of devices".to_owned(),
        Advice::ListContestable => "`peerbase group members` shows those ops".to_owned(),
        Advice::NameUser { users } => format!("use the id {}", listed(users).replace(", ", " or ")),
        Advice::AddMember { user } => format!("`peerbase group add {user}` admits them"),
        Advice::LeaveOutDamaged => "`--without-damaged` leaves them out".to_owned(),
        Advice::Explain { table, key } => format!("`peerbase explain {table} {key}` shows the reason"),
        Advice::Serve => "the ticket is stored, and redeemed again while `peerbase serve` runs".to_owned(),
        Advice::Connect => {
            "`peerbase connect ADDRESS` dials a device, `peerbase status` shows failed links".to_owned()
        }
        Advice::AskToBeAdmitted => {
            "an admin of the group can admit you again with `peerbase group add USER`".to_owned()
        }
        Advice::AwaitDevices { devices } => format!("not yet equal: {}", listed(devices)),
        Advice::IsDialledAgain { address } => format!("{address} is dialled again while a node serves"),
        Advice::IsNotRemembered { address } => format!("{address} is not remembered"),
        Advice::FreeSpace => "free space on the disk of the database, then start it again".to_owned(),
        Advice::RestoreFolder => {
            "return the database's folder to its path, or mount it again, then start it again".to_owned()
        }
        Advice::StartAgain => "start it again; if that fails too, the log names the cause".to_owned(),
        Advice::ListenElsewhere { address } => format!(
            "{address} may be in use by another program, or be no address of this machine; set another with \
             `--listen HOST:PORT` or in config.toml"
        ),
    }
}

fn listed(ids: &[impl ToString]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
