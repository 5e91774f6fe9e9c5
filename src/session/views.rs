//! Augmented views of training images, on whose features a head is fitted besides those of the images.
//!
//! What an image's views are follows from its pixels and the seed alone: folds and methods share their features.

use std::collections::BTreeMap;

use super::{Session, config::AdaptConfig, digest::picture_digest};
use crate::{
    dataset::Example,
    device::Breaks,
    error::Result,
    head::views::Views,
    methods::registry::FrozenWeights,
    random::{self, Purpose},
    vit::model::Vit,
};

/// Most views of the images of a class together: with 20 images upstream tasks gained nothing clear any more, and passes cost time.
const MOST_OF_CLASS: usize = 40;

impl AdaptConfig {
    /// The configuration for some training images: fewer views of each where the largest class has many. Decided before folds are
    /// left out, so that what is estimated is what is done.
    pub(super) fn for_images(&self, examples: &[Example]) -> Self {
        let mut sizes = BTreeMap::new();
        examples.iter().for_each(|example| *sizes.entry(example.class).or_insert(0) += 1);
        let largest = sizes.into_values().max().unwrap_or(1);
        Self { views: self.views.min(MOST_OF_CLASS / largest), ..self.clone() }
    }

    /// The views of examples, and which example each one is of.
    async fn views_of(&self, examples: &[Example]) -> Result<(Vec<Example>, Vec<usize>)> {
        let augment = self.train.variation();
        let (mut views, mut of) = (Vec::new(), Vec::new());
        let mut breaks = Breaks::begin();
        for (index, example) in examples.iter().enumerate() {
            let [a, b, c, d, e, f, g, h, ..] = picture_digest(&example.crop);
            let own = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
            let mut rng = random::stream(self.train.seed ^ own, Purpose::Views);
            for _ in 0..self.views {
                views.push(Example { crop: augment.apply(&example.crop, &mut rng)?, ..example.clone() });
                of.push(index);
            }
            breaks.take().await;
        }
        Ok((views, of))
    }
}

impl Session {
    /// Features of training images and their views under frozen weights.
    ///
    /// # Errors
    /// As [`Session::frozen_features`].
    pub(super) async fn frozen_views(
        &self,
        weights: FrozenWeights,
        examples: &[Example],
        config: &AdaptConfig,
    ) -> Result<Views> {
        let (views, of) = config.views_of(examples).await?;
        let images = self.frozen_features(weights, examples).await?;
        let all = Views::new(images, self.frozen_features(weights, &views).await?, of);
        Ok(match config.multi_crop && !config.held_out(examples).is_empty() {
            true => all.asked_by(self.frozen_asked(weights, examples, config).await?),
            false => all,
        })
    }

    /// Features of training images and their views under a model.
    ///
    /// # Errors
    /// The device was lost, or a feature is not finite.
    pub(super) async fn views(&self, vit: &Vit, examples: &[Example], config: &AdaptConfig) -> Result<Views> {
        let (views, of) = config.views_of(examples).await?;
        let images = self.features(vit, examples).await?;
        Ok(Views::new(images, self.features(vit, &views).await?, of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{device::block_on, image::Picture};

    #[test]
    fn views_of_an_image_depend_on_it_and_on_the_seed_alone() {
        let picture = |from: u8| Picture { width: 9, height: 5, rgb: (from..from + 135).collect() };
        let example = |from, class| Example { name: String::new(), class, crop: picture(from) };
        let examples = [example(0, 0), example(100, 1)];
        let mut config = AdaptConfig { views: 3, ..AdaptConfig::default() };
        let (views, of) = block_on(config.views_of(&examples)).expect("views");
        assert_eq!(of, [0, 0, 0, 1, 1, 1]);
        assert_eq!(views.iter().map(|view| view.class).collect::<Vec<_>>(), of);
        assert!(views[3..].iter().all(|view| view.crop != examples[1].crop), "they are varied");
        assert_eq!(block_on(config.views_of(&examples[1..])).expect("views").0, views[3..]);
        config.train.seed = 1;
        assert_ne!(block_on(config.views_of(&examples)).expect("views").0, views);
    }

    #[test]
    fn views_mirror_if_training_does() {
        let picture = Picture { width: 9, height: 5, rgb: (0..135).collect() };
        let examples = [Example { name: String::new(), class: 0, crop: picture }];
        let mut config = AdaptConfig { views: 20, ..AdaptConfig::default() };
        let mut crops = |mirror| {
            config.train.mirror = mirror;
            let (views, _) = block_on(config.views_of(&examples)).expect("views");
            views.into_iter().map(|view| view.crop).collect::<Vec<_>>()
        };
        let pairs: Vec<_> = crops(false).into_iter().zip(crops(true)).collect();
        assert!(pairs.iter().all(|(plain, other)| plain == other || plain.mirrored() == *other));
        assert!(pairs.iter().any(|(plain, other)| plain != other));
    }

    #[test]
    fn large_classes_have_fewer_views() {
        let of_class = |class, count| {
            let crop = Picture::filled(2, 2, [0; 3]);
            vec![Example { name: String::new(), class, crop }; count]
        };
        let config = AdaptConfig { views: 4, ..AdaptConfig::default() };
        for (largest, views) in [(1, 4), (10, 4), (11, 3), (20, 2), (40, 1), (41, 0)] {
            let examples = [of_class(0, largest), of_class(1, 1)].concat();
            assert_eq!(config.for_images(&examples).views, views, "{largest}");
        }
        assert_eq!(config.for_images(&[]).views, 4);
    }
}
