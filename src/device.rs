//! Opening a compute device and reading tensors back; the only room that knows the platform.

use std::future::Future;

use burn::tensor::{DType, Device, Tensor};

#[cfg(target_arch = "wasm32")]
use self::browser as platform;
#[cfg(feature = "libtorch")]
use self::libtorch as gpu;
#[cfg(not(target_arch = "wasm32"))]
use self::native as platform;
#[cfg(not(feature = "libtorch"))]
use self::webgpu as gpu;
use crate::error::{Error, Result};

#[cfg(target_arch = "wasm32")]
mod browser;
#[cfg(feature = "libtorch")]
mod libtorch;
#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(not(feature = "libtorch"))]
mod webgpu;

/// Which device to compute on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The GPU if there is one that is not a software renderer, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU through wgpu (WebGPU in a browser); an error if there is none.
    Gpu,
}

/// What a device is, for people.
#[derive(Clone, Debug)]
pub struct DeviceInfo {
    /// `cpu` or `gpu`.
    pub kind: &'static str,
    /// Adapter name, or the CPU backend's.
    pub name: String,
    /// Whether a GPU adapter is software that runs on the CPU.
    pub software: bool,
}

/// An open device: the plain one, its one autodiff twin, and what it is.
///
/// All autodiff tensors must come from one autodiff device (two with different settings panic when
/// they meet), so it is opened once and cloned.
#[derive(Clone, Debug)]
pub struct OpenDevice {
    /// For frozen tensors and evaluation.
    pub plain: Device,
    /// For training.
    pub autodiff: Device,
    /// What it is.
    pub info: DeviceInfo,
}

impl OpenDevice {
    fn new(plain: Device, info: DeviceInfo) -> Self {
        Self { autodiff: plain.clone().autodiff(), plain, info }
    }

    /// The CPU device.
    pub fn cpu() -> Self {
        let info = DeviceInfo { kind: "cpu", name: "burn-flex".into(), software: false };
        Self::new(Device::flex(), info)
    }
}

/// Opens a device.
///
/// # Errors
/// [`Error::Device`] when a GPU is asked for and none can be used.
pub async fn open(choice: DeviceChoice) -> Result<OpenDevice> {
    match choice {
        DeviceChoice::Cpu => Ok(OpenDevice::cpu()),
        DeviceChoice::Gpu => gpu::open().await,
        DeviceChoice::Auto => match gpu::open().await {
            Ok(device) if !device.info.software => Ok(device),
            _ => Ok(OpenDevice::cpu()),
        },
    }
}

/// Reads a float tensor back in row-major order.
///
/// # Errors
/// [`Error::Device`] when the device was lost.
pub async fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    // A read-back that is given up half-way leaves its buffer mapped, and the next one loses the device.
    let data = platform::to_the_end(tensor.into_data_async()).await.ok_or_else(|| lost("no answer"))?;
    Ok(data.map_err(lost)?.iter::<f32>().collect())
}

/// Waits for a future on this thread (native; a browser awaits instead).
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    pollster::block_on(future)
}

/// Number of threads that [`parallel`] works with.
pub fn num_threads() -> usize {
    platform::num_threads()
}

/// Does independent jobs, on all cores natively and one after another in a browser; results in order.
pub fn parallel<T: Send, R: Send>(jobs: Vec<T>, work: impl Fn(T) -> R + Sync + Send) -> Vec<R> {
    platform::parallel(jobs, work)
}

/// Images per pass without gradients. On a GPU always as many, so that it compiles one set of shaders; fewer in a
/// browser, and on its CPU as few as let its one thread answer a person in time: `multiplications` are one image's.
pub fn images_per_pass(device: &Device, multiplications: f64) -> usize {
    if *device != Device::flex() {
        return platform::IMAGES_PER_PASS;
    }
    platform::images_per_pass(multiplications, platform::IMAGES_PER_PASS)
}

/// Whether matrix products can be computed in half precision: not on the CPU, whose kernels have single precision only.
pub fn has_half_precision(device: &Device) -> bool {
    *device != Device::flex() && device.supports_dtype(DType::F16)
}

/// Whether a training step is done in parts: a browser's one thread has to answer a person in between. A GPU and many
/// cores take all images at once.
pub fn trains_in_parts(device: &Device) -> bool {
    platform::ONE_THREAD && *device == Device::flex()
}

/// Rows of a batch of so many images: on a GPU always the most, because a new shape compiles new shaders, which takes
/// seconds in a browser; the CPU computes no row for nothing.
pub fn rows(device: &Device, images: usize, most: usize) -> usize {
    if *device == Device::flex() { images.min(most) } else { most }
}

/// Training steps between two read-backs: a GPU goes on while nobody waits for it; the CPU has its numbers at hand.
pub fn steps_per_read(device: &Device) -> usize {
    if *device == Device::flex() { 1 } else { 4 }
}

/// Lets a browser handle messages and draw, for at least so long; natively it only waits.
pub async fn breathe(milliseconds: u32) {
    platform::breathe(milliseconds).await;
}

/// A long piece of work that lets others go on now and then; not at every chance, because in each break all methods that train side by
/// side take a step.
pub struct Breaks(web_time::Instant);

impl Breaks {
    /// So long nobody minds to wait.
    const EVERY: std::time::Duration = std::time::Duration::from_millis(50);

    /// Begins.
    pub fn begin() -> Self {
        Self(web_time::Instant::now())
    }

    /// Lets a browser's event loop run if it is time.
    pub async fn take(&mut self) {
        if self.0.elapsed() >= Self::EVERY {
            breathe(0).await;
            self.0 = web_time::Instant::now();
        }
    }
}

fn lost(error: impl std::fmt::Display) -> Error {
    Error::Device { device: "in use".into(), reason: format!("it was lost: {error}; start again") }
}
