//! An NVIDIA GPU through LibTorch, to train base models; see the feature `libtorch`.

use burn::tensor::{Device, DeviceType};

use super::{DeviceInfo, OpenDevice};
use crate::error::{Error, Result};

/// The first GPU that CUDA knows.
pub async fn open() -> Result<OpenDevice> {
    // Burn has deprecated this backend in favour of its own; docs/models.md says how fast each of them trains.
    #[allow(deprecated)]
    let device = Device::libtorch_cuda(0);
    if !Device::enumerate(DeviceType::LibTorch).into_vec().contains(&device) {
        let reason = "LibTorch finds no CUDA GPU; use --device cpu".to_string();
        return Err(Error::Device { device: "gpu".into(), reason });
    }
    let info = DeviceInfo { kind: "gpu", name: "LibTorch, CUDA".into(), software: false };
    Ok(OpenDevice::new(device, info))
}
