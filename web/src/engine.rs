//! One session and what the page has put into it.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use futures_util::future::try_join_all;
use loraloom::{
    Dataset, DeviceChoice, Dialect, Example, LoraModule, Method, Picture,
    error::{Error, Result},
    session::{ModelFiles, ModelOptions, Session, adapt::Flow, arm::Adapted},
};
use wasm_bindgen::prelude::*;

use crate::request::{AdaptRequest, ClassPictures, Event, MethodPrediction, from_js, to_error, to_js};

/// The worker's state.
#[wasm_bindgen]
pub struct Engine {
    session: RefCell<Rc<Session>>,
    pictures: RefCell<BTreeMap<u32, (String, Picture)>>,
    results: RefCell<BTreeMap<&'static str, Rc<Adapted>>>,
    classes: RefCell<Vec<String>>,
    flow: Rc<Cell<Flow>>,
    next: Cell<u32>,
}

#[wasm_bindgen]
impl Engine {
    /// Opens a device (`auto`, `gpu` or `cpu`) and a model from its files.
    #[wasm_bindgen(js_name = open)]
    pub async fn open(
        device: String,
        name: String,
        config: String,
        preprocessor: Option<String>,
        weights: Vec<u8>,
    ) -> std::result::Result<Engine, JsValue> {
        console_error_panic_hook::set_once();
        let choice = match device.as_str() {
            "gpu" => DeviceChoice::Gpu,
            "cpu" => DeviceChoice::Cpu,
            _ => DeviceChoice::Auto,
        };
        let files = ModelFiles {
            name: &name,
            config: &config,
            preprocessor: preprocessor.as_deref(),
            weights: &weights,
        };
        let session = Session::open(choice, files, &ModelOptions::default()).await.map_err(to_error)?;
        Ok(Self {
            session: RefCell::new(Rc::new(session)),
            pictures: RefCell::default(),
            results: RefCell::default(),
            classes: RefCell::default(),
            flow: Rc::new(Cell::new(Flow::GoOn)),
            next: Cell::new(1),
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
        let (module, warnings) = LoraModule::from_bytes(&name, &config, &weights).map_err(to_error)?;
        let mut session = self.session.borrow_mut();
        let session = Rc::get_mut(&mut session).ok_or_else(|| to_error(busy()))?;
        session.add_module(module).map_err(to_error)?;
        to_js(&warnings.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    /// Takes an image file in; returns its number and the crop that the model sees.
    #[wasm_bindgen(js_name = addPicture)]
    pub fn add_picture(&self, name: String, bytes: &[u8]) -> std::result::Result<JsValue, JsValue> {
        let crop = self.session().crop(&name, bytes).map_err(to_error)?;
        let id = self.next.get();
        self.next.set(id + 1);
        let rgba: Vec<u8> = crop.rgb.chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect();
        let object = js_sys::Object::new();
        let set = |key: &str, value: JsValue| js_sys::Reflect::set(&object, &key.into(), &value);
        set("id", id.into())?;
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

    /// Runs methods side by side; `on_event` gets every step and every result.
    pub async fn adapt(
        &self,
        request: JsValue,
        on_event: js_sys::Function,
    ) -> std::result::Result<(), JsValue> {
        let request: AdaptRequest = from_js(request)?;
        self.flow.set(Flow::GoOn);
        let train = self.dataset("train", &request.train).map_err(to_error)?;
        let test = self.dataset("test", &request.test).map_err(to_error)?;
        let test = (!test.examples.is_empty()).then_some(test);
        *self.classes.borrow_mut() = train.classes.clone();
        let session = self.session();
        let runs = request.methods.iter().map(|&method| {
            let (session, train, test) = (&session, &train, test.as_ref());
            let (on_event, config, flow) = (&on_event, &request.config, &self.flow);
            async move {
                let mut show = |progress| {
                    tell(on_event, &Event::Progress { progress });
                    flow.get()
                };
                let (report, adapted) = session.adapt_method(method, train, test, config, &mut show).await?;
                self.results.borrow_mut().insert(method.name(), Rc::new(adapted));
                tell(on_event, &Event::Done { report: Box::new(report) });
                Ok::<(), Error>(())
            }
        });
        try_join_all(runs).await.map_err(to_error)?;
        Ok(())
    }

    /// What every method that was run says of a picture.
    pub async fn predict(&self, id: u32) -> std::result::Result<JsValue, JsValue> {
        let example = self.example(id, 0).map_err(to_error)?;
        let (session, classes) = (self.session(), self.classes.borrow().clone());
        let results: Vec<Rc<Adapted>> = self.results.borrow().values().cloned().collect();
        let mut predictions = Vec::with_capacity(results.len());
        for adapted in results {
            let prediction = session.predict(&adapted, &classes, &example).await.map_err(to_error)?;
            predictions.push(MethodPrediction { method: adapted.method, prediction });
        }
        to_js(&predictions)
    }

    /// A method's result as PEFT files: `[adapter_config.json, adapter_model.safetensors]`.
    #[wasm_bindgen(js_name = saveAdapter)]
    pub fn save_adapter(&self, method: &str) -> std::result::Result<js_sys::Array, JsValue> {
        let method = Method::from_name(method).map_err(to_error)?;
        let adapted = self.results.borrow().get(method.name()).cloned();
        let adapted =
            adapted.ok_or_else(|| to_error(Error::mismatch(method.name(), "it has not been run")))?;
        let updates = adapted.updates.as_ref().ok_or_else(|| {
            to_error(Error::mismatch(method.name(), "full fine-tuning has no adapter; save another method"))
        })?;
        let session = self.session();
        let module = session.module(&adapted, updates).map_err(to_error)?;
        let (config, weights) = module.to_peft(Dialect::New, session.peft_prefix()).map_err(to_error)?;
        Ok(js_sys::Array::of2(&config.into(), &js_sys::Uint8Array::from(weights.as_slice()).into()))
    }
}

impl Engine {
    fn session(&self) -> Rc<Session> {
        self.session.borrow().clone()
    }

    fn dataset(&self, name: &str, classes: &[ClassPictures]) -> Result<Dataset> {
        let mut examples = Vec::new();
        for (class, pictures) in classes.iter().enumerate() {
            for &id in &pictures.pictures {
                examples.push(self.example(id, class)?);
            }
        }
        let classes = classes.iter().map(|class| class.name.clone()).collect();
        Ok(Dataset { name: name.into(), classes, examples })
    }

    fn example(&self, id: u32, class: usize) -> Result<Example> {
        let pictures = self.pictures.borrow();
        let (name, crop) =
            pictures.get(&id).ok_or_else(|| Error::mismatch(format!("picture {id}"), "it was removed"))?;
        Ok(Example { name: name.clone(), class, crop: crop.clone() })
    }
}

fn busy() -> Error {
    Error::mismatch("module", "methods are running; stop them first")
}

fn tell(on_event: &js_sys::Function, event: &Event) {
    // A listener that throws must not end the run.
    if let Ok(event) = to_js(event) {
        let _ = on_event.call1(&JsValue::NULL, &event);
    }
}
