//! What a module's linear layers are called in the model that it is for, and how they are cut there.
//!
//! Our layers are query, key, value, proj, fc1 and fc2. timm holds the first three as one `attn.qkv`; DINOv2's gated
//! feed-forward part holds fc1 as `gate_proj` and `up_proj` since transformers 5.18. One update of a stack of layers is
//! exact: every layer keeps its own directions, and the other layers' rows have zeros there.

use std::{borrow::Cow, collections::BTreeMap};

use super::{
    library::LayerKey,
    module::LoraLayer,
    names::{Dialect, vit_path},
    tensor_file::Precision,
};
use crate::vit::target::Target;

/// What kind of model a module is for, as far as its files differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// transformers' ViT, DeiT, and DINOv2 with `fc1` and `fc2`.
    #[default]
    Plain,
    /// DINOv2 with a gated feed-forward part.
    Gated,
    /// timm, whatever the dialect of transformers.
    Timm,
}

/// How a module is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeftFormat<'a> {
    /// Which transformers loads it.
    pub dialect: Dialect,
    /// The attribute that holds the backbone in the model it is for: `vit`, `deit`, `dinov2`, or nothing for a bare ViT.
    pub prefix: &'a str,
    /// Precision of its values.
    pub precision: Precision,
    /// What kind of model it is for.
    pub family: Family,
    /// Whether that model has one head per prefix token, as a distilled DeiT has.
    pub two_heads: bool,
}

/// A layer under its module path.
pub type Named<'a> = (String, Cow<'a, LoraLayer>);

impl PeftFormat<'_> {
    /// Layers as the model has them: renamed, joined or cut.
    pub fn named<'a>(&self, layers: &'a BTreeMap<LayerKey, LoraLayer>) -> Vec<Named<'a>> {
        let mut named = Vec::new();
        for (&(block, target), layer) in layers {
            match (self.family, target) {
                (Family::Timm, Target::Query | Target::Key | Target::Value) => {}
                (Family::Gated, Target::Fc1) if self.dialect == Dialect::New => {
                    let halves = split(layer, 2).into_iter().zip(["gate_proj", "up_proj"]);
                    named.extend(
                        halves.map(|(half, name)| (self.feed_forward(block, name), Cow::Owned(half))),
                    );
                }
                _ => named.push((self.path(block, target), Cow::Borrowed(layer))),
            }
        }
        if self.family == Family::Timm {
            named.extend(fused_qkv(layers));
        }
        named
    }

    fn path(&self, block: usize, target: Target) -> String {
        match (self.family, target, self.dialect) {
            (Family::Timm, Target::Fc1 | Target::Fc2, _) => format!("blocks.{block}.mlp.{}", target.name()),
            (Family::Timm, ..) => format!("blocks.{block}.attn.{}", target.name()),
            (Family::Gated, Target::Fc1, _) => self.feed_forward(block, "weights_in"),
            (Family::Gated, Target::Fc2, Dialect::Old) => self.feed_forward(block, "weights_out"),
            (Family::Gated, Target::Fc2, Dialect::New) => self.feed_forward(block, "down_proj"),
            _ => vit_path(self.prefix, block, target, self.dialect),
        }
    }

    /// A layer of a gated feed-forward part, beside where a plain one is.
    fn feed_forward(&self, block: usize, name: &str) -> String {
        vit_path(self.prefix, block, Target::Fc1, Dialect::New).replace("fc1", name)
    }

    /// The modules that hold the head: one, or one per prefix token.
    pub fn heads(&self) -> &'static [&'static str] {
        match (self.family, self.two_heads) {
            (Family::Timm, false) => &["head"],
            (_, false) => &["classifier"],
            (Family::Timm, true) => &TWO_HEADS[1],
            (_, true) => &TWO_HEADS[0],
        }
    }
}

/// The heads of a distilled DeiT, in transformers and in timm: of the class token, of the distillation token.
pub const TWO_HEADS: [[&str; 2]; 2] = [["cls_classifier", "distillation_classifier"], ["head", "head_dist"]];

/// Query, key and value of every block that has one of them.
fn fused_qkv(layers: &BTreeMap<LayerKey, LoraLayer>) -> Vec<Named<'_>> {
    let mut blocks: Vec<usize> = layers.keys().map(|(block, _)| *block).collect();
    blocks.dedup();
    let fused = |block: usize| {
        let parts = [Target::Query, Target::Key, Target::Value].map(|target| layers.get(&(block, target)));
        Some((format!("blocks.{block}.attn.qkv"), Cow::Owned(stack(&parts)?)))
    };
    blocks.into_iter().filter_map(fused).collect()
}

/// One layer whose output is that of several, one below the other; `None` where none has an update.
///
/// Parts that share their directions (`A`) keep the rank; else ranks add up.
pub fn stack(parts: &[Option<&LoraLayer>]) -> Option<LoraLayer> {
    let present: Vec<&LoraLayer> = parts.iter().copied().flatten().collect();
    let first = *present.first()?;
    let alike = present.iter().all(|part| part.scaling == first.scaling);
    if alike && present.len() == parts.len() && present.iter().all(|part| part.a == first.a) {
        let b = present.iter().flat_map(|part| part.b.iter().copied()).collect();
        return Some(LoraLayer { out_dim: first.out_dim * parts.len(), b, ..first.clone() });
    }
    let rank = present.iter().map(|part| part.rank).sum();
    let mut b = vec![0.0; parts.len() * first.out_dim * rank];
    let mut column = 0;
    for (index, part) in parts.iter().enumerate() {
        let Some(part) = part else { continue };
        let factor = if alike { 1.0 } else { part.scaling };
        let rows = b.chunks_exact_mut(rank).skip(index * first.out_dim);
        for (row, values) in rows.zip(part.b.chunks_exact(part.rank)) {
            let own = &mut row[column..column + part.rank];
            own.iter_mut().zip(values).for_each(|(to, from)| *to = factor * from);
        }
        column += part.rank;
    }
    Some(LoraLayer {
        rank,
        in_dim: first.in_dim,
        out_dim: first.out_dim * parts.len(),
        a: present.iter().flat_map(|part| part.a.iter().copied()).collect(),
        b,
        scaling: if alike { first.scaling } else { 1.0 },
    })
}

/// The equal parts of a stacked layer; its output width must be a multiple of `count`.
///
/// A direction that only other parts use is left out, so that a stack comes apart as it was put together.
pub fn split(fused: &LoraLayer, count: usize) -> Vec<LoraLayer> {
    let out_dim = fused.out_dim / count;
    let uses = |b: &[f32]| -> Vec<bool> {
        let used = |column: usize| b.iter().skip(column).step_by(fused.rank).any(|value| *value != 0.0);
        (0..fused.rank).map(used).collect()
    };
    let of_any = uses(&fused.b);
    let part = |b: &[f32]| {
        let mut kept: Vec<bool> = uses(b).into_iter().zip(&of_any).map(|(own, any)| own || !any).collect();
        if !kept.contains(&true) {
            kept[0] = true;
        }
        let rows = fused.a.chunks_exact(fused.in_dim).zip(&kept).filter(|(_, kept)| **kept);
        let b = b.iter().zip(kept.iter().cycle()).filter(|(_, kept)| **kept).map(|(value, _)| *value);
        LoraLayer {
            rank: kept.iter().filter(|kept| **kept).count(),
            out_dim,
            a: rows.flat_map(|(row, _)| row.iter().copied()).collect(),
            b: b.collect(),
            ..fused.clone()
        }
    };
    fused.b.chunks_exact(out_dim * fused.rank).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(rank: usize, scaling: f32, seed: usize) -> LoraLayer {
        let value = |index: usize| ((index * 7 + seed * 13) % 11) as f32 - 5.5;
        let a = (0..rank * 3).map(value).collect();
        let b = (0..2 * rank).map(|index| value(index + 5)).collect();
        LoraLayer { rank, in_dim: 3, out_dim: 2, a, b, scaling }
    }

    #[test]
    fn a_stack_is_exact_and_comes_apart_as_it_was() {
        let layers = [layer(2, 2.0, 1), layer(1, 2.0, 2), layer(3, 2.0, 3)];
        let stacked = stack(&layers.each_ref().map(Some)).expect("a stack");
        assert_eq!((stacked.rank, stacked.out_dim), (6, 6));
        let expected: Vec<f32> = layers.iter().flat_map(LoraLayer::delta).collect();
        assert_eq!(stacked.delta(), expected);
        assert_eq!(split(&stacked, 3), layers);
    }

    #[test]
    fn other_scales_and_absent_parts_are_exact_too() {
        let (one, other) = (layer(2, 2.0, 1), layer(1, -0.5, 2));
        let stacked = stack(&[Some(&one), None, Some(&other)]).expect("a stack");
        let expected = [one.delta(), vec![0.0; 6], other.delta()].concat();
        assert_eq!(stacked.delta(), expected);
        let deltas: Vec<f32> = split(&stacked, 3).iter().flat_map(LoraLayer::delta).collect();
        assert_eq!(deltas, expected);
        assert_eq!(stack(&[None, None, None]), None);
    }

    #[test]
    fn shared_directions_keep_the_rank() {
        let one = layer(2, 2.0, 1);
        let other = LoraLayer { b: layer(2, 2.0, 4).b, ..one.clone() };
        let stacked = stack(&[Some(&one), Some(&other)]).expect("a stack");
        assert_eq!(stacked.rank, 2);
        assert_eq!(split(&stacked, 2), [one, other]);
    }
}
