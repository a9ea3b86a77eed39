//! `import`: rows of a file, in batches; what is acknowledged is durable, and repeating it duplicates nothing.

mod csv;
mod lines;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use peerbase::control::reply::Written;
use peerbase::control::{Fields, Reply, Request};
use schema::limits::ROW_KEY_BYTES_MAX;

use super::data::Data;
use super::door::{Door, Need};
use super::output::Output;
use super::rows::InGroup;
use super::trouble::Trouble;

/// Rows of a batch: one barrier of the disk for all of them.
const BATCH_ROWS: usize = 256;
/// Bytes of a batch, about: far below what one message may have.
const BATCH_BYTES: usize = 1 << 20;
/// One line or one record, bytes: a row has fewer, or would not cross the control socket.
const ROW_BYTES_MAX: usize = 8 << 20;
/// How often the bar is drawn while nothing is acknowledged.
const TICK: Duration = Duration::from_millis(200);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Into which table
    table: String,
    /// A CSV file with a header row or a JSON lines file; - for standard input
    file: PathBuf,
    /// The column or field that is the row's key; lines as `export` writes them need none
    #[arg(long, value_name = "COLUMN")]
    key: Option<String>,
    /// A CSV column of numbers; may be repeated. Other columns are text
    #[arg(long, value_name = "COLUMN")]
    number: Vec<String>,
    /// Which kind of file, unless its name ends in .csv, .jsonl or .ndjson
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
    /// How much of the file is read, bytes.
    read: u64,
    /// How large the row is, bytes, about.
    bytes: usize,
}

type Items = Box<dyn Iterator<Item = Result<Item, ImportError>>>;

/// Why a file is not imported further. What was acknowledged stays.
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
        "line {line}: not of the form {{\"key\":…,\"row\":{{…}}}} that `export` writes; `--key FIELD` says which field is the key"
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

pub(crate) async fn run(data: &Data, options: Options, output: &mut Output) -> Result<(), Trouble> {
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
            return Err(Trouble::Usage("`--key COLUMN` says which column is the key".into()));
        }
        (Format::Jsonl, key) => Ok(lines::items(file, key, table.clone())),
    };
    let mut import = Import {
        door: Door::new(data, Need::Existing),
        group: group.wanted(),
        table,
        output,
        bar: bar(bytes),
        done: Written::default(),
    };
    let imported = match items {
        Ok(items) => import.all(items, &name).await,
        Err(error) => Err(damaged(&name, &error)),
    };
    import.end(imported).await
}

/// The file's kind, by its name unless it is said.
fn format(options: &Options) -> Result<Format, Trouble> {
    let extension = options.file.extension().and_then(|extension| extension.to_str());
    let format = options.format.or_else(|| match extension?.to_lowercase().as_str() {
        "csv" => Some(Format::Csv),
        "jsonl" | "ndjson" => Some(Format::Jsonl),
        _ => None,
    });
    let format =
        format.ok_or_else(|| Trouble::Usage("`--format csv` or `--format jsonl` says what it is".into()))?;
    if format == Format::Jsonl && !options.number.is_empty() {
        return Err(Trouble::Usage("`--number` is for CSV: JSON says itself what a number is".into()));
    }
    Ok(format)
}

/// The file, and how long it is when that is known.
fn open(path: &Path) -> Result<(Box<dyn Read>, Option<u64>), Trouble> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin()), None));
    }
    let refused = |cause: io::Error| Trouble::io(format!("could not read {}", path.display()), &cause);
    let file = File::open(path).map_err(refused)?;
    let about = file.metadata().map_err(refused)?;
    Ok((Box::new(file), about.is_file().then_some(about.len())))
}

/// Drawn on a terminal alone.
fn bar(bytes: Option<u64>) -> ProgressBar {
    let (bar, style) = match bytes {
        Some(bytes) => (ProgressBar::new(bytes), "{bar:40} {bytes}/{total_bytes} {msg} {eta}"),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} {msg}"),
    };
    bar.set_style(ProgressStyle::with_template(style).expect("the template is ours"));
    bar
}

fn damaged(name: &str, error: &ImportError) -> Trouble {
    match Trouble::invalid(error) {
        Trouble::Failed(mut failure) => {
            failure.message = format!("{name}: {}", failure.message);
            Trouble::Failed(failure)
        }
        other => other,
    }
}

struct Import<'d, 'o> {
    door: Door<'d>,
    group: Option<String>,
    table: String,
    output: &'o mut Output,
    bar: ProgressBar,
    done: Written,
}

impl Import<'_, '_> {
    /// Sends batch by batch. Rows before a bad line are written; those behind it are not looked at.
    async fn all(&mut self, items: Items, name: &str) -> Result<(), Trouble> {
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
        bad.map_or(Ok(()), |error| Err(damaged(name, &error)))
    }

    async fn send(&mut self, rows: Vec<(String, Fields)>, read: u64) -> Result<(), Trouble> {
        let (group, table) = (self.group.clone(), self.table.clone());
        let mut written = Written::default();
        let asked = self.door.ask(Request::PutMany { group, table, rows }, |reply| {
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

    /// Closes what was opened, and says what was done however it ended.
    async fn end(self, imported: Result<(), Trouble>) -> Result<(), Trouble> {
        let Self { door, output, bar, done, .. } = self;
        bar.finish_and_clear();
        door.close().await;
        match imported {
            Ok(()) => output.reply(&Reply::Written(done)),
            // Half an import is no success, whoever has stopped reading.
            Err(Trouble::Unread) => Err(Trouble::io("could not write to standard output", &closed())),
            Err(trouble) => {
                let Written { written, unchanged } = done;
                output.note(&format!("before that: {written} rows written, {unchanged} unchanged"));
                Err(trouble)
            }
        }
    }
}

fn closed() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

/// A key that can be one, for the first time.
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
