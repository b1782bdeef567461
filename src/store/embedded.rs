//! Rows in one file on one host. One thread writes; what waits together is committed together.
//!
//! Never acknowledges what is not on disk, and never does half of it.

use std::fs::{self, File, OpenOptions};
use std::ops::{Bound, ControlFlow};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::RwLock;
use redb::{
    Builder, Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, Table,
    TableDefinition, TableError,
};
use tokio::sync::{mpsc, oneshot};

use crate::refusal::Fault;
use crate::store::codec::{read, write};
use crate::store::rows::{Changes, Meta, Row, Rows, Visit, key};
use crate::store::shared::Shared;
use crate::store::step::{Event, Reply, step};

const ROWS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("rows");
/// BOUND: redb's own default is 1 GiB; the hot rows of a busy store fit in this.
const CACHE_BYTES: usize = 8 << 20;
/// BOUND: a smaller file is left as it is.
const COMPACT_FROM_BYTES: u64 = 8 << 20;
/// BOUND: events of one commit. A commit of 256 takes some 15 ms; more would only make the last wait.
const BATCH_MAX: usize = 256;
/// BOUND: events that wait for the writer; more wait for room.
const QUEUE_MAX: usize = 1_024;

/// The file and its writer.
#[derive(Debug)]
pub struct Embedded {
    queue: Option<mpsc::Sender<Job>>,
    file: Arc<RwLock<Option<Database>>>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Job {
    event: Event,
    reply: oneshot::Sender<Result<Reply, Fault>>,
}

/// Why a batch was not acknowledged.
enum Failed {
    /// Nothing of it is there.
    NotDone(String),
    /// The commit itself failed: it may be there.
    Maybe(String),
}

impl Embedded {
    /// Opens `dir/store.redb`, or makes it.
    ///
    /// # Errors
    ///
    /// When another process has it, or it cannot be read or written.
    pub fn open(dir: &Path) -> Result<(Self, Meta), Fault> {
        let path = dir.join("store.redb");
        let mut database = open(dir, &path)?;
        compact(&mut database, &path).map_err(unreadable)?;
        let meta = read_meta(&database)?;
        let file = Arc::new(RwLock::new(Some(database)));
        Ok((Self { queue: None, file, writer: None }, meta))
    }

    /// Starts the writer.
    ///
    /// # Errors
    ///
    /// When the system has no thread.
    pub fn start(&mut self, dir: &Path, shared: Arc<Shared>) -> Result<(), Fault> {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let writer = Writer {
            dir: dir.to_path_buf(),
            path: dir.join("store.redb"),
            file: Arc::clone(&self.file),
            shared,
        };
        let thread = std::thread::Builder::new()
            .name("tollhouse-store".to_owned())
            .spawn(move || writer.run(jobs))
            .map_err(|error| Fault::StoreUnavailable(error.to_string()))?;
        self.queue = Some(queue);
        self.writer = Some(thread);
        Ok(())
    }

    /// One step; returns once it is on disk.
    pub async fn run(&self, event: Event) -> Result<Reply, Fault> {
        let gone = || Fault::StoreUnavailable("the store's writer has ended".to_owned());
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        queue.send(Job { event, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| {
            Fault::StoreAmbiguous("the store's writer ended before it answered".to_owned())
        })?
    }

    /// One step of a store that nobody uses yet.
    pub fn run_blocking(&self, event: Event) -> Result<Reply, Fault> {
        let gone = || Fault::StoreUnavailable("the store's writer has ended".to_owned());
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        queue.try_send(Job { event, reply }).map_err(|_| gone())?;
        // A thread of its own: `blocking_recv` must not run on a runtime's thread.
        std::thread::scope(|scope| scope.spawn(|| answer.blocking_recv()).join())
            .map_err(|_| gone())?
            .map_err(|_| gone())?
    }

    /// Looks at the rows as they were last committed.
    pub fn read<T>(&self, look: impl FnOnce(&dyn Rows) -> Result<T, Fault>) -> Result<T, Fault> {
        let file = self.file.read();
        let database = file.as_ref().ok_or_else(|| unreadable("the file is not open"))?;
        let transaction = database.begin_read().map_err(unreadable)?;
        match transaction.open_table(ROWS) {
            Ok(table) => look(&Live(&table)),
            Err(TableError::TableDoesNotExist(_)) => look(&crate::store::rows::Tables::default()),
            Err(error) => Err(unreadable(error)),
        }
    }
}

impl Drop for Embedded {
    /// Whatever was queued is committed, then the lock is given back.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            let _ended = writer.join();
        }
    }
}

fn unreadable(error: impl ToString) -> Fault {
    Fault::StoreUnavailable(error.to_string())
}

fn open(dir: &Path, path: &Path) -> Result<Database, Fault> {
    let named = |error: &dyn ToString| {
        Fault::StoreUnavailable(format!("`{}`: {}", path.display(), error.to_string()))
    };
    // SECURITY: who can read the file sees who asked what; requests and answers are sealed in it.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| named(&e))?;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|e| named(&e))?;
    let database = Builder::new().set_cache_size(CACHE_BYTES).create(path);
    let database = database.map_err(|error| {
        if matches!(error, DatabaseError::DatabaseAlreadyOpen) {
            return named(&"another process has this store open");
        }
        named(&error)
    })?;
    // The file's name must outlive a crash, too.
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|e| named(&e))?;
    Ok(database)
}

/// Gives back the room of rows that are gone, once half of the file is empty. While it is open the file
/// grows to what was kept at most at one time, and its empty pages are used again.
fn compact(database: &mut Database, path: &Path) -> Result<(), String> {
    let bytes = fs::metadata(path).map_err(|e| e.to_string())?.len();
    if bytes < COMPACT_FROM_BYTES {
        return Ok(());
    }
    let transaction = database.begin_write().map_err(|e| e.to_string())?;
    let stats = transaction.stats().map_err(|e| e.to_string())?;
    transaction.abort().map_err(|e| e.to_string())?;
    let page = u64::try_from(stats.page_size()).unwrap_or(u64::MAX);
    if stats.allocated_pages().saturating_mul(page).saturating_mul(2) < bytes {
        database.compact().map_err(|e| e.to_string())?;
    }
    Ok(())
}

fn read_meta(database: &Database) -> Result<Meta, Fault> {
    let transaction = database.begin_read().map_err(unreadable)?;
    match transaction.open_table(ROWS) {
        Ok(table) => meta_of(&Live(&table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(Meta::default()),
        Err(error) => Err(unreadable(error)),
    }
}

fn meta_of(rows: &dyn Rows) -> Result<Meta, Fault> {
    match rows.find(&key::meta())? {
        Some(Row::Meta(meta)) => Ok(meta),
        None => Ok(Meta::default()),
        Some(_) => Err(unreadable("a row is damaged: meta")),
    }
}

/// A table of either kind of transaction.
struct Live<'t, T>(&'t T);

impl<T: ReadableTable<&'static [u8], &'static [u8]>> Rows for Live<'_, T> {
    fn find(&self, key: &[u8]) -> Result<Option<Row>, Fault> {
        let Some(found) = self.0.get(key).map_err(unreadable)? else {
            return Ok(None);
        };
        row(found.value()).map(Some)
    }

    fn walk(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), Fault> {
        if from >= to {
            return Ok(());
        }
        for entry in self.0.range(from..to).map_err(unreadable)? {
            let (key, value) = entry.map_err(unreadable)?;
            if let ControlFlow::Break(()) = visit(key.value(), row(value.value())?) {
                break;
            }
        }
        Ok(())
    }
}

/// Rows, and over them what a batch has changed so far.
struct Over<R> {
    below: R,
    changes: Changes,
}

impl<R: Rows> Rows for Over<R> {
    fn find(&self, key: &[u8]) -> Result<Option<Row>, Fault> {
        match self.changes.get(key) {
            Some(row) => Ok(row.clone()),
            None => self.below.find(key),
        }
    }

    fn walk(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), Fault> {
        if from >= to {
            return Ok(());
        }
        let range = (Bound::Included(from), Bound::Excluded(to));
        let mut own = self.changes.range::<[u8], _>(range).peekable();
        let mut is_over = false;
        self.below.walk(from, to, &mut |key, row| {
            // In order: what is new before this key, then this key, as it is now.
            while let Some((new, row)) = own.next_if(|(new, _)| new.as_slice() < key) {
                if row.clone().is_some_and(|row| visit(new, row).is_break()) {
                    is_over = true;
                    return ControlFlow::Break(());
                }
            }
            let shown = match own.next_if(|(same, _)| same.as_slice() == key) {
                Some((_, changed)) => changed.clone(),
                None => Some(row),
            };
            match shown.map(|row| visit(key, row)) {
                Some(ControlFlow::Break(())) => {
                    is_over = true;
                    ControlFlow::Break(())
                }
                Some(ControlFlow::Continue(())) | None => ControlFlow::Continue(()),
            }
        })?;
        for (new, row) in own {
            if is_over || row.clone().is_some_and(|row| visit(new, row).is_break()) {
                break;
            }
        }
        Ok(())
    }
}

fn row(bytes: &[u8]) -> Result<Row, Fault> {
    read(bytes).ok_or_else(|| unreadable("a row is damaged, or was written by a newer version"))
}

struct Writer {
    dir: PathBuf,
    path: PathBuf,
    file: Arc<RwLock<Option<Database>>>,
    shared: Arc<Shared>,
}

impl Writer {
    fn run(self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut batch = vec![first];
            while batch.len() < BATCH_MAX
                && let Ok(next) = jobs.try_recv()
            {
                batch.push(next);
            }
            self.commit(batch);
        }
        *self.file.write() = None;
    }

    fn commit(&self, batch: Vec<Job>) {
        // Space may have come back since it failed last.
        if self.file.read().is_none()
            && let Ok(database) = open(&self.dir, &self.path)
        {
            *self.file.write() = Some(database);
        }
        let (mut done, mut expected) = (Vec::with_capacity(batch.len()), 0);
        let result = self.attempt(&batch, &mut done, &mut expected);
        let result = result.or_else(|failed| self.recover(failed, expected));
        for (at, job) in batch.into_iter().enumerate() {
            let answer = match &result {
                Ok(()) => done.get_mut(at).and_then(Option::take),
                Err(fault) => Some(Err(fault.clone())),
            };
            let answer = answer.unwrap_or_else(|| Err(unreadable("no answer")));
            // Nobody may be there any more to hear it.
            let _heard = job.reply.send(answer);
        }
    }

    fn attempt(
        &self,
        batch: &[Job],
        done: &mut Vec<Option<Result<Reply, Fault>>>,
        expected: &mut u64,
    ) -> Result<(), Failed> {
        let not_done = |error: &dyn ToString| Failed::NotDone(error.to_string());
        let file = self.file.read();
        let database = file.as_ref().ok_or_else(|| not_done(&"the file is not open"))?;
        let mut transaction = database.begin_write().map_err(|e| not_done(&e))?;
        transaction.set_durability(Durability::Immediate).map_err(|e| not_done(&e))?;
        let (all, freezes);
        {
            let mut table = transaction.open_table(ROWS).map_err(|e| not_done(&e))?;
            // What many of a batch change is written once.
            let mut over = Over { below: Live(&table), changes: Changes::new() };
            for job in batch {
                let now = self.shared.times.lock().tick();
                done.push(Some(match step(&over, &job.event, now) {
                    Ok((reply, changes)) => {
                        over.changes.extend(changes);
                        Ok(reply)
                    }
                    Err(fault) => Err(fault),
                }));
            }
            if !over.changes.is_empty() {
                let mut meta = meta_of(&over).map_err(|e| not_done(&e))?;
                meta.batch = meta.batch.saturating_add(1);
                *expected = meta.batch;
                self.shared.times.lock().note(&mut meta);
                over.changes.insert(key::meta(), Some(Row::Meta(meta)));
            }
            freezes = self.shared.freezes_after(&over.changes, &over).map_err(|e| not_done(&e))?;
            all = over.changes;
            put(&mut table, &all).map_err(Failed::NotDone)?;
        }
        if all.is_empty() {
            // Nothing to write: no fsync.
            return transaction.abort().map_err(|e| not_done(&e));
        }
        transaction.commit().map_err(|error| Failed::Maybe(error.to_string()))?;
        let news = self.shared.news(&all);
        self.shared.tell_all(news, freezes);
        Ok(())
    }

    /// redb refuses to go on after an I/O error: the file is opened again, and its batch number says
    /// whether a commit that failed is there all the same.
    fn recover(&self, failed: Failed, expected: u64) -> Result<(), Fault> {
        let mut file = self.file.write();
        *file = None;
        let again = open(&self.dir, &self.path);
        let (why, maybe) = match failed {
            Failed::NotDone(why) => (why, false),
            Failed::Maybe(why) => (why, true),
        };
        let landed = match again {
            Ok(database) => {
                let landed = read_meta(&database).map(|meta| meta.batch == expected);
                *file = Some(database);
                landed
            }
            Err(fault) => Err(fault),
        };
        match (maybe, landed) {
            (true, Ok(true)) => Ok(()),
            (true, Err(_)) => Err(Fault::StoreAmbiguous(why)),
            (true, Ok(false)) | (false, _) => Err(Fault::StoreUnavailable(why)),
        }
    }
}

fn put(
    table: &mut Table<'_, &'static [u8], &'static [u8]>,
    changes: &Changes,
) -> Result<(), String> {
    for (key, row) in changes {
        let done = match row {
            Some(row) => table.insert(key.as_slice(), write(row).as_slice()).map(drop),
            None => table.remove(key.as_slice()).map(drop),
        };
        done.map_err(|error| error.to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use crate::store::rows::Tables;

    /// What a batch has changed so far is shown as if it were written: removed, replaced, added between.
    #[test]
    fn changes_are_shown_over_the_rows_in_order() {
        let key = |letter: u8| vec![b'x', letter];
        let freeze = |id: &str| Row::Alias(crate::call::OperationId([id.len() as u8; 32]));
        let (one, two) = (freeze("1"), freeze("22"));
        let mut tables = Tables::default();
        tables.apply([b'b', b'd', b'f'].map(|at| (key(at), Some(one.clone()))).into());
        let changes = [
            (key(b'a'), Some(two.clone())),
            (key(b'b'), None),
            (key(b'c'), Some(two.clone())),
            (key(b'd'), Some(two.clone())),
            (key(b'g'), Some(two.clone())),
            (key(b'h'), None),
        ];
        let mut whole = tables.clone();
        whole.apply(changes.clone().into());
        let over = Over { below: tables, changes: changes.into() };
        let seen = |rows: &dyn Rows, from: u8, to: u8, most: usize| {
            let mut seen = Vec::new();
            rows.walk(&key(from), &key(to), &mut |key, row| {
                seen.push((key.to_vec(), row));
                if seen.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
            .unwrap();
            seen
        };
        for from in b'a'..=b'i' {
            for to in b'a'..=b'i' {
                for most in 1..7 {
                    assert_eq!(seen(&over, from, to, most), seen(&whole, from, to, most));
                }
            }
            assert_eq!(over.find(&key(from)).unwrap(), whole.find(&key(from)).unwrap());
        }
        assert_eq!(seen(&over, b'a', b'i', 9).len(), 5);
    }
}
