//! Checkpoints and adapters from the Hugging Face Hub, in the cache folder that Python's `huggingface_hub` uses.
//!
//! A file that is cached is used without asking the Hub whether there is a newer one, so a complete snapshot
//! works without a network. To update, delete the repository's `models--owner--name` folder.

mod failure;
mod transfer;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::api::sync::{Api, ApiBuilder};
use hf_hub::{Cache, Repo, RepoType};

use self::failure::Failure;
use self::transfer::{Action, Job};
use crate::{
    error::{Error, Result},
    files::other_formats::refusal,
};

/// The branch may move between two files of one snapshot; then the other files are fetched again.
const MAX_PASSES: usize = 4;

/// The files of a model; the weights come last so that a refusal is cheap.
const MODEL: [Wanted; 3] = [
    Wanted { file: "config.json", required: true },
    Wanted { file: "preprocessor_config.json", required: false },
    Wanted { file: "model.safetensors", required: true },
];
/// The files of a PEFT adapter.
const ADAPTER: [Wanted; 2] = [
    Wanted { file: "adapter_config.json", required: true },
    Wanted { file: "adapter_model.safetensors", required: true },
];
/// How far the download of one file is, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// File in the repository.
    pub file: String,
    /// Bytes on disk, with those of an earlier run that is resumed.
    pub done: u64,
    /// Bytes of the whole file.
    pub total: u64,
}

/// Where the Hub is and where its files are kept. Not `Debug`, because it holds the token.
#[derive(Clone)]
pub struct HubConfig {
    /// Address without a final slash, `https://huggingface.co` or a mirror.
    pub endpoint: String,
    /// Folder that holds the `models--owner--name` folders.
    pub cache: PathBuf,
    /// Access token, sent as bearer.
    pub token: Option<String>,
    /// Use the cache only.
    pub offline: bool,
    /// How long the Hub may send nothing before a download is given up.
    pub patience: Duration,
}

impl HubConfig {
    /// Reads the variables that Python's `huggingface_hub` reads; an empty one counts as absent.
    ///
    /// # Errors
    /// When neither a cache variable nor a home folder is set.
    pub fn from_vars(var: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let folder = |name: &str| var(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let text =
            |name: &str| Some(var(name)?.to_str()?.trim().to_owned()).filter(|value| !value.is_empty());
        let home = folder("HF_HOME")
            .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
            .or_else(|| {
                folder("HOME").or_else(|| folder("USERPROFILE")).map(|home| home.join(".cache/huggingface"))
            })
            .ok_or_else(|| {
                Error::mismatch("HF_HOME", "no home folder is set; set HF_HOME to a folder for downloads")
            })?;
        let token_file = folder("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let token =
            text("HF_TOKEN").or_else(|| Some(std::fs::read_to_string(token_file).ok()?.trim().to_owned()));
        let offline = text("HF_HUB_OFFLINE").map(|value| value.to_ascii_uppercase());
        Ok(Self {
            endpoint: text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into()),
            cache: folder("HF_HUB_CACHE").unwrap_or_else(|| home.join("hub")),
            token: token.filter(|token| !token.is_empty()),
            offline: matches!(offline.as_deref(), Some("1" | "ON" | "YES" | "TRUE")),
            patience: Duration::from_secs(60),
        })
    }
}

/// The Hub and its local cache.
pub struct Hub {
    api: Api,
    cache: Cache,
    config: HubConfig,
}

impl Hub {
    /// The Hub as the environment describes it ([`HubConfig::from_vars`]).
    ///
    /// # Errors
    /// When a variable cannot be used.
    pub fn from_env() -> Result<Self> {
        Self::new(HubConfig::from_vars(|name| std::env::var_os(name))?)
    }

    /// The Hub as `config` describes it. Opens no connection.
    ///
    /// # Errors
    /// When the endpoint is not a web address.
    pub fn new(mut config: HubConfig) -> Result<Self> {
        config.endpoint.truncate(config.endpoint.trim_end_matches('/').len());
        let address =
            config.endpoint.strip_prefix("https://").or_else(|| config.endpoint.strip_prefix("http://"));
        let is_address = |rest: &str| !rest.is_empty() && !rest.contains(char::is_whitespace);
        if !address.is_some_and(is_address) {
            let reason = format!("`{}` is not an address like https://huggingface.co", config.endpoint);
            return Err(Error::mismatch("HF_ENDPOINT", reason));
        }
        if config.token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Error::mismatch("HF_TOKEN", "holds a space or another character that no token has"));
        }
        config.cache = std::path::absolute(&config.cache).map_err(|e| Error::io("read", &config.cache, e))?;
        let cache = Cache::new(config.cache.clone());
        let api = ApiBuilder::from_cache(cache.clone())
            .with_endpoint(config.endpoint.clone())
            .with_token(config.token.clone())
            .with_progress(false)
            .with_user_agent(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
            .build()
            .map_err(|e| Error::mismatch("HF_ENDPOINT", e.to_string()))?;
        Ok(Self { api, cache, config })
    }

    /// Folder with `config.json`, `model.safetensors` and, if the repository has it, `preprocessor_config.json`.
    /// `repo` is `owner/name` or `owner/name@revision`.
    ///
    /// # Errors
    /// [`Error::Download`] when a file is neither cached nor to be had, [`Error::Unsupported`] when the
    /// repository holds another format, [`Error::Mismatch`] when `repo` is not an id.
    pub fn model(&self, repo: &str, on_progress: &mut dyn FnMut(Progress)) -> Result<PathBuf> {
        self.snapshot(repo, &MODEL, on_progress)
    }

    /// Folder with `adapter_config.json` and `adapter_model.safetensors` of a PEFT adapter.
    ///
    /// # Errors
    /// As [`Hub::model`].
    pub fn adapter(&self, repo: &str, on_progress: &mut dyn FnMut(Progress)) -> Result<PathBuf> {
        self.snapshot(repo, &ADAPTER, on_progress)
    }

    fn snapshot(
        &self,
        text: &str,
        files: &[Wanted],
        on_progress: &mut dyn FnMut(Progress),
    ) -> Result<PathBuf> {
        let target = self.target(text)?;
        let mut given_up = Vec::new();
        for _ in 0..MAX_PASSES {
            let missing: Vec<_> =
                files.iter().filter(|w| !given_up.contains(&w.file) && !target.has(w)).collect();
            if let Some(folder) = target.folder().filter(|_| missing.is_empty()) {
                return Ok(folder);
            }
            let usable = missing.iter().all(|wanted| !wanted.required);
            for wanted in missing {
                match self.ask(&target, wanted.file, Action::Download, on_progress) {
                    Ok(()) => {}
                    Err(failure) if !wanted.required && (usable || failure.is_not_found()) => {
                        given_up.push(wanted.file);
                        if failure.is_not_found() {
                            target.remember_absent(wanted.file);
                        }
                    }
                    Err(failure) => return Err(self.explain(&target, wanted.file, &failure)),
                }
            }
        }
        let reason = "the repository kept changing during the download; run again".to_owned();
        let file = files.iter().map(|wanted| wanted.file).collect::<Vec<_>>().join(", ");
        Err(Error::Download { repo: target.text, file, reason })
    }

    fn target(&self, text: &str) -> Result<Target> {
        let reason = "not an existing folder, and not a Hub id like `owner/name` or `owner/name@revision`";
        let (id, revision) = split_repo(text).ok_or_else(|| Error::mismatch(text, reason))?;
        let repo = Repo::with_revision(id.into(), RepoType::Model, revision.into());
        let folder = self.cache.path().join(repo.folder_name());
        Ok(Target { text: text.into(), repo, folder })
    }

    fn ask(
        &self,
        target: &Target,
        file: &str,
        action: Action,
        on_progress: &mut dyn FnMut(Progress),
    ) -> std::result::Result<(), Failure> {
        if self.config.offline {
            return Err(Failure::Offline);
        }
        let (api, cache, repo) = (self.api.clone(), self.cache.clone(), target.repo.clone());
        Job { api, cache, repo, file: file.into(), action }.run(self.config.patience, on_progress)
    }

    fn explain(&self, target: &Target, file: &str, failure: &Failure) -> Error {
        let repo = target.text.clone();
        if failure.is_not_found() {
            let is_there = |found: &str| self.ask(target, found, Action::Probe, &mut |_| {}).is_ok();
            if let Some(error) = refusal(&repo, file, is_there) {
                return error;
            }
        }
        Error::Download { repo, file: file.into(), reason: failure.reason(&self.config, &target.folder) }
    }
}

/// Whether `text` reads as `owner/name` or `owner/name@revision` and is not an existing path.
pub fn is_repo_id(text: &str) -> bool {
    split_repo(text).is_some() && !Path::new(text).exists()
}

/// Id and revision; `None` for what the Hub forbids, path traversal with it.
fn split_repo(text: &str) -> Option<(&str, &str)> {
    let (id, revision) = text.split_once('@').unwrap_or((text, "main"));
    let (owner, name) = id.split_once('/')?;
    // The cache folder's name separates owner and name by two hyphens.
    let valid = is_plain(owner) && is_plain(name) && !id.contains("--") && revision.split('/').all(is_plain);
    valid.then_some((id, revision))
}

/// Whether `part` is safe as one component of a path and of a URL.
fn is_plain(part: &str) -> bool {
    let edge = |c: char| c == '.' || c == '-';
    (1..=96).contains(&part.len())
        && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        && !part.starts_with(edge)
        && !part.ends_with(edge)
        && !part.contains("..")
}

struct Wanted {
    file: &'static str,
    required: bool,
}

/// One revision of a repository, and its folder in the cache.
struct Target {
    text: String,
    repo: Repo,
    folder: PathBuf,
}

impl Target {
    /// The cached commit of the revision; a revision may be a commit itself.
    fn commit(&self) -> Option<String> {
        let reference = std::fs::read_to_string(self.folder.join("refs").join(self.repo.revision()));
        let commit =
            reference.map_or_else(|_| self.repo.revision().to_owned(), |text| text.trim().to_owned());
        is_plain(&commit).then_some(commit)
    }

    fn folder(&self) -> Option<PathBuf> {
        Some(self.folder.join("snapshots").join(self.commit()?)).filter(|folder| folder.is_dir())
    }

    fn has(&self, wanted: &Wanted) -> bool {
        let known_absent = || self.absent_marker(wanted.file).is_some_and(|marker| marker.is_file());
        self.folder().is_some_and(|folder| folder.join(wanted.file).is_file())
            || (!wanted.required && known_absent())
    }

    /// Python's marker for a file that a commit does not have; it saves a request in every later run.
    fn absent_marker(&self, file: &str) -> Option<PathBuf> {
        Some(self.folder.join(".no_exist").join(self.commit()?).join(file))
    }

    fn remember_absent(&self, file: &str) {
        if let Some(marker) = self.absent_marker(file)
            && let Some(parent) = marker.parent()
        {
            // Only a shortcut: a cache that cannot be written to still serves.
            std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&marker, [])).ok();
        }
    }
}
