//! `put`, `remove`, `get`, `list`, `watch`, `history`, `explain`, `export`: tables and rows.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use peerbase::control::{Fields, Reply, Request};

use super::data::Data;
use super::door::{self, Need};
use super::output::{Output, unread};
use super::text;
use super::trouble::Trouble;

/// A row on standard input, bytes: one that is larger does not cross the control socket.
const ROW_BYTES_MAX: u64 = 16 << 20;

#[derive(clap::Args)]
pub(crate) struct InGroup {
    /// Which group, unless there is one only: its id, the first digits of it, or its name
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
}

#[derive(clap::Args)]
pub(crate) struct Put {
    table: String,
    key: String,
    /// The row: a JSON object, or - for standard input
    #[arg(value_name = "JSON", allow_hyphen_values = true)]
    row: String,
    #[command(flatten)]
    group: InGroup,
}

#[derive(clap::Args)]
pub(crate) struct Place {
    table: String,
    key: String,
    #[command(flatten)]
    group: InGroup,
}

#[derive(clap::Args)]
pub(crate) struct List {
    /// Without it the tables are shown
    table: Option<String>,
    #[command(flatten)]
    group: InGroup,
}

#[derive(clap::Args)]
pub(crate) struct Watch {
    table: String,
    #[command(flatten)]
    group: InGroup,
}

#[derive(clap::Args)]
pub(crate) struct Export {
    /// This table alone
    table: Option<String>,
    /// Where to write; standard output unless it is named, or named -
    file: Option<PathBuf>,
    #[command(flatten)]
    group: InGroup,
}

impl InGroup {
    pub(crate) fn wanted(self) -> Option<String> {
        self.group
    }
}

/// A row is not what it should be.
#[derive(Debug, thiserror::Error)]
enum RowError {
    /// Correct it.
    #[error("the row is no JSON object")]
    Json(#[source] serde_json::Error),
    /// Split it.
    #[error("the row on standard input has more than {ROW_BYTES_MAX} bytes")]
    TooLarge,
}

pub(crate) async fn put(data: &Data, options: Put, output: &mut Output) -> Result<(), Trouble> {
    let Put { table, key, row, group } = options;
    let row = if row == "-" { standard_input()? } else { row.into_bytes() };
    let row: Fields =
        serde_json::from_slice(&row).map_err(|error| Trouble::invalid(&RowError::Json(error)))?;
    let request = Request::Put { group: group.wanted(), table, key, row };
    door::ask(data, Need::Existing, request, output).await
}

fn standard_input() -> Result<Vec<u8>, Trouble> {
    let mut bytes = Vec::new();
    let mut stdin = io::stdin().lock().take(ROW_BYTES_MAX + 1);
    stdin.read_to_end(&mut bytes).map_err(|cause| Trouble::io("could not read standard input", &cause))?;
    if bytes.len() as u64 > ROW_BYTES_MAX {
        return Err(Trouble::invalid(&RowError::TooLarge));
    }
    Ok(bytes)
}

pub(crate) async fn remove(data: &Data, place: Place, output: &mut Output) -> Result<(), Trouble> {
    let Place { table, key, group } = place;
    door::ask(data, Need::Existing, Request::Remove { group: group.wanted(), table, key }, output).await
}

/// Prints the row alone: the key is known.
pub(crate) async fn get(data: &Data, place: Place, output: &mut Output) -> Result<(), Trouble> {
    let Place { table, key, group } = place;
    let request = Request::Get { group: group.wanted(), table, key };
    door::ask_with(data, Need::Existing, request, |reply| match reply {
        Reply::Row(line) => output.line(&text::json(&line.row)),
        other => output.reply(&other),
    })
    .await
}

pub(crate) async fn list(data: &Data, options: List, output: &mut Output) -> Result<(), Trouble> {
    let group = options.group.wanted();
    let request = match options.table {
        Some(table) => Request::Rows { group, table: Some(table) },
        None => Request::Tables { group },
    };
    door::ask(data, Need::Existing, request, output).await
}

pub(crate) async fn watch(data: &Data, options: Watch, output: &mut Output) -> Result<(), Trouble> {
    let request = Request::Watch { group: options.group.wanted(), table: options.table };
    door::ask(data, Need::Linked, request, output).await
}

pub(crate) async fn history(data: &Data, place: Place, output: &mut Output) -> Result<(), Trouble> {
    let Place { table, key, group } = place;
    door::ask(data, Need::Existing, Request::History { group: group.wanted(), table, key }, output).await
}

pub(crate) async fn explain(data: &Data, place: Place, output: &mut Output) -> Result<(), Trouble> {
    let Place { table, key, group } = place;
    door::ask(data, Need::Existing, Request::Explain { group: group.wanted(), table, key }, output).await
}

/// Writes `{"table","key","row"}` a line, in order of table and key and of names within a row: equal databases give
/// equal bytes. A file is written whole or not at all; what is none (a pipe, a device) is written into.
pub(crate) async fn export(data: &Data, options: Export, output: &mut Output) -> Result<(), Trouble> {
    let request = Request::Rows { group: options.group.wanted(), table: options.table };
    let Some(file) = options.file.filter(|file| file.as_os_str() != "-") else {
        let mut stdout = BufWriter::new(io::stdout().lock());
        door::ask_with(data, Need::Existing, request, |reply| unread(exported(&mut stdout, &reply))).await?;
        return unread(stdout.flush());
    };
    let refused = |cause: io::Error| Trouble::io(format!("could not write {}", file.display()), &cause);
    let mut target = Target::open(&file).map_err(refused)?;
    let mut rows = 0_u64;
    door::ask_with(data, Need::Existing, request, |reply| {
        rows += u64::from(matches!(reply, Reply::Row(_)));
        exported(target.writer(), &reply).map_err(refused)
    })
    .await?;
    target.finish().map_err(refused)?;
    if output.is_json() {
        return output.json(&serde_json::json!({ "rows": rows }));
    }
    output.note(&format!("{}: rows {rows}", file.display()));
    Ok(())
}

/// Where an export goes.
enum Target {
    /// A file, made beside its place and moved there once it is whole.
    File { new: BufWriter<tempfile::NamedTempFile>, place: PathBuf },
    /// Something that cannot be replaced.
    Stream(BufWriter<File>),
}

impl Target {
    fn open(path: &Path) -> io::Result<Self> {
        // Through links: it is their target that is meant.
        let (place, mode) = match std::fs::metadata(path) {
            Ok(found) if found.is_file() => (path.canonicalize()?, Some(found.permissions())),
            Ok(_) => return Ok(Self::Stream(BufWriter::new(File::options().write(true).open(path)?))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (path.to_owned(), None),
            Err(error) => return Err(error),
        };
        if mode.is_some() {
            // What may not be written may not be replaced either.
            File::options().write(true).open(&place)?;
        }
        let new = tempfile::NamedTempFile::new_in(folder_of(&place))?;
        if let Some(mode) = mode {
            new.as_file().set_permissions(mode)?;
        }
        Ok(Self::File { new: BufWriter::new(new), place })
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::File { new, .. } => new,
            Self::Stream(stream) => stream,
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::File { new, place } => {
                let new = new.into_inner().map_err(io::IntoInnerError::into_error)?;
                new.as_file().sync_all()?;
                new.persist(&place).map_err(|error| error.error)?;
                File::open(folder_of(&place))?.sync_all()
            }
            Self::Stream(mut stream) => stream.flush(),
        }
    }
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn exported(mut to: impl Write, reply: &Reply) -> io::Result<()> {
    match reply {
        Reply::Row(line) => writeln!(to, "{}", text::json(line)),
        _ => Ok(()),
    }
}
