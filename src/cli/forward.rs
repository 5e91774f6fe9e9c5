//! `forward`: tensors in, logits and last hidden state out, to compare with other implementations.

use std::{fs, path::Path};

use loraloom::{
    block_on,
    error::{Error, Result},
    files::follow,
    report::Warning,
    session::{
        Answer, Outputs, Session,
        files::read_bytes,
        tensors::{has_tensor, read_tensor, write_tensors},
    },
    write_atomic,
};
use serde::Serialize;

use super::{Outcome, args::ForwardArgs, model, output};

/// The tensor that every output has.
const HIDDEN: &str = "last_hidden_state";

/// What `--json` gets. Hidden states are in the tensors' file only.
#[derive(Serialize)]
struct Report {
    model: String,
    device: &'static str,
    device_name: String,
    input: String,
    output: String,
    last_hidden_state: [usize; 3],
    /// One per image; absent without a head.
    images: Option<Vec<Answer>>,
    warnings: Vec<Warning>,
}

/// Runs the command.
///
/// # Errors
/// The model, a module or the input cannot be loaded, or the output cannot be written.
pub fn run(arguments: &ForwardArgs) -> Result<Outcome> {
    check(arguments)?;
    let (shape, pixels) = pixel_values(&arguments.input)?;
    let mut options = model::options(&arguments.model.input)?;
    // A config without a preprocessor does not say what size its model is used at; the input does.
    options.img_size = options.img_size.or((shape[2] == shape[3]).then_some(shape[2]));
    let mut session = model::open_named(&arguments.model.model, &options, arguments.compute.device)?;
    let warnings = add_modules(&mut session, arguments)?;
    let outputs = block_on(session.forward(pixels, shape))?;
    let report = Report {
        model: session.model().name.clone(),
        device: session.device().kind,
        device_name: session.device().name.clone(),
        input: arguments.input.display().to_string(),
        output: arguments.output.display().to_string(),
        last_hidden_state: outputs.last_hidden_state.1,
        images: outputs.answers(),
        warnings: warnings.iter().map(Warning::from).collect(),
    };
    write(&arguments.output, outputs)?;
    output::json(arguments.compute.json.as_deref(), &report)?;
    Ok(if warnings.is_empty() { Outcome::Fine } else { Outcome::Warned })
}

/// Refuses what says how pictures become values, because the input has values, and an output in the input's place.
fn check(arguments: &ForwardArgs) -> Result<()> {
    let input = &arguments.model.input;
    let given = [
        ("--mean", input.mean.is_some()),
        ("--std", input.std.is_some()),
        ("--resample", input.resample.is_some()),
        ("--crop-pct", input.crop_pct.is_some()),
        ("--no-crop", input.no_crop),
    ];
    if let Some((option, _)) = given.iter().find(|(_, given)| *given) {
        let reason = "`pixel_values` reach the model as they are; leave it out, or prepare the input so";
        return Err(Error::mismatch(*option, reason));
    }
    let whole = |path: &Path| fs::canonicalize(path).ok();
    if whole(&arguments.output).is_some_and(|output| whole(&arguments.input) == Some(output)) {
        return Err(Error::mismatch("--output", "it is --input and would be overwritten; name another file"));
    }
    check_output(&arguments.output)
}

/// Refuses an output in the place of anything but an earlier one.
fn check_output(path: &Path) -> Result<()> {
    let end = follow(path)?;
    if !end.is_file() {
        return Ok(());
    }
    let name = path.display().to_string();
    let earlier = has_tensor(&end, HIDDEN);
    let reason = "--output would replace it, and it is no earlier output of `forward`; name another file";
    if earlier { Ok(()) } else { Err(Error::mismatch(name, reason)) }
}

/// Folds the modules in; returns the warnings that it prints.
fn add_modules(session: &mut Session, arguments: &ForwardArgs) -> Result<Vec<Error>> {
    let mut warnings = Vec::new();
    let mut warn = |found: Vec<Error>| {
        found.iter().for_each(output::warning);
        warnings.extend(found);
    };
    for path in &arguments.adapter {
        warn(session.add_module_dir(&model::adapter_dir(path)?, &path.to_string_lossy())?);
    }
    if arguments.adapter.is_empty() && arguments.weights.is_some() {
        return Err(Error::mismatch("--weights", "there is no --adapter that they could be of"));
    }
    let weights = arguments.weights.clone().unwrap_or_else(|| vec![1.0; arguments.adapter.len()]);
    warn(session.merge(&weights)?);
    Ok(warnings)
}

fn pixel_values(path: &Path) -> Result<([usize; 4], Vec<f32>)> {
    let name = path.display().to_string();
    let (shape, values) = read_tensor(&name, &read_bytes(path)?, "pixel_values")?;
    match shape.as_slice() {
        &[batch, channels, height, width] => Ok(([batch, channels, height, width], values)),
        _ => Err(Error::TensorShape {
            name,
            tensor: "pixel_values".into(),
            found: shape,
            expected: vec![1, 3, 224, 224],
        }),
    }
}

fn write(path: &Path, outputs: Outputs) -> Result<()> {
    let (hidden, hidden_shape) = outputs.last_hidden_state;
    let mut tensors = vec![(HIDDEN, hidden_shape.to_vec(), hidden)];
    if let Some((logits, shape)) = outputs.logits {
        tensors.push(("logits", shape.to_vec(), logits));
    }
    write_atomic(path, &write_tensors(&path.display().to_string(), &tensors)?)
}
