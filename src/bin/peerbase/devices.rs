//! `devices`, `device` and `recovery`: what is this user's own.

use peerbase::DeviceId;
use peerbase::control::{Reply, Request};

use super::data::Data;
use super::door::{self, Need};
use super::output::Output;
use super::trouble::Trouble;

#[derive(clap::Subcommand)]
pub(crate) enum Device {
    /// Takes a device back that was lost or stolen: it is out in all groups, for ever
    Revoke {
        /// Which; `peerbase devices` shows them
        device: DeviceId,
    },
}

#[derive(clap::Subcommand)]
pub(crate) enum Recovery {
    /// Makes the key and prints its words, this once: write them on paper
    Make,
    /// Shows whether there is a key; its words are nowhere but on paper
    Show,
    /// Makes another key for the groups that are founded from now on; keep the words of the one before
    Replace,
}

pub(crate) async fn list(data: &Data, output: &mut Output) -> Result<(), Trouble> {
    door::ask(data, Need::Existing, Request::Devices, output).await
}

pub(crate) async fn device(data: &Data, command: Device, output: &mut Output) -> Result<(), Trouble> {
    let Device::Revoke { device } = command;
    door::ask(data, Need::Existing, Request::RevokeDevice { device }, output).await
}

pub(crate) async fn recovery(data: &Data, command: Recovery, output: &mut Output) -> Result<(), Trouble> {
    let replace = match command {
        Recovery::Show => return door::ask(data, Need::Existing, Request::Recovery, output).await,
        Recovery::Make => false,
        Recovery::Replace => true,
    };
    let request = Request::MakeRecovery { replace };
    door::ask_with(data, Need::Existing, request, |reply| {
        if let Reply::Recovery(_) = &reply {
            output.note(
                "write these words on paper and lock them away: nobody can show them again. `peerbase init --restore` \
                 makes a device of them",
            );
        }
        output.reply(&reply)
    })
    .await
}
