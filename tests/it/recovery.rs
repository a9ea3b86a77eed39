//! A recovery key ranks above its founder: it can remove a thief from a group, and no member can lower it.

use std::error::Error as _;
use std::time::Duration;

use peerbase::error::MnemonicError;
use peerbase::node::Mnemonic;
use peerbase::sim::{Net, Peer};
use peerbase::{ErrorKind, GroupError, GroupId, Node, OpenError, Role, UserId};

use crate::support::{TASKS, group, task, tasks, titles, until};

/// Long enough for every retry of a dial.
const A_WHILE: Duration = Duration::from_secs(120);

fn role(peer: &Peer, id: GroupId, user: UserId) -> Role {
    let members = group(peer, id).members();
    members.into_iter().find(|member| member.user == user).map_or(Role::None, |member| member.role)
}

fn user(peer: &Peer) -> UserId {
    peer.node().user_id()
}

/// Gives a member a role, or admits the user with it.
async fn set_role(peer: &Peer, id: GroupId, user: UserId, role: Role) -> Result<(), GroupError> {
    match group(peer, id).set_role(user, role).await {
        Err(GroupError::NotMember { .. }) => group(peer, id).add_member(user, role).await.map(drop),
        changed => changed.map(drop),
    }
}

/// The rule that refuses.
fn rule(refused: Result<(), GroupError>) -> String {
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotAllowed, "{refused:?}");
    let mut cause = refused.source();
    let mut last = refused.to_string();
    while let Some(inner) = cause {
        last = inner.to_string();
        cause = inner.source();
    }
    last
}

#[tokio::test]
async fn a_recovery_key_is_shown_once_and_listed_first_in_groups_made_since() {
    let ada = Node::in_memory().await.unwrap();
    let before = ada.create_group("before").await.unwrap();
    assert_eq!(ada.recovery().unwrap(), None);

    let words = ada.make_recovery().await.unwrap();
    let since = ada.create_group("since").await.unwrap();

    assert_eq!(ada.recovery().unwrap(), Some(words.user()));
    let founders = |group: &peerbase::Group| {
        let roster = ada.status();
        let id = group.id();
        async move {
            let status = roster.await.unwrap();
            status.groups.into_iter().find(|report| report.info.id == id).unwrap().recovery
        }
    };
    assert_eq!(founders(&before).await, None, "status says that a group has no recovery founder");
    assert_eq!(founders(&since).await, Some(words.user()));
    let is_founder = |user| since.members().iter().any(|m| m.user == user && m.role == Role::Founder);
    assert!(is_founder(words.user()) && is_founder(ada.user_id()));
    ada.close().await;
}

#[tokio::test]
async fn a_second_recovery_key_is_refused_unless_it_is_to_replace_the_first() {
    let ada = Node::in_memory().await.unwrap();
    let first = ada.make_recovery().await.unwrap();

    let refused = ada.make_recovery().await;
    assert!(matches!(refused, Err(GroupError::HasRecovery { user }) if user == first.user()), "{refused:?}");
    assert_eq!(ada.recovery().unwrap(), Some(first.user()));

    let second = ada.replace_recovery().await.unwrap();
    assert_ne!(second.user(), first.user());
    assert_eq!(ada.recovery().unwrap(), Some(second.user()));
    ada.close().await;
}

#[tokio::test]
async fn the_secret_of_a_recovery_key_is_not_stored() {
    let folder = tempfile::tempdir().unwrap();
    let ada = Node::builder(folder.path()).open().await.unwrap();
    let words = ada.make_recovery().await.unwrap();
    ada.create_group("home").await.unwrap();
    ada.close().await;

    let (seed, text) = (words.key().seed(), words.to_string());
    let first_words = text.split(' ').take(3).collect::<Vec<_>>().join(" ");
    let id = words.user().to_string();
    let mut mentions_the_user = false;
    let mut folders = vec![folder.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
                continue;
            }
            let bytes = std::fs::read(entry.path()).unwrap();
            let holds = |what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
            assert!(!holds(&*seed) && !holds(first_words.as_bytes()), "{}", entry.path().display());
            mentions_the_user |= holds(id.as_bytes());
        }
    }
    assert!(mentions_the_user, "the public half is looked for in the right places");
}

#[tokio::test]
async fn words_are_parsed_and_mistakes_are_reported() {
    let ada = Node::in_memory().await.unwrap();
    let words = ada.make_recovery().await.unwrap();
    let written = words.to_string();

    assert_eq!(written.split(' ').count(), 24);
    assert_eq!(written.to_uppercase().parse::<Mnemonic>().unwrap().user(), words.user());
    assert!(!format!("{words:?}").contains(written.split(' ').next().unwrap()));
    let short = written.rsplit_once(' ').unwrap().0;
    assert!(matches!(short.parse::<Mnemonic>(), Err(MnemonicError::Count { got: 23 })));
    let slip = format!("{short} zooo").parse::<Mnemonic>();
    assert!(matches!(slip, Err(MnemonicError::Unknown { place: 24, nearest: "zoo", .. })), "{slip:?}");
    ada.close().await;
}

#[tokio::test]
async fn a_restored_user_needs_a_new_folder_and_opens_it_again_without_words() {
    let ada = Node::in_memory().await.unwrap();
    let words = ada.make_recovery().await.unwrap();
    let [new, taken] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let other = Node::builder(taken.path()).open().await.unwrap();
    other.close().await;

    let refused = Node::builder(taken.path()).restore_user(&words).open().await;
    assert!(matches!(&refused, Err(OpenError::Identity(_))), "{refused:?}");
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    let kept = Node::builder(taken.path()).open().await.unwrap();
    assert_eq!(kept.user_id(), other.user_id(), "the identity that was there is left alone");

    let restored = Node::builder(new.path()).restore_user(&words).open().await.unwrap();
    assert_eq!(restored.user_id(), words.user());
    assert_ne!(restored.device_id().0, restored.user_id().0);
    restored.close().await;
    let again = Node::builder(new.path()).open().await.unwrap();
    assert_eq!((again.user_id(), again.device_id()), (words.user(), restored.device_id()));
    for node in [ada, kept, again] {
        node.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn all_devices_of_a_user_list_their_recovery_key() {
    let mut net = Net::seeded(3);
    let [ada] = net.nodes(["ada"]).await;
    let phone = net.device_of(&ada, "phone").await;

    let words = ada.node().make_recovery().await.unwrap();
    until(&net, "the phone has the key", || phone.node().recovery().unwrap().is_some()).await;
    let home = phone.node().create_group("home").await.unwrap();

    assert!(matches!(phone.node().make_recovery().await, Err(GroupError::HasRecovery { .. })));
    assert_eq!(role(&phone, home.id(), words.user()), Role::Founder);
    net.close().await;
}

/// Authority 3.4, W8, and scenario 10, as far as they go without cutting the changes of Writers.
#[tokio::test(start_paused = true)]
async fn w8_a_recovery_key_takes_a_group_back_from_a_thief() {
    let mut net = Net::seeded(8).latency_ms(5..40);
    let [ada, ben, cid, eve, mal] = net.nodes(["ada", "ben", "cid", "eve", "mal"]).await;
    let written = ada.node().make_recovery().await.unwrap().to_string();
    let home = net.group("home", &[&ada, &ben]).await;
    set_role(&ada, home, user(&cid), Role::Reader).await.unwrap();
    cid.node().request_group(home).await.unwrap();
    tasks(&ben, home).put("basil", &task("water the basil")).await.unwrap();
    net.settle().await;

    // The thief has ada's device: it removes a Reader and admits an Owner.
    set_role(&ada, home, user(&cid), Role::None).await.unwrap();
    set_role(&ada, home, user(&eve), Role::Owner).await.unwrap();
    eve.node().request_group(home).await.unwrap();
    until(&net, "ben has the op of the thief", || role(&ben, home, user(&eve)) == Role::Owner).await;
    assert_eq!((role(&ben, home, user(&cid)), role(&ben, home, user(&eve))), (Role::None, Role::Owner));

    // Ada's words make a node, which asks for the group by its id.
    let words: Mnemonic = written.parse().unwrap();
    let safe = net.restored(&words, "safe").await;
    safe.node().request_group(home).await.unwrap();
    until(&net, "the recovery key is a member", || titles(&tasks(&safe, home)).len() == 1).await;
    assert_eq!(role(&safe, home, words.user()), Role::Founder);
    assert_eq!(titles(&tasks(&safe, home)), ["water the basil"]);

    // No member can lower it.
    assert_eq!(
        rule(set_role(&ada, home, words.user(), Role::Writer).await),
        "author is not senior to the founder"
    );
    assert_eq!(
        rule(set_role(&eve, home, words.user(), Role::Writer).await),
        "author is Owner, the target Founder"
    );

    // The thief goes on alone while the recovery key lowers it.
    net.partition(&[&[&ada, &mal], &[&ben, &cid, &eve, &safe]]);
    set_role(&ada, home, user(&mal), Role::Admin).await.unwrap();
    set_role(&ada, home, user(&ben), Role::Admin).await.unwrap();
    mal.node().request_group(home).await.unwrap();
    set_role(&safe, home, user(&ada), Role::Writer).await.unwrap();
    set_role(&safe, home, user(&eve), Role::Writer).await.unwrap();
    set_role(&safe, home, user(&cid), Role::Reader).await.unwrap();
    until(&net, "the thief's side believes the thief", || role(&mal, home, user(&mal)) == Role::Admin).await;
    until(&net, "cid has the new role of ada", || role(&cid, home, user(&ada)) == Role::Writer).await;
    net.heal();
    let has_heard = |peer: &Peer| role(peer, home, user(&eve)) == Role::Writer;
    until(&net, "the thief has the op", || has_heard(&ada)).await;
    net.sleep(A_WHILE).await;

    for peer in [&ada, &ben, &cid, &eve, &safe] {
        let roles = [user(&ada), user(&eve), user(&ben), user(&cid), user(&mal), words.user()]
            .map(|user| role(peer, home, user));
        let expected = [Role::Writer, Role::Writer, Role::Writer, Role::Reader, Role::None, Role::Founder];
        assert_eq!(roles, expected, "as {} sees it", peer.name());
    }
    assert_eq!(
        rule(set_role(&ada, home, user(&mal), Role::Reader).await),
        "author is Writer, and ops are signed by Admins and above"
    );
    // The rows of the group are complete, and new ones arrive.
    group(&safe, home).table(TASKS).put("rope", &task("buy rope")).await.unwrap();
    until(&net, "cid reads on", || titles(&tasks(&cid, home)).len() == 2).await;
    assert_eq!(titles(&tasks(&cid, home)), ["water the basil", "buy rope"]);
    net.close().await;
}

/// A recovery key is a Founder without a device.
#[tokio::test]
async fn a_recovery_key_alone_does_not_count_as_an_admin() {
    let ada = Node::in_memory().await.unwrap();
    ada.make_recovery().await.unwrap();
    let home = ada.create_group("home").await.unwrap();

    let alone = home.set_role(ada.user_id(), Role::Admin).await;
    assert!(alone.is_ok(), "an Admin is in charge: {alone:?}");
    let nobody = home.set_role(ada.user_id(), Role::Writer).await.unwrap_err();
    assert!(nobody.source().unwrap().to_string().contains("nobody would be in charge"), "{nobody:?}");
    home.leave().await.unwrap();
    assert_eq!(ada.groups(), [], "there is nobody to leave it to");
    ada.close().await;
}
