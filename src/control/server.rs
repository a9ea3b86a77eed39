//! The server side of the control socket in a data folder; only this user can connect.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::wire::{self, ControlError, REPLIES_MAX};
use super::{Answer, Failure, FailureKind, Greeting, Reply, Request, SOCKET, execute};
use crate::Node;

/// Requests that are carried out at once: of people, of scripts, and some that watch.
const CONNECTIONS_MAX: usize = 64;
/// The longest wait for a client's greeting and request.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest wait for a client that does not read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause between two signs of life to a client while its request is carried out.
pub(super) const ALIVE_EVERY: Duration = Duration::from_secs(5);
/// The longest wait for running requests when the node closes.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest name that the system gives a socket: `sun_path` without its NUL.
const PATH_BYTES_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// An open control socket. Dropping it ends every request and removes the socket.
pub struct Server {
    path: PathBuf,
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

struct Shared {
    node: Node,
    room: Arc<Semaphore>,
    stopping: AtomicBool,
}

impl Server {
    /// Opens the socket in `folder`; replaces one that a killed node left. No other node serves there,
    /// because this one has the database open.
    ///
    /// # Errors
    /// [`ControlError::PathTooLong`], [`ControlError::InTheWay`], [`ControlError::Io`].
    pub fn open(node: &Node, folder: &Path) -> Result<Self, ControlError> {
        let path = folder.join(SOCKET);
        let listener = bind(folder, &path)?;
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let shared = Arc::new(Shared { node: node.clone(), room, stopping: AtomicBool::new(false) });
        let mut tasks = JoinSet::new();
        node.clock().spawn_in(&mut tasks, accept(listener, shared.clone()));
        Ok(Self { path, shared, tasks })
    }

    /// Refuses new requests, closes the node, and gives running requests a moment to send their failure.
    pub async fn close(mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        // A new client finds no socket, and waits for the database.
        let _ = std::fs::remove_file(&self.path);
        let node = self.shared.node.clone();
        node.close().await;
        let running = u32::try_from(CONNECTIONS_MAX).expect("a small number");
        let _ = node.clock().timeout(STOP_TIMEOUT, self.shared.room.acquire_many(running)).await;
        self.tasks.shutdown().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After `close` the socket may be another node's.
        if !self.shared.stopping.load(Ordering::Acquire) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Binds the socket in a folder that only this user may enter, then moves it to `path`: at no moment can
/// another user connect.
fn bind(folder: &Path, path: &Path) -> Result<UnixListener, ControlError> {
    let closed = tempfile::Builder::new()
        .prefix(".c")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(folder)?;
    let first = closed.path().join("s");
    let longer = [path, &first].into_iter().max_by_key(|path| path.as_os_str().len()).unwrap_or(path);
    let got = longer.as_os_str().len();
    if got > PATH_BYTES_MAX {
        return Err(ControlError::PathTooLong { path: path.to_owned(), got, max: PATH_BYTES_MAX });
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ControlError::InTheWay { path: path.to_owned() });
        }
        _ => {}
    }
    let listener = UnixListener::bind(&first)?;
    std::fs::set_permissions(&first, Permissions::from_mode(0o600))?;
    std::fs::rename(&first, path)?;
    Ok(listener)
}

async fn accept(listener: UnixListener, shared: Arc<Shared>) {
    let clock = shared.node.clock().clone();
    let mut connections = JoinSet::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Most likely too many files are open, for now.
                tracing::warn!(%error, "control socket cannot accept");
                clock.sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let room = shared.room.clone().try_acquire_owned();
        let shared = shared.clone();
        clock.spawn_in(&mut connections, async move {
            let served = match room {
                Ok(_room) => serve(&shared, stream).await,
                Err(_) => refuse(stream).await,
            };
            if let Err(error) = served {
                tracing::debug!(error = &error as &dyn std::error::Error, "control connection ended");
            }
        });
    }
}

/// Refuses a client, because too many are served. The messages fit the socket's buffer, so the writes do not
/// wait.
async fn refuse(mut stream: UnixStream) -> Result<(), ControlError> {
    wire::write(&mut stream, &Greeting::ours()).await?;
    let message = format!(
        "{CONNECTIONS_MAX} requests are being carried out, the most that are allowed; try again later"
    );
    wire::write(&mut stream, &Answer::Failed(Failure::new(FailureKind::Busy, message))).await
}

/// Serves one connection: greetings, a request, its answers.
async fn serve(shared: &Shared, stream: UnixStream) -> Result<(), ControlError> {
    let Shared { node, stopping, .. } = shared;
    let clock = node.clock();
    let (mut reader, writer) = stream.into_split();
    let mut writer = Writer { stream: BufWriter::new(writer), node };
    writer.send(&Greeting::ours()).await?;
    let wanted = clock.timeout(GREETING_TIMEOUT, async {
        let greeting: Greeting = wire::read(&mut reader).await?;
        if greeting.peerbase_control != super::VERSION {
            // The client has our greeting and reports both versions.
            return Err(ControlError::Version {
                found: greeting.peerbase_control,
                program: greeting.program,
            });
        }
        wire::read::<Request>(&mut reader).await
    });
    let request = match wanted.await.map_err(|_| ControlError::Silent)? {
        Ok(request) => request,
        Err(error @ (ControlError::Json(_) | ControlError::TooLong { .. })) => {
            return writer.send(&Answer::Failed(Failure::of(FailureKind::Invalid, &error))).await;
        }
        Err(error) => return Err(error),
    };
    if stopping.load(Ordering::Acquire) {
        return writer.send(&Answer::Stopping).await;
    }
    Box::pin(answer(node, request, &mut reader, &mut writer)).await
}

/// Carries a request out and sends its replies, until it is done or the client hangs up.
async fn answer(
    node: &Node,
    request: Request,
    reader: &mut OwnedReadHalf,
    writer: &mut Writer<'_>,
) -> Result<(), ControlError> {
    let (sender, mut replies) = mpsc::channel(REPLIES_MAX);
    let mut work = std::pin::pin!(execute(node, request, sender));
    let done = loop {
        let mut rest = [0; 1];
        tokio::select! {
            biased;
            Some(reply) = replies.recv() => writer.reply(reply, &mut replies).await?,
            done = &mut work => break done,
            // One connection carries one request: after any further byte, or the end, the client does not
            // wait for this one.
            _ = reader.read(&mut rest) => return Err(ControlError::HungUp),
            () = node.clock().sleep(ALIVE_EVERY) => writer.send(&Answer::Alive).await?,
        }
    };
    while let Ok(reply) = replies.try_recv() {
        writer.reply(reply, &mut replies).await?;
    }
    match done {
        Ok(()) => writer.send(&Answer::Done).await,
        Err(failure) => writer.send(&Answer::Failed(failure)).await,
    }
}

/// A writer to a client, with a limit on how long the client may not read.
struct Writer<'n> {
    stream: BufWriter<OwnedWriteHalf>,
    node: &'n Node,
}

impl Writer<'_> {
    /// Sends a reply and those that are queued behind it.
    async fn reply(&mut self, first: Reply, more: &mut mpsc::Receiver<Reply>) -> Result<(), ControlError> {
        let mut next = Some(first);
        while let Some(reply) = next {
            match self.put(&Answer::Reply(reply)).await {
                Err(error @ ControlError::TooLong { .. }) => {
                    self.send(&Answer::Failed(Failure::of(FailureKind::Failed, &error))).await?;
                    return Err(error);
                }
                written => written?,
            }
            next = more.try_recv().ok();
        }
        self.flush().await
    }

    async fn send<T: serde::Serialize>(&mut self, message: &T) -> Result<(), ControlError> {
        self.put(message).await?;
        self.flush().await
    }

    async fn put<T: serde::Serialize>(&mut self, message: &T) -> Result<(), ControlError> {
        let writing = self.node.clock().timeout(WRITE_TIMEOUT, wire::write(&mut self.stream, message));
        writing.await.map_err(|_| ControlError::Silent)?
    }

    async fn flush(&mut self) -> Result<(), ControlError> {
        let flushing = self.node.clock().timeout(WRITE_TIMEOUT, self.stream.flush());
        let flushed: io::Result<()> = flushing.await.map_err(|_| ControlError::Silent)?;
        Ok(flushed?)
    }
}
