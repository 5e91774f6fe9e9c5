//! PEFT's files to modules and back.

use std::{borrow::Cow, collections::BTreeMap, fs, path::Path};

use safetensors::SafeTensors;

use super::{
    config::{Entry, Origin, PeftConfig, write_config},
    folder,
    layout::{PeftFormat, TWO_HEADS, split, stack},
    module::{LoraLayer, LoraModule, SavedHead},
    names::{Slot, VitPath},
    pairs::{FactorKeys, Pairs},
    tensor_file::{TensorWriter, decode},
};
use crate::{
    error::{Error, Result},
    vit::target::Target,
};

/// Widest layer that is read: its dense update would take 1 GB.
const MAX_WIDTH: usize = 16_384;

impl LoraModule {
    /// Reads a module from the two files' contents.
    ///
    /// The second part of the result are warnings: what was left out or differs from PEFT.
    ///
    /// # Errors
    /// Options and tensors that are not supported, missing, unexpected or mis-shaped tensors, values
    /// that are not finite; `name` is in every message.
    pub fn from_bytes(
        name: &str,
        adapter_config_json: &str,
        safetensors: &[u8],
    ) -> Result<(Self, Vec<Error>)> {
        let config = PeftConfig::parse(name, adapter_config_json)?;
        if config.fan_in_fan_out {
            let reason =
                "a ViT's linear layers are stored [out, in]; the adapter is for another model".into();
            return Err(Error::Unsupported { name: name.into(), option: "fan_in_fan_out".into(), reason });
        }
        let file = SafeTensors::deserialize(safetensors)
            .map_err(|error| Error::Safetensors { name: name.into(), reason: error.to_string() })?;
        let shapes: Vec<(&str, Vec<usize>)> =
            file.iter().map(|(key, view)| (key, view.shape().to_vec())).collect();
        let pairs = Pairs::new(name, shapes.iter().map(|(key, shape)| (*key, shape.as_slice())))?;
        let mut reader =
            Reader { name, config: &config, file: &file, halves: BTreeMap::new(), unexpected: Vec::new() };
        let mut layers = BTreeMap::new();
        for (path, keys) in &pairs.factors {
            reader.layer(path, keys, &mut layers)?;
        }
        reader.join_halves(&mut layers)?;
        let warnings = config
            .warnings(pairs.factors.keys().map(String::as_str), pairs.others.keys().map(String::as_str));
        let head = reader.head(pairs.others)?;
        if let Some(error) = Pairs::unexpected(name, reader.unexpected) {
            return Err(error);
        }
        Ok((Self { name: name.into(), layers, head, base_model: config.base_model }, warnings))
    }

    /// Reads a module from its folder; the module takes the folder's name.
    ///
    /// # Errors
    /// As [`LoraModule::from_bytes`] with the folder in every message, and files that cannot be read.
    pub fn from_dir(dir: &Path) -> Result<(Self, Vec<Error>)> {
        let (json, weights) = folder::open(dir)?;
        let bytes = fs::read(&weights).map_err(|source| Error::io("read", &weights, source))?;
        let (mut module, warnings) = Self::from_bytes(&dir.display().to_string(), &json, &bytes)?;
        if let Some(name) = dir.file_name() {
            module.name = name.to_string_lossy().into_owned();
        }
        Ok((module, warnings))
    }

    /// `adapter_config.json` and `adapter_model.safetensors` that PEFT loads. The bytes depend on the module and the
    /// format only.
    ///
    /// # Errors
    /// A module without updates, one whose vectors have other lengths than its sizes say, or one whose widths are not
    /// those of the format's model.
    pub fn to_peft(&self, format: &PeftFormat) -> Result<(String, Vec<u8>)> {
        if self.layers.is_empty() {
            return Err(Error::mismatch(&self.name, "no update to write; PEFT loads no adapter without one"));
        }
        let mut entries = Vec::new();
        let mut tensors: Vec<(String, Vec<usize>, Cow<[f32]>)> = Vec::new();
        let named = format.named(&self.layers);
        for (path, layer) in &named {
            let (a, b) = (vec![layer.rank, layer.in_dim], vec![layer.out_dim, layer.rank]);
            tensors.push((format!("base_model.model.{path}.lora_A.weight"), a, (&layer.a[..]).into()));
            tensors.push((format!("base_model.model.{path}.lora_B.weight"), b, (&layer.b[..]).into()));
            entries.push(Entry { path: path.clone(), rank: layer.rank, scaling: f64::from(layer.scaling) });
        }
        let mut origin = Origin { base_model: self.base_model.clone(), ..Origin::default() };
        let names = format.heads();
        for (head, name) in self.head.iter().flat_map(|head| head.split(names.len())).zip(names) {
            origin.modules_to_save.push((*name).into());
            let (bias, weight) = (vec![head.classes], vec![head.classes, head.dim]);
            tensors.push((format!("base_model.model.{name}.bias"), bias, head.bias.into()));
            tensors.push((format!("base_model.model.{name}.weight"), weight, head.weight.into()));
        }
        let shapes: Vec<_> = tensors.iter().map(|(key, shape, _)| (key.clone(), shape.clone())).collect();
        let mut writer = TensorWriter::new(Vec::new(), Path::new(&self.name), &shapes, format.precision)?;
        tensors.iter().try_for_each(|(_, _, values)| writer.write(values))?;
        Ok((write_config(&entries, &origin), writer.finish()?))
    }

    /// Writes [`LoraModule::to_peft`] into a folder, each file whole, as [`folder::write`] does.
    ///
    /// # Errors
    /// As [`LoraModule::to_peft`], and a folder that cannot be written.
    pub fn save_dir(&self, dir: &Path, format: &PeftFormat) -> Result<()> {
        let (config, bytes) = self.to_peft(format)?;
        folder::write(dir, &config, |output, path| {
            std::io::Write::write_all(output, &bytes).map_err(|source| Error::io("write", path, source))
        })
    }
}

type Layers = BTreeMap<(usize, Target), LoraLayer>;

struct Reader<'a> {
    name: &'a str,
    config: &'a PeftConfig,
    file: &'a SafeTensors<'a>,
    /// Gate and other half of fc1, by block.
    halves: BTreeMap<usize, [Option<LoraLayer>; 2]>,
    unexpected: Vec<String>,
}

impl Reader<'_> {
    /// Reads one module of the file into one layer, or timm's fused one into three.
    fn layer(&mut self, path: &str, keys: &FactorKeys, layers: &mut Layers) -> Result<()> {
        let Some(place) = VitPath::parse(path).filter(|_| !keys.embedding) else {
            self.unexpected.extend([keys.a.clone(), keys.b.clone()]);
            return Ok(());
        };
        self.check_width(keys)?;
        let layer = LoraLayer {
            rank: keys.rank,
            in_dim: keys.in_dim,
            out_dim: keys.out_dim,
            a: self.values(&keys.a)?,
            b: self.values(&keys.b)?,
            scaling: self.config.scaling(path, keys.rank)? as f32,
        };
        let parts = match place.slot {
            Slot::One(target) => vec![(target, layer)],
            Slot::Qkv => self.split_qkv(keys, &layer)?,
            Slot::Gate | Slot::Up => {
                let half = usize::from(place.slot == Slot::Up);
                return match self.halves.entry(place.block).or_default()[half].replace(layer) {
                    None => Ok(()),
                    Some(_) => Err(self.twice(Target::Fc1, place.block)),
                };
            }
            Slot::Gated => {
                let reason = "updates of timm's gated MLP are not read; train on the attention".into();
                return Err(Error::Unsupported { name: self.name.into(), option: path.into(), reason });
            }
        };
        parts.into_iter().try_for_each(|(target, part)| self.insert(layers, (place.block, target), part))
    }

    fn insert(&self, layers: &mut Layers, key: (usize, Target), layer: LoraLayer) -> Result<()> {
        match layers.insert(key, layer) {
            None => Ok(()),
            Some(_) => Err(self.twice(key.1, key.0)),
        }
    }

    fn twice(&self, target: Target, block: usize) -> Error {
        let reason = format!("two of its modules update {} of block {block}", target.name());
        Error::Safetensors { name: self.name.into(), reason }
    }

    /// Makes one fc1 of the two halves that a gated feed-forward part has.
    fn join_halves(&mut self, layers: &mut Layers) -> Result<()> {
        for (block, halves) in std::mem::take(&mut self.halves) {
            let parts = halves.each_ref().map(Option::as_ref);
            if let [Some(gate), Some(up)] = parts
                && [gate.in_dim, gate.out_dim] != [up.in_dim, up.out_dim]
            {
                let reason = format!("gate_proj and up_proj of block {block} have different widths");
                return Err(Error::mismatch(self.name, reason));
            }
            if let Some(layer) = stack(&parts) {
                self.insert(layers, (block, Target::Fc1), layer)?;
            }
        }
        Ok(())
    }

    fn check_width(&self, keys: &FactorKeys) -> Result<()> {
        if keys.in_dim.max(keys.out_dim) <= MAX_WIDTH {
            return Ok(());
        }
        let reason = format!(
            "`{}` maps {} to {} channels, the limit is {MAX_WIDTH}",
            keys.a, keys.in_dim, keys.out_dim
        );
        Err(Error::mismatch(self.name, reason))
    }

    /// Rows of the fused `B` are query, then key, then value.
    fn split_qkv(&self, keys: &FactorKeys, fused: &LoraLayer) -> Result<Vec<(Target, LoraLayer)>> {
        let out_dim = fused.out_dim / 3;
        if out_dim * 3 != fused.out_dim {
            return Err(self.shape(&keys.b, &[fused.out_dim, fused.rank], &[out_dim * 3, fused.rank]));
        }
        Ok([Target::Query, Target::Key, Target::Value].into_iter().zip(split(fused, 3)).collect())
    }

    /// Takes the head out of the tensors that are no factors; the rest is unexpected.
    fn head(&mut self, mut others: BTreeMap<String, String>) -> Result<Option<SavedHead>> {
        let has = |module: &str| {
            ["weight", "bias"].iter().any(|part| others.contains_key(&format!("{module}.{part}")))
        };
        let modules: &[&str] = match TWO_HEADS.iter().find(|[_, distilled]| has(distilled)) {
            Some(pair) => pair,
            None => {
                [["classifier"], ["head"]].iter().find(|[module]| has(module)).map_or(&[], |one| &one[..])
            }
        };
        let mut heads = Vec::new();
        for module in modules {
            let mut take = |part: &str| {
                let tensor = format!("{module}.{part}");
                let missing = Error::MissingTensor { name: self.name.into(), tensor: tensor.clone() };
                others.remove(&tensor).ok_or(missing)
            };
            let (weight, bias) = (take("weight")?, take("bias")?);
            heads.push(self.read_head(&weight, &bias)?);
        }
        self.unexpected.extend(others.into_values());
        SavedHead::mean(self.name, heads)
    }

    fn read_head(&self, weight: &str, bias: &str) -> Result<SavedHead> {
        let (weight_shape, bias_shape) = (self.dims(weight)?, self.dims(bias)?);
        let [classes, dim] = weight_shape[..] else {
            return Err(self.shape(weight, &weight_shape, &[bias_shape.first().copied().unwrap_or(1), 1]));
        };
        if bias_shape != [classes] {
            return Err(self.shape(bias, &bias_shape, &[classes]));
        }
        Ok(SavedHead { classes, dim, weight: self.values(weight)?, bias: self.values(bias)? })
    }

    fn dims(&self, key: &str) -> Result<Vec<usize>> {
        Ok(self.view(key)?.shape().to_vec())
    }

    fn values(&self, key: &str) -> Result<Vec<f32>> {
        let view = self.view(key)?;
        decode(self.name, key, view.dtype(), view.data())
    }

    fn view(&self, key: &str) -> Result<safetensors::tensor::TensorView<'_>> {
        let missing = |_| Error::MissingTensor { name: self.name.into(), tensor: key.into() };
        self.file.tensor(key).map_err(missing)
    }

    fn shape(&self, key: &str, found: &[usize], expected: &[usize]) -> Error {
        let (found, expected) = (found.to_vec(), expected.to_vec());
        Error::TensorShape { name: self.name.into(), tensor: key.into(), found, expected }
    }
}
