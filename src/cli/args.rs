//! What can be typed. Defaults that training uses come from the library, so that they cannot drift.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, builder::RangedU64ValueParser};
use loraloom::{
    DeviceChoice, Dialect, Filter, Granularity, Method,
    error::Error,
    session::{Session, config::AdaptConfig, export::TaskForm},
};

mod answers;
mod experiment;
mod help;
mod training;

pub use answers::{AnswerArgs, ClassifyArgs, PredictArgs};
pub use experiment::{ExperimentArgs, ShiftName};
pub use help::command;
pub use training::{LearningArgs, PretrainArgs, TrainModuleArgs, TrainingArgs};

/// Adapt a small Vision Transformer to a few labelled images by composing LoRA modules.
#[derive(Debug, Parser)]
#[command(name = "loraloom", version, propagate_version = true, after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  loraloom adapt --train photos/train --test photos/test --shots 5
  loraloom classify --model facebook/deit-tiny-patch16-224 photo.jpg
  loraloom adapt --model DIR --train photos/train --test photos/test --shots 5 --modules lora/* --methods all
  loraloom predict --task saved-task photo.jpg

Exit codes: 0 fine, 1 finished with warnings, 2 failed.";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compare methods on a few labelled images.
    Adapt(AdaptArgs),
    /// Say what a saved task sees in images.
    Predict(PredictArgs),
    /// Say what a checkpoint's own head sees in images.
    Classify(ClassifyArgs),
    /// Run tensors through a model, to compare with other implementations.
    Forward(ForwardArgs),
    /// Write the weighted sum of PEFT LoRA adapters, of any model.
    Compose(ComposeArgs),
    /// Train one upstream LoRA module and write it as PEFT files.
    TrainModule(TrainModuleArgs),
    /// Compare methods over tasks, numbers of shots and seeds, and write a report.
    Experiment(ExperimentArgs),
    /// Train a base model from random weights.
    Pretrain(PretrainArgs),
    /// Recompute a project that the page saved, and compare.
    Replay(ReplayArgs),
    /// Show devices and what a model or module is.
    Info(InfoArgs),
    /// Print a completion script for a shell.
    #[command(after_help = "\
Examples:
  loraloom completions bash > ~/.local/share/bash-completion/completions/loraloom
  loraloom completions fish > ~/.config/fish/completions/loraloom.fish")]
    Completions { shell: clap_complete::Shell },
}

/// Where to compute.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum DeviceName {
    /// The GPU if there is a real one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU, software renderers included.
    Gpu,
}

impl From<DeviceName> for DeviceChoice {
    fn from(name: DeviceName) -> Self {
        match name {
            DeviceName::Auto => Self::Auto,
            DeviceName::Cpu => Self::Cpu,
            DeviceName::Gpu => Self::Gpu,
        }
    }
}

/// Device and report, the same for every command that computes.
#[derive(Debug, Args)]
pub struct ComputeArgs {
    /// Where to compute.
    #[arg(long, value_enum, default_value_t)]
    pub device: DeviceName,
    /// Also write the result as JSON; `-` is standard output, and the rest goes to standard error then.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Which model, and what differs from its own files.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// `embedded`, the folder of a checkpoint, or a Hugging Face id (owner/name or owner/name@revision).
    #[arg(long, value_name = "DIR|ID", default_value = loraloom::shipped::EMBEDDED)]
    pub model: String,
    #[command(flatten)]
    pub input: InputArgs,
}

/// How images reach the model, where that differs from its files.
#[derive(Debug, Args)]
pub struct InputArgs {
    /// Input side in pixels; position embeddings are interpolated, and modules that ship come for the nearest size.
    #[arg(long, value_name = "PIXELS")]
    pub img_size: Option<usize>,
    /// Mean per channel on the 0..1 scale, e.g. 0.485,0.456,0.406.
    #[arg(long, value_name = "R,G,B", value_delimiter = ',', num_args = 1, allow_hyphen_values = true)]
    pub mean: Option<Vec<f32>>,
    /// Standard deviation per channel on the 0..1 scale, e.g. 0.229,0.224,0.225.
    #[arg(long, value_name = "R,G,B", value_delimiter = ',', num_args = 1, allow_hyphen_values = true)]
    pub std: Option<Vec<f32>>,
    /// Resampling filter: nearest, lanczos, bilinear, bicubic, box or hamming.
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    pub resample: Option<Filter>,
    /// Share of the shorter side that a centre crop keeps, e.g. 0.9.
    #[arg(long, value_name = "SHARE", conflicts_with = "no_crop")]
    pub crop_pct: Option<f64>,
    /// Squeeze the whole picture into the input instead of cropping it.
    #[arg(long)]
    pub no_crop: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  loraloom adapt --train photos/train --test photos/test --shots 5
  loraloom adapt --model DIR --train train --test test --shots 5 --modules lora/* --methods all --json out.json
  loraloom adapt --train train --methods uniform+lora --steps 100 --save my-task  # slower, and mostly more accurate
  loraloom adapt --model DIR --train train --methods linear-probe,lora --save my-task")]
pub struct AdaptArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Folder with one folder of images per class.
    #[arg(long, value_name = "DIR")]
    pub train: PathBuf,
    /// Folder with the same classes, to measure accuracy on.
    #[arg(long, value_name = "DIR")]
    pub test: Option<PathBuf>,
    /// Use at most this many training images per class.
    #[arg(long, value_parser = at_least_one())]
    pub shots: Option<usize>,
    /// Methods, separated by commas; `all`, or `auto`: those that the modules, if any, are fit for (lorahub wants one rank).
    #[arg(long, value_delimiter = ',', default_value = "auto")]
    pub methods: Vec<String>,
    /// Folders or Hugging Face ids of PEFT LoRA modules, or `none`; without it those that ship for the model.
    #[arg(long, value_name = "DIR|ID", num_args = 1..)]
    pub modules: Vec<PathBuf>,
    /// Save a method to this folder: of those that held-out images do not tell from the best (within one standard error), the
    /// one that gained most on other tasks.
    #[arg(long, value_name = "DIR")]
    pub save: Option<PathBuf>,
    /// Save a whole model with the method's updates folded in, for programs that know no PEFT, in place of an adapter.
    #[arg(long, requires = "save", conflicts_with = "names")]
    pub merged: bool,
    /// Names in the saved adapter as transformers has them up to 5.8 (old) or from 5.9 (new), for DINOv2 5.17 and 5.18.
    #[arg(long, value_enum, default_value_t = NamesName::New)]
    pub names: NamesName,
    /// One set of composition weights per linear layer (`layer`), per block (`block`), or one weight per module (`module`).
    #[arg(long, value_parser = granularity)]
    pub granularity: Option<Granularity>,
    /// JSON file with settings of training (rates, shape of a fresh LoRA, ...) in place of the defaults; options typed here come on
    /// top.
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// Folds of the held-out estimate, the same ones for every method, 2 or more; methods that train run again for each. 0 leaves
    /// the estimate out.
    #[arg(long, value_parser = folds)]
    pub folds: Option<usize>,
    #[command(flatten)]
    pub training: TrainingArgs,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  loraloom forward --model DIR --input pixels.safetensors --output ours.safetensors
  loraloom forward --model DIR --adapter lora/a lora/b --weights 0.5,0.5 --input in.safetensors --output out.safetensors")]
pub struct ForwardArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// PEFT LoRA modules to fold in: folders, or ids of the Hub.
    #[arg(long, value_name = "DIR|ID", num_args = 1..)]
    pub adapter: Vec<PathBuf>,
    /// One weight per module; 1 each if absent.
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true)]
    pub weights: Option<Vec<f32>>,
    /// A safetensors file with `pixel_values`, [images, 3, height, width]; a square input decides the model's size.
    #[arg(long)]
    pub input: PathBuf,
    /// Gets `last_hidden_state` and, if the model has a head, `logits`.
    #[arg(long)]
    pub output: PathBuf,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  loraloom compose --adapters a b c --weights uniform --form cat --out mean
  loraloom compose --adapters a b --weights 0.7,-0.2 --form svd --rank 8 --out small")]
pub struct ComposeArgs {
    /// Folders or Hugging Face ids of PEFT LoRA adapters.
    #[arg(long, value_name = "DIR|ID", num_args = 1.., required = true)]
    pub adapters: Vec<PathBuf>,
    /// `uniform`, or one weight per adapter separated by commas.
    #[arg(long, default_value = "uniform", allow_hyphen_values = true)]
    pub weights: String,
    /// `cat` is exact and its rank adds up; `svd` truncates to a rank.
    #[arg(long, value_enum, default_value_t = FormName::Cat)]
    pub form: FormName,
    /// Rank of `svd`.
    #[arg(long)]
    pub rank: Option<usize>,
    /// Rename a ViT's layers to what transformers has up to 5.8 (old) or from 5.9 (new), for DINOv2 5.17 and 5.18.
    #[arg(long, value_enum)]
    pub names: Option<NamesName>,
    /// Folder to write.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Also write the result as JSON; `-` is standard output, and the rest goes to standard error then.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormName {
    /// Factors concatenated.
    Cat,
    /// Truncated singular value decomposition.
    Svd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NamesName {
    /// transformers up to 5.8, for DINOv2 up to 5.17.
    Old,
    /// transformers from 5.9, for DINOv2 from 5.18.
    New,
}

impl From<NamesName> for Dialect {
    fn from(name: NamesName) -> Self {
        match name {
            NamesName::Old => Self::Old,
            NamesName::New => Self::New,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  loraloom replay loraloom-project.zip --model www/models/base")]
pub struct ReplayArgs {
    /// A project file of the page.
    #[arg(value_name = "PROJECT.zip")]
    pub project: PathBuf,
    /// The model, if it is not the folder or id that the project names.
    #[arg(long, value_name = "DIR|ID")]
    pub model: Option<String>,
    #[command(flatten)]
    pub compute: ComputeArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  loraloom info
  loraloom info --model facebook/deit-tiny-patch16-224 --modules lora/* --json info.json")]
pub struct InfoArgs {
    /// Describe a checkpoint: `embedded`, a folder or a Hugging Face id.
    #[arg(long, value_name = "DIR|ID")]
    pub model: Option<String>,
    /// Describe LoRA modules.
    #[arg(long, value_name = "DIR|ID", num_args = 1..)]
    pub modules: Vec<PathBuf>,
    /// Also write the result as JSON; `-` is standard output, and the rest goes to standard error then.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

fn granularity(text: &str) -> Result<Granularity, String> {
    match text {
        "layer" => Ok(Granularity::Layer),
        "block" => Ok(Granularity::Block),
        "module" => Ok(Granularity::Module),
        other => Err(format!("{other} is not layer, block or module")),
    }
}

fn filter(text: &str) -> Result<Filter, String> {
    let names = Filter::ALL.map(|(_, name)| name).join(", ");
    Filter::from_name(text).ok_or_else(|| format!("{text} is none of {names}"))
}

fn folds(text: &str) -> Result<usize, String> {
    let folds = text.parse().map_err(|_| "not a number of folds; give 2 or more, or 0 for no estimate")?;
    AdaptConfig { folds, ..AdaptConfig::default() }.check().map_err(|error| error.to_string())?;
    Ok(folds)
}

/// A count that may not be 0.
fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

/// What decides which methods can run.
#[derive(Clone, Copy, Debug)]
pub struct Modules {
    /// Whether there are any.
    pub any: bool,
    /// Whether all have one rank at every layer, which lorahub needs.
    pub one_rank: bool,
}

impl Modules {
    /// Those of a session.
    pub fn of(session: &Session) -> Self {
        Self { any: !session.module_names().is_empty(), one_rank: session.has_one_rank() }
    }

    fn fit(self, method: Method) -> bool {
        (self.any || !method.needs_modules()) && (self.one_rank || method != Method::LoraHub)
    }
}

/// Methods by name, without repeats.
fn methods(names: &[String], modules: Modules) -> loraloom::error::Result<Vec<Method>> {
    let mut methods = Vec::new();
    for name in names {
        let named: Vec<Method> = match name.trim() {
            "all" => Method::ALL.to_vec(),
            "" => {
                let reason =
                    "a name is empty; name methods, separated by commas, or leave the choice with `auto`";
                return Err(Error::mismatch("--methods", reason));
            }
            "auto" => Method::ALL.into_iter().filter(|method| modules.fit(*method)).collect(),
            name => vec![Method::from_name(name)?],
        };
        for method in named {
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
    }
    Ok(methods)
}

impl AdaptArgs {
    /// The methods asked for, without repeats; `auto` is what the modules are fit for.
    ///
    /// # Errors
    /// An unknown name.
    pub fn methods(&self, modules: Modules) -> loraloom::error::Result<Vec<Method>> {
        methods(&self.methods, modules)
    }

    /// The form of what `--save` writes.
    pub fn form(&self) -> TaskForm {
        if self.merged { TaskForm::Merged } else { TaskForm::Adapter(None) }
    }
}

/// Whether no method is named, so that those that do not fit may be left out.
pub fn leaves_choice(methods: &[String]) -> bool {
    methods == ["auto"]
}
