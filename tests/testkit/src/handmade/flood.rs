//! A member made by hand that sends hostile frames at full speed, and answers only what keeps its link.

use std::collections::VecDeque;

use schema::limits::WINDOW_BYTES;
use schema::wire::group::{self, Assembly, GroupFrame};
use schema::wire::ledger::LedgerFrame;
use schema::wire::link::LinkFrame;
use schema::wire::session::{RootReason, SessionFrame, Unit};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::HandmadeMember;
use crate::hostile::Frame;
use crate::link::{HandmadeLink, HandmadeReceiver, HandmadeSender};

/// News of the half of a flood that receives.
enum News {
    /// The node expects this frame.
    Owed(LinkFrame),
    /// The node opens the session of the documents, with this incarnation.
    Opening(u64),
    /// The node has judged the units up to this number.
    Acknowledged(u64),
}

impl HandmadeMember {
    /// Sends frames as fast as the node takes them, until the link ends: ledger frames at once, the others
    /// once the session is open, units as the window allows. Calls `on_sent` with each.
    pub async fn flood(self, frames: impl Iterator<Item = Frame>, on_sent: impl FnMut()) {
        let HandmadeLink { sender, receiver, .. } = self.peer.link;
        let (news, heard) = unbounded_channel();
        let sending = Sending {
            sender,
            channel: self.channel,
            news: heard,
            is_open: false,
            in_flight: VecDeque::new(),
        };
        // One ends with the other: without a receiver the sender fails, and without news it ends.
        tokio::join!(sending.run(frames, on_sent), receive(receiver, self.channel, news));
    }
}

/// Receives frames until the link ends.
async fn receive(mut receiver: HandmadeReceiver, channel: u32, news: UnboundedSender<News>) {
    let mut assembly = Assembly::default();
    while let Some(frame) = receiver.receive().await {
        let told = match LinkFrame::decode(&frame).unwrap() {
            LinkFrame::Ping { nonce } => Some(News::Owed(LinkFrame::Pong { nonce })),
            LinkFrame::Group { body, .. } => match GroupFrame::decode(&body).unwrap() {
                GroupFrame::Ledger(LedgerFrame::Summary { hash }) => {
                    let body = GroupFrame::Ledger(LedgerFrame::Summary { hash }).encode();
                    Some(News::Owed(LinkFrame::Group { channel, body }))
                }
                GroupFrame::Ledger(_) => None,
                GroupFrame::Part(part) => assembly.push(part).unwrap().and_then(of_session),
            },
            _ => None,
        };
        if told.is_some_and(|told| news.send(told).is_err()) {
            return;
        }
    }
}

fn of_session(frame: SessionFrame) -> Option<News> {
    match frame {
        SessionFrame::Root { reason: RootReason::Opening { incarnation }, .. } => {
            Some(News::Opening(incarnation))
        }
        SessionFrame::Ack { number, .. } => Some(News::Acknowledged(number)),
        _ => None,
    }
}

/// The half of a flood that sends.
struct Sending {
    sender: HandmadeSender,
    channel: u32,
    news: UnboundedReceiver<News>,
    /// The session of the documents is open.
    is_open: bool,
    /// Units that the node has not acknowledged: number and bytes.
    in_flight: VecDeque<(u64, usize)>,
}

impl Sending {
    /// Sends all frames, and then what the node expects, until the link ends.
    async fn run(mut self, frames: impl Iterator<Item = Frame>, mut on_sent: impl FnMut()) {
        let mut frames = frames.peekable();
        loop {
            let may_send = frames.peek().is_some_and(|frame| self.may_send(frame));
            let told = match self.news.try_recv() {
                Ok(told) => Some(told),
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) if may_send => None,
                Err(TryRecvError::Empty) => match self.news.recv().await {
                    Some(told) => Some(told),
                    None => return,
                },
            };
            let sent = match told {
                Some(told) => self.on_news(told).await,
                None => {
                    on_sent();
                    self.send(frames.next().unwrap()).await
                }
            };
            if sent.is_none() {
                return;
            }
        }
    }

    fn may_send(&self, frame: &Frame) -> bool {
        let bytes: usize = self.in_flight.iter().map(|(_, bytes)| bytes).sum();
        match frame {
            Frame::Ledger(_) => true,
            Frame::Part(_) | Frame::Session(_) => self.is_open,
            Frame::Units(_) => self.is_open && bytes < WINDOW_BYTES,
        }
    }

    async fn on_news(&mut self, told: News) -> Option<()> {
        match told {
            News::Owed(frame) => self.sender.try_send(&frame.encode()).await.ok(),
            News::Opening(incarnation) => {
                self.is_open = true;
                let reason = RootReason::Answer { incarnation };
                self.send_session(&SessionFrame::Root { root: [0; 32], reason }).await
            }
            News::Acknowledged(number) => {
                self.in_flight.retain(|(sent, _)| *sent > number);
                Some(())
            }
        }
    }

    /// Sends a frame; none if the link has ended.
    async fn send(&mut self, frame: Frame) -> Option<()> {
        match frame {
            Frame::Ledger(frame) => self.send_group(GroupFrame::Ledger(frame)).await,
            Frame::Part(part) => self.send_group(GroupFrame::Part(part)).await,
            Frame::Session(frame) => self.send_session(&frame).await,
            Frame::Units(units) => {
                let bytes = |unit: &Unit| 256 + unit.message.len() + 100 * unit.tips.len();
                self.in_flight.push_back((units.number, units.units.iter().map(bytes).sum()));
                self.send_session(&SessionFrame::Units(units)).await
            }
        }
    }

    async fn send_session(&mut self, frame: &SessionFrame) -> Option<()> {
        for part in group::parts(frame) {
            self.send_group(GroupFrame::Part(part)).await?;
        }
        Some(())
    }

    async fn send_group(&mut self, frame: GroupFrame) -> Option<()> {
        let frame = LinkFrame::Group { channel: self.channel, body: frame.encode() };
        self.sender.try_send(&frame.encode()).await.ok()
    }
}
