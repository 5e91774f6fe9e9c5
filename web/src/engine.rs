//! One session and what the page has put into it.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::Poll,
};

use futures_util::future::try_join_all;
use loraloom::{
    Dataset, DeviceChoice, Example, LoraModule, Picture, breathe,
    error::{Error, Result},
    session::{
        ModelFiles, ModelOptions, Session,
        adapt::Folds,
        adapted::Adapted,
        config::AdaptConfig,
        progress::{Flow, PAUSE},
    },
};
use wasm_bindgen::prelude::*;

use crate::{
    failure::watch_panics,
    request::{AdaptRequest, ClassPictures, Event, MethodPrediction, from_js, to_error, to_js},
    sharing::promised,
};

/// Bytes of one allocation of [`Engine::exhaust`].
const EXHAUSTING: usize = 256 << 20;

/// The name of a person's own mix among the results.
const MIXED: &str = "mixed";

/// A method's result with the classes that it knows.
#[derive(Clone)]
pub(crate) struct Learned {
    pub(crate) adapted: Rc<Adapted>,
    pub(crate) classes: Rc<[String]>,
    pub(crate) config: Rc<AdaptConfig>,
}

/// The worker's state.
#[wasm_bindgen]
pub struct Engine {
    session: RefCell<Rc<Session>>,
    pub(crate) pictures: RefCell<BTreeMap<u32, (String, Picture)>>,
    pub(crate) results: RefCell<BTreeMap<String, Learned>>,
    pub(crate) flow: Rc<Cell<Flow>>,
}

#[wasm_bindgen]
impl Engine {
    /// Opens a device (`auto`, `gpu` or `cpu`) and a model from its files, at a square input size of `img_size` pixels or
    /// the model's own. A GPU is taken only if it computes what the CPU computes; comparing them and one training step
    /// compile its shaders.
    #[wasm_bindgen(js_name = open)]
    pub async fn open(
        device: String,
        name: String,
        config: String,
        preprocessor: Option<String>,
        weights: Vec<u8>,
        img_size: Option<usize>,
    ) -> std::result::Result<Engine, JsValue> {
        watch_panics();
        let options = ModelOptions { img_size, ..ModelOptions::default() };
        let choice = match device.as_str() {
            "gpu" => DeviceChoice::Gpu,
            "cpu" => DeviceChoice::Cpu,
            _ => DeviceChoice::Auto,
        };
        let open = |choice| {
            let files = ModelFiles {
                name: &name,
                config: &config,
                preprocessor: preprocessor.as_deref(),
                weights: &weights,
            };
            let options = &options;
            async move { Session::open(choice, files, options).await.map_err(to_error) }
        };
        let session = open(choice).await?;
        if session.info().device == "gpu" {
            let reference = open(DeviceChoice::Cpu).await?;
            session.agrees_with(&reference).await.map_err(to_error)?;
            session.warm_up().await.map_err(to_error)?;
        }
        Ok(Self {
            session: RefCell::new(Rc::new(session)),
            pictures: RefCell::default(),
            results: RefCell::default(),
            flow: Rc::new(Cell::new(Flow::GoOn)),
        })
    }

    /// Device, model and modules, for the header.
    pub fn info(&self) -> std::result::Result<JsValue, JsValue> {
        to_js(&self.session().info())
    }

    /// Adds a PEFT LoRA module; returns its warnings.
    #[wasm_bindgen(js_name = addModule)]
    pub fn add_module(
        &self,
        name: String,
        config: String,
        weights: Vec<u8>,
    ) -> std::result::Result<JsValue, JsValue> {
        let (module, mut warnings) = LoraModule::from_bytes(&name, &config, &weights).map_err(to_error)?;
        if module.changes_nothing() {
            let reason = "all of its updates are zero, as of a method that only fits a head: there is nothing to compose";
            return Err(to_error(Error::mismatch(format!("module {name}"), reason)));
        }
        let mut session = self.session.borrow_mut();
        let session = Rc::get_mut(&mut session).ok_or_else(|| to_error(busy()))?;
        session.add_module(module).map_err(to_error)?;
        warnings.extend(session.newest_is_a_copy());
        to_js(&warnings.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    /// Takes a module out of the library.
    #[wasm_bindgen(js_name = removeModule)]
    pub fn remove_module(&self, name: &str) -> std::result::Result<(), JsValue> {
        let mut session = self.session.borrow_mut();
        let session = Rc::get_mut(&mut session).ok_or_else(|| to_error(busy()))?;
        session.remove_module(name).map_err(to_error)
    }

    /// Takes an image file in under a number of the page's; returns the crop that the model sees.
    ///
    /// The page numbers pictures, because it outlives workers and models: a number that it takes back late must not
    /// be that of another picture.
    #[wasm_bindgen(js_name = addPicture)]
    pub fn add_picture(&self, id: u32, name: String, bytes: &[u8]) -> std::result::Result<JsValue, JsValue> {
        let crop = self.session().crop(&name, bytes).map_err(to_error)?;
        let rgba: Vec<u8> = crop.rgb.chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect();
        let object = js_sys::Object::new();
        let set = |key: &str, value: JsValue| js_sys::Reflect::set(&object, &key.into(), &value);
        set("width", crop.width.into())?;
        set("height", crop.height.into())?;
        set("rgba", js_sys::Uint8ClampedArray::from(rgba.as_slice()).into())?;
        self.pictures.borrow_mut().insert(id, (name, crop));
        Ok(object.into())
    }

    /// Forgets a picture.
    #[wasm_bindgen(js_name = removePicture)]
    pub fn remove_picture(&self, id: u32) {
        self.pictures.borrow_mut().remove(&id);
    }

    /// Says what running methods do next: `go`, `pause` or `stop`.
    #[wasm_bindgen(js_name = setFlow)]
    pub fn set_flow(&self, flow: &str) {
        self.flow.set(match flow {
            "pause" => Flow::Pause,
            "stop" => Flow::Stop,
            _ => Flow::GoOn,
        });
    }

    /// Runs methods side by side; `on_event` gets every step and every result. If others run the folds of methods that
    /// train, `folds` gets the method's name once it is trained itself, and promises what [`Engine::fold`] gave of each; null if
    /// they were stopped.
    pub async fn adapt(
        &self,
        request: JsValue,
        on_event: js_sys::Function,
        folds: Option<js_sys::Function>,
    ) -> std::result::Result<(), JsValue> {
        let request: AdaptRequest = from_js(request)?;
        let train = self.dataset("train", &request.train).map_err(to_error)?;
        let test = self.dataset("test", &request.test).map_err(to_error)?;
        let test = (!test.examples.is_empty()).then_some(test);
        let classes: Rc<[String]> = train.classes.clone().into();
        let config = Rc::new(request.config);
        let session = self.session();
        let runs = request.methods.iter().map(|&method| {
            let (session, train, test, on_event) = (&session, &train, test.as_ref(), &on_event);
            let (config, classes) = (config.clone(), classes.clone());
            let elsewhere = folds.as_ref().map(|folds| -> Folds { Box::pin(promised(folds, method)) });
            async move {
                let mut show = |progress| {
                    tell(on_event, &Event::Progress { progress });
                    self.flow.get()
                };
                let run = session.adapt_with(elsewhere, method, train, test, &config, &mut show);
                // A method that trains keeps what it has learned so far; the others have nothing to keep.
                let outcome = match method.is_trained() {
                    true => Some(run.await),
                    false => self.until_stopped(run).await,
                };
                let Some(outcome) = outcome else {
                    tell(on_event, &Event::Stopped { method });
                    return Ok::<(), Error>(());
                };
                let (report, adapted) = match outcome {
                    Ok(done) => done,
                    // What another method learns is not lost with it, as long as there is a device.
                    Err(Error::Device { device, reason }) => return Err(Error::Device { device, reason }),
                    Err(error) => {
                        let message = error.to_string();
                        let message = Error::after_name(&message, method.name()).into();
                        tell(on_event, &Event::Failed { method, message });
                        return Ok(());
                    }
                };
                // What has not taken a step is where it began, and no result.
                if method.is_trained() && report.steps == 0 {
                    tell(on_event, &Event::Stopped { method });
                    return Ok(());
                }
                self.keep(Learned { adapted: Rc::new(adapted), classes, config: config.clone() });
                tell(on_event, &Event::Done { report: Box::new(report) });
                Ok(())
            }
        });
        try_join_all(runs).await.map_err(to_error)?;
        Ok(())
    }

    /// Multiplies the weights of a composition's modules by factors and keeps the result as `mixed`; returns its
    /// weights.
    pub fn reweigh(&self, method: &str, factors: Vec<f32>) -> std::result::Result<JsValue, JsValue> {
        let learned = self.learned(method).map_err(to_error)?;
        let session = self.session();
        let adapted = session.reweighted(&learned.adapted, &factors, &learned.config).map_err(to_error)?;
        let coefficients = adapted.coefficients.clone();
        let mixed = Learned { adapted: Rc::new(adapted), ..learned };
        self.results.borrow_mut().insert(MIXED.into(), mixed);
        to_js(&coefficients)
    }

    /// How a result does on other test pictures than it was measured on, null if it was stopped; what is saved of it says so, too.
    pub async fn test(&self, method: &str, test: JsValue) -> std::result::Result<JsValue, JsValue> {
        let test: Vec<ClassPictures> = from_js(test)?;
        let test = self.dataset("test", &test).map_err(to_error)?;
        let learned = self.learned(method).map_err(to_error)?;
        let session = self.session();
        let Some(tested) = self.until_stopped(session.test(&learned.adapted, &test)).await else {
            return Ok(JsValue::NULL);
        };
        let tested = tested.map_err(to_error)?;
        if let Some(own) = self.results.borrow_mut().get_mut(method) {
            // Another one may have taken its place meanwhile.
            if Rc::ptr_eq(&own.adapted, &learned.adapted) {
                own.adapted = Rc::new(learned.adapted.tested(&tested));
            }
        }
        to_js(&tested)
    }

    /// Gives the classes of a result, and of a mix of it, other names.
    pub fn rename(&self, method: &str, classes: Vec<String>) -> std::result::Result<(), JsValue> {
        let method = self.learned(method).map_err(to_error)?.adapted.method;
        let mut results = self.results.borrow_mut();
        for own in results.values_mut().filter(|own| own.adapted.method == method) {
            let (known, named) = (own.classes.len(), classes.len());
            if known != named {
                let reason = format!("{named} names for {known} classes");
                return Err(to_error(Error::mismatch(method.name(), reason)));
            }
            own.classes = classes.clone().into();
        }
        Ok(())
    }

    /// Forgets what methods have learned, before other classes are; and a mix, whose weights may be theirs.
    pub fn forget(&self, methods: Vec<String>) {
        let gone = |name: &String| name == MIXED || methods.contains(name);
        self.results.borrow_mut().retain(|name, _| !gone(name));
    }

    /// What every method that was run says of a picture; at a glance by the whole of it alone.
    pub async fn predict(&self, id: u32, glance: bool) -> std::result::Result<JsValue, JsValue> {
        let example = self.example(id, 0).map_err(to_error)?;
        let session = self.session();
        let results: Vec<(String, Learned)> =
            self.results.borrow().iter().map(|(name, learned)| (name.clone(), learned.clone())).collect();
        let asked: Vec<_> = results.iter().map(|(_, own)| (&*own.adapted, &*own.classes)).collect();
        let answers = session.answers(&asked, &example, glance).await.map_err(to_error)?;
        let named = results
            .iter()
            .zip(answers)
            .map(|((method, _), prediction)| MethodPrediction { method: method.clone(), prediction });
        let predictions: Vec<MethodPrediction> = named.collect();
        to_js(&predictions)
    }

    /// Logits, or else the last hidden state, of normalised pixels `[images, 3, height, width]`: for comparisons.
    pub async fn forward(&self, pixels: Vec<f32>) -> std::result::Result<Vec<f32>, JsValue> {
        let session = self.session();
        let (height, width) = session.info().input_size;
        let images = pixels.len() / (3 * height * width);
        let outputs = session.forward(pixels, [images, 3, height, width]).await.map_err(to_error)?;
        Ok(outputs.logits.map_or(outputs.last_hidden_state.0, |(logits, _)| logits))
    }

    /// Panics, to see that the page survives it.
    pub async fn panic(&self) {
        panic!("asked to panic");
    }

    /// Takes all memory, to see that the page survives it.
    pub async fn exhaust(&self) {
        let mut taken: Vec<Vec<u8>> = Vec::new();
        while taken.len() < 2 * (usize::MAX / EXHAUSTING) {
            taken.push(std::hint::black_box(Vec::with_capacity(EXHAUSTING)));
        }
    }
}

impl Engine {
    pub(crate) fn session(&self) -> Rc<Session> {
        self.session.borrow().clone()
    }

    pub(crate) fn learned(&self, method: &str) -> Result<Learned> {
        let found = self.results.borrow().get(method).cloned();
        found.ok_or_else(|| Error::mismatch(method, "it has not been run"))
    }

    /// Keeps a result; a mix of what it takes the place of goes.
    pub(crate) fn keep(&self, learned: Learned) {
        let method = learned.adapted.method;
        let mut results = self.results.borrow_mut();
        results.retain(|name, own| name != MIXED || own.adapted.method != method);
        results.insert(method.name().into(), learned);
    }

    /// Runs a future until a person stops it; while it is paused nothing runs.
    async fn until_stopped<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        let mut nap = None;
        poll_fn(|context| {
            loop {
                match self.flow.get() {
                    Flow::Stop => return Poll::Ready(None),
                    Flow::GoOn => return future.as_mut().poll(context).map(Some),
                    Flow::Pause => {
                        let timer = nap.get_or_insert_with(|| Box::pin(breathe(PAUSE)));
                        if timer.as_mut().poll(context).is_pending() {
                            return Poll::Pending;
                        }
                        nap = None;
                    }
                }
            }
        })
        .await
    }

    pub(crate) fn dataset(&self, name: &str, classes: &[ClassPictures]) -> Result<Dataset> {
        let mut examples = Vec::new();
        for (class, pictures) in classes.iter().enumerate() {
            for &id in &pictures.pictures {
                examples.push(self.example(id, class)?);
            }
        }
        let classes = classes.iter().map(|class| class.name.clone()).collect();
        Ok(Dataset { name: name.into(), classes, examples })
    }

    pub(crate) fn example(&self, id: u32, class: usize) -> Result<Example> {
        let pictures = self.pictures.borrow();
        let (name, crop) =
            pictures.get(&id).ok_or_else(|| Error::mismatch(format!("picture {id}"), "it was removed"))?;
        Ok(Example { name: name.clone(), class, crop: crop.clone() })
    }
}

fn busy() -> Error {
    Error::mismatch("module", "methods are running; stop them first")
}

pub(crate) fn tell(on_event: &js_sys::Function, event: &Event) {
    // A listener that throws must not end the run.
    if let Ok(event) = to_js(event) {
        let _ = on_event.call1(&JsValue::NULL, &event);
    }
}
