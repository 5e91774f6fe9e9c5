//! Single tensors in and out of safetensors files, for comparing with other implementations.

use std::path::Path;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{
    error::{Error, Result},
    lora::tensor_file::{TensorFile, decode},
};

/// Shape and values of one tensor of a file.
///
/// # Errors
/// An unreadable file, or the tensor is absent or not finite floats.
pub fn read_tensor(name: &str, bytes: &[u8], tensor: &str) -> Result<(Vec<usize>, Vec<f32>)> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| unreadable(name, &error))?;
    let view =
        file.tensor(tensor).map_err(|_| Error::MissingTensor { name: name.into(), tensor: tensor.into() })?;
    Ok((view.shape().to_vec(), decode(name, tensor, view.dtype(), view.data())?))
}

/// Whether a file on disk has a tensor of this name; its values are not read.
pub fn has_tensor(path: &Path, tensor: &str) -> bool {
    TensorFile::open(path).is_ok_and(|file| file.shape(tensor).is_some())
}

/// A safetensors file of f32 tensors, given as (name, shape, values).
///
/// # Errors
/// A shape that does not fit its values.
pub fn write_tensors(name: &str, tensors: &[(&str, Vec<usize>, Vec<f32>)]) -> Result<Vec<u8>> {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((key, shape, _), data)| {
        let view =
            TensorView::new(Dtype::F32, shape.clone(), data).map_err(|error| unreadable(name, &error))?;
        Ok((*key, view))
    });
    safetensors::serialize(views.collect::<Result<Vec<_>>>()?, None).map_err(|error| unreadable(name, &error))
}

fn unreadable(name: &str, error: &safetensors::SafeTensorError) -> Error {
    Error::Safetensors { name: name.into(), reason: error.to_string() }
}
