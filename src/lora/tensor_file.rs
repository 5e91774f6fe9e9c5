//! Tensors of a safetensors file: element types to f32, and single tensors from a file on disk
//! without reading the rest.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use half::{bf16, f16};
use safetensors::{Dtype, tensor::Metadata, tensor::TensorInfo};
use serde_json::{Value, json};

use crate::error::{Error, Result};

/// Largest header that is read, in bytes; the format's own limit.
const MAX_HEADER: u64 = 100_000_000;

/// Values that are turned into bytes at a time.
const CHUNK: usize = 16_384;

/// Values of a floating-point tensor as f32.
///
/// # Errors
/// Another element type, or a value that is not finite.
pub fn decode(name: &str, tensor: &str, dtype: Dtype, data: &[u8]) -> Result<Vec<f32>> {
    let values: Vec<f32> = match dtype {
        Dtype::F32 => convert(data, f32::from_le_bytes),
        Dtype::F16 => convert(data, |bytes| f16::from_le_bytes(bytes).to_f32()),
        Dtype::BF16 => convert(data, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        Dtype::F64 => convert(data, |bytes| f64::from_le_bytes(bytes) as f32),
        other => {
            return Err(Error::Unsupported {
                name: name.into(),
                option: tensor.into(),
                reason: format!("its element type is {other:?}; f32, f16, bf16 and f64 are read"),
            });
        }
    };
    match values.iter().all(|value| value.is_finite()) {
        true => Ok(values),
        false => Err(Error::NotFinite { name: name.into(), tensor: tensor.into() }),
    }
}

fn convert<const N: usize>(data: &[u8], convert: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    data.as_chunks::<N>().0.iter().map(|bytes| convert(*bytes)).collect()
}

/// A safetensors file on disk of which only the header is in memory.
#[derive(Clone, Debug)]
pub struct TensorFile {
    path: PathBuf,
    data_start: u64,
    tensors: BTreeMap<String, TensorInfo>,
}

impl TensorFile {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// An unreadable file, a header over 100 MB, or one that does not describe the file.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |source| Error::io("read", path, source);
        let bad = |reason: String| Error::Safetensors { name: path.display().to_string(), reason };
        let mut file = File::open(path).map_err(io)?;
        let file_len = file.metadata().map_err(io)?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(|_| bad("shorter than 8 bytes".into()))?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER || length > file_len.saturating_sub(8) {
            return Err(bad(format!(
                "a header of {length} bytes in a file of {file_len}, the limit is {MAX_HEADER}"
            )));
        }
        let mut header = Vec::new();
        file.take(length).read_to_end(&mut header).map_err(io)?;
        let metadata: Metadata = serde_json::from_slice(&header).map_err(|error| bad(error.to_string()))?;
        let data_start = 8 + length;
        if metadata.data_len() as u64 != file_len - data_start {
            let (expected, found) = (metadata.data_len(), file_len - data_start);
            return Err(bad(format!("{found} bytes of data, the header says {expected}; copy it again")));
        }
        let tensors = metadata.tensors().into_iter().map(|(key, info)| (key, info.clone())).collect();
        Ok(Self { path: path.to_path_buf(), data_start, tensors })
    }

    /// The file, for messages.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Keys and shapes.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(key, info)| (key.as_str(), info.shape.as_slice()))
    }

    /// Shape of a tensor, `None` when it is not there.
    pub fn shape(&self, key: &str) -> Option<&[usize]> {
        self.tensors.get(key).map(|info| info.shape.as_slice())
    }

    /// Reads one tensor.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], an unreadable file, and as [`decode`].
    pub fn read(&self, key: &str) -> Result<Vec<f32>> {
        let missing = || Error::MissingTensor { name: self.name(), tensor: key.into() };
        let info = self.tensors.get(key).ok_or_else(missing)?;
        let (start, end) = info.data_offsets;
        let read = || {
            // Opened anew for each tensor: a sum of many adapters would run out of open files.
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(self.data_start + start as u64))?;
            let mut data = vec![0; end.saturating_sub(start)];
            file.read_exact(&mut data)?;
            Ok(data)
        };
        let data = read().map_err(|source| Error::io("read", &self.path, source))?;
        decode(&self.name(), key, info.dtype, &data)
    }
}

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// As they are.
    F32,
    /// Rounded to half precision: half the size, for what is downloaded.
    F16,
}

impl Precision {
    /// Element type in a safetensors file.
    pub fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
        }
    }

    /// Its name in PyTorch and in `config.json`.
    pub fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
        }
    }

    /// Whether a value is finite, and stays so when it is rounded.
    pub fn holds(self, value: f32) -> bool {
        match self {
            Self::F32 => value.is_finite(),
            Self::F16 => f16::from_f32(value).is_finite(),
        }
    }

    /// Values as they stand in a file.
    pub fn bytes(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
        }
    }
}

/// Writes a safetensors file of tensors in a fixed order, one tensor in memory at a time.
pub struct TensorWriter<W> {
    output: W,
    precision: Precision,
    path: PathBuf,
    expected: std::vec::IntoIter<(String, usize)>,
}

impl<W: Write> TensorWriter<W> {
    /// Writes the header for tensors of these names and shapes; `path` is for messages.
    ///
    /// # Errors
    /// The output cannot be written, or a size overflows.
    pub fn new(
        mut output: W,
        path: &Path,
        tensors: &[(String, Vec<usize>)],
        precision: Precision,
    ) -> Result<Self> {
        let width = precision.dtype().bitsize() / 8;
        let mut header = serde_json::Map::from_iter([("__metadata__".to_string(), json!({"format": "pt"}))]);
        let mut expected = Vec::with_capacity(tensors.len());
        let mut offset = 0_usize;
        for (name, shape) in tensors {
            let overflow =
                || Error::mismatch(name, format!("a tensor of shape {shape:?} is too large to write"));
            let count = shape.iter().copied().try_fold(1, usize::checked_mul).ok_or_else(overflow)?;
            let end =
                count.checked_mul(width).and_then(|bytes| bytes.checked_add(offset)).ok_or_else(overflow)?;
            header.insert(
                name.clone(),
                json!({"dtype": precision.dtype(), "shape": shape, "data_offsets": [offset, end]}),
            );
            expected.push((name.clone(), count));
            offset = end;
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        let io = |source| Error::io("write", path, source);
        output.write_all(&(header.len() as u64).to_le_bytes()).map_err(io)?;
        output.write_all(&header).map_err(io)?;
        Ok(Self { output, precision, path: path.to_path_buf(), expected: expected.into_iter() })
    }

    /// Writes the next tensor.
    ///
    /// # Errors
    /// Another number of values than announced, a value that is not finite, or a full disk.
    pub fn write(&mut self, values: &[f32]) -> Result<()> {
        self.write_parts(std::iter::once(Ok(values)))
    }

    /// Writes the next tensor from its parts, of which one is in memory at a time.
    ///
    /// # Errors
    /// As [`Self::write`], and what a part reports.
    pub fn write_parts<V: AsRef<[f32]>>(&mut self, parts: impl Iterator<Item = Result<V>>) -> Result<()> {
        let name = || self.path.display().to_string();
        let (tensor, count) = self.expected.next().unwrap_or_default();
        let mut written = 0;
        for part in parts {
            let part = part?;
            let values = part.as_ref();
            if !values.iter().all(|value| self.precision.holds(*value)) {
                return Err(Error::NotFinite { name: name(), tensor });
            }
            written += values.len();
            for values in values.chunks(CHUNK) {
                let bytes = self.precision.bytes(values);
                self.output.write_all(&bytes).map_err(|source| Error::io("write", &self.path, source))?;
            }
        }
        if written != count {
            let (found, expected) = (vec![written], vec![count]);
            return Err(Error::TensorShape { name: name(), tensor, found, expected });
        }
        Ok(())
    }

    /// Ends the file and gives the output back.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] when an announced tensor was not written; a full disk.
    pub fn finish(mut self) -> Result<W> {
        if let Some((tensor, _)) = self.expected.next() {
            return Err(Error::MissingTensor { name: self.path.display().to_string(), tensor });
        }
        self.output.flush().map_err(|source| Error::io("write", &self.path, source))?;
        Ok(self.output)
    }
}
