//! Weighted sums of any PEFT LoRA adapters, file to file.
//!
//! Only the adapters' files are read, so the models may be language models as well: a module is a
//! path. Products are summed, never factors. In memory are the factors of one adapter at one module, and what is
//! written for that module; truncation needs the module's sum as well, as joined factors or, where these would be
//! larger, as a matrix.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::BufWriter,
    path::{Path, PathBuf},
};

use super::{
    config::{Entry, Origin, PeftConfig, is_inside, write_config},
    folder,
    module::LoraLayer,
    names::{Dialect, Slot, VitPath, vit_path},
    pairs::{FactorKeys, Pairs},
    svd::{truncate, truncated_rank},
    tensor_file::{Precision, TensorFile, TensorWriter},
};
use crate::{
    error::{Error, Result},
    files::PartialFile,
    matrix::identity,
};

/// How the sum is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Exact: factors joined, ranks add up.
    Cat,
    /// The best approximation at a rank.
    Svd {
        /// Largest rank of a module.
        rank: usize,
    },
}

/// One module of the sum.
#[derive(Clone, Debug, PartialEq)]
pub struct ComposedModule {
    /// Module path, without `base_model.model.`.
    pub path: String,
    /// Rank written.
    pub rank: usize,
    /// Relative Frobenius error of the update; 0 for [`Form::Cat`].
    pub relative_error: f64,
}

/// What was written.
#[derive(Debug)]
pub struct ComposeReport {
    /// Modules by path.
    pub modules: Vec<ComposedModule>,
    /// Relative Frobenius error over all modules; 0 for [`Form::Cat`].
    pub relative_error: f64,
    /// Modules that several adapters save whole, as heads: those of different tasks cannot be summed, so none is there.
    pub left_out: BTreeSet<String>,
    /// The index of the only adapter that saves modules whole, and their names: they are written as they are.
    pub kept: Option<(usize, Vec<String>)>,
    /// What looks wrong.
    pub warnings: Vec<Error>,
}

/// Writes the weighted sum of adapters as a new adapter of f32 factors with scaling 1.
///
/// An adapter without a module adds zero there. `names` renames the modules of ViTs to one dialect;
/// adapters in both dialects cannot be summed without it.
///
/// # Errors
/// No adapters, another number of weights, adapters for different models, anything that
/// [`PeftConfig::parse`] or [`Pairs::new`] refuse, and files that cannot be read or written.
pub fn compose(
    adapters: &[PathBuf],
    weights: &[f64],
    form: Form,
    names: Option<Dialect>,
    out: &Path,
) -> Result<ComposeReport> {
    check_arguments(adapters, weights, form)?;
    let mut plan = Plan::default();
    for (dir, weight) in adapters.iter().zip(weights) {
        plan.add(dir, *weight, names)?;
    }
    let saved = plan.saved_modules();
    let origin = plan.origin(&saved)?;
    let kept = saved.first().map(|(_, adapter, _)| (*adapter, origin.modules_to_save.clone()));
    let config = write_config(&plan.entries(form), &origin);
    let (modules, relative_error) =
        folder::write(out, &config, |output, path| plan.write(form, &saved, output, path))?;
    Ok(ComposeReport { modules, relative_error, left_out: plan.left_out, kept, warnings: plan.warnings })
}

fn check_arguments(adapters: &[PathBuf], weights: &[f64], form: Form) -> Result<()> {
    if adapters.is_empty() || adapters.len() != weights.len() {
        let reason =
            format!("{} adapters and {} weights; give one weight per adapter", adapters.len(), weights.len());
        return Err(Error::mismatch("weights", reason));
    }
    if let Some(weight) = weights.iter().find(|weight| !weight.is_finite()) {
        return Err(Error::mismatch("weights", format!("{weight} is not a number")));
    }
    match form {
        Form::Svd { rank: 0 } => Err(Error::mismatch("rank", "0 leaves nothing; give 1 or more")),
        _ => Ok(()),
    }
}

struct Adapter {
    config: PeftConfig,
    file: TensorFile,
    /// Tensors that are no factors: path and key.
    saved: BTreeMap<String, String>,
}

/// One adapter's share of a module.
struct Share {
    adapter: usize,
    keys: FactorKeys,
    /// Weight times scaling.
    coefficient: f64,
}

#[derive(Default)]
struct Plan {
    adapters: Vec<Adapter>,
    modules: BTreeMap<String, Vec<Share>>,
    /// Path of each linear layer of a ViT, to notice one layer under two names.
    layers: BTreeMap<(usize, Slot), String>,
    left_out: BTreeSet<String>,
    warnings: Vec<Error>,
}

impl Plan {
    /// Reads an adapter's configuration and header and adds its share to every module.
    fn add(&mut self, dir: &Path, weight: f64, names: Option<Dialect>) -> Result<()> {
        let (json, weights) = folder::open(dir)?;
        let config = PeftConfig::parse(&dir.join(folder::CONFIG).display().to_string(), &json)?;
        let file = TensorFile::open(&weights)?;
        let pairs = Pairs::new(&file.name(), file.shapes())?;
        let is_saved = |path: &str| config.modules_to_save.iter().any(|module| is_inside(path, module));
        let strays = pairs.others.iter().filter(|(path, _)| !is_saved(path)).map(|(_, key)| key.clone());
        if let Some(error) = Pairs::unexpected(&file.name(), strays.collect()) {
            return Err(error);
        }
        let (factors, saved) = (pairs.factors.keys(), pairs.others.keys());
        self.warnings.extend(config.warnings(factors.map(String::as_str), saved.map(String::as_str)));
        for (path, keys) in pairs.factors {
            let coefficient = weight * config.scaling(&path, keys.rank)?;
            let path = self.output_path(&file.name(), &path, names)?;
            let shares = self.modules.entry(path.clone()).or_default();
            let share = Share { adapter: self.adapters.len(), keys, coefficient };
            check_share(&file.name(), &path, shares, &share)?;
            shares.push(share);
        }
        self.adapters.push(Adapter { config, file, saved: pairs.others });
        Ok(())
    }

    /// The path under which a module is written.
    fn output_path(&mut self, file: &str, path: &str, names: Option<Dialect>) -> Result<String> {
        let Some(place) = VitPath::parse(path) else { return Ok(path.to_string()) };
        let renamed = match (names, place.slot) {
            (None, _) => path.to_string(),
            (Some(dialect), Slot::One(target)) if has_dialects(place) => {
                vit_path(place.prefix, place.block, target, dialect)
            }
            _ => {
                let reason =
                    "this layer has no name in transformers' dialects; compose without renaming".into();
                return Err(Error::Unsupported { name: file.into(), option: path.into(), reason });
            }
        };
        if place.slot == Slot::Gated {
            // Several layers of a block share this slot, so that it says nothing about one layer's names.
            return Ok(renamed);
        }
        let slots = std::iter::once(&place.slot).chain(place.slot.overlapping());
        let mut known = slots.filter_map(|slot| self.layers.get(&(place.block, *slot)));
        if let Some(other) = known.find(|other| **other != renamed) {
            let alike = |own: VitPath<'_>| has_dialects(own) && own.prefix == place.prefix;
            let advice = match alike(place) && VitPath::parse(other).is_some_and(alike) && names.is_none() {
                true => "give all of them today's names with --names new",
                false => "compose adapters of one kind of model",
            };
            let reason = format!("`{renamed}` is `{other}` in another adapter; {advice}");
            return Err(Error::mismatch(file, reason));
        }
        self.layers.insert((place.block, place.slot), renamed.clone());
        Ok(renamed)
    }

    /// Saved modules of the only adapter that has some: output path, adapter and key. Heads for
    /// different classes cannot be summed, so of several adapters' all are left out.
    fn saved_modules(&mut self) -> Vec<(String, usize, String)> {
        let having: Vec<usize> =
            (0..self.adapters.len()).filter(|index| !self.adapters[*index].saved.is_empty()).collect();
        if let [only] = having[..] {
            return self.adapters[only]
                .saved
                .iter()
                .map(|(path, key)| (path.clone(), only, key.clone()))
                .collect();
        }
        for index in having {
            self.left_out.extend(self.adapters[index].config.modules_to_save.iter().cloned());
        }
        Vec::new()
    }

    fn origin(&mut self, saved: &[(String, usize, String)]) -> Result<Origin> {
        let first = &self.adapters[0].config;
        let mut origin = Origin {
            base_model: first.base_model.clone(),
            task_type: first.task_type.clone(),
            fan_in_fan_out: first.fan_in_fan_out,
            modules_to_save: Vec::new(),
        };
        if let Some((_, adapter, _)) = saved.first() {
            origin.modules_to_save = self.adapters[*adapter].config.modules_to_save.clone();
        }
        for Adapter { config, .. } in &self.adapters[1..] {
            if config.fan_in_fan_out != origin.fan_in_fan_out {
                let reason = "it differs from the first adapter's; they are for different models";
                return Err(Error::config(&config.name, "fan_in_fan_out", reason));
            }
            if config.base_model != origin.base_model {
                let name = |model: &Option<String>| model.clone().unwrap_or_else(|| "none".into());
                let reason = format!(
                    "{}, the first adapter says {}",
                    name(&config.base_model),
                    name(&origin.base_model)
                );
                self.warnings.push(Error::config(&config.name, "base_model_name_or_path", reason));
            }
            if config.task_type != origin.task_type {
                origin.task_type = None;
            }
        }
        Ok(origin)
    }

    fn entries(&self, form: Form) -> Vec<Entry> {
        let entry = |(path, shares): (&String, &Vec<Share>)| Entry {
            path: path.clone(),
            rank: written_rank(shares, form),
            scaling: 1.0,
        };
        self.modules.iter().map(entry).collect()
    }

    /// Names and shapes of everything that is written, in order.
    fn tensors(&self, form: Form, saved: &[(String, usize, String)]) -> Vec<(String, Vec<usize>)> {
        let mut tensors = Vec::new();
        for (path, shares) in &self.modules {
            let Some(Share { keys, .. }) = shares.first() else { continue };
            let rank = written_rank(shares, form);
            let [a, b] = match keys.embedding {
                true => ["lora_embedding_A", "lora_embedding_B"],
                false => ["lora_A.weight", "lora_B.weight"],
            };
            tensors.push((format!("base_model.model.{path}.{a}"), vec![rank, keys.in_dim]));
            tensors.push((format!("base_model.model.{path}.{b}"), vec![keys.out_dim, rank]));
        }
        for (path, adapter, key) in saved {
            let shape = self.adapters[*adapter].file.shape(key).unwrap_or_default();
            tensors.push((format!("base_model.model.{path}"), shape.to_vec()));
        }
        tensors
    }

    /// Writes the weights; gives the modules and the relative error over all.
    fn write(
        &self,
        form: Form,
        saved: &[(String, usize, String)],
        output: &mut BufWriter<PartialFile>,
        path: &Path,
    ) -> Result<(Vec<ComposedModule>, f64)> {
        let mut writer = TensorWriter::new(output, path, &self.tensors(form, saved), Precision::F32)?;
        let mut modules = Vec::new();
        let (mut squared_norm, mut squared_loss) = (0.0, 0.0);
        for (path, shares) in &self.modules {
            let mut relative_error = 0.0;
            match form {
                Form::Cat => {
                    writer.write_parts(shares.iter().map(|share| self.scaled_a(share)))?;
                    writer.write(&self.joined_b(shares)?)?;
                }
                Form::Svd { rank } => {
                    let truncated = truncate(&self.joined(shares)?, rank)?;
                    squared_norm += truncated.norm.powi(2);
                    squared_loss += truncated.lost.powi(2);
                    relative_error = truncated.relative_error();
                    writer.write(&truncated.layer.a)?;
                    writer.write(&truncated.layer.b)?;
                }
            }
            let rank = written_rank(shares, form);
            modules.push(ComposedModule { path: path.clone(), rank, relative_error });
        }
        for (_, adapter, key) in saved {
            writer.write(&self.adapters[*adapter].file.read(key)?)?;
        }
        writer.finish()?;
        let relative_error = if squared_norm > 0.0 { (squared_loss / squared_norm).sqrt() } else { 0.0 };
        Ok((modules, relative_error))
    }

    /// One adapter's rows of the joined `A`, which carry its weight and scaling.
    fn scaled_a(&self, share: &Share) -> Result<Vec<f32>> {
        let mut a = self.adapters[share.adapter].file.read(&share.keys.a)?;
        a.iter_mut().for_each(|value| *value = (f64::from(*value) * share.coefficient) as f32);
        Ok(a)
    }

    /// The adapters' `B` side by side, `[out, sum of ranks]`.
    fn joined_b(&self, shares: &[Share]) -> Result<Vec<f32>> {
        let (rank, out_dim) = (sum_of_ranks(shares), shares.first().map_or(0, |share| share.keys.out_dim));
        let mut joined = vec![0.0; out_dim * rank];
        let mut column = 0;
        for Share { adapter, keys, .. } in shares {
            let b = self.adapters[*adapter].file.read(&keys.b)?;
            for (row, own) in joined.chunks_exact_mut(rank).zip(b.chunks_exact(keys.rank)) {
                row[column..column + keys.rank].copy_from_slice(own);
            }
            column += keys.rank;
        }
        Ok(joined)
    }

    /// The exact sum of a module's updates. Truncating after every adapter instead would need less memory, but what it
    /// gives is not the best approximation.
    fn joined(&self, shares: &[Share]) -> Result<LoraLayer> {
        let (in_dim, out_dim) =
            shares.first().map_or((0, 0), |Share { keys, .. }| (keys.in_dim, keys.out_dim));
        let rank = sum_of_ranks(shares);
        if rank >= in_dim.min(out_dim) {
            return self.dense(shares, in_dim, out_dim);
        }
        let mut a = Vec::with_capacity(rank * in_dim);
        for share in shares {
            a.extend(self.scaled_a(share)?);
        }
        Ok(LoraLayer { rank, in_dim, out_dim, a, b: self.joined_b(shares)?, scaling: 1.0 })
    }

    /// The same as one matrix beside an identity: more ranks than channels say nothing more, so that memory does not
    /// grow with the number of adapters.
    fn dense(&self, shares: &[Share], in_dim: usize, out_dim: usize) -> Result<LoraLayer> {
        let mut sum = vec![0.0; out_dim * in_dim];
        for share in shares {
            let (a, b) = (self.scaled_a(share)?, self.adapters[share.adapter].file.read(&share.keys.b)?);
            let own = LoraLayer { rank: share.keys.rank, in_dim, out_dim, a, b, scaling: 1.0 };
            sum.iter_mut().zip(own.delta()).for_each(|(sum, value)| *sum += value);
        }
        let (rank, a, b) = match in_dim <= out_dim {
            true => (in_dim, identity(in_dim), sum),
            false => (out_dim, sum, identity(out_dim)),
        };
        Ok(LoraLayer { rank, in_dim, out_dim, a, b, scaling: 1.0 })
    }
}

/// Whether a layer's path has a name in both of transformers' dialects.
fn has_dialects(place: VitPath<'_>) -> bool {
    matches!(place.slot, Slot::One(_)) && !place.timm && !place.gated
}

fn check_share(file: &str, path: &str, shares: &[Share], share: &Share) -> Result<()> {
    let kind = |keys: &FactorKeys| (keys.in_dim, keys.out_dim, keys.embedding);
    match shares.first() {
        Some(other) if kind(&other.keys) != kind(&share.keys) => {
            let reason = format!(
                "`{path}` maps {} to {} channels, in another adapter {} to {}; they are for different models",
                share.keys.in_dim, share.keys.out_dim, other.keys.in_dim, other.keys.out_dim
            );
            Err(Error::mismatch(file, reason))
        }
        _ => Ok(()),
    }
}

fn sum_of_ranks(shares: &[Share]) -> usize {
    shares.iter().map(|share| share.keys.rank).sum()
}

/// The rank of a module's sum, known before its factors are read.
fn written_rank(shares: &[Share], form: Form) -> usize {
    let sum = sum_of_ranks(shares);
    match (form, shares.first()) {
        (Form::Svd { rank }, Some(Share { keys, .. })) => {
            truncated_rank([sum, keys.in_dim, keys.out_dim], rank)
        }
        _ => sum,
    }
}
