//! `import`: rows of a file, in batches. Acknowledged rows are durable, and repeating an import duplicates
//! nothing.

mod csv;
mod lines;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use peerbase::control::request::InGroup;
use peerbase::control::wire::ROW_BYTES_MAX;
use peerbase::control::{Fields, Reply, Request};
use peerbase::table::PutMany;
use schema::limits::ROW_KEY_BYTES_MAX;

use super::connection::{Connection, Database};
use super::data::Data;
use super::error::CommandError;
use super::output::Output;

/// Rows of a batch; they share one flush of the disk.
const BATCH_ROWS: usize = 256;
/// Bytes of a batch, approximately; far below the limit of a message.
const BATCH_BYTES: usize = 1 << 20;
/// The pause between two drawings of the bar.
const TICK: Duration = Duration::from_millis(200);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The table
    table: String,
    /// A CSV file with a header row or a JSON lines file; - for standard input
    file: PathBuf,
    /// The column or field that holds the row's key; lines written by `export` need none
    #[arg(long, value_name = "COLUMN")]
    key: Option<String>,
    /// A CSV column that holds numbers; may be repeated. Other columns are text
    #[arg(long, value_name = "COLUMN")]
    number: Vec<String>,
    /// The file's format, if its name does not end in .csv, .jsonl or .ndjson
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    #[command(flatten)]
    group: InGroup,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Csv,
    Jsonl,
}

/// A row of the file.
#[derive(Debug, PartialEq)]
struct Item {
    line: u64,
    key: String,
    row: Fields,
    /// Bytes of the file read up to here.
    read: u64,
    /// The row's size, bytes, approximately.
    bytes: usize,
}

type Items = Box<dyn Iterator<Item = Result<Item, ImportError>>>;

/// The error that ends an import. Acknowledged rows stay.
#[derive(Debug, thiserror::Error)]
enum ImportError {
    #[error("could not read the file")]
    Read(#[source] io::Error),
    #[error("line {line}: {what}")]
    Csv { line: u64, what: String },
    #[error("the file has no header row")]
    NoHeader,
    #[error("line 1: column {column:?} appears twice")]
    ColumnTwice { column: String },
    #[error("line 1: column {column:?}: names that begin with $ are reserved")]
    ColumnReserved { column: String },
    #[error("no column {column:?}; there are {}", known.join(", "))]
    NoColumn { column: String, known: Vec<String> },
    #[error("line {line}: {got} cells where the header has {expected}")]
    Cells { line: u64, got: u64, expected: u64 },
    #[error("line {line}, column {column:?}: not UTF-8")]
    Utf8 { line: u64, column: String },
    #[error("line {line}, column {column:?}: a quote is opened and never closed")]
    Quote { line: u64, column: String },
    #[error("line {line}, column {column:?}: {cell:?} is no number")]
    Number { line: u64, column: String, cell: String },
    #[error("line {line}, column {column}: {what}")]
    Json { line: u64, column: usize, what: String },
    #[error("line {line}: no JSON object")]
    NoObject { line: u64 },
    #[error("line {line}: no field {field:?}; there are {}", known.join(", "))]
    NoField { line: u64, field: String, known: Vec<String> },
    #[error("line {line}, field {field:?}: a key is text or a whole number")]
    Key { line: u64, field: String },
    #[error(
        "line {line}: not of the form {{\"key\":…,\"row\":{{…}}}} that `export` writes; `--key FIELD` names \
        the field that holds the key"
    )]
    NoExport { line: u64 },
    #[error("line {line}: a row of table {found:?}, not of {table:?}")]
    Table { line: u64, found: String, table: String },
    #[error("line {line}: more than {ROW_BYTES_MAX} bytes in one row")]
    TooLarge { line: u64 },
    #[error("line {line}: the key is empty")]
    KeyEmpty { line: u64 },
    #[error("line {line}: a key of {bytes} bytes, at most {ROW_KEY_BYTES_MAX} are allowed")]
    KeyTooLong { line: u64, bytes: usize },
    #[error("line {line}: key {key:?} was in line {first} already")]
    KeyTwice { line: u64, key: String, first: u64 },
}

pub(crate) async fn run(data: &Data, options: Options, output: &mut Output) -> Result<(), CommandError> {
    let format = format(&options)?;
    let (file, bytes) = open(&options.file)?;
    let Options { table, key, number, group, .. } = options;
    let name = match &options.file {
        file if file == Path::new("-") => "standard input".to_owned(),
        file => file.display().to_string(),
    };
    let items = match (format, key) {
        (Format::Csv, Some(key)) => csv::items(file, &key, &number),
        (Format::Csv, None) => {
            return Err(CommandError::Usage(
                "`--key COLUMN` is missing: the column that holds the key".into(),
            ));
        }
        (Format::Jsonl, key) => Ok(lines::items(file, key, table.clone())),
    };
    let mut import = Import {
        connection: Connection::new(data, Database::Existing),
        group: group.group,
        table,
        output,
        bar: bar(bytes),
        done: PutMany::default(),
    };
    let imported = match items {
        Ok(items) => import.all(items, &name).await,
        Err(error) => Err(in_file(&name, &error)),
    };
    import.end(imported).await
}

/// Returns the file's format: the option's, else the one of the file's name.
fn format(options: &Options) -> Result<Format, CommandError> {
    let extension = options.file.extension().and_then(|extension| extension.to_str());
    let format = options.format.or_else(|| match extension?.to_lowercase().as_str() {
        "csv" => Some(Format::Csv),
        "jsonl" | "ndjson" => Some(Format::Jsonl),
        _ => None,
    });
    let format = format.ok_or_else(|| {
        CommandError::Usage("the format is unknown; add `--format csv` or `--format jsonl`".into())
    })?;
    if format == Format::Jsonl && !options.number.is_empty() {
        return Err(CommandError::Usage("`--number` is for CSV only; JSON has numbers of its own".into()));
    }
    Ok(format)
}

/// Opens the file; its length too, where it is known.
fn open(path: &Path) -> Result<(Box<dyn Read>, Option<u64>), CommandError> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin()), None));
    }
    let refused = |cause: io::Error| CommandError::io(format!("could not read {}", path.display()), &cause);
    let file = File::open(path).map_err(refused)?;
    let about = file.metadata().map_err(refused)?;
    Ok((Box::new(file), about.is_file().then_some(about.len())))
}

/// Makes the bar that shows progress on a terminal.
fn bar(bytes: Option<u64>) -> ProgressBar {
    let (bar, style) = match bytes {
        Some(bytes) => (ProgressBar::new(bytes), "{bar:40} {bytes}/{total_bytes} {msg} {eta}"),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} {msg}"),
    };
    bar.set_style(ProgressStyle::with_template(style).expect("the template is ours"));
    bar
}

/// Puts the file's name before an error.
fn in_file(name: &str, error: &ImportError) -> CommandError {
    match CommandError::of(error) {
        CommandError::Failed(mut failure) => {
            failure.message = format!("{name}: {}", failure.message);
            CommandError::Failed(failure)
        }
        other => other,
    }
}

struct Import<'d, 'o> {
    connection: Connection<'d>,
    group: Option<String>,
    table: String,
    output: &'o mut Output,
    bar: ProgressBar,
    done: PutMany,
}

impl Import<'_, '_> {
    /// Sends the rows in batches. Rows before a bad line are written; rows after it are not read.
    async fn all(&mut self, items: Items, name: &str) -> Result<(), CommandError> {
        if !self.output.is_watched() {
            self.bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        self.bar.enable_steady_tick(TICK);
        let mut lines: BTreeMap<String, u64> = BTreeMap::new();
        let (mut batch, mut bytes, mut read) = (Vec::new(), 0, 0);
        let mut bad = None;
        for item in items {
            let checked = item.and_then(|item| check(item, &mut lines));
            let Item { key, row, bytes: more, read: at, .. } = match checked {
                Ok(item) => item,
                Err(error) => {
                    bad = Some(error);
                    break;
                }
            };
            if !batch.is_empty() && bytes + more > BATCH_BYTES {
                self.send(std::mem::take(&mut batch), read).await?;
                bytes = 0;
            }
            batch.push((key, row));
            (bytes, read) = (bytes + more, at);
            if batch.len() == BATCH_ROWS {
                self.send(std::mem::take(&mut batch), read).await?;
                bytes = 0;
            }
        }
        if !batch.is_empty() {
            self.send(batch, read).await?;
        }
        bad.map_or(Ok(()), |error| Err(in_file(name, &error)))
    }

    async fn send(&mut self, rows: Vec<(String, Fields)>, read: u64) -> Result<(), CommandError> {
        let (group, table) = (self.group.clone(), self.table.clone());
        let mut written = PutMany::default();
        let asked = self.connection.ask(Request::PutMany { group, table, rows }, |reply| {
            if let Reply::Written(done) = reply {
                written = done;
            }
            Ok(())
        });
        asked.await?;
        self.done.written += written.written;
        self.done.unchanged += written.unchanged;
        let acknowledged = self.done.written + self.done.unchanged;
        self.bar.set_position(read);
        self.bar.set_message(format!("{acknowledged} rows"));
        if self.output.is_json() {
            self.output.json(&serde_json::json!({ "acknowledged": acknowledged }))?;
        }
        Ok(())
    }

    /// Closes the connection and prints the sums, also when the import failed.
    async fn end(self, imported: Result<(), CommandError>) -> Result<(), CommandError> {
        let Self { connection, output, bar, done, .. } = self;
        bar.finish_and_clear();
        connection.close().await;
        match imported {
            Ok(()) => output.reply(&Reply::Written(done)),
            // Half an import is no success, though the reader has closed the output.
            Err(CommandError::OutputClosed) => {
                Err(CommandError::io("could not write to standard output", &closed()))
            }
            Err(error) => {
                let PutMany { written, unchanged } = done;
                output.note(&format!("before the error: {written} rows written, {unchanged} unchanged"));
                Err(error)
            }
        }
    }
}

fn closed() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

/// Refuses an item whose key is invalid or has occurred before, or whose row is too large.
fn check(item: Item, lines: &mut BTreeMap<String, u64>) -> Result<Item, ImportError> {
    let Item { line, key, bytes, .. } = &item;
    let line = *line;
    match key.len() {
        0 => return Err(ImportError::KeyEmpty { line }),
        bytes if bytes > ROW_KEY_BYTES_MAX => return Err(ImportError::KeyTooLong { line, bytes }),
        _ => {}
    }
    if *bytes > ROW_BYTES_MAX {
        return Err(ImportError::TooLarge { line });
    }
    match lines.insert(key.clone(), line) {
        Some(first) => Err(ImportError::KeyTwice { line, key: key.clone(), first }),
        None => Ok(item),
    }
}
