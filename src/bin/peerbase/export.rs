//! `export`: all rows as JSON lines.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use peerbase::control::request::InGroup;
use peerbase::control::{Reply, Request};

use super::connection::{self, Database};
use super::data::Data;
use super::error::CommandError;
use super::output::{Output, written};
use super::text;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// This table only
    table: Option<String>,
    /// The file to write; standard output without one, or with -
    file: Option<PathBuf>,
    #[command(flatten)]
    group: InGroup,
}

/// Writes `{"table","key","row"}` a line, in order of table and key, with sorted names in each row: equal
/// databases give equal bytes. A regular file is replaced as a whole or not at all; a pipe or a device is
/// written to.
pub(crate) async fn run(data: &Data, options: Options, output: &mut Output) -> Result<(), CommandError> {
    let request = Request::Rows { group: options.group.group, table: options.table };
    let Some(file) = options.file.filter(|file| file.as_os_str() != "-") else {
        let mut stdout = BufWriter::new(io::stdout().lock());
        let write = |reply| written(write_row(&mut stdout, &reply));
        connection::ask_with(data, Database::Existing, request, write).await?;
        return written(stdout.flush());
    };
    let failed = |cause: io::Error| CommandError::io(format!("could not write {}", file.display()), &cause);
    let mut target = Target::open(&file).map_err(failed)?;
    let mut rows = 0_u64;
    connection::ask_with(data, Database::Existing, request, |reply| {
        rows += u64::from(matches!(reply, Reply::Row(_)));
        write_row(target.writer(), &reply).map_err(failed)
    })
    .await?;
    target.finish().map_err(failed)?;
    if output.is_json() {
        return output.json(&serde_json::json!({ "rows": rows }));
    }
    output.note(&format!("{}: rows {rows}", file.display()));
    Ok(())
}

/// The destination of an export.
enum Target {
    /// A regular file: written as a new one beside `path`, which it replaces once it is whole.
    File { new: BufWriter<tempfile::NamedTempFile>, path: PathBuf },
    /// A pipe or a device, which cannot be replaced.
    Stream(BufWriter<File>),
}

impl Target {
    fn open(path: &Path) -> io::Result<Self> {
        // A link stays; its target is replaced.
        let (target, mode) = match std::fs::metadata(path) {
            Ok(found) if found.is_file() => (path.canonicalize()?, Some(found.permissions())),
            Ok(_) => return Ok(Self::Stream(BufWriter::new(File::options().write(true).open(path)?))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (path.to_owned(), None),
            Err(error) => return Err(error),
        };
        if mode.is_some() {
            // A file that may not be written may not be replaced either.
            File::options().write(true).open(&target)?;
        }
        let new = tempfile::NamedTempFile::new_in(folder_of(&target))?;
        if let Some(mode) = mode {
            new.as_file().set_permissions(mode)?;
        }
        Ok(Self::File { new: BufWriter::new(new), path: target })
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::File { new, .. } => new,
            Self::Stream(stream) => stream,
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::File { new, path } => {
                let new = new.into_inner().map_err(io::IntoInnerError::into_error)?;
                new.as_file().sync_all()?;
                new.persist(&path).map_err(|error| error.error)?;
                File::open(folder_of(&path))?.sync_all()
            }
            Self::Stream(mut stream) => stream.flush(),
        }
    }
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn write_row(mut to: impl Write, reply: &Reply) -> io::Result<()> {
    match reply {
        Reply::Row(row) => writeln!(to, "{}", text::json(row)),
        _ => Ok(()),
    }
}
