//! The one error type of the crate: what failed, where, and what to do about it.

use std::path::{Path, PathBuf};

/// Result with the crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong, with the fields that name the culprit.
///
/// [`Error::code`] is stable: scripts and the page may match on it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was attempted: `read`, `write`, `list`, `create`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// An image could not be decoded or is outside the stated limits.
    #[error("{name}: {reason}")]
    Image {
        /// File name of the image.
        name: String,
        /// What is wrong with it and what would do.
        reason: String,
    },
    /// A dataset cannot be used as asked (no classes, too few images, ...).
    #[error("{name}: {reason}")]
    Dataset {
        /// Folder or task name.
        name: String,
        /// What is wrong with it and what would do.
        reason: String,
    },
    /// A JSON file (config, preprocessor, adapter config, report) has a bad or missing field.
    #[error("{name}: {}{reason}", in_field(field))]
    Config {
        /// File that holds the field.
        name: String,
        /// The field, or `-` for the whole file.
        field: String,
        /// What is wrong and what would do.
        reason: String,
    },
    /// A safetensors file cannot be parsed.
    #[error("{name}: not a readable safetensors file: {reason}")]
    Safetensors {
        /// File name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor that the configuration asks for is absent.
    #[error("{name}: tensor `{tensor}` is missing")]
    MissingTensor {
        /// File name.
        name: String,
        /// Expected tensor.
        tensor: String,
    },
    /// Tensors that nothing asks for: loading them would drop weights in silence.
    #[error("{name}: {} unexpected tensor(s), the first is `{}`", tensors.len(), tensors.first().map_or("", String::as_str))]
    UnexpectedTensors {
        /// File name.
        name: String,
        /// Their names, sorted.
        tensors: Vec<String>,
    },
    /// A tensor has another shape than the configuration asks for.
    #[error("{name}: tensor `{tensor}` has shape {found:?}, expected {expected:?}")]
    TensorShape {
        /// File name.
        name: String,
        /// Tensor name.
        tensor: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape that the configuration asks for.
        expected: Vec<usize>,
    },
    /// A tensor holds NaN or infinite values.
    #[error(
        "{name}: tensor `{tensor}` holds a value that is not finite; what it comes from is damaged or out of range"
    )]
    NotFinite {
        /// File, or what was computed from.
        name: String,
        /// Tensor name.
        tensor: String,
    },
    /// An option that changes the mathematics and is not supported.
    #[error("{name}: `{option}` is not supported: {reason}")]
    Unsupported {
        /// File that sets the option.
        name: String,
        /// The option.
        option: String,
        /// Why, and what would do.
        reason: String,
    },
    /// Something asked for does not fit together (sizes, counts, names).
    #[error("{what}: {reason}")]
    Mismatch {
        /// The argument or object.
        what: String,
        /// Expected against found, and what would do.
        reason: String,
    },
    /// Something belongs to another model than the one in use.
    #[error("{what}: {reason}")]
    OtherModel {
        /// What was opened.
        what: String,
        /// Which model it is of, and what would do.
        reason: String,
    },
    /// A download from the Hub failed and nothing usable is cached.
    #[error("cannot download {repo}/{file}: {reason}")]
    Download {
        /// Repository id.
        repo: String,
        /// File in it.
        file: String,
        /// Why, and what would do.
        reason: String,
    },
    /// The compute device cannot be used, or was lost.
    #[error("device {device}: {reason}")]
    Device {
        /// Device as asked for.
        device: String,
        /// Why, and what would do.
        reason: String,
    },
    /// The work was stopped by the person; what was done is kept.
    #[error("stopped")]
    Stopped,
}

/// Where in a file it is, if it is not the whole file.
fn in_field(field: &str) -> String {
    if field == "-" { String::new() } else { format!("field `{field}`: ") }
}

impl Error {
    /// Stable identifier for scripts, exit handling and the page.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "io",
            Self::Image { .. } => "bad-image",
            Self::Dataset { .. } => "bad-dataset",
            Self::Config { .. } => "bad-config",
            Self::Safetensors { .. } => "bad-safetensors",
            Self::MissingTensor { .. } => "missing-tensor",
            Self::UnexpectedTensors { .. } => "unexpected-tensors",
            Self::TensorShape { .. } => "tensor-shape",
            Self::NotFinite { .. } => "not-finite",
            Self::Unsupported { .. } => "unsupported",
            Self::Mismatch { .. } => "mismatch",
            Self::OtherModel { .. } => "other-model",
            Self::Download { .. } => "download",
            Self::Device { .. } => "device",
            Self::Stopped => "stopped",
        }
    }

    /// An [`Error::Io`] for `path`.
    pub fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), source }
    }

    /// Refuses values that are not numbers: everything computed from them would be wrong without a word.
    ///
    /// # Errors
    /// [`Error::NotFinite`].
    pub fn check_finite(values: &[f32], name: &str, tensor: &str) -> Result<()> {
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(()),
            false => Err(Self::NotFinite { name: name.into(), tensor: tensor.into() }),
        }
    }

    /// An [`Error::Mismatch`].
    pub fn mismatch(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Mismatch { what: what.into(), reason: reason.into() }
    }

    /// Whether it is about the method that was run and not about what all of them need: the others can go on.
    pub fn is_of_one_method(&self) -> bool {
        matches!(self, Self::Mismatch { .. } | Self::NotFinite { .. })
    }

    /// A message without the method's name that it may begin with, for whoever states the name.
    pub fn after_name<'a>(message: &'a str, name: &str) -> &'a str {
        let named = message.strip_prefix("method ").unwrap_or(message);
        named.strip_prefix(name).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(message)
    }

    /// The same error with the name of the image file that it is about.
    pub fn of_image(self, name: &str) -> Self {
        match self {
            Self::Image { reason, .. } => Self::Image { name: name.into(), reason },
            other => other,
        }
    }

    /// An [`Error::Config`].
    pub fn config(name: &str, field: &str, reason: impl Into<String>) -> Self {
        Self::Config { name: name.into(), field: field.into(), reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_methods_name_is_stated_once() {
        for message in ["uniform: no modules", "method uniform: no modules", "no modules"] {
            assert_eq!(Error::after_name(message, "uniform"), "no modules");
        }
        for other in ["uniform-scaled: no modules", "method uniform-scaled: no modules"] {
            assert_eq!(Error::after_name(other, "uniform"), other);
        }
    }
}
