//! Opening a compute device and reading tensors back; the only file that knows the platform.

use std::{
    future::Future,
    sync::atomic::{AtomicBool, Ordering},
};

use burn::tensor::{Device, Tensor, wgpu};

use crate::error::{Error, Result};

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
        DeviceChoice::Gpu => open_gpu().await,
        DeviceChoice::Auto => match open_gpu().await {
            Ok(device) if !device.info.software => Ok(device),
            _ => Ok(OpenDevice::cpu()),
        },
    }
}

/// The first GPU, opened once per process: wgpu runtimes cannot be initialised twice, nor by two at once.
async fn open_gpu() -> Result<OpenDevice> {
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

static GPU: std::sync::OnceLock<OpenDevice> = std::sync::OnceLock::new();
static OPENING: AtomicBool = AtomicBool::new(false);

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

/// Reads a float tensor back in row-major order.
///
/// # Errors
/// [`Error::Device`] when the device was lost.
pub async fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    // A read-back that is given up half-way leaves its buffer mapped, and the next one loses the device.
    let data = event_loop::to_the_end(tensor.into_data_async()).await.ok_or_else(|| lost("no answer"))?;
    Ok(data.map_err(lost)?.iter::<f32>().collect())
}

/// Waits for a future on this thread (native; a browser awaits instead).
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    pollster::block_on(future)
}

/// Number of threads that [`parallel`] works with.
pub fn num_threads() -> usize {
    threads::count()
}

/// Does independent jobs, on all cores natively and one after another in a browser; results in order.
pub fn parallel<T: Send, R: Send>(jobs: Vec<T>, work: impl Fn(T) -> R + Sync + Send) -> Vec<R> {
    threads::map(jobs, work)
}

/// How a matrix product of the CPU kernels may use threads.
pub fn gemm_parallelism(threads: bool) -> gemm::Parallelism {
    if threads { threads::gemm() } else { gemm::Parallelism::None }
}

#[cfg(not(target_arch = "wasm32"))]
mod threads {
    use rayon::prelude::*;

    pub const IMAGES_PER_PASS: usize = 32;

    pub fn at_once(_multiplications: f64, most: usize) -> usize {
        most
    }

    pub fn count() -> usize {
        rayon::current_num_threads()
    }

    pub fn map<T: Send, R: Send>(jobs: Vec<T>, work: impl Fn(T) -> R + Sync + Send) -> Vec<R> {
        jobs.into_par_iter().map(work).collect()
    }

    pub fn gemm() -> gemm::Parallelism {
        gemm::Parallelism::Rayon(0)
    }
}

#[cfg(target_arch = "wasm32")]
mod threads {
    pub const IMAGES_PER_PASS: usize = 8;

    /// Multiplications between two looks at what a person says: four images of the embedded model, a quarter to a third of
    /// a second with gradients where it was measured; slower CPUs hear Stop later.
    const AT_ONCE: f64 = 0.95e9;

    pub fn at_once(multiplications: f64, most: usize) -> usize {
        ((AT_ONCE / multiplications) as usize).clamp(1, most)
    }

    pub fn count() -> usize {
        1
    }

    pub fn map<T, R>(jobs: Vec<T>, work: impl Fn(T) -> R) -> Vec<R> {
        jobs.into_iter().map(work).collect()
    }

    pub fn gemm() -> gemm::Parallelism {
        gemm::Parallelism::None
    }
}

/// Images per pass without gradients. On a GPU always as many, so that it compiles one set of shaders; fewer in a
/// browser, and on its CPU as few as let its one thread answer a person in time: `multiplications` are one image's.
pub fn images_per_pass(device: &Device, multiplications: f64) -> usize {
    if *device != Device::flex() {
        return threads::IMAGES_PER_PASS;
    }
    threads::at_once(multiplications, threads::IMAGES_PER_PASS)
}

/// Images that a training step takes at once: all of them on a GPU and on many cores. A browser's one thread has to
/// answer a person in between.
pub fn images_per_part(device: &Device, multiplications: f64) -> usize {
    if *device == Device::flex() { threads::at_once(multiplications, usize::MAX) } else { usize::MAX }
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
    event_loop::turn(milliseconds).await;
}

#[cfg(not(target_arch = "wasm32"))]
mod event_loop {
    pub async fn to_the_end<T>(work: impl Future<Output = T>) -> Option<T> {
        Some(work.await)
    }

    pub async fn turn(milliseconds: u32) {
        if milliseconds > 0 {
            std::thread::sleep(std::time::Duration::from_millis(u64::from(milliseconds)));
        }
    }
}

#[cfg(target_arch = "wasm32")]
mod event_loop {
    /// Does some work, whether or not somebody still waits for it; `None` if it ended without a result.
    pub async fn to_the_end<T: 'static>(work: impl Future<Output = T> + 'static) -> Option<T> {
        let (sender, receiver) = futures_channel::oneshot::channel();
        wasm_bindgen_futures::spawn_local(async move {
            // Nobody may be waiting any more.
            let _ = sender.send(work.await);
        });
        receiver.await.ok()
    }

    pub async fn turn(milliseconds: u32) {
        gloo_timers::future::TimeoutFuture::new(milliseconds).await;
    }
}

fn lost(error: impl std::fmt::Display) -> Error {
    Error::Device { device: "current".into(), reason: format!("it was lost: {error}; start again") }
}
