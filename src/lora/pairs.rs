//! The tensors of a LoRA file by module: which two factors belong together, checked by shape.

use std::collections::BTreeMap;

use super::names::{Part, split_key};
use crate::error::{Error, Result};

/// Keys and sizes of the two factors of one module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactorKeys {
    /// Key of `A`, `[rank, in]`.
    pub a: String,
    /// Key of `B`, `[out, rank]`.
    pub b: String,
    /// Rank r.
    pub rank: usize,
    /// Input width; the vocabulary for an embedding.
    pub in_dim: usize,
    /// Output width.
    pub out_dim: usize,
    /// Whether the module is an embedding, whose update is `(B A)^T`.
    pub embedding: bool,
}

/// A file's tensors, sorted out.
#[derive(Clone, Debug, Default)]
pub struct Pairs {
    /// Factors by module path.
    pub factors: BTreeMap<String, FactorKeys>,
    /// Every other tensor: its path without PEFT's wrapping, and its key.
    pub others: BTreeMap<String, String>,
}

/// A key and its shape.
type Found<'a> = (&'a str, &'a [usize]);

#[derive(Default)]
struct Half<'a> {
    a: Option<Found<'a>>,
    b: Option<Found<'a>>,
}

impl Pairs {
    /// Sorts out keys and shapes.
    ///
    /// # Errors
    /// Tensors of an option that is not supported, a factor without its partner, factors that do not
    /// fit each other, two keys for one tensor, or no LoRA factors at all.
    pub fn new<'a>(name: &str, tensors: impl Iterator<Item = Found<'a>>) -> Result<Self> {
        let mut halves: BTreeMap<(String, bool), Half> = BTreeMap::new();
        let mut pairs = Self::default();
        for (key, shape) in tensors {
            let (path, part) = split_key(key);
            let embedding = matches!(part, Part::EmbeddingA | Part::EmbeddingB);
            let replaced = match part {
                Part::Refused(option) => return Err(refused(name, option, key)),
                Part::Other => pairs.others.insert(path, key.to_string()),
                Part::A | Part::EmbeddingA => {
                    replace(&mut halves.entry((path, embedding)).or_default().a, (key, shape))
                }
                Part::B | Part::EmbeddingB => {
                    replace(&mut halves.entry((path, embedding)).or_default().b, (key, shape))
                }
            };
            if let Some(other) = replaced {
                let reason = format!("`{key}` and `{other}` are the same tensor");
                return Err(Error::Safetensors { name: name.into(), reason });
            }
        }
        for ((path, embedding), half) in halves {
            let keys = join(name, half, embedding)?;
            if let Some(other) = pairs.factors.insert(path, keys) {
                return Err(Error::UnexpectedTensors { name: name.into(), tensors: vec![other.a, other.b] });
            }
        }
        match pairs.factors.is_empty() {
            true => Err(Error::MissingTensor { name: name.into(), tensor: "*.lora_A.weight".into() }),
            false => Ok(pairs),
        }
    }

    /// An error for tensors that nothing asks for, `None` when there are none.
    pub fn unexpected(name: &str, mut tensors: Vec<String>) -> Option<Error> {
        tensors.sort_unstable();
        (!tensors.is_empty()).then(|| Error::UnexpectedTensors { name: name.into(), tensors })
    }
}

fn replace<'a>(slot: &mut Option<Found<'a>>, found: Found<'a>) -> Option<String> {
    slot.replace(found).map(|(key, _)| key.to_string())
}

fn refused(name: &str, option: &str, key: &str) -> Error {
    let reason = format!("the file holds `{key}`; train without it or merge it into the base model first");
    Error::Unsupported { name: name.into(), option: option.into(), reason }
}

fn join(name: &str, half: Half, embedding: bool) -> Result<FactorKeys> {
    let missing = |tensor: String| Error::MissingTensor { name: name.into(), tensor };
    let (a, b) = match (half.a, half.b) {
        (Some(a), Some(b)) => (a, b),
        (Some((key, _)), None) => return Err(missing(partner(key, "_A", "_B"))),
        (None, Some((key, _))) => return Err(missing(partner(key, "_B", "_A"))),
        (None, None) => return Err(missing(String::new())),
    };
    let shape_error = |(key, shape): Found, expected: [usize; 2]| Error::TensorShape {
        name: name.into(),
        tensor: key.into(),
        found: shape.to_vec(),
        expected: expected.to_vec(),
    };
    let ([rank, in_dim], [out_dim, columns]) = (matrix(name, a)?, matrix(name, b)?);
    if rank == 0 || in_dim == 0 {
        return Err(shape_error(a, [rank.max(1), in_dim.max(1)]));
    }
    if columns != rank || out_dim == 0 {
        return Err(shape_error(b, [out_dim.max(1), rank]));
    }
    Ok(FactorKeys { a: a.0.into(), b: b.0.into(), rank, in_dim, out_dim, embedding })
}

fn matrix(name: &str, (key, shape): Found) -> Result<[usize; 2]> {
    shape.try_into().map_err(|_| Error::Unsupported {
        name: name.into(),
        option: key.into(),
        reason: format!(
            "its shape is {shape:?}; only linear layers and embeddings have factors that are read"
        ),
    })
}

/// The key that the other factor would have.
fn partner(key: &str, from: &str, to: &str) -> String {
    let Some(at) = key.rfind(".lora_").and_then(|dot| Some(dot + key[dot..].find(from)?)) else {
        return key.to_string();
    };
    format!("{}{to}{}", &key[..at], &key[at + from.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(tensors: &[(&str, &[usize])]) -> Result<Pairs> {
        Pairs::new("file", tensors.iter().copied())
    }

    fn code(tensors: &[(&str, &[usize])]) -> &'static str {
        pairs(tensors).map_or_else(|error| error.code(), |_| "fine")
    }

    #[test]
    fn factors_are_paired_and_the_rest_is_kept() -> Result<()> {
        let pairs =
            pairs(&[("x.lora_A.weight", &[2, 5]), ("x.lora_B.weight", &[3, 2]), ("classifier.bias", &[4])])?;
        let keys = &pairs.factors["x"];
        assert_eq!((keys.rank, keys.in_dim, keys.out_dim, keys.embedding), (2, 5, 3, false));
        assert_eq!(pairs.others["classifier.bias"], "classifier.bias");
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let a: (&str, &[usize]) = ("x.lora_A.weight", &[2, 5]);
        let b: (&str, &[usize]) = ("x.lora_B.weight", &[3, 2]);
        assert_eq!(code(&[a, b]), "fine");
        assert_eq!(code(&[]), "missing-tensor");
        assert_eq!(code(&[a]), "missing-tensor");
        assert_eq!(code(&[b]), "missing-tensor");
        assert_eq!(code(&[a, ("x.lora_B.weight", &[3, 1])]), "tensor-shape");
        assert_eq!(code(&[("x.lora_A.weight", &[0, 5]), ("x.lora_B.weight", &[3, 0])]), "tensor-shape");
        assert_eq!(code(&[("x.lora_A.weight", &[2, 5, 3, 3]), b]), "unsupported");
        assert_eq!(code(&[a, b, ("x.lora_magnitude_vector", &[3])]), "unsupported");
        assert_eq!(code(&[a, b, ("x.lora_A.default.weight", &[2, 5])]), "bad-safetensors");
        assert_eq!(
            code(&[a, b, ("x.lora_embedding_A", &[2, 5]), ("x.lora_embedding_B", &[3, 2])]),
            "unexpected-tensors"
        );
    }

    #[test]
    fn the_missing_partner_is_named() {
        let error = pairs(&[("m_A.lora_A.weight", &[2, 5])]).map(|_| ()).map_err(|error| error.to_string());
        assert_eq!(error, Err("file: tensor `m_A.lora_B.weight` is missing".into()));
    }
}
