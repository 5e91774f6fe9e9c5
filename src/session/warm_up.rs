//! One step before anybody waits for it: a GPU compiles a shader when it first meets it, which takes seconds.

use super::{Session, config::AdaptConfig, progress::Flow};
use crate::{
    dataset::Example, error::Result, image::Picture, methods::registry::Method, train::trainer::TrainConfig,
};

const CLASSES: usize = 2;

impl Session {
    /// Trains a LoRA for one step on blank images and forgets it.
    ///
    /// # Errors
    /// The device was lost.
    pub async fn warm_up(&self) -> Result<()> {
        let (height, width) = self.info().input_size;
        let train = TrainConfig { num_steps: 1, augment: false, ..TrainConfig::default() };
        let blank = |index| Example {
            name: String::new(),
            class: index % CLASSES,
            crop: Picture::filled(width, height, [128; 3]),
        };
        let examples: Vec<Example> = (0..train.batch_size).map(blank).collect();
        let config = AdaptConfig { train, views: 0, ..AdaptConfig::default() };
        self.arm(Method::Lora, CLASSES, &config).run(&examples, &mut |_| Flow::GoOn).await?;
        Ok(())
    }
}
