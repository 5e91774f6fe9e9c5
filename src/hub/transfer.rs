//! One file from the Hub into the cache, checked: hf-hub moves the bytes, this guards it.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use hf_hub::api::sync::{Api, ApiError};
use hf_hub::{Cache, Repo};

use super::failure::Failure;
use super::{Progress, is_plain};

/// A Vision Transformer's weights are far below this; asking for more is a mistake in the repository id.
pub(super) const MAX_FILE_BYTES: u64 = 4 << 30;

/// What a [`Job`] does.
pub(super) enum Action {
    /// Ask whether the file exists.
    Probe,
    Download,
}

enum Event {
    Progress(Progress),
    Done(Result<(), Failure>),
}

/// One request for one file of a repository.
pub(super) struct Job {
    pub(super) api: Api,
    pub(super) cache: Cache,
    pub(super) repo: Repo,
    pub(super) file: String,
    pub(super) action: Action,
}

impl Job {
    /// Does the work in a thread of its own: hf-hub has no timeouts, and some odd answers make it panic.
    pub(super) fn run(
        self,
        patience: Duration,
        on_progress: &mut dyn FnMut(Progress),
    ) -> Result<(), Failure> {
        let (events, inbox) = channel();
        let work = move || {
            let outcome = self.work(&events);
            // Nobody listens any more when the caller lost its patience.
            events.send(Event::Done(outcome)).ok();
        };
        std::thread::Builder::new().spawn(work).map_err(ApiError::from)?;
        loop {
            match inbox.recv_timeout(patience) {
                Ok(Event::Progress(progress)) => on_progress(progress),
                Ok(Event::Done(outcome)) => return outcome,
                Err(RecvTimeoutError::Timeout) => return Err(Failure::Silent),
                Err(RecvTimeoutError::Disconnected) => return Err(Failure::Garbled),
            }
        }
    }

    fn work(&self, events: &Sender<Event>) -> Result<(), Failure> {
        let remote = self.api.repo(self.repo.clone());
        let metadata = self.api.metadata(&remote.url(&self.file))?;
        if matches!(self.action, Action::Probe) {
            return Ok(());
        }
        // Both become paths in the cache; a weak etag reads `W/...`.
        if !metadata.etag().split('/').all(is_plain) || !is_plain(metadata.commit_hash()) {
            return Err(Failure::Garbled);
        }
        let expected = metadata.size() as u64;
        if expected > MAX_FILE_BYTES {
            return Err(Failure::TooLarge(expected));
        }
        let blob = self.cache.repo(self.repo.clone()).blob_path(metadata.etag());
        let part = blob.with_extension("part");
        blob.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(Failure::Cache)?;
        // hf-hub asks for the bytes after those it has, and servers refuse to send none.
        if std::fs::metadata(&part).is_ok_and(|part| part.len() >= expected) {
            std::fs::remove_file(&part).map_err(Failure::Cache)?;
        }
        let progress = Progress { file: self.file.clone(), done: 0, total: expected };
        let mut reporter = Reporter { events, progress, part: &part, wrong_size: false };
        let outcome = remote.download_with_progress(&self.file, &mut reporter);
        if reporter.wrong_size {
            return Err(Failure::CutShort { found: reporter.progress.done, expected });
        }
        outcome?;
        Ok(())
    }
}

struct Reporter<'a> {
    events: &'a Sender<Event>,
    progress: Progress,
    part: &'a Path,
    wrong_size: bool,
}

impl hf_hub::api::Progress for &mut Reporter<'_> {
    /// hf-hub calls it twice for one download.
    fn init(&mut self, size: usize, _file: &str) {
        self.progress.total = size as u64;
        self.progress.done = 0;
    }

    fn update(&mut self, size: usize) {
        self.progress.done = self.progress.done.saturating_add(size as u64);
        self.events.send(Event::Progress(self.progress.clone())).ok();
    }

    /// hf-hub takes every body that ends properly for the whole file. Without the part it has nothing to move
    /// into the cache, so a wrong size never gets there.
    fn finish(&mut self) {
        self.wrong_size = self.progress.done != self.progress.total;
        if self.wrong_size {
            std::fs::remove_file(self.part).ok();
        }
    }
}
