//! A folder of features of frozen weights: one folder per weights, one safetensors file per batch of new images.
//!
//! Files are written whole and never changed, so that several processes may share the folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::{
    digest::{Digest, hex, sha256},
    files::read_bytes,
};
use crate::{
    error::{Error, Result},
    files::write_atomic,
};

/// Bytes of a hash.
const DIGEST: usize = 32;

/// Where features are kept.
#[derive(Clone, Debug)]
pub(super) struct FeatureStore {
    dir: PathBuf,
    dim: usize,
}

impl FeatureStore {
    /// Features of `dim` values in a folder, which is made when something is saved.
    pub fn new(dir: &Path, dim: usize) -> Self {
        Self { dir: dir.to_path_buf(), dim }
    }

    /// All that is known of some weights. A damaged file is as good as none: its features are computed again.
    ///
    /// # Errors
    /// A folder that cannot be listed, or a file that cannot be read.
    pub fn load(&self, weights: &Digest) -> Result<Vec<(Digest, Vec<f32>)>> {
        let dir = self.dir.join(hex(weights));
        if !dir.exists() {
            return Ok(Vec::new());
        }
        let failed = |error| Error::io("list", &dir, error);
        let mut rows = Vec::new();
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "safetensors") {
                rows.extend(self.parse(&read_bytes(&path)?).unwrap_or_default());
            }
        }
        Ok(rows)
    }

    /// Keeps features of new images.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, weights: &Digest, rows: &[(Digest, Vec<f32>)]) -> Result<()> {
        let crops: Vec<u8> = rows.iter().flat_map(|(crop, _)| *crop).collect();
        let values: Vec<u8> = rows.iter().flat_map(|(_, row)| row).flat_map(|v| v.to_le_bytes()).collect();
        let name = hex(&sha256([&crops[..]]));
        let path = self.dir.join(hex(weights)).join(format!("{}.safetensors", &name[..16]));
        let failed = |error: safetensors::SafeTensorError| Error::Safetensors {
            name: path.display().to_string(),
            reason: error.to_string(),
        };
        let crops = TensorView::new(Dtype::U8, vec![rows.len(), DIGEST], &crops).map_err(failed)?;
        let values = TensorView::new(Dtype::F32, vec![rows.len(), self.dim], &values).map_err(failed)?;
        let file = safetensors::serialize([("crops", crops), ("features", values)], None).map_err(failed)?;
        write_atomic(&path, &file)
    }

    fn parse(&self, bytes: &[u8]) -> Option<Vec<(Digest, Vec<f32>)>> {
        let file = SafeTensors::deserialize(bytes).ok()?;
        let (crops, values) = (file.tensor("crops").ok()?, file.tensor("features").ok()?);
        let fits = crops.dtype() == Dtype::U8 && values.dtype() == Dtype::F32;
        let count = *crops.shape().first()?;
        if !fits || crops.shape() != [count, DIGEST] || values.shape() != [count, self.dim] {
            return None;
        }
        let (crops, _) = crops.data().as_chunks::<DIGEST>();
        let (values, _) = values.data().as_chunks::<4>();
        let values: Vec<f32> = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        Some(crops.iter().copied().zip(values.chunks(self.dim.max(1)).map(<[f32]>::to_vec)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_damage_is_no_answer() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = FeatureStore::new(dir.path(), 2);
        let (weights, other) = ([7; DIGEST], [8; DIGEST]);
        let rows = vec![([1; DIGEST], vec![0.5, -1.0]), ([2; DIGEST], vec![3.0, 4.0])];
        store.save(&weights, &rows).expect("saves");
        assert_eq!(store.load(&weights).expect("loads"), rows);
        assert_eq!(store.load(&other).expect("nothing yet"), []);
        let wider = FeatureStore::new(dir.path(), 3);
        assert_eq!(wider.load(&weights).expect("another shape"), []);
        let file = fs::read_dir(dir.path().join(hex(&weights))).expect("folder").next();
        let path = file.expect("one file").expect("entry").path();
        fs::write(&path, b"torn").expect("written");
        assert_eq!(store.load(&weights).expect("torn"), []);
    }
}
