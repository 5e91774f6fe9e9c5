//! Features of images and of augmented views of them, told apart: a head learns from all, and what is held out takes its views along. By
//! what features an image is asked about may be a third thing.

use super::Features;

/// Features of n images, and of views of them.
#[derive(Clone, Debug)]
pub struct Views {
    images: Features,
    views: Features,
    /// The image that each view is of.
    of: Vec<usize>,
    /// By which the images are asked about, where not by their own.
    asked: Option<Features>,
}

impl Views {
    /// Images, views of them, and which image each view is of.
    ///
    /// # Panics
    /// The views and what they are of are not as many.
    pub fn new(images: Features, views: Features, of: Vec<usize>) -> Self {
        assert_eq!(views.labels.len(), of.len(), "one image for every view");
        Self { images, views, of, asked: None }
    }

    /// Images without views.
    pub fn none(images: Features) -> Self {
        let views = Features { dim: images.dim, values: Vec::new(), labels: Vec::new() };
        Self { images, views, of: Vec::new(), asked: None }
    }

    /// The same, with features by which the images are asked about when they are held out.
    pub fn asked_by(self, features: Features) -> Self {
        Self { asked: Some(features), ..self }
    }

    /// Features by which the images are asked about.
    pub fn asked(&self) -> &Features {
        self.asked.as_ref().unwrap_or(&self.images)
    }

    /// The images as they are.
    pub fn images(&self) -> &Features {
        &self.images
    }

    /// The images, then the views.
    pub fn all(&self) -> Features {
        self.without(&[])
    }

    /// The images that are not in a fold, then their views.
    pub fn without(&self, fold: &[usize]) -> Features {
        let views = (0..self.of.len()).filter(|&view| !fold.contains(&self.of[view])).collect::<Vec<_>>();
        let (mut kept, views) = (self.images.without(fold), self.views.select(&views));
        kept.values.extend(views.values);
        kept.labels.extend(views.labels);
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_takes_its_views_along() {
        let features = |values: &[f32], labels: &[usize]| Features {
            dim: 1,
            values: values.to_vec(),
            labels: labels.to_vec(),
        };
        let images = features(&[0.0, 1.0, 2.0], &[0, 1, 0]);
        let seen =
            Views::new(images.clone(), features(&[0.1, 1.1, 1.2, 2.1], &[0, 1, 1, 0]), vec![0, 1, 1, 2]);
        assert_eq!(seen.all().values, [0.0, 1.0, 2.0, 0.1, 1.1, 1.2, 2.1]);
        let rest = seen.without(&[1]);
        assert_eq!((rest.values, rest.labels), (vec![0.0, 2.0, 0.1, 2.1], vec![0, 0, 0, 0]));
        let none = Views::none(images.clone());
        assert_eq!((&none.all().values, &none.asked().values), (&images.values, &images.values));
        let asked = features(&[7.0, 8.0, 9.0], &[0, 1, 0]);
        let none = none.asked_by(asked.clone());
        assert_eq!((none.all().values, &none.asked().values), (images.values, &asked.values));
    }
}
