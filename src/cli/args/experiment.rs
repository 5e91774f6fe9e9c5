//! What can be typed about the comparison.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use loraloom::{
    Granularity, Method,
    experiment::{
        plan::{Shard, Shots},
        settings::{CKA_IMAGES, MAX_CORRUPTED, MAX_TEST},
    },
};

use super::{DeviceName, InputArgs, LearningArgs, Modules, at_least_one, granularity};

/// Shifts between training and test images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ShiftName {
    /// Only the tasks themselves.
    None,
    /// Unequally many training images per class.
    Label,
    /// Test images with noise, blur, low contrast and JPEG at three strengths.
    Covariate,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  loraloom experiment --tasks tasks/* --out results
  loraloom experiment --model DIR --tasks tasks/* --modules lora/* --out results --shard 3/8
  loraloom experiment --report-only --out results

Every task is a folder with train/ and test/, which hold one folder of images per class. What is in results.jsonl is not
run again: the same command goes on where the last one ended.")]
pub struct ExperimentArgs {
    /// `embedded`, the folder of a checkpoint, or a Hugging Face id.
    #[arg(long, value_name = "DIR|ID", default_value = loraloom::shipped::EMBEDDED)]
    pub model: String,
    #[command(flatten)]
    pub input: InputArgs,
    /// Task folders, each with train/ and test/.
    #[arg(long, value_name = "DIR", num_args = 1.., required_unless_present = "report_only")]
    pub tasks: Vec<PathBuf>,
    /// Folders or Hugging Face ids of PEFT LoRA modules, or `none`; without it those that ship for the model.
    #[arg(long, value_name = "DIR|ID", num_args = 1..)]
    pub modules: Vec<PathBuf>,
    /// Training images per class, separated by commas; `full` is all of them.
    #[arg(long, value_delimiter = ',', default_value = "1,2,5,10,20,full")]
    pub shots: Vec<Shots>,
    /// Number of seeds, from 0 on.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub seeds: u64,
    /// Methods, separated by commas; `all`, or `auto`: those that the modules, if any, are fit for (lorahub wants one rank).
    #[arg(long, value_delimiter = ',', default_value = "auto")]
    pub methods: Vec<String>,
    /// Folder for results, report and plots.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Run only every n-th cell, from the i-th on.
    #[arg(long, value_name = "I/N", default_value = "1/1")]
    pub shard: Shard,
    /// Go on with the results of the folder, which happens anyway.
    #[arg(long)]
    pub resume: bool,
    /// Only write the report of the results that are there.
    #[arg(long)]
    pub report_only: bool,
    /// Shifts to measure as well, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "none")]
    pub shift: Vec<ShiftName>,
    /// Training images per class of the runs under shifts.
    #[arg(long, default_value = "5")]
    pub shift_shots: Shots,
    #[command(flatten)]
    pub learning: LearningArgs,
    /// Optimiser steps of runs on all images; as many as --steps if absent.
    #[arg(long, value_parser = at_least_one())]
    pub full_steps: Option<usize>,
    /// One set of composition weights per linear layer (`layer`), per block (`block`), or one weight per module (`module`).
    #[arg(long, value_parser = granularity)]
    pub granularity: Option<Granularity>,
    /// JSON file with settings of training (rates, shape of a fresh LoRA, ...) in place of the defaults; options typed here come on
    /// top.
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// Folds of the held-out estimate, 2 or more, which also decides whether a head is refitted; each costs a training run.
    #[arg(long, value_parser = super::folds)]
    pub folds: Option<usize>,
    /// Most test images per task, evenly over its classes.
    #[arg(long, default_value_t = MAX_TEST, value_parser = at_least_one())]
    pub max_test: usize,
    /// Most test images per task that are corrupted.
    #[arg(long, default_value_t = MAX_CORRUPTED, value_parser = at_least_one())]
    pub max_corrupted: usize,
    /// Training images that representations are compared on; 0 leaves CKA out.
    #[arg(long, default_value_t = CKA_IMAGES)]
    pub cka_images: usize,
    /// Folder for features of frozen weights, which several runs may share; `cache` in --out if absent.
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Where to compute.
    #[arg(long, value_enum, default_value_t)]
    pub device: DeviceName,
    /// Also write the summary as JSON (`-`: to standard output); with shards --report-only does.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl ExperimentArgs {
    /// The methods asked for, without repeats; `auto` depends on whether there are modules.
    ///
    /// # Errors
    /// An unknown name.
    pub fn methods(&self, modules: Modules) -> loraloom::error::Result<Vec<Method>> {
        super::methods(&self.methods, modules)
    }
}
