//! `forward`: tensors in, logits and last hidden state out, to compare with other implementations.

use std::path::Path;

use loraloom::{
    block_on,
    error::{Error, Result},
    session::{
        Outputs, Session,
        files::{read_bytes, write_atomic},
        tensors::{read_tensor, write_tensors},
    },
};

use super::{Outcome, args::ForwardArgs, model, output};

/// Runs the command.
///
/// # Errors
/// The model, a module or the input cannot be loaded, or the output cannot be written.
pub fn run(arguments: &ForwardArgs) -> Result<Outcome> {
    let (shape, pixels) = pixel_values(&arguments.input)?;
    let mut options = model::options(&arguments.model.input)?;
    // A config without a preprocessor does not say what size its model is used at; the input does.
    options.img_size = options.img_size.or((shape[2] == shape[3]).then_some(shape[2]));
    let mut session = model::open_named(&arguments.model.model, &options, arguments.device)?;
    let outcome = add_modules(&mut session, arguments)?;
    let outputs = block_on(session.forward(pixels, shape))?;
    write(&arguments.output, outputs)?;
    Ok(outcome)
}

fn add_modules(session: &mut Session, arguments: &ForwardArgs) -> Result<Outcome> {
    let mut outcome = Outcome::Fine;
    for path in &arguments.adapter {
        for warning in session.add_module_dir(&model::adapter_dir(path)?, &path.to_string_lossy())? {
            output::warning(&warning);
            outcome = Outcome::Warned;
        }
    }
    if arguments.adapter.is_empty() && arguments.weights.is_some() {
        return Err(Error::mismatch("--weights", "there is no --adapter that they could be of"));
    }
    let weights = arguments.weights.clone().unwrap_or_else(|| vec![1.0; arguments.adapter.len()]);
    for warning in session.merge(&weights)? {
        output::warning(&warning);
        outcome = Outcome::Warned;
    }
    Ok(outcome)
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
    let mut tensors = vec![("last_hidden_state", hidden_shape.to_vec(), hidden)];
    if let Some((logits, shape)) = outputs.logits {
        tensors.push(("logits", shape.to_vec(), logits));
    }
    write_atomic(path, &write_tensors(&path.display().to_string(), &tensors)?)
}
