//! What can be typed about answers: of which model, about which images.

use std::path::PathBuf;

use clap::Args;

use super::{ComputeArgs, ModelArgs, at_least_one};

/// Where answers go.
#[derive(Debug, Args)]
pub struct AnswerArgs {
    /// Also write the classes of every image as CSV: `image`, `rank`, `label`, `probability`.
    #[arg(long, value_name = "FILE.csv", value_parser = csv)]
    pub csv: Option<PathBuf>,
    /// Say "not sure" of images whose most probable class has less than this, between 0 and 1.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub unsure: Option<f32>,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  loraloom predict --task my-task photo.jpg
  loraloom predict --task my-task --top 1 --csv answers.csv photos
  loraloom predict --task my-task --test photos/test --unsure 0.6")]
pub struct PredictArgs {
    /// Folder that `adapt --save` wrote, or what the page saved: its zip, or the folder in it.
    #[arg(long, value_name = "DIR|ZIP")]
    pub task: PathBuf,
    /// The base model, if it is no longer where it was.
    #[arg(long, value_name = "DIR|ID")]
    pub model: Option<String>,
    /// Images, and folders of images.
    #[arg(required_unless_present = "test")]
    pub images: Vec<PathBuf>,
    /// Folder with one folder of images per class, to measure accuracy on.
    #[arg(long, value_name = "DIR", conflicts_with = "images")]
    pub test: Option<PathBuf>,
    /// Classes per image.
    #[arg(long, default_value_t = 3, value_parser = at_least_one())]
    pub top: usize,
    #[command(flatten)]
    pub answers: AnswerArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  loraloom classify --model facebook/deit-tiny-patch16-224 --top 3 photos/*.jpg"
)]
pub struct ClassifyArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Images, and folders of images.
    #[arg(required = true)]
    pub images: Vec<PathBuf>,
    /// Classes per image.
    #[arg(long, default_value_t = 1, value_parser = at_least_one())]
    pub top: usize,
    #[command(flatten)]
    pub answers: AnswerArgs,
}

/// A file for a table. Whoever forgets its name gives the first picture instead, which would be replaced.
fn csv(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let is_table = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    match is_table || (path.exists() && !path.is_file()) {
        true => Ok(path),
        false => Err("its name does not end in .csv".into()),
    }
}

fn share(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("it is no number between 0 and 1".into()),
    }
}
