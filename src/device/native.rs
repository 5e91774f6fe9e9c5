//! Many threads, and nobody to answer in between.

use std::{future::Future, thread::sleep, time::Duration};

use rayon::prelude::*;

pub const IMAGES_PER_PASS: usize = 32;
pub const ONE_THREAD: bool = false;

pub fn images_per_pass(_multiplications: f64, most: usize) -> usize {
    most
}

pub fn num_threads() -> usize {
    rayon::current_num_threads()
}

pub fn parallel<T: Send, R: Send>(jobs: Vec<T>, work: impl Fn(T) -> R + Sync + Send) -> Vec<R> {
    jobs.into_par_iter().map(work).collect()
}

pub async fn to_the_end<T>(work: impl Future<Output = T>) -> Option<T> {
    Some(work.await)
}

pub async fn breathe(milliseconds: u32) {
    if milliseconds > 0 {
        sleep(Duration::from_millis(u64::from(milliseconds)));
    }
}
