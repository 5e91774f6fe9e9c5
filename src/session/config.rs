//! What decides what a method computes.

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    head::{DEFAULT_L2, Features, Head},
    methods::{composition::Granularity, factors::LoraConfig, registry::Method},
    train::trainer::TrainConfig,
    vit::config::VitConfig,
};

/// When the trained head of a method is replaced by one fitted on its final features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refit {
    /// Unless held-out images prefer the trained head. Where nothing is held out it is replaced: on upstream tasks
    /// that changed little, and it depends on no learning rate.
    #[default]
    HeldOut,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Everything that decides what `adapt` computes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdaptConfig {
    /// Steps, rates, seed.
    #[serde(default = "TrainConfig::unvaried")]
    pub train: TrainConfig,
    /// How many sets of composition weights.
    pub granularity: Granularity,
    /// Shape of a fresh LoRA.
    pub lora: LoraConfig,
    /// L2 penalty of logistic regression.
    pub l2: f32,
    /// Augmented views of every training image that heads are fitted on besides; fewer where a class has more than ten images, none
    /// where one has more than 40.
    ///
    /// Configurations that do not say it were made when there were none, and look as they did then.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub views: usize,
    /// Whether pictures that are asked about, the held-out and the test images too, are answered by the mean of five crops' features:
    /// of the whole and of its corners ([`Picture::corners`](crate::image::Picture::corners)).
    ///
    /// Configurations that do not say it were made when there was the whole alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub multi_crop: bool,
    /// When trained heads are refitted.
    pub refit: Refit,
    /// Folds of the held-out estimate, the same ones for every method; 0 leaves the estimate out.
    pub folds: usize,
    /// Most folds of the class-mean heads by which a scale or a module is chosen; up to this many images it is leave-one-out.
    pub head_folds: usize,
    /// Most training images that LoraHub's search looks at, evenly over the classes, but two of each where there are two;
    /// its head is fitted on all.
    pub search_images: usize,
}

fn is_zero(views: &usize) -> bool {
    *views == 0
}

impl Default for AdaptConfig {
    fn default() -> Self {
        Self {
            train: TrainConfig::default(),
            granularity: Granularity::default(),
            lora: LoraConfig::default(),
            l2: DEFAULT_L2,
            views: 4,
            multi_crop: true,
            refit: Refit::default(),
            folds: 3,
            head_folds: 50,
            search_images: 50,
        }
    }
}

impl AdaptConfig {
    /// Refuses what cannot be run.
    ///
    /// # Errors
    /// A LoRA of a shape that cannot be, what [`TrainConfig::check`] refuses, a penalty below 0, a search that sees nothing, or
    /// a single fold, which would hold everything out.
    pub fn check(&self) -> Result<()> {
        self.lora.check()?;
        self.train.check()?;
        if !(0.0..f32::INFINITY).contains(&self.l2) {
            return Err(Error::mismatch(
                "l2",
                format!("{} is no penalty; give a number of 0 or more", self.l2),
            ));
        }
        if self.search_images == 0 {
            return Err(Error::mismatch("search_images", "a search needs 1 or more"));
        }
        if self.folds == 1 {
            let reason = "one fold would hold everything out; give 2 or more, or 0 for no estimate";
            return Err(Error::mismatch("folds", reason));
        }
        Ok(())
    }

    /// Refuses what cannot be run on a model.
    ///
    /// # Errors
    /// As [`AdaptConfig::check`], and a LoRA of a higher rank than any update of the model can have.
    pub fn check_for(&self, model: &VitConfig) -> Result<()> {
        self.check()?;
        let (rank, most) = (self.lora.rank, model.embed_dim);
        if rank > most {
            let reason = format!(
                "{rank} is more than the {most} channels of the model, which is the most that an update can have"
            );
            return Err(Error::mismatch("rank of the LoRA", reason));
        }
        Ok(())
    }

    /// The head of a method that only fits one.
    pub(super) fn fit_head(&self, method: Method, features: &Features, classes: usize) -> Head {
        match method {
            Method::NearestMean => Head::nearest_mean(features, classes),
            _ => Head::logistic(features, classes, self.l2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_from_before_there_were_views_mean_none_and_stay_as_they_are() {
        let none = AdaptConfig { views: 0, ..AdaptConfig::default() };
        let text = serde_json::to_string(&none).expect("JSON");
        assert!(!text.contains("views"), "{text}");
        assert_eq!(serde_json::from_str::<AdaptConfig>(&text).expect("a configuration"), none);
        let some = serde_json::to_string(&AdaptConfig::default()).expect("JSON");
        assert_eq!(
            serde_json::from_str::<AdaptConfig>(&some).expect("a configuration"),
            AdaptConfig::default()
        );
        assert_ne!(AdaptConfig::default().views, 0);
        for text in ["{}", r#"{"train": {}, "folds": 3}"#] {
            let said = serde_json::from_str::<AdaptConfig>(text).expect("a configuration");
            assert_eq!((said.views, said.train.augmentation()), (0, None), "{text}");
            assert_eq!(said.train.batch_size, 32, "{text}");
        }
        let mirrors: TrainConfig = serde_json::from_str(r#"{"augment": true}"#).expect("a configuration");
        assert!(mirrors.mirror, "as all that augmented did");
    }
}
