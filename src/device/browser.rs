//! A worker's one thread, which answers the page in between.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::VecDeque,
    future::Future,
    rc::Rc,
};

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
    let (sender, receiver) = oneshot::channel();
    let waits = TURNS.with(|turns| turns.as_ref().is_some_and(|turns| turns.wait(sender)));
    if !waits || receiver.await.is_err() {
        TimeoutFuture::new(0).await;
    }
}

thread_local! {
    static TURNS: Option<Rc<Turns>> = Turns::new();
}

/// Who waits for a turn of the event loop, one after another: methods that train side by side would all go on before
/// the page is heard if each waited by itself.
///
/// A message to oneself passes what the page has said before. Not a timer: nested ones wait four milliseconds.
struct Turns {
    channel: MessageChannel,
    waiting: RefCell<VecDeque<oneshot::Sender<()>>>,
    stage: Cell<Stage>,
    heard: OnceCell<Closure<dyn FnMut()>>,
}

/// What the message under way is for.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// There is none, and nobody waits.
    Idle,
    /// It was sent before the one whose turn it was had done anything: what the page said meanwhile is behind it.
    Pass,
    /// It comes after that; the next one may go on.
    Release,
}

impl Turns {
    fn new() -> Option<Rc<Self>> {
        let turns = Rc::new(Self {
            channel: MessageChannel::new().ok()?,
            waiting: RefCell::default(),
            stage: Cell::new(Stage::Idle),
            heard: OnceCell::new(),
        });
        let own = turns.clone();
        let heard = turns.heard.get_or_init(|| Closure::new(move || own.hear()));
        turns.channel.port1().set_onmessage(Some(heard.as_ref().unchecked_ref()));
        Some(turns)
    }

    fn wait(&self, sender: oneshot::Sender<()>) -> bool {
        self.waiting.borrow_mut().push_back(sender);
        self.stage.get() != Stage::Idle || self.send(Stage::Pass)
    }

    fn send(&self, stage: Stage) -> bool {
        let sent = self.channel.port2().post_message(&JsValue::NULL).is_ok();
        self.stage.set(if sent { stage } else { Stage::Idle });
        if !sent {
            // They wait for timers instead.
            self.waiting.borrow_mut().clear();
        }
        sent
    }

    fn hear(&self) {
        if self.stage.get() == Stage::Pass {
            self.send(Stage::Release);
            return;
        }
        let next = self.waiting.borrow_mut().pop_front();
        // Nobody may be waiting any more. Whoever is goes on after this, not within it.
        let _ = next.map(|sender| sender.send(()));
        let alone = self.waiting.borrow().is_empty();
        if alone {
            self.stage.set(Stage::Idle);
        } else {
            self.send(Stage::Pass);
        }
    }
}
