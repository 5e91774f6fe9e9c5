//! A GPU through wgpu: WebGPU in a browser, Vulkan, Metal or Direct3D natively.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering},
};

use burn::tensor::{Device, wgpu};

use super::{DeviceInfo, OpenDevice, breathe};
use crate::error::{Error, Result};

static GPU: OnceLock<OpenDevice> = OnceLock::new();
static OPENING: AtomicBool = AtomicBool::new(false);

/// The first GPU, opened once per process: wgpu runtimes cannot be initialised twice, nor by two at once.
pub async fn open() -> Result<OpenDevice> {
    let _turn = Turn::wait().await;
    if let Some(device) = GPU.get() {
        return Ok(device.clone());
    }
    let (device, setup) = Device::wgpu_options().init_with_setup_async().await.map_err(|error| {
        Error::Device { device: "gpu".into(), reason: format!("{error}; use --device cpu") }
    })?;
    let adapter = setup.adapter.get_info();
    let info = DeviceInfo {
        kind: "gpu",
        software: adapter.device_type == wgpu::wgpu::DeviceType::Cpu,
        name: adapter.name,
    };
    Ok(GPU.get_or_init(|| OpenDevice::new(device, info)).clone())
}

/// The right to open the GPU. Not a lock of `std`: a browser's one thread may not wait for itself.
struct Turn;

impl Turn {
    async fn wait() -> Self {
        while OPENING.swap(true, Ordering::Acquire) {
            breathe(5).await;
        }
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        OPENING.store(false, Ordering::Release);
    }
}
