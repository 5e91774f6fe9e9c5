//! A worker's one thread, which answers the page in between.

use std::{cell::RefCell, collections::VecDeque, future::Future, rc::Rc};

use futures_channel::oneshot;
use gloo_timers::future::TimeoutFuture;
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::MessageChannel;

pub const IMAGES_PER_PASS: usize = 8;
pub const ONE_THREAD: bool = true;

/// Multiplications of a pass without gradients between two looks at what a person says: four images of the embedded
/// model, a tenth of a second where it was measured.
const PASS: f64 = 0.95e9;

pub fn images_per_pass(multiplications: f64, most: usize) -> usize {
    ((PASS / multiplications) as usize).clamp(1, most)
}

pub fn num_threads() -> usize {
    1
}

pub fn parallel<T, R>(jobs: Vec<T>, work: impl Fn(T) -> R) -> Vec<R> {
    jobs.into_iter().map(work).collect()
}

pub fn gemm_parallelism() -> gemm::Parallelism {
    gemm::Parallelism::None
}

/// Does some work, whether or not somebody still waits for it; `None` if it ended without a result.
pub async fn to_the_end<T: 'static>(work: impl Future<Output = T> + 'static) -> Option<T> {
    let (sender, receiver) = oneshot::channel();
    wasm_bindgen_futures::spawn_local(async move {
        // Nobody may be waiting any more.
        let _ = sender.send(work.await);
    });
    receiver.await.ok()
}

pub async fn breathe(milliseconds: u32) {
    if milliseconds > 0 {
        return TimeoutFuture::new(milliseconds).await;
    }
    // What waits already when this is called comes before the first hop, and what those leave behind after it: with
    // one hop, methods side by side would go on before the page is heard.
    hop().await;
    hop().await;
}

/// To the end of the event loop's queue. A message and not a timer: nested timers wait four milliseconds.
async fn hop() {
    let (sender, receiver) = oneshot::channel();
    let posted = MESSAGES.with(|messages| messages.as_ref().is_some_and(|messages| messages.post(sender)));
    if !posted || receiver.await.is_err() {
        TimeoutFuture::new(0).await;
    }
}

thread_local! {
    static MESSAGES: Option<Messages> = Messages::new();
}

/// Messages to oneself, and who waits for them.
struct Messages {
    channel: MessageChannel,
    waiting: Rc<RefCell<VecDeque<oneshot::Sender<()>>>>,
    _heard: Closure<dyn FnMut()>,
}

impl Messages {
    fn new() -> Option<Self> {
        let channel = MessageChannel::new().ok()?;
        let waiting = Rc::new(RefCell::new(VecDeque::<oneshot::Sender<()>>::new()));
        let queue = waiting.clone();
        let heard = Closure::new(move || {
            let next = queue.borrow_mut().pop_front();
            // Nobody may be waiting any more.
            let _ = next.map(|sender| sender.send(()));
        });
        channel.port1().set_onmessage(Some(heard.as_ref().unchecked_ref()));
        Some(Self { channel, waiting, _heard: heard })
    }

    fn post(&self, sender: oneshot::Sender<()>) -> bool {
        let posted = self.channel.port2().post_message(&JsValue::NULL).is_ok();
        if posted {
            self.waiting.borrow_mut().push_back(sender);
        }
        posted
    }
}
