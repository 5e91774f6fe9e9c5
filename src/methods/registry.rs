//! The arms by name, and how each one turns a model and a library into something to train.

use serde::{Deserialize, Serialize};

use super::{
    Adapt, Chain,
    composition::{Composition, Granularity, Normalization},
    factors::{Factors, LoraConfig},
    full::Full,
};
use crate::{
    device::OpenDevice,
    error::{Error, Result},
    lora::{
        cat::{self, Updates},
        library::{LoraLibrary, mean_shares},
        random_modules::randomized,
    },
    random::{self, Purpose},
    vit::model::Vit,
};

/// Weights that stay the same for as long as the session's model and modules do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrozenWeights {
    /// The base model.
    Base,
    /// The base model and the mean of the modules' updates.
    Uniform,
    /// The base model and that mean times one of [`SCALES`].
    Scaled(usize),
    /// The base model and the update of one module.
    Module(usize),
}

impl FrozenWeights {
    /// One name for the same weights: the mean times 1 is the mean.
    pub fn canonical(self) -> Self {
        if matches!(self, Self::Scaled(_)) && self.scale() == 1.0 { Self::Uniform } else { self }
    }

    /// What the mean of the modules' updates is multiplied by.
    pub fn scale(self) -> f32 {
        if let Self::Scaled(index) = self { SCALES[index] } else { 1.0 }
    }

    /// The coefficient of every module, the same in every layer; `None` where modules play no part.
    pub fn shares(self, modules: usize) -> Option<Vec<f32>> {
        match self {
            Self::Base => None,
            Self::Uniform | Self::Scaled(_) => Some(mean_shares(self.scale(), modules)),
            Self::Module(own) => Some((0..modules).map(|module| f32::from(module == own)).collect()),
        }
    }
}

/// What the mean update is multiplied by in the scaled methods, at choice, 1 first: a mean of N updates that have little to do
/// with each other has 1/sqrt(N) of the norm of one, so that it may be too weak; one of strong modules may be too strong.
pub const SCALES: [f32; 6] = [1.0, 1.5, 2.0, 3.0, 4.0, 0.5];

/// A method of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Nearest class mean of frozen features; nothing is trained.
    NearestMean,
    /// Logistic regression on frozen features.
    LinearProbe,
    /// Logistic regression on the features of the modules' mean update.
    Uniform,
    /// As `uniform`, with the mean multiplied by one of [`SCALES`], another one than 1 where held-out images clearly
    /// prefer it.
    UniformScaled,
    /// Softmax weights per module and layer group, trained with the head.
    Learned,
    /// Softmax weights times a scale per layer group, trained with the head; starts at `uniform-scaled`.
    LearnedScaled,
    /// Signed weights of any size per module and layer group, trained with the head from the mean on.
    LearnedFree,
    /// A LoRA from scratch.
    Lora,
    /// A LoRA from scratch on top of the modules' mean update.
    #[serde(rename = "uniform+lora")]
    UniformLora,
    /// A LoRA from scratch on top of the scaled mean of `uniform-scaled`.
    #[serde(rename = "uniform-scaled+lora")]
    UniformScaledLora,
    /// A LoRA from scratch trained together with softmax weights.
    #[serde(rename = "learned+lora")]
    LearnedLora,
    /// Every weight of the model.
    Full,
    /// Logistic regression on the features of the one module that held-out images prefer.
    BestModule,
    /// As `learned`, with every module replaced by noise of the same norm: the control.
    RandomModules,
    /// One signed weight per module on the factors, found without gradients (LoraHub).
    #[serde(rename = "lorahub")]
    LoraHub,
}

impl Method {
    /// All methods, cheapest families first.
    pub const ALL: [Self; 15] = [
        Self::NearestMean,
        Self::LinearProbe,
        Self::Uniform,
        Self::UniformScaled,
        Self::Learned,
        Self::LearnedScaled,
        Self::LearnedFree,
        Self::Lora,
        Self::UniformLora,
        Self::UniformScaledLora,
        Self::LearnedLora,
        Self::Full,
        Self::BestModule,
        Self::RandomModules,
        Self::LoraHub,
    ];

    /// Which method to take where results cannot tell: what gained most with one image per class of upstream tasks, each
    /// without its own module (`docs/experiment.md`, which says what was measured, and what with five). `uniform-scaled`,
    /// `uniform-scaled+lora`, `learned-free`, `best-module` and `lorahub` were not then, and stand by what they are made of.
    pub const PREFERENCE: [Self; 15] = [
        Self::LearnedLora,
        Self::UniformLora,
        Self::UniformScaledLora,
        Self::LearnedScaled,
        Self::Learned,
        Self::LearnedFree,
        Self::UniformScaled,
        Self::Uniform,
        Self::Lora,
        Self::Full,
        Self::LinearProbe,
        Self::LoraHub,
        Self::BestModule,
        Self::NearestMean,
        Self::RandomModules,
    ];

    /// Name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::NearestMean => "nearest-mean",
            Self::LinearProbe => "linear-probe",
            Self::Uniform => "uniform",
            Self::UniformScaled => "uniform-scaled",
            Self::Learned => "learned",
            Self::LearnedScaled => "learned-scaled",
            Self::LearnedFree => "learned-free",
            Self::Lora => "lora",
            Self::UniformLora => "uniform+lora",
            Self::UniformScaledLora => "uniform-scaled+lora",
            Self::LearnedLora => "learned+lora",
            Self::Full => "full",
            Self::BestModule => "best-module",
            Self::RandomModules => "random-modules",
            Self::LoraHub => "lorahub",
        }
    }

    /// The method with a name.
    ///
    /// # Errors
    /// An unknown name; the error lists the known ones.
    pub fn from_name(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|method| method.name()).collect();
            Error::mismatch(
                format!("method {name}"),
                format!("unknown; the methods are {}", known.join(", ")),
            )
        })
    }

    /// Whether it composes modules, so that it needs some.
    pub fn needs_modules(self) -> bool {
        !matches!(self, Self::NearestMean | Self::LinearProbe | Self::Lora | Self::Full)
    }

    /// Whether it takes the mean update at a strength that held-out images choose.
    pub fn is_scaled(self) -> bool {
        matches!(self, Self::UniformScaled | Self::LearnedScaled | Self::UniformScaledLora)
    }

    /// Whether its model is the base with the modules' updates under weights of one sign, and nothing besides, so that a
    /// person can change the mix.
    pub fn is_a_mix(self) -> bool {
        matches!(self, Self::Uniform | Self::UniformScaled | Self::Learned | Self::LearnedScaled)
    }

    /// The frozen weights that a trained method starts from, if methods share them and no image chooses them.
    pub fn starts_from(self) -> Option<FrozenWeights> {
        match self {
            Self::NearestMean | Self::LinearProbe | Self::Lora | Self::Full => Some(FrozenWeights::Base),
            Self::Uniform | Self::Learned | Self::LearnedFree | Self::UniformLora | Self::LearnedLora => {
                Some(FrozenWeights::Uniform)
            }
            Self::UniformScaled
            | Self::LearnedScaled
            | Self::UniformScaledLora
            | Self::BestModule
            | Self::RandomModules
            | Self::LoraHub => None,
        }
    }

    /// Whether it trains more than a head, step by step.
    pub fn is_trained(self) -> bool {
        matches!(
            self,
            Self::Learned
                | Self::LearnedScaled
                | Self::LearnedFree
                | Self::Lora
                | Self::UniformLora
                | Self::UniformScaledLora
                | Self::LearnedLora
                | Self::Full
                | Self::RandomModules
        )
    }
}

/// What the trained methods are built from.
pub struct Ingredients<'a> {
    /// The base model.
    pub vit: &'a Vit,
    /// The modules.
    pub library: Option<&'a LoraLibrary>,
    /// How many sets of composition weights.
    pub granularity: Granularity,
    /// What the mean update is multiplied by at the start: 1 unless [`Method::is_scaled`].
    pub scale: f32,
    /// Shape of a fresh LoRA.
    pub lora: &'a LoraConfig,
    /// Where to compute.
    pub device: &'a OpenDevice,
    /// Seed of initial values and random modules.
    pub seed: u64,
}

/// A method ready to be trained: where it starts and what it changes.
pub struct Plan {
    /// The model it starts from (the base, or the base with the mean update merged in).
    pub vit: Vit,
    /// What it trains besides the head.
    pub adapt: Box<dyn Adapt>,
    /// Updates that are merged into `vit` already.
    pub merged: Updates,
    /// What the mean update was multiplied by, see [`Ingredients::scale`].
    pub scale: f32,
}

impl Plan {
    fn new(vit: Vit, adapt: Box<dyn Adapt>) -> Self {
        Self { vit, adapt, merged: Updates::new(), scale: 1.0 }
    }

    /// All updates of the base model at some values, for saving; `None` if they are not low-rank.
    pub fn updates(&self, values: &[Vec<f32>]) -> Option<Updates> {
        Some(cat::sum(self.merged.clone(), self.adapt.updates(values)?))
    }
}

impl Ingredients<'_> {
    /// The library.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when the method needs modules and there are none.
    pub fn library(&self, method: Method) -> Result<&LoraLibrary> {
        self.library.ok_or_else(|| {
            let reason = "it composes LoRA modules and none are given; name some with --modules";
            Error::mismatch(format!("method {}", method.name()), reason)
        })
    }

    /// Builds a trained method; `None` for the methods that only fit a head.
    ///
    /// # Errors
    /// Modules are needed and absent.
    pub fn plan(&self, method: Method) -> Result<Option<Plan>> {
        let start = |adapt| Plan::new(self.vit.clone(), adapt);
        let composed = |library: &LoraLibrary, normalization| -> Box<dyn Adapt> {
            Box::new(Composition::new(library.clone(), self.granularity, normalization))
        };
        let plan = match method {
            Method::Learned => start(composed(self.library(method)?, Normalization::Softmax)),
            Method::LearnedScaled => {
                start(composed(self.library(method)?, Normalization::Scaled(self.scale)))
            }
            Method::LearnedFree => start(composed(self.library(method)?, Normalization::Free)),
            Method::RandomModules => {
                let noise = randomized(&self.library(method)?.modules, self.seed);
                let library = LoraLibrary::new(noise, self.vit, &self.device.plain)?;
                start(composed(&library, Normalization::Softmax))
            }
            Method::Lora => start(Box::new(self.factors())),
            Method::UniformLora | Method::UniformScaledLora => {
                let library = self.library(method)?;
                let shares = mean_shares(self.scale, library.num_modules());
                let merged = library.updates(|_| shares.clone());
                let vit = library.merge_alike(self.vit, &shares);
                Plan { merged, ..Plan::new(vit, Box::new(self.factors())) }
            }
            Method::LearnedLora => {
                let learned = composed(self.library(method)?, Normalization::Softmax);
                start(Box::new(Chain(vec![learned, Box::new(self.factors())])))
            }
            Method::Full => start(Box::new(Full::new(self.vit))),
            Method::NearestMean
            | Method::LinearProbe
            | Method::Uniform
            | Method::UniformScaled
            | Method::BestModule
            | Method::LoraHub => return Ok(None),
        };
        Ok(Some(Plan { scale: self.scale, ..plan }))
    }

    /// Fresh factors; the same ones in every arm of a seed.
    pub fn factors(&self) -> Factors {
        let mut rng = random::stream(self.seed, Purpose::Init);
        Factors::new(self.vit, self.lora, &mut rng, &self.device.plain)
    }
}
