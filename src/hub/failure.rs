//! Why a file did not come from the Hub, and what a person can do about it.

use std::io::ErrorKind::{QuotaExceeded, StorageFull};
use std::path::Path;

use hf_hub::api::sync::ApiError;

use super::HubConfig;
use super::transfer::MAX_FILE_BYTES;

/// Why a file did not come.
pub(super) enum Failure {
    Offline,
    /// Nothing came for as long as the configuration waits.
    Silent,
    /// The answer is not that of a Hub, or would lead out of the cache.
    Garbled,
    /// The cache folder cannot be written to.
    Cache(std::io::Error),
    TooLarge(u64),
    CutShort {
        found: u64,
        expected: u64,
    },
    Api(ApiError),
}

impl Failure {
    fn status(&self) -> Option<u16> {
        match self {
            Self::Api(ApiError::RequestError(error)) => match **error {
                ureq::Error::StatusCode(status) => Some(status),
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// In words; `folder` is where the cache keeps the repository.
    pub(super) fn reason(&self, config: &HubConfig, folder: &Path) -> String {
        let endpoint = &config.endpoint;
        let folder = folder.display();
        let not_cached = format!(
            "and the file is not cached in {folder}; connect once, or give a folder that holds the files"
        );
        match self {
            Self::Offline => format!("HF_HUB_OFFLINE is set, {not_cached}"),
            Self::Silent => {
                let seconds = config.patience.as_secs_f32();
                format!("{endpoint} (HF_ENDPOINT) sent nothing for {seconds} s, {not_cached}")
            }
            Self::Garbled => format!("{endpoint} does not answer as the Hub does; check HF_ENDPOINT"),
            Self::Cache(error) => cannot_write(config, error),
            Self::TooLarge(bytes) => {
                format!("it has {bytes} bytes, more than the limit of {MAX_FILE_BYTES}; use a smaller model")
            }
            Self::CutShort { found, expected } => {
                format!("{found} bytes came in place of {expected} and were thrown away; run again")
            }
            Self::Api(ApiError::RequestError(error)) => match **error {
                ureq::Error::StatusCode(status) => status_reason(config, status),
                _ => format!("no answer from {endpoint} (HF_ENDPOINT): {error}, {not_cached}"),
            },
            Self::Api(error) => api_reason(config, error),
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

fn api_reason(config: &HubConfig, error: &ApiError) -> String {
    match error {
        ApiError::IoError(e) if matches!(e.kind(), StorageFull | QuotaExceeded) => cannot_write(config, e),
        ApiError::IoError(e) => {
            format!("the download broke off ({e}); run again, it goes on where it stopped")
        }
        ApiError::LockAcquisition(lock) => {
            let lock = lock.display();
            format!("another process is downloading it ({lock} is locked); wait and run again")
        }
        other => format!("{} does not answer as the Hub does ({other}); check HF_ENDPOINT", config.endpoint),
    }
}

fn status_reason(config: &HubConfig, status: u16) -> String {
    let advice = match (status, &config.token) {
        (401, None) => {
            "not found, or private or gated; check the id, or set HF_TOKEN to a token of an account that may read it"
        }
        (401, Some(_)) => "the token was not accepted; check HF_TOKEN or the token file, and the id",
        (403, None) => {
            "gated or private; ask for access on its page, then set HF_TOKEN to a token of that account"
        }
        (403, Some(_)) => "gated or private, and the token does not open it; ask for access on its page",
        (404, _) => "no such repository, revision or file; check the id and that it holds safetensors",
        (429, _) => "too many requests; wait some minutes and run again",
        (500.., _) => "the server has a fault; run again later",
        _ => "an unexpected answer; check HF_ENDPOINT",
    };
    format!("{} answered {status}: {advice}", config.endpoint)
}

fn cannot_write(config: &HubConfig, error: &std::io::Error) -> String {
    let cache = config.cache.display();
    format!("cannot write to {cache}: {error}; set HF_HUB_CACHE to a folder with room")
}
