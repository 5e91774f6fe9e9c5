//! Content hashes of weights and crops: stable over builds and machines, so that they can name files.

use sha2::{Digest as _, Sha256};

use super::{Model, Session};
use crate::{
    device, error::Result, image::Picture, lora::module::LoraModule, methods::registry::FrozenWeights,
};

/// A SHA-256.
pub type Digest = [u8; 32];

/// Raised when a change of the code changes features, so that kept ones are not used.
const FEATURES_VERSION: u8 = 1;

/// The hash of some bytes, one part after another.
pub fn sha256<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// A hash as text.
pub fn hex(digest: &Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash of a picture's size and pixels.
pub fn picture_digest(crop: &Picture) -> Digest {
    let size = [crop.width, crop.height].map(|side| (side as u64).to_le_bytes());
    sha256([&size[0][..], &size[1], &crop.rgb])
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The hash of a module's updates; its name and its head do not matter.
pub(super) fn module_digest(module: &LoraModule) -> Digest {
    let mut hasher = Sha256::new();
    for ((block, target), layer) in &module.layers {
        let shape = [layer.rank, layer.in_dim, layer.out_dim];
        hasher.update(format!("{block} {} {shape:?} {}", target.name(), layer.scaling));
        hasher.update(floats(&layer.a));
        hasher.update(floats(&layer.b));
    }
    hasher.finalize().into()
}

impl Model {
    /// The hash of its weights and of how pictures reach it; its head does not matter.
    ///
    /// Saved tasks and results carry it, so that what is hashed, to the letter of the JSON, must stay as it is.
    ///
    /// # Errors
    /// The device was lost.
    pub async fn digest(&self) -> Result<Digest> {
        let mut hasher = Sha256::new();
        let mut vit = self.vit.clone();
        hasher.update(format!("{:?} {}", vit.config, self.preprocess.to_json()));
        for (name, tensor) in vit.tensors_mut() {
            hasher.update(name);
            hasher.update(floats(&device::read(tensor.to_matrix()).await?));
        }
        Ok(hasher.finalize().into())
    }
}

impl Session {
    /// [`Model::digest`] of the base model.
    ///
    /// # Errors
    /// The device was lost.
    pub async fn model_digest(&self) -> Result<Digest> {
        if let Some(known) = self.base_digest.get() {
            return Ok(known);
        }
        let digest = self.model.digest().await?;
        self.base_digest.set(Some(digest));
        Ok(digest)
    }

    /// The hashes of the modules' updates, in the order of [`Session::module_names`].
    pub fn module_digests(&self) -> Vec<Digest> {
        self.digests.clone()
    }

    /// What names the features of frozen weights on this kind of device.
    pub(super) async fn weights_digest(&self, weights: FrozenWeights) -> Result<Digest> {
        let base = self.model_digest().await?;
        let modules = match weights {
            FrozenWeights::Base => Vec::new(),
            FrozenWeights::Uniform | FrozenWeights::Scaled(_) => self.module_digests(),
            FrozenWeights::Module(index) => self.digests.get(index).copied().into_iter().collect(),
        };
        let kind = (self.device.info.kind, FEATURES_VERSION, weights.scale());
        let start = format!("{kind:?}");
        let parts = [start.as_bytes(), &base[..]].into_iter().chain(modules.iter().map(|digest| &digest[..]));
        Ok(sha256(parts))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, path::PathBuf};

    use super::*;
    use crate::{
        device::{DeviceChoice, block_on},
        image::{preprocess::Cropping, resize::Filter},
        session::ModelOptions,
    };

    fn session(options: &ModelOptions, modules: &[(&str, f32)]) -> Session {
        let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let opened = block_on(Session::open_dir(
            DeviceChoice::Cpu,
            "tiny",
            &golden.join("adapters/tiny-vit"),
            options,
        ));
        let mut session = opened.expect("opens");
        for (name, strength) in modules {
            let (mut module, _) =
                LoraModule::from_dir(&golden.join("adapters").join(name)).expect("a module");
            module.layers.values_mut().for_each(|layer| layer.scaling *= strength);
            session.add_module(module).expect("fits");
        }
        session
    }

    #[test]
    fn whatever_changes_features_changes_the_name_that_they_are_kept_by() {
        let plain = ModelOptions::default();
        let pictures = [
            plain.clone(),
            ModelOptions { img_size: Some(12), ..plain.clone() },
            ModelOptions { mean: Some([0.1, 0.2, 0.3]), ..plain.clone() },
            ModelOptions { std: Some([0.1, 0.2, 0.3]), ..plain.clone() },
            ModelOptions { filter: Some(Filter::Nearest), ..plain.clone() },
            ModelOptions { cropping: Some(Cropping::Share(0.5)), ..plain.clone() },
        ];
        let of = |session: &Session, weights| block_on(session.weights_digest(weights)).expect("reads");
        let mut names: Vec<Digest> =
            pictures.iter().map(|options| of(&session(options, &[]), FrozenWeights::Base)).collect();
        let both = [("qv", 1.0), ("qv-other", 1.0)];
        let own = session(&plain, &both);
        assert_eq!(of(&own, FrozenWeights::Base), names[0], "modules do not change the base");
        assert_eq!(of(&own, FrozenWeights::Base), of(&session(&plain, &both), FrozenWeights::Base));
        let all = [FrozenWeights::Uniform, FrozenWeights::Scaled(5), FrozenWeights::Module(1)];
        names.extend(all.map(|weights| of(&own, weights.canonical())));
        names.push(of(&session(&plain, &[("qv", 1.5), ("qv-other", 1.0)]), FrozenWeights::Uniform));
        names.push(of(&session(&plain, &both[..1]), FrozenWeights::Uniform));
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        // The name of a module says nothing of what it computes.
        assert_eq!(session(&plain, &both[..1]).module_digests()[0], own.module_digests()[0]);
    }

    #[test]
    fn hashes_are_sha256_of_parts_with_their_lengths() {
        // printf '\3\0\0\0\0\0\0\0abc' | sha256sum
        let expected = "ce91dc5eec0139adf091900d225971d6ad246a845bad791b5693a9d0d55dd391";
        assert_eq!(hex(&sha256([&b"abc"[..]])), expected);
        assert_ne!(sha256([&b"a"[..], b"bc"]), sha256([&b"ab"[..], b"c"]));
        let (wide, tall) = (Picture::filled(2, 1, [3; 3]), Picture::filled(1, 2, [3; 3]));
        assert_ne!(picture_digest(&wide), picture_digest(&tall));
    }
}
